// Who may use the JSON API: administrators, by their browser's session or by an access token for it, and nobody else.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ask, asPerson, cookiesOf, signedIn, tokenFor, tokenOf, withToken } from '../support/api-clients.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { routeTable } from '../support/route-table.ts'
import { variants } from '../support/variants.ts'

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  describe(`the JSON API on ${variant.name}`, () => {
    let gateway: RunningGateway
    before(async () => {
      gateway = await startGateway({ ...variant, config: { admins: { groups: ['it-admins'] } } })
    })
    after(() => gateway.close())

    test('an administrator uses it by session, everybody signed in learns who they are, nobody else learns anything', async () => {
      const dana = await asPerson(gateway.issuer, 'dana')
      const me = await dana('/api/me')
      assert.deepEqual([me.status, me.body['administrator'], me.body['groups']], [200, true, ['it-admins']])
      const bob = await asPerson(gateway.issuer, 'bob')
      assert.deepEqual([(await bob('/api/me')).status, (await bob('/api/me')).body['administrator']], [200, false])
      const nobody = await ask(gateway.issuer, '/api/me')
      assert.equal(nobody.status, 401)
      assert.equal(nobody.headers.get('content-type'), 'application/problem+json')
      // RFC 9728 §5.1: a program learns where to go.
      assert.match(nobody.headers.get('www-authenticate') ?? '', new RegExp(`^Bearer resource_metadata="${gateway.issuer}/.well-known/oauth-protected-resource/api", scope="admin"$`))
    })

    test('a token for the API is issued to administrators alone, and is good for nothing else (RFC 8707 §2, M01, G04)', async () => {
      const metadata = await ask(gateway.issuer, '/.well-known/oauth-protected-resource/api')
      const { resource, scopes_supported: scopes } = metadata.body as { resource: string; scopes_supported: string[] }
      assert.deepEqual([resource, scopes], [`${gateway.issuer}/api`, ['admin']])
      const own = await tokenOf(gateway.issuer, 'dana', resource)
      assert.equal((await withToken(gateway.issuer, own)('/api/me')).body['administrator'], true)
      // The same administrator with an application that registered itself: whoever leads them there gets nothing (F03).
      assert.equal((await tokenFor(gateway.issuer, 'dana', resource, undefined, true, true)).error, 'unauthorized_client')
      // For whom it is not, it does not exist.
      assert.equal((await tokenFor(gateway.issuer, 'bob', resource)).error, 'invalid_target')
      assert.equal((await tokenFor(gateway.issuer, 'dana', resource, 'mcp.read')).error, 'invalid_scope')
      assert.equal((await tokenFor(gateway.issuer, 'alice', `${gateway.issuer}/mcp/notes`, 'admin')).error, 'invalid_scope')
      const mcp = await ask(gateway.issuer, '/mcp/notes', { method: 'POST', body: { jsonrpc: '2.0', id: 1, method: 'ping' }, headers: { authorization: `Bearer ${own}` } })
      assert.equal(mcp.status, 401)
      const tools = await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/mcp/notes`)
      const refused = await withToken(gateway.issuer, tools)('/api/me')
      assert.equal(refused.status, 401)
      assert.match(refused.headers.get('www-authenticate') ?? '', /error="invalid_token"/)
      await recorded(gateway, ({ action, reason, resource: at }) => action === 'token.refused' && reason === 'audience' && at === `${gateway.issuer}/api`)
    })

    test('the cookie counts for nothing in a request of another site, and a token in its place is none (M04)', async () => {
      const dana = await signedIn(gateway.issuer, 'dana')
      const cookie = cookiesOf(dana)
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site', origin: gateway.issuer }]) {
        const response = await ask(gateway.issuer, '/api/me', { headers: { ...cookie, ...headers } })
        assert.equal(response.status, 403, JSON.stringify(headers))
        assert.equal(response.body['type'], 'urn:lanyard:problem:cross-site')
      }
      assert.equal((await ask(gateway.issuer, '/api/me', { headers: { ...cookie, 'sec-fetch-site': 'same-origin' } })).status, 200)
      // A token that is wrong is not made good by a cookie.
      assert.equal((await ask(gateway.issuer, '/api/me', { headers: { ...cookie, authorization: 'Bearer x' } })).status, 401)
      assert.equal((await ask(gateway.issuer, '/api/me', { headers: { cookie: 'lanyard_session=x' } })).status, 401)
      assert.equal((await ask(gateway.issuer, `/api/me?access_token=x`)).status, 401)
    })

    test('the description is derived from the endpoints, and errors are problems (RFC 9457 §3)', async () => {
      const { body } = await ask(gateway.issuer, '/api/openapi.json')
      assert.equal(body['openapi'], '3.1.0')
      const described = Object.entries(body['paths'] as Record<string, object>).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} /api${path.replaceAll(/\{(\w+)\}/g, ':$1')}`))
      const routes = (await routeTable()).filter(({ path, access }) => path.startsWith('/api/') && access !== 'public')
      assert.deepEqual(described.toSorted(), routes.map(({ method, path }) => `${method} ${path}`).toSorted())
      // Nothing in it is of the application's own making: every reference leads somewhere.
      assert.doesNotMatch(JSON.stringify(body), /"\$schema"|undefined/)
      const missing = await ask(gateway.issuer, '/api/nothing-here')
      assert.deepEqual([missing.status, missing.body['status'], missing.headers.get('content-type')], [404, 404, 'application/problem+json'])
    })
  })
}

test('without a setting nobody is an administrator, and nobody gets a token for the API', async () => {
  const gateway = await startGateway()
  try {
    assert.equal((await (await asPerson(gateway.issuer, 'dana'))('/api/me')).body['administrator'], false)
    assert.equal((await tokenFor(gateway.issuer, 'dana', `${gateway.issuer}/api`)).error, 'invalid_target')
  } finally {
    await gateway.close()
  }
})
