// `lanyard login`, `token` and `logout` against a running gateway: one grant in a file of the user's own, refreshed by one
// process at a time, ended at the gateway.
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { account, claimsOf } from '../support/account.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { variants } from '../support/variants.ts'

for (const variant of variants()) {
  // Each waits for most of its time, as a device does between two questions.
  describe(`lanyard login on ${variant.name}`, { concurrency: true }, () => {
    let gateway: RunningGateway
    before(async () => {
      gateway = await startGateway({ ...variant, config: { admins: { groups: ['it-admins'] } } })
    })
    after(() => gateway.close())

    async function use(token: string, resource = `${gateway.issuer}/mcp/notes`): Promise<number> {
      const message = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'script', version: '1.0.0' } } }
      return (await fetch(resource, { method: 'POST', headers: { authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body: JSON.stringify(message) })).status
    }

    test('a login, tokens for scripts, a logout (RFC 8628, RFC 7009): the file is the user’s alone', async (context) => {
      const { login, run, remembered, file, folder } = account(context)
      const done = await login(`${gateway.issuer}/mcp/notes`)
      assert.equal(done.code, 0, done.err)
      assert.match(done.err, new RegExp(`Open ${gateway.issuer}/device in a browser and enter the code [A-Z]{4}-[A-Z]{4}`))
      assert.deepEqual(JSON.parse(done.out.trim().split('\n').at(-1) ?? ''), { loggedIn: true, issuer: gateway.issuer, resource: `${gateway.issuer}/mcp/notes`, scope: 'mcp.read mcp.write' })
      assert.equal(statSync(file).mode & 0o777, 0o600)
      assert.equal(statSync(folder).mode & 0o777, 0o700)
      for (const name of readdirSync(folder)) assert.equal(statSync(join(folder, name)).mode & 0o077, 0, name)
      // Nothing secret on a screen.
      for (const secret of [remembered().logins[0]?.refreshToken ?? '-', remembered().logins[0]?.accessToken ?? '-']) assert.equal(`${done.out}${done.err}`.includes(secret), false)
      const printed = await run('token')
      assert.deepEqual([printed.code, printed.err], [0, ''])
      assert.equal(await use(printed.out), 200)
      const named = JSON.parse((await run('token', '--resource', `${gateway.issuer}/mcp/notes`, '--json')).out) as Record<string, string>
      assert.deepEqual([named['access_token'], named['issuer'], named['scope']], [printed.out.trim(), gateway.issuer, 'mcp.read mcp.write'])
      const ended = await run('logout')
      assert.equal(ended.code, 0, ended.err)
      await recorded(gateway, ({ action, clientId, grantId, reason }) => action === 'token.revoked' && clientId === 'lanyard-cli' && grantId === claimsOf(printed.out).grant && reason === 'revoked by the client')
      assert.equal(await use(printed.out), 401)
      assert.deepEqual(remembered().logins, [])
      assert.equal((await run('token')).code, 1)
      assert.equal((await run('logout')).code, 1)
      assert.equal((await run('logout', '--all')).code, 0)
    })

    test('of many scripts at once whose token is over, one refreshes, and all print what it got (RFC 9700 §4.14.2)', async (context) => {
      const { login, run, remembered, expire } = account(context)
      assert.equal((await login(`${gateway.issuer}/mcp/notes`)).code, 0)
      const before = remembered().logins[0]
      expire()
      const grantId = claimsOf(before?.accessToken).grant
      const printed = await Promise.all(Array.from({ length: 6 }, () => run('token')))
      assert.deepEqual(printed.map(({ code, err }) => [code, err]), Array.from({ length: 6 }, () => [0, '']))
      assert.equal(new Set(printed.map(({ out }) => out)).size, 1)
      assert.notEqual(printed[0]?.out.trim(), before?.accessToken)
      assert.equal(await use(printed[0]?.out ?? ''), 200)
      await recorded(gateway, ({ action, grantId: of }) => action === 'token.refreshed' && of === grantId)
      assert.deepEqual(gateway.events.filter((event) => event.grantId === grantId && /^token\.(?:re|used)/.test(event.action)).map(({ action }) => action), ['token.refreshed'])
      assert.notEqual(remembered().logins[0]?.refreshToken, before?.refreshToken)
    })

    test('who logs in again has one login: that of before has ended at the gateway (RFC 7009)', async (context) => {
      const { login, run, remembered } = account(context)
      const [notes, twin] = [`${gateway.issuer}/mcp/notes`, account(context)]
      assert.deepEqual((await Promise.all([login(notes), twin.login(notes)])).map(({ code }) => code), [0, 0])
      const before = remembered().logins[0]?.accessToken
      const again = await login(notes)
      assert.deepEqual([again.code, remembered().logins.length], [0, 1])
      await recorded(gateway, ({ action, grantId, reason }) => action === 'token.revoked' && grantId === claimsOf(before).grant && reason === 'revoked by the client')
      assert.deepEqual([await use(before ?? ''), await use((await run('token')).out), await use((await twin.run('token')).out)], [401, 200, 200])
    })

    test('a grant that ended elsewhere is forgotten, and the user is told to log in again', async (context) => {
      const { login, run, remembered, expire } = account(context)
      assert.equal((await login(`${gateway.issuer}/mcp/notes`)).code, 0)
      const { refreshToken } = remembered().logins[0] ?? { refreshToken: '' }
      await fetch(`${gateway.issuer}/revoke`, { method: 'POST', body: new URLSearchParams({ client_id: 'lanyard-cli', token: refreshToken }) })
      expire()
      const { code, err } = await run('token')
      assert.equal(code, 1)
      assert.match(err, new RegExp(`has ended: run "lanyard login ${gateway.issuer}/mcp/notes"`))
      assert.deepEqual(remembered().logins, [])
    })

    test('several endpoints of one gateway are several logins, and each is asked for by its address (RFC 8707)', async (context) => {
      const { login, run, remembered } = account(context)
      // At once: neither overwrites what the other one remembers.
      const done = await Promise.all([login(`${gateway.issuer}/mcp/notes`, {}, '--scope', 'mcp.read'), login(gateway.issuer, { connect: false })])
      assert.deepEqual(done.map(({ code }) => code), [0, 0])
      const [all, notes] = [await run('token', '--resource', `${gateway.issuer}/mcp`), await run('token', '--resource', `${gateway.issuer}/mcp/notes`)]
      assert.deepEqual([await use(all.out, `${gateway.issuer}/mcp`), await use(all.out), await use(notes.out)], [200, 401, 200])
      const other = await run('token', '--resource', `${gateway.issuer}/mcp/tickets`)
      assert.equal(other.code, 1)
      assert.match(other.err, /You are not logged in to .*You are logged in to:\n.*\/mcp\/notes/s)
      assert.equal((await run('logout', `${gateway.issuer}/mcp/notes`)).code, 0)
      assert.deepEqual(remembered().logins.map(({ resource }) => resource), [`${gateway.issuer}/mcp`])
      assert.equal((await run('logout', '--all')).code, 0)
      assert.deepEqual(remembered().logins, [])
      assert.deepEqual([await use(notes.out), await use(all.out, `${gateway.issuer}/mcp`)], [401, 401])
    })

    test('a denial, an endpoint that is not there, and the JSON API are told apart, and nothing is remembered', async (context) => {
      const { login, run, file } = account(context)
      const denied = await login(`${gateway.issuer}/mcp/notes`, { decision: 'deny' })
      assert.deepEqual([denied.code, /It was denied/.test(denied.err)], [1, true])
      const missing = await run('login', `${gateway.issuer}/mcp/nothing`)
      assert.deepEqual([missing.code, /There is no such endpoint/.test(missing.err)], [1, true])
      // L03: any program can say that it is the command line, so it is none that an administrator configured.
      const api = await run('login', `${gateway.issuer}/api`)
      assert.deepEqual([api.code, /does not let the command line log in there/.test(api.err)], [1, true])
      assert.equal(existsSync(file), false)
    })

    test('an administrator who configures the command line as a client of theirs administers with it', async (context) => {
      const client = { id: 'lanyard-cli', name: 'Our command line', grantTypes: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], tokenEndpointAuthMethod: 'none' }
      const own = await startGateway({ ...variant, config: { admins: { groups: ['it-admins'] }, clients: [client] } })
      context.after(() => own.close())
      const { login, run } = account(context)
      const done = await login(`${own.issuer}/api`, { person: 'dana' }, '--scope', 'admin')
      assert.equal(done.code, 0, done.err)
      const answer = await fetch(`${own.issuer}/api/rules`, { headers: { authorization: `Bearer ${(await run('token')).out.trim()}` } })
      assert.equal(answer.status, 200)
    })

    test('where devices are switched off there is no endpoint, no page and no grant type for them (L03)', async (context) => {
      const off = await startGateway({ ...variant, config: { deviceAuthorization: { allow: [] } } })
      context.after(() => off.close())
      const metadata = (await (await fetch(`${off.issuer}/.well-known/oauth-authorization-server`)).json()) as Record<string, unknown>
      assert.equal('device_authorization_endpoint' in metadata, false)
      assert.equal(JSON.stringify(metadata).includes('device'), false)
      for (const path of ['/device', '/device_authorization']) assert.equal((await fetch(`${off.issuer}${path}`, { method: path === '/device' ? 'GET' : 'POST' })).status, 404, path)
      const asked = await fetch(`${off.issuer}/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: 'script', device_code: 'x' }) })
      assert.deepEqual([asked.status, ((await asked.json()) as { error: string }).error], [400, 'unsupported_grant_type'])
      const { code, err } = await account(context).run('login', off.issuer)
      assert.deepEqual([code, /does not let devices log in/.test(err)], [1, true])
    })

    test('usage: addresses in the clear, no address, unknown options are 2; help is 0', async (context) => {
      const { run } = account(context)
      for (const args of [['login', 'http://lanyard.example.com'], ['login', 'nonsense'], ['login'], ['login', '--nonsense'], ['token', '--resource', 'nonsense']]) assert.equal((await run(...args)).code, 2, args.join(' '))
      for (const command of ['login', 'token', 'logout']) {
        const { code, out } = await run(command, '--help')
        assert.deepEqual([code, out.includes(`lanyard ${command}`), out.includes('--json')], [0, true, true])
      }
      assert.match((await run('login', 'http://127.0.0.1:9')).err, /does not answer/)
    })

    test('a file that others may read is not used', async (context) => {
      const { login, run, file } = account(context)
      assert.equal((await login(`${gateway.issuer}/mcp/notes`)).code, 0)
      chmodSync(file, 0o644)
      const { code, out, err } = await run('token')
      assert.deepEqual([code, out, /Others on this machine may read/.test(err)], [1, '', true])
      chmodSync(file, 0o600)
      assert.equal((await run('token')).code, 0)
    })
  })
}
