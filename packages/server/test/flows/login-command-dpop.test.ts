// `lanyard login`, `token` and `admin` with tokens that are bound to a key (RFC 9449): where the user asks for it, and by
// itself where an administrator wants it.
import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { calculateJwkThumbprint } from 'jose'
import { parse, stringify } from 'yaml'
import { account, claimsOf } from '../support/account.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { variants } from '../support/variants.ts'

/** A client of the administrator's own, which may have the JSON API. */
const CLIENT = { id: 'lanyard-cli', name: 'Our command line', grantTypes: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], tokenEndpointAuthMethod: 'none' }

/** Sends a call as `curl -H @-` does with what the command printed. */
async function send(url: string, printed: string, more: Readonly<Record<string, string>> = {}): Promise<Response> {
  const headers = Object.fromEntries(printed.trim().split('\n').map((line) => /^([A-Za-z]+): (.*)$/.exec(line)?.slice(1) ?? ['x', line])) as Record<string, string>
  const message = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'script', version: '1.0.0' } } }
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers, ...more }, body: JSON.stringify(message) })
}

async function refused(url: string, printed: string, more?: Readonly<Record<string, string>>): Promise<string> {
  const answer = await send(url, printed, more)
  assert.equal(answer.status, 401)
  return /error="([a-z_]+)"/.exec(answer.headers.get('www-authenticate') ?? '')?.[1] ?? ''
}

for (const variant of variants()) {
  describe(`lanyard login with DPoP on ${variant.name}`, { concurrency: true }, () => {
    let gateway: RunningGateway
    let strict: RunningGateway
    before(async () => {
      const config = { admins: { groups: ['it-admins'] }, clients: [CLIENT], dpop: { required: true, requireNonce: true } }
      ;[gateway, strict] = await Promise.all([startGateway(variant), startGateway({ ...variant, config })])
    })
    after(() => Promise.all([gateway.close(), strict.close()]))

    test('RFC 9449 §5, §7.1: with --dpop both tokens are bound to a key that stands beside them; each request has a proof of its own', async (context) => {
      const { login, run, remembered, file, expire } = account(context)
      const notes = `${gateway.issuer}/mcp/notes`
      const done = await login(notes, {}, '--dpop')
      assert.equal(done.code, 0, done.err)
      assert.equal((JSON.parse(done.out.trim().split('\n').at(-1) ?? '') as { dpop?: boolean }).dpop, true)
      const [made] = remembered().logins
      assert.ok(made?.key?.d)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      assert.equal(claimsOf(made.accessToken).cnf?.jkt, await calculateJwkThumbprint(made.key))
      const { out: printed, code } = await run('token', '--proof', 'POST', notes)
      assert.equal(code, 0)
      assert.match(printed, /^Authorization: DPoP \S+\nDPoP: \S+\n$/)
      assert.equal(`${printed}${done.out}${done.err}`.includes(made.key.d), false)
      assert.equal((await send(notes, printed)).status, 200)
      // Once, for this method, and with the key alone.
      assert.equal(await refused(notes, printed), 'invalid_dpop_proof')
      assert.equal(await refused(notes, (await run('token', '--proof', 'GET', notes)).out), 'invalid_dpop_proof')
      assert.equal(await refused(notes, `Authorization: Bearer ${made.accessToken}`), 'invalid_token')
      const data = JSON.parse((await run('token', '--json', '--proof', 'POST', `${notes}?a=b`)).out) as Record<string, string>
      assert.deepEqual([data['token_type'], data['access_token'], data['resource']], ['DPoP', made.accessToken, notes])
      assert.equal((await send(notes, `Authorization: DPoP ${data['access_token']}\nDPoP: ${data['proof']}`)).status, 200)
      // Whoever copied the refresh token without the key has nothing (RFC 9449 §5).
      const stolen = await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'refresh_token', client_id: 'lanyard-cli', refresh_token: made.refreshToken }) })
      assert.deepEqual([stolen.status, ((await stolen.json()) as { error: string }).error], [400, 'invalid_grant'])
      expire()
      const fresh = await Promise.all(Array.from({ length: 3 }, () => run('token', '--proof', 'POST', notes)))
      assert.deepEqual(fresh.map(({ code: each, err }) => [each, err]), Array.from({ length: 3 }, () => [0, '']))
      const [after] = remembered().logins
      assert.deepEqual([after?.key, claimsOf(after?.accessToken).cnf], [made.key, claimsOf(made.accessToken).cnf])
      assert.notEqual(after?.refreshToken, made.refreshToken)
      for (const { out } of fresh) assert.equal((await send(notes, out)).status, 200)
      const { grant } = claimsOf(made.accessToken)
      await recorded(gateway, ({ action, grantId }) => action === 'token.refreshed' && grantId === grant)
      assert.equal(gateway.events.filter(({ action, grantId }) => action === 'token.refreshed' && grantId === grant).length, 1)
      assert.equal((await run('logout')).code, 0)
      assert.equal((await send(notes, fresh[0]?.out ?? '')).status, 401)
      assert.equal(readFileSync(file, 'utf8').includes(made.key.d), false)
    })

    test('a bound token is not printed alone; a login that is bound to no key prints its token, and one header', async (context) => {
      const [bound, plain] = [account(context), account(context)]
      const notes = `${gateway.issuer}/mcp/notes`
      const logins = await Promise.all([bound.login(notes, {}, '--dpop'), plain.login(notes)])
      assert.deepEqual(logins.map(({ code }) => code), [0, 0])
      const alone = await bound.run('token')
      assert.deepEqual([alone.code, alone.out, /lanyard token --proof METHOD URL/.test(alone.err)], [1, '', true])
      assert.equal((JSON.parse((await bound.run('token', '--json')).out) as { token_type: string }).token_type, 'DPoP')
      assert.equal(plain.remembered().logins[0]?.key, undefined)
      const token = (await plain.run('token')).out.trim()
      const printed = (await plain.run('token', '--proof', 'POST', notes)).out
      assert.equal(printed, `Authorization: Bearer ${token}\n`)
      assert.equal((await send(notes, printed)).status, 200)
    })

    test('RFC 8707: headers are for the address of a login alone; what is no request is wrong usage', async (context) => {
      const { login, run } = account(context)
      const notes = `${gateway.issuer}/mcp/notes`
      assert.equal((await login(notes, {}, '--dpop')).code, 0)
      const url = new URL(notes)
      for (const other of [`${gateway.issuer}/mcp/tickets`, `${gateway.issuer}/mcp/notes2`, `${gateway.issuer}/mcp`, 'https://evil.example/mcp/notes', `https://${url.host}/mcp/notes`, `http://${url.hostname}:1/mcp/notes`, `${notes}/../tickets`]) {
        const { code, out, err } = await run('token', '--proof', 'POST', other)
        assert.deepEqual([code, out, /You are not logged in to/.test(err)], [1, '', true], other)
      }
      assert.equal((await run('token', '--resource', notes, '--proof', 'POST', `${gateway.issuer}/mcp/tickets`)).code, 1)
      // The endpoint of everything is one of its own, and not those below it.
      const all = account(context)
      assert.equal((await all.login(gateway.issuer, { connect: false }, '--dpop')).code, 0)
      assert.deepEqual([(await all.run('token', '--proof', 'POST', notes)).code, (await all.run('token', '--proof', 'POST', `${gateway.issuer}/mcp`)).code], [1, 0])
      for (const args of [['--proof', 'POST'], ['--proof', 'POST', 'nonsense'], ['--proof', 'post', notes], ['--proof', 'POST', notes, notes], ['--nonce', 'n']]) assert.equal((await run('token', ...args)).code, 2, args.join(' '))
      assert.equal((await run('token', '--resource', notes, '--proof', 'POST', notes)).code, 0)
    })

    test('RFC 9449 §5.2, §8, §9: where nothing is issued without a key the login has one by itself, and a nonce where one is wanted', async (context) => {
      const { login, run, remembered, expire } = account(context)
      const notes = `${strict.issuer}/mcp/notes`
      const done = await login(notes)
      assert.equal(done.code, 0, done.err)
      const [made] = remembered().logins
      assert.ok(made?.key)
      assert.equal(claimsOf(made.accessToken).cnf?.jkt, await calculateJwkThumbprint(made.key))
      const printed = (await run('token', '--proof', 'POST', notes)).out
      const wanted = await send(notes, printed)
      assert.equal(wanted.status, 401)
      assert.match(wanted.headers.get('www-authenticate') ?? '', /use_dpop_nonce/)
      const nonce = wanted.headers.get('dpop-nonce') ?? ''
      assert.equal((await send(notes, (await run('token', '--proof', 'POST', notes, '--nonce', nonce)).out)).status, 200)
      expire()
      assert.equal((await run('token', '--proof', 'POST', notes)).code, 0)
      assert.notEqual(remembered().logins[0]?.refreshToken, made.refreshToken)
      const { grant } = claimsOf(made.accessToken)
      await recorded(strict, ({ action, grantId }) => action === 'token.refreshed' && grantId === grant)
      assert.equal((await run('logout')).code, 0)
      await recorded(strict, ({ action, grantId }) => action === 'token.revoked' && grantId === grant)
    })

    test('RFC 9449 §9: lanyard admin proves the key of its login, and holds the nonce that it is told', async (context) => {
      const { login, run } = account(context)
      const done = await login(`${strict.issuer}/api`, { person: 'dana' }, '--scope', 'admin')
      assert.equal(done.code, 0, done.err)
      const listed = await run('admin', 'rules', 'list', '--json')
      assert.match((await run('token', '--proof', 'GET', `${strict.issuer}/api/rules?x=y`)).out, /^Authorization: DPoP /)
      assert.equal(listed.code, 0, listed.err)
      assert.ok(JSON.stringify(JSON.parse(listed.out)).includes('engineering-everything'))
      // The token alone is nobody's.
      const { access_token: token = '' } = JSON.parse((await run('token', '--json')).out) as { access_token?: string }
      assert.equal((await fetch(`${strict.issuer}/api/rules`, { headers: { authorization: `Bearer ${token}` } })).status, 401)
    })

    test('a gateway that knows no DPoP is told of before a code is asked for', async (context) => {
      const { run } = account(context)
      const asked: string[] = []
      const server = createServer((request, response) => {
        asked.push(request.url ?? '')
        response.setHeader('content-type', 'application/json').end(JSON.stringify({ issuer: 'http://127.0.0.1', dpop_signing_alg_values_supported: ['RS256'] }))
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      context.after(() => server.close())
      const { code, err } = await run('login', `http://127.0.0.1:${(server.address() as AddressInfo).port}`, '--dpop')
      assert.deepEqual([code, /binds no token to a key: log in without --dpop/.test(err)], [1, true])
      assert.deepEqual(asked, ['/.well-known/oauth-authorization-server'])
    })

    test('RFC 9449 §5.2: a login goes on with a key when an administrator decides that nothing is issued without one', async (context) => {
      const own = await startGateway({ ...variant, config: { clients: [CLIENT] } })
      context.after(() => own.close())
      const { login, run, remembered, expire } = account(context)
      const notes = `${own.issuer}/mcp/notes`
      assert.equal((await login(notes)).code, 0)
      const { grant } = claimsOf(remembered().logins[0]?.accessToken)
      for (const node of own.processes) {
        await node.stop()
        writeFileSync(node.config, stringify({ ...(parse(readFileSync(node.config, 'utf8')) as object), clients: [{ ...CLIENT, dpopBoundAccessTokens: true }] }))
        await node.start()
      }
      expire()
      const printed = await run('token', '--proof', 'POST', notes)
      assert.equal(printed.code, 0, printed.err)
      const [made] = remembered().logins
      assert.ok(made?.key)
      assert.deepEqual([claimsOf(made.accessToken).grant, claimsOf(made.accessToken).cnf?.jkt], [grant, await calculateJwkThumbprint(made.key)])
      assert.equal((await send(notes, printed.out)).status, 200)
    })
  })
}
