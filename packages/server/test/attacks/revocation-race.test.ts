// Revocation against everything that goes on meanwhile, at whole processes (Z08): afterwards the history is read, and no
// call and no refresh that began a second after the revocation was acknowledged succeeded on any node.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../support/oauth-clients.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

/** What a node may take to hear of a revocation. */
const BOUND_MS = 1000
const CALL = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'list_notes', arguments: {}, _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} } } })

interface Entry {
  readonly kind: 'call' | 'refresh'
  readonly node: string
  readonly begunAt: number
  readonly endedAt: number
  /** 0 for an answer that was under way when the grant ended, and was cut off. */
  readonly status: number
}

for (const variant of variants().filter(({ store, nodes }) => store === 'sqlite' || nodes === 2)) {
  describe(`revocation against calls and refreshes, on ${variant.name}`, () => {
    let gateway: RunningGateway
    before(async () => {
      // Refreshes on purpose as fast as they go.
      gateway = await startGateway({ ...variant, config: { limits: { registrationsPerHour: 1000, tokenRequestsPerMinute: 100_000 } } })
    })
    after(() => gateway.close())

    const host = (): string => new URL(gateway.issuer).host

    async function signedIn(): Promise<MemoryProvider> {
      const provider = memoryProvider()
      await (await connectV2(`${gateway.issuer}/mcp/notes`, provider, 'modern')).close()
      return provider
    }

    async function call(node: string, token: string): Promise<number> {
      const headers = { host: host(), authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'list_notes' }
      const response = await send(`${node}/mcp/notes`, headers, CALL)
      return response.status
    }

    for (const token of ['access token', 'refresh token'] as const) {
      test(`after the ${token} was revoked at one node nothing succeeds on any, and another grant goes on (Z08, C12)`, async () => {
        const [victim, bystander] = [await signedIn(), await signedIn()]
        const clientId = victim.clientInformation()?.client_id ?? ''
        const history: Entry[] = []
        let [revokingSince, revokedAt] = [Infinity, Infinity]
        const over = (): boolean => Date.now() > revokedAt + BOUND_MS + 500
        let tokens = { access: victim.tokens()?.access_token ?? '', refresh: victim.tokens()?.refresh_token ?? '' }
        const everyAccessToken = [tokens.access]

        const caller = async (node: string): Promise<void> => {
          for (let turn = 0; !over(); turn += 1) {
            const begunAt = Date.now()
            const status = await call(node, everyAccessToken[turn % everyAccessToken.length] ?? '')
            history.push({ kind: 'call', node, begunAt, endedAt: Date.now(), status })
          }
        }
        const refresher = async (node: string): Promise<void> => {
          while (!over()) {
            const begunAt = Date.now()
            const answer = await form(`${node}/token`, { grant_type: 'refresh_token', client_id: clientId, refresh_token: tokens.refresh })
            history.push({ kind: 'refresh', node, begunAt, endedAt: Date.now(), status: answer.status })
            if (answer.status === 200) {
              const { access_token: access, refresh_token: refresh } = JSON.parse(answer.text) as { access_token: string; refresh_token: string }
              tokens = { access, refresh }
              everyAccessToken.push(access)
            }
            await new Promise((resolve) => setTimeout(resolve, 10))
          }
        }
        const revoker = async (): Promise<void> => {
          await new Promise((resolve) => setTimeout(resolve, 300))
          const node = gateway.nodes.at(-1) ?? ''
          revokingSince = Date.now()
          const answer = await form(`${node}/revoke`, { client_id: clientId, token: token === 'access token' ? everyAccessToken[0] ?? '' : tokens.refresh })
          assert.equal(answer.status, 200, answer.text)
          revokedAt = Date.now()
        }
        await Promise.all([...gateway.nodes.flatMap((node) => [caller(node), caller(node), refresher(node)]), revoker()])

        for (const kind of ['call', 'refresh'] as const) {
          for (const node of gateway.nodes) {
            const own = history.filter((entry) => entry.kind === kind && entry.node === node)
            assert.ok(own.some(({ status, begunAt }) => status === 200 && begunAt < revokedAt), `no ${kind} succeeded at ${node} before`)
            assert.ok(own.some(({ begunAt }) => begunAt > revokedAt + BOUND_MS), `no ${kind} was tried at ${node} afterwards`)
          }
        }
        const late = history.filter(({ status, begunAt }) => begunAt > revokedAt + BOUND_MS && status === 200)
        assert.deepEqual(late, [])
        // The store is the truth for refreshing: there is no bound to wait for.
        assert.deepEqual(history.filter(({ kind, status, begunAt }) => kind === 'refresh' && begunAt > revokedAt && status === 200), [])
        assert.deepEqual([...new Set(history.map(({ status }) => status))].filter((status) => ![0, 200, 400, 401].includes(status)), [])
        const cut = history.filter(({ status }) => status === 0)
        assert.deepEqual(cut.filter(({ kind, begunAt, endedAt }) => kind === 'refresh' || endedAt < revokingSince || begunAt > revokedAt + BOUND_MS), [])
        for (const node of gateway.nodes) {
          for (const access of everyAccessToken) assert.equal(await call(node, access), 401)
          assert.equal(await call(node, bystander.tokens()?.access_token ?? ''), 200)
        }
      })
    }

    function form(url: string, fields: Readonly<Record<string, string>>): Promise<{ status: number; text: string }> {
      return send(url, { host: host(), 'content-type': 'application/x-www-form-urlencoded' }, new URLSearchParams(fields).toString())
    }
  })
}

/** With a host name of its own, which fetch does not send: nodes are asked one by one. */
function send(url: string, headers: Readonly<Record<string, string>>, body: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method: 'POST', headers }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
      answer.on('error', () => resolve({ status: 0, text }))
    })
    asked.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? resolve({ status: 0, text: '' }) : reject(error)))
    asked.end(body)
  })
}
