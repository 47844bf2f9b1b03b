// The example as it is described: a real nginx in front of a real MCP server, which asks Lanyard; real clients before it.
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { tokenOf } from '../support/api-clients.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { EXAMPLE, startNginx, withoutNginx, withPorts } from '../support/nginx.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { freePorts } from '../support/ports.ts'
import { connectV1, connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

const NOTES_KEY = randomBytes(24).toString('base64url')
const MODERN = '2026-07-28'
const META = { 'io.modelcontextprotocol/protocolVersion': MODERN, 'io.modelcontextprotocol/clientCapabilities': {} }


function rpc(method: string, params: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
}

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  describe(`nginx asks a gateway on ${variant.name}`, { skip: withoutNginx() }, () => {
    let gateway: RunningGateway
    let server: ChildProcess
    let stopNginx = (): Promise<void> => Promise.resolve()
    let front: string

    before(async () => {
      const [nginxPort = 0, serverPort = 0] = await freePorts(2)
      front = `http://127.0.0.1:${nginxPort}`
      const places = { '8090': String(nginxPort), '8091': String(serverPort) }
      const { trustedProxies, upstreams, rules, forwardAuth } = parse(withPorts(await readFile(join(EXAMPLE, 'lanyard.yaml'), 'utf8'), places)) as Record<string, unknown>
      gateway = await startGateway({ ...variant, config: { trustedProxies, upstreams, rules, forwardAuth }, environment: { NOTES_KEY } })
      server = spawn(process.execPath, [join(EXAMPLE, 'server.ts')], { env: { ...process.env, NOTES_KEY, PORT: String(serverPort) }, stdio: 'ignore' })
      await eventually('the server listens', () => fetch(`http://127.0.0.1:${serverPort}/`).then(({ status }) => status === 401, () => false), 20_000)
      stopNginx = await startNginx({ ...places, '8080': new URL(gateway.nodes[0] ?? '').port })
    })
    after(async () => {
      await stopNginx()
      server.kill()
      await gateway.close()
    })

    const send = (token: string | undefined, headers: Readonly<Record<string, string>>, body: string, path = '/mcp'): Promise<Response> =>
      fetch(`${front}${path}`, { method: 'POST', body, headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers } })
    const naming = (method: string, name?: string): Record<string, string> => ({ 'mcp-protocol-version': MODERN, 'mcp-method': method, ...(name === undefined ? {} : { 'mcp-name': name }) })

    test('a client finds its way from nginx to the sign-in and back, and the server learns who calls, not with what (J1, RS-2, RS-10)', async () => {
      const challenged = await send(undefined, {}, rpc('ping'))
      assert.equal(challenged.status, 401)
      assert.equal(challenged.headers.get('www-authenticate'), `Bearer resource_metadata="${gateway.issuer}/.well-known/oauth-protected-resource/forward-auth/notes", scope="mcp.read mcp.write"`)
      const metadata = (await (await fetch(`${front}/.well-known/oauth-protected-resource/mcp`)).json()) as Record<string, unknown>
      assert.equal(metadata['resource'], `${front}/mcp`)

      const alice = await connectV2(`${front}/mcp`, memoryProvider(), 'modern')
      assert.deepEqual(await alice.tools(), ['whoami', 'list_notes', 'write_note', 'delete_note'])
      assert.deepEqual((await alice.call('whoami')).split('\n'), ['x-lanyard-subject: alice', 'x-lanyard-groups: engineering', 'x-lanyard-scope: mcp.read mcp.write', 'authorization: none'])
      assert.equal(await alice.call('write_note', { title: 'hers', text: 'x' }), 'wrote hers')
      await alice.close()
      await recorded(gateway, ({ action, tool, rule, upstream }) => action === 'call.allowed' && tool === 'write_note' && rule === 'engineering' && upstream === 'notes')
    })

    test('rules about single tools hold, as the server compares the headers with the body (P-10, P-11, P-20, RS-18)', async () => {
      const bob = await connectV2(`${front}/mcp`, memoryProvider({ person: 'bob' }), 'modern')
      assert.match(await bob.call('list_notes'), /welcome/)
      await assert.rejects(bob.call('write_note', { title: 'his', text: 'x' }))
      await bob.close()
      const alice = await tokenOf(gateway.issuer, 'alice', `${front}/mcp`)
      const call = (name: string): string => rpc('tools/call', { name, arguments: { title: 'welcome' }, _meta: META })
      assert.equal((await send(alice, naming('tools/call', 'delete_note'), call('delete_note'))).status, 403)
      // Other words in the headers than in the body: nginx and Lanyard let it pass, and the server does not.
      for (const headers of [naming('tools/call', 'list_notes'), naming('tools/list'), { ...naming('tools/call', 'list_notes'), 'mcp-name': `=?base64?${Buffer.from('list_notes').toString('base64')}?=` }]) {
        const lie = await send(alice, headers, call('delete_note'))
        assert.equal(lie.status, 400)
        assert.match(await lie.text(), /-32020/)
      }
      // A body of an older revision under the headers of the new one.
      const old = await send(alice, naming('tools/call', 'list_notes'), rpc('tools/call', { name: 'delete_note', arguments: { title: 'welcome' } }))
      assert.equal(old.status, 400)
      const batch = await send(alice, naming('tools/call', 'list_notes'), `[${call('list_notes')},${call('delete_note')}]`)
      assert.ok(batch.status >= 400)
      const listed = await send(alice, naming('tools/call', 'list_notes'), call('list_notes'))
      assert.match(await listed.text(), /welcome/, 'nothing was deleted')
      await recorded(gateway, ({ action, tool, rule }) => action === 'call.denied' && tool === 'delete_note' && rule === 'nobody-deletes')
    })

    test('a token that is too narrow: nginx passes on what to ask for (RS-8)', async () => {
      const narrow = await tokenOf(gateway.issuer, 'alice', `${front}/mcp`, 'mcp.read')
      assert.equal((await send(narrow, naming('tools/call', 'whoami'), rpc('tools/call', { name: 'whoami', _meta: META }))).status, 200)
      const refused = await send(narrow, naming('tools/call', 'write_note'), rpc('tools/call', { name: 'write_note', _meta: META }))
      assert.equal(refused.status, 403)
      assert.match(refused.headers.get('www-authenticate') ?? '', /error="insufficient_scope".*resource_metadata=".*\/forward-auth\/notes".*scope="mcp\.write"/)
    })

    test('older clients reach the server where headers prove nothing, if they may use all of it (P-10)', async () => {
      const alice = await connectV1(`${front}/any/mcp`, memoryProvider())
      assert.match(await alice.call('whoami'), /x-lanyard-subject: alice[^]*authorization: none/)
      await alice.close()
      const bob = await tokenOf(gateway.issuer, 'bob', `${front}/any/mcp`)
      const refused = await send(bob, {}, rpc('tools/call', { name: 'list_notes', arguments: {} }), '/any/mcp')
      assert.equal(refused.status, 403)
      assert.equal((await send(bob, naming('tools/call', 'list_notes'), rpc('tools/call', { name: 'list_notes', _meta: META }), '/any/mcp')).status, 403)
    })

    test('what a client forwards by itself counts for nothing, nor does another spelling of the path (M09, H18)', async () => {
      const bob = await tokenOf(gateway.issuer, 'bob', `${front}/mcp`)
      const who = rpc('tools/call', { name: 'whoami', _meta: META })
      const spoofed = { 'x-forwarded-uri': '/any/mcp', 'x-forwarded-host': 'evil.example', 'x-forwarded-method': 'GET', 'x-lanyard-subject': 'alice', 'x-lanyard-groups': 'engineering', 'x-notes-key': 'guessed', 'x-forwarded-for': '203.0.113.9' }
      const honest = await send(bob, { ...naming('tools/call', 'whoami'), ...spoofed }, who)
      assert.equal(honest.status, 200)
      assert.match(await honest.text(), /x-lanyard-subject: bob\\nx-lanyard-groups: sales/)
      assert.ok(gateway.events.every(({ address }) => address !== '203.0.113.9'))
      const { port } = new URL(front)
      for (const path of ['/x/../mcp', '/%6dcp', '/./mcp', '//mcp', '/any/../mcp']) {
        const status = await rawStatus(Number(port), path, bob, who)
        assert.ok(status === 403 || status === 404, `${path}: ${status}`)
      }
      assert.equal(await rawStatus(Number(port), '/mcp', bob, who), 200)
      assert.equal(await rawStatus(Number(port), '/_lanyard', bob, who), 404, 'the question is nobody else\'s to ask')
    })
  })
}

/** The path as it is: a URL would have its dots removed. */
async function rawStatus(port: number, path: string, token: string, body: string): Promise<number> {
  const { request } = await import('node:http')
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream', authorization: `Bearer ${token}`, 'mcp-protocol-version': MODERN, 'mcp-method': 'tools/call', 'mcp-name': 'whoami' }
    request({ hostname: '127.0.0.1', port, path, method: 'POST', headers, agent: false }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0))
    }).once('error', reject).end(body)
  })
}
