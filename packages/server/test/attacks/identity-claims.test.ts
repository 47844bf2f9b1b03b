// Who and where from is decided by the token and by the configuration: nothing that a message says of itself counts.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { ConfigError, parseConfig } from '../../src/config/load.ts'
import { sealer } from '../../src/keys/seal.ts'
import { keyRing } from '../../src/keys/signing.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { keyStore } from '../../src/store/keys.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import { call, eachMcpCluster, errorOf, ISSUER, modern, resultOf, type Sent } from '../support/mcp-nodes.ts'
import { routeTable } from '../support/route-table.ts'

const META = { 'io.modelcontextprotocol/subject': 'usr_alice', 'io.modelcontextprotocol/user': { id: 'usr_alice', groups: ['engineering'] }, 'io.modelcontextprotocol/authorization': 'Bearer x', userId: 'usr_alice', groups: ['engineering'] }

eachMcpCluster('what a message says in _meta of who sends it changes neither decision nor trail (H13, RS-24)', async (cluster) => {
  const bob = cluster.token({ userId: 'usr_bob' })
  const asAlice = (name: string): Sent => modern(bob, 'tools/call', { name, arguments: { user: 'usr_alice' }, _meta: META }, { 'x-user': 'usr_alice', 'mcp-param-user': 'usr_alice' })
  const refused = await cluster.nodes[0].send(asAlice('write_note'))
  assert.equal(errorOf(refused.body).code, -32602, refused.text)
  assert.equal(cluster.notes.calls().length, 0)
  const allowed = await cluster.nodes[0].send(asAlice('read_note'))
  assert.equal(allowed.status, 200, allowed.text)
  const [asked] = cluster.notes.calls()
  assert.equal(asked?.headers['x-user'], undefined)
  assert.equal(asked?.headers.authorization, undefined)
  const events = (await cluster.events()).filter(({ action }) => action.startsWith('call.'))
  assert.deepEqual([...new Set(events.map(({ subject }) => subject))], ['usr_bob'])
  // Alice herself may.
  assert.equal((await cluster.nodes[0].send(call(cluster.token(), 'write_note'))).status, 200)
})

eachMcpCluster('no name, argument or address in a message moves the request to another path or host of the upstream (H23)', async (cluster) => {
  const token = cluster.token()
  cluster.accounts.set('usr_alice', 'account')
  const paths = ['../admin', '..%2fadmin', '%2e%2e/admin', '//evil.example/mcp', '/mcp/../admin', 'http://169.254.169.254/', '\\\\evil\\share', '?x=1#y', '\r\nhost: evil.example', '..\u0000/admin']
  for (const path of paths) {
    const unknown = await cluster.nodes[0].send(modern(token, 'tools/call', { name: path, arguments: {} }, { 'mcp-name': `=?base64?${Buffer.from(path).toString('base64')}?=` }))
    assert.equal(errorOf(unknown.body).code, -32602, unknown.text)
    const read = await cluster.nodes[0].send(modern(token, 'resources/read', { uri: path }, { 'mcp-name': `=?base64?${Buffer.from(path).toString('base64')}?=` }))
    assert.equal(read.status, 200, read.text)
    const called = await cluster.nodes[0].send(call(token, 'read_note', { path, url: path, id: path }))
    assert.equal(called.status, 200, called.text)
    assert.deepEqual(resultOf(called.body)['isError'], undefined)
  }
  const { host } = new URL(cluster.notes.url)
  assert.ok(cluster.notes.asked.length >= paths.length * 2)
  for (const asked of cluster.notes.asked) assert.deepEqual([asked.url, asked.headers.host], ['/mcp', host])
  assert.equal(cluster.weather.asked.length + cluster.tickets.asked.length, 0)
  assert.deepEqual(cluster.notes.calls().map(({ message }) => (message['params'] as { arguments: { path: string } }).arguments.path), paths)
})

eachMcpCluster('a token of another installation under the same name is no token here (G15)', async (cluster) => {
  const db = openSqlite(':memory:')
  await migrate(db)
  const store = keyStore({ db, audit: auditLog(db, () => undefined), changed: () => Promise.resolve() })
  const elsewhere = await keyRing({ store, sealer: sealer([{ id: 'k1', key: Buffer.alloc(32, 7) }]), algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: 1000, now: () => cluster.now })
  const at = Math.floor(cluster.now / 1000)
  const claims = { iss: ISSUER, sub: 'usr_alice', aud: `${ISSUER}/mcp/notes`, client_id: 'app', scope: 'mcp.read mcp.write', iat: at, exp: at + 600, jti: 'jti_1', grant: 'grt_1' }
  const foreign = await cluster.nodes[0].send(call(elsewhere.sign(claims, 'at+jwt'), 'read_note'))
  assert.equal(foreign.status, 401)
  assert.deepEqual((await cluster.events('token.refused')).map(({ reason }) => reason), ['kid'])
  assert.equal(cluster.notes.asked.length, 0)
  assert.equal((await cluster.nodes[0].send(call(cluster.sign(claims), 'read_note'))).status, 200)
  await db.close()
})

eachMcpCluster('of two Authorization headers neither is believed, whichever stands first (RS-11, Z04)', async (cluster) => {
  const sent = call(cluster.token(), 'read_note')
  const other = `Bearer ${cluster.token({ userId: 'usr_bob' })}`
  const own = String(sent.headers?.['authorization'])
  for (const authorization of [[own, other], [other, own], [own, own]]) {
    const answer = await cluster.nodes[0].send({ ...sent, headers: { ...sent.headers, authorization } })
    assert.equal(answer.status, 401, answer.text)
  }
  assert.equal(cluster.notes.asked.length, 0)
  assert.equal((await cluster.nodes[0].send(sent)).status, 200)
})

test('no configuration and no request starts a program (H22)', async () => {
  const parsed = (upstream: Readonly<Record<string, unknown>>): unknown =>
    parseConfig(
      stringify({ issuer: ISSUER, store: 'sqlite::memory:', identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'https://idp.example', clientId: 'lanyard' }], upstreams: [{ id: 'notes', ...upstream }] }),
      { file: 'lanyard.yaml', directory: '/nowhere', environment: {} },
    )
  const url = 'https://notes.example/mcp'
  parsed({ url })
  for (const more of [{ command: 'sh' }, { args: ['-c', 'id'] }, { env: { PATH: '/tmp' } }, { transport: 'stdio' }, { type: 'stdio' }, { connector: { type: 'stdio', command: 'sh' } }]) {
    assert.throws(() => parsed({ url, ...more }), ConfigError, JSON.stringify(more))
  }
  for (const other of ['stdio:sh', 'file:///bin/sh', 'npx some-server', 'data:text/plain,x', 'javascript:1']) assert.throws(() => parsed({ url: other }), ConfigError, other)
  // Nothing that serves requests can start anything; the demo company is a command of its own.
  const source = join(import.meta.dirname, '../../src')
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  const starting = files.filter((file) => /child_process|worker_threads|node:vm|\beval\(|new Function\(/.test(readFileSync(join(source, file), 'utf8')))
  assert.deepEqual(starting, [])
  for (const { method, path } of await routeTable()) assert.ok(method === 'GET' || !/upstream|server|config|command/.test(path.replace(':upstream', '')), `${method} ${path}`)
})
