// A call that the upstream refuses for want of scope: the user is led to the page where the account is connected with
// more, and the call goes on.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CONNECT_TOOL } from '../../src/gateway/missing-connection.ts'
import { upstream } from '../support/connection-nodes.ts'
import { call, legacy, modern, type Sent } from '../support/mcp-nodes.ts'
import { json, upstreamEmulator, type Emulator, type Reply } from '../support/upstream-emulator.ts'
import { startUpstreamNode, type UpstreamNode } from '../support/upstream-node.ts'

const URL_CLIENT = { _meta: { 'io.modelcontextprotocol/clientCapabilities': { elicitation: { url: {} } } } }
const DENIED = 'call.denied: the account is connected without a scope that this needs'

interface House {
  readonly node: UpstreamNode
  readonly tickets: Emulator
  /** What the upstream says to a token that is too narrow, by the scopes that it has. */
  challenge: (granted: readonly string[]) => string | undefined
  /** The scopes that the server gives for those that it is asked for. */
  grant: (asked: string) => string
  readonly post: (sent: Sent) => Promise<{ status: number; headers: Headers; body: Message }>
  /** Follows the link in the browser, approves at the upstream, and comes back. @returns the scope that was asked for */
  readonly connect: (url: string) => Promise<string>
}

interface Message {
  readonly error?: { readonly code: number; readonly message: string; readonly data?: { readonly elicitations?: readonly { readonly url: string }[] } }
  readonly result?: {
    readonly isError?: boolean
    readonly resultType?: string
    readonly content?: readonly { readonly text: string }[]
    readonly requestState?: string
    readonly inputRequests?: Readonly<Record<string, { readonly params: { readonly message: string; readonly url: string } }>>
  }
}

/** An upstream whose tool needs "write", with alice's account connected for "basic". */
function house(name: string, run: (house: House) => Promise<void>, scopes?: readonly string[]): void {
  test(name, async () => {
    const tickets = await upstreamEmulator()
    const node = await startUpstreamNode(upstream('tickets', tickets.mcp, { type: 'oauth', ...(scopes === undefined ? {} : { scopes }) }))
    const made: House = {
      node,
      tickets,
      challenge: (granted) => (granted.includes('write') ? undefined : 'Bearer error="insufficient_scope", scope="write"'),
      grant: (asked) => asked,
      async post({ headers, body }) {
        const answer = await fetch(node.url, { method: 'POST', headers: headers as Record<string, string>, body: body as string })
        const text = await answer.text()
        return { status: answer.status, headers: answer.headers, body: (text === '' ? {} : JSON.parse(text)) as Message }
      },
      async connect(url) {
        const form = await node.browser.open(url)
        assert.equal(form.status, 200, form.text)
        const asked = await node.browser.submit(form, form.forms[0]!)
        const { searchParams, origin } = new URL(asked.url)
        assert.equal(origin, tickets.issuer)
        const scope = searchParams.get('scope') ?? ''
        tickets.on.set('/token', () => json({ access_token: `token:${made.grant(scope).replaceAll(' ', '+')}`, token_type: 'Bearer', scope: made.grant(scope) }))
        const back = await node.browser.open(`${searchParams.get('redirect_uri')}?code=a-code&state=${searchParams.get('state')}`)
        assert.equal(back.status, 200, back.text)
        return scope
      },
    }
    tickets.resource = { scopes_supported: ['basic'] }
    tickets.on.set('/mcp', (asked) => mcp(made, asked.headers.authorization, asked.body))
    try {
      const missing = await made.post(modern('alice', 'tools/call', { name: CONNECT_TOOL, arguments: {}, ...URL_CLIENT }))
      await made.connect(linkOf(missing.body))
      await run(made)
    } finally {
      await node.close()
      await tickets.close()
    }
  })
}

function mcp(made: House, authorization: string | undefined, body: string): Reply | undefined {
  if (authorization === undefined) return undefined
  const { id, method, params } = JSON.parse(body) as { id: number; method: string; params?: { name?: string } }
  const granted = authorization.replace('Bearer token:', '').split('+')
  const challenge = method === 'tools/call' || method === 'prompts/get' ? made.challenge(granted) : undefined
  if (challenge !== undefined) return { status: 403, headers: { 'www-authenticate': challenge } }
  if (method === 'initialize') return json({ jsonrpc: '2.0', id, result: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 't', version: '1' } } })
  if (method === 'tools/list') return json({ jsonrpc: '2.0', id, result: { resultType: 'complete', ttlMs: 0, cacheScope: 'private', tools: [{ name: 'close', inputSchema: { type: 'object' } }] } })
  return json({ jsonrpc: '2.0', id, result: { resultType: 'complete', content: [{ type: 'text', text: `${params?.name} as ${authorization}` }] } })
}

function linkOf({ result }: Message): string {
  return Object.values(result?.inputRequests ?? {})[0]?.params.url ?? ''
}

const close = (more: Readonly<Record<string, unknown>> = {}): Sent => modern('alice', 'tools/call', { name: 'close', arguments: {}, ...URL_CLIENT, ...more })

house('403 insufficient_scope asks for a connection with all scopes together, and the retried call succeeds (C-17)', async ({ node, tickets, post, connect }) => {
  const first = await post(close())
  assert.equal(first.status, 200)
  assert.equal(first.body.result?.resultType, 'input_required')
  assert.match(Object.values(first.body.result?.inputRequests ?? {})[0]?.params.message ?? '', /more permissions/)
  assert.equal(node.failures.at(-1), DENIED)
  // Nothing of the upstream's challenge reaches the client.
  assert.equal(first.headers.get('www-authenticate'), null)
  assert.equal(await connect(linkOf(first.body)), 'basic write')
  const retried = await post(close({ requestState: first.body.result?.requestState, inputResponses: { lanyard_connect: { action: 'accept' } } }))
  assert.equal(retried.body.result?.content?.[0]?.text, 'close as Bearer token:basic+write')
  assert.equal(tickets.asked.filter(({ body }) => body.includes('lanyard_connect')).length, 0)
})

house('scopes that the server does not give are asked for once, and then the call fails as it is (C-17)', async (made) => {
  made.grant = () => 'basic'
  const first = await made.post(close())
  assert.equal(await made.connect(linkOf(first.body)), 'basic write')
  for (let times = 0; times < 2; times += 1) {
    const again = await made.post(close())
    assert.equal(again.status, 502)
    assert.match(again.body.error?.message ?? '', /does not allow this/)
    assert.equal(again.body.result, undefined)
  }
})

house('a client that opens no page is told in words, and one of 2025-11-25 that does by its own error', async ({ post, connect }) => {
  const told = await post(call('alice', 'close'))
  assert.equal(told.body.result?.isError, true)
  assert.match(told.body.result?.content?.[0]?.text ?? '', /more permissions.*https:\/\/lanyard\.example\/connections\/tickets\?for=/)
  const opened = await post(legacy('alice', 'initialize', { protocolVersion: '2025-11-25', capabilities: { elicitation: { url: {} } }, clientInfo: { name: 'c', version: '1' } }))
  const session = opened.headers.get('mcp-session-id') ?? ''
  const asked = await post(legacy('alice', 'tools/call', { name: 'close', arguments: {} }, session))
  assert.equal(asked.body.error?.code, -32042)
  assert.equal(await connect(asked.body.error?.data?.elicitations?.[0]?.url ?? ''), 'basic write')
  const retried = await post(legacy('alice', 'tools/call', { name: 'close', arguments: {} }, session))
  assert.equal(retried.body.result?.content?.[0]?.text, 'close as Bearer token:basic+write')
})

house('a 403 that says nothing of scopes, or nothing that can be read, fails as it is', async (made) => {
  for (const challenge of ['Bearer', 'Bearer error="insufficient_scope"', 'Bearer error="insufficient_scope", scope=""', 'Bearer error="insufficient_scope", scope="a\\"b"', 'Bearer error="invalid_token", scope="write"', 'Basic realm="error=insufficient_scope, scope=write"']) {
    made.challenge = () => challenge
    const answer = await made.post(close())
    assert.equal(answer.status, 502, challenge)
    assert.equal(answer.body.result, undefined, challenge)
  }
  made.challenge = () => 'Bearer error="insufficient_scope", scope="write"'
  assert.equal((await made.post(close())).body.result?.resultType, 'input_required')
})

house('where the operator says what is asked for, the call fails as it is (C-16)', async ({ node, post }) => {
  const answer = await post(close())
  assert.equal(answer.status, 502)
  assert.notEqual(node.failures.at(-1), DENIED)
}, ['basic'])
