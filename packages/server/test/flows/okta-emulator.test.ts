// The emulator of Okta answers as Okta's own SDK expects, at both kinds of authorization server. What the gateway then
// accepts was not written to fit the gateway.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { getWellKnown, OktaAuth, type TokenParams, type Tokens } from '@okta/okta-auth-js'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { browser } from '../support/browser.ts'
import { ID_JAG, STS, TOKEN_EXCHANGE } from '../support/okta/exchange.ts'
import { CLIENT_ID, CLIENT_SECRET, okta, PUBLIC_CLIENT, type Okta } from '../support/okta/okta.ts'

const REDIRECT = 'http://127.0.0.1:53998/callback'

let emulator: Okta
before(async () => {
  emulator = await okta()
})
after(() => emulator.close())

/** @param went where the SDK sends the browser */
function sdk(issuer: string, went: (url: string) => void = () => undefined): OktaAuth {
  return new OktaAuth({ issuer, clientId: PUBLIC_CLIENT, redirectUri: REDIRECT, pkce: true, scopes: ['openid', 'profile', 'email', 'offline_access'], setLocation: went })
}

/** The way of an application with the SDK: it makes the request, the person signs in, it redeems the code. */
async function signIn(issuer: string, person: string, scopes: string[] = ['openid', 'profile', 'email', 'offline_access']): Promise<{ client: OktaAuth; tokens: Tokens }> {
  let url = ''
  const client = sdk(issuer, (to) => (url = to))
  const params: TokenParams = await client.token.prepareTokenParams({ scopes })
  await client.token.getWithRedirect(params)
  const page = await browser({ stop: (to) => to.startsWith(`${REDIRECT}?`) }).approve(url, { person })
  const answer = new URL(page.url).searchParams
  assert.equal(answer.get('error'), null, page.url)
  assert.equal(answer.get('state'), params.state)
  const { tokens } = await client.token.exchangeCodeForTokens({ ...params, authorizationCode: answer.get('code') ?? '' })
  return { client, tokens }
}

async function exchange(form: Readonly<Record<string, string>>, auth: Readonly<Record<string, string>> = { client_id: CLIENT_ID, client_secret: CLIENT_SECRET }): Promise<{ status: number; body: Record<string, string> }> {
  const answer = await fetch(`${emulator.origin}/oauth2/v1/token`, { method: 'POST', body: new URLSearchParams({ grant_type: TOKEN_EXCHANGE, ...form, ...auth }) })
  return { status: answer.status, body: (await answer.json()) as Record<string, string> }
}

/** Signs alice in to the gateway's client, as the gateway would. */
async function gatewaySignIn(): Promise<Record<string, string>> {
  const redirect = 'https://lanyard.example/login/okta/callback'
  const url = `${emulator.origin}/oauth2/v1/authorize?${new URLSearchParams({ client_id: CLIENT_ID, redirect_uri: redirect, response_type: 'code', scope: 'openid profile email groups offline_access', state: 's' }).toString()}`
  const page = await browser({ stop: (to) => to.startsWith(redirect) }).approve(url)
  const answer = await fetch(`${emulator.origin}/oauth2/v1/token`, { method: 'POST', headers: { authorization: `Basic ${Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString('base64')}` }, body: new URLSearchParams({ grant_type: 'authorization_code', code: new URL(page.url).searchParams.get('code') ?? '', redirect_uri: redirect }) })
  return (await answer.json()) as Record<string, string>
}

for (const kind of ['org', 'custom'] as const) {
  test(`okta-auth-js at the ${kind} authorization server: discovers, signs in, verifies, asks for userinfo, renews and revokes`, async () => {
    const issuer = kind === 'org' ? emulator.origin : emulator.customIssuer
    assert.equal((await getWellKnown(sdk(issuer))).issuer, issuer)
    const { client, tokens } = await signIn(issuer, 'alice')
    assert.deepEqual([tokens.idToken?.claims.sub, tokens.idToken?.claims.email], ['00u1alice', 'alice@corp.example'])
    const access = decodeJwt(tokens.accessToken?.accessToken ?? '')
    assert.deepEqual([access['scp'], access['cid'], access['uid'], access.sub], [['openid', 'profile', 'email', 'offline_access'], PUBLIC_CLIENT, '00u1alice', 'alice@corp.example'])
    assert.equal(access.aud, kind === 'org' ? emulator.origin : 'api://default')
    const about = await client.token.getUserInfo(tokens.accessToken, tokens.idToken)
    assert.equal(about.sub, '00u1alice')
    assert.ok(tokens.refreshToken)
    const renewed = await client.token.renewTokensWithRefresh({ scopes: ['openid', 'profile', 'email', 'offline_access'] }, tokens.refreshToken)
    assert.notEqual(renewed.refreshToken?.refreshToken, tokens.refreshToken.refreshToken)
    if (renewed.refreshToken !== undefined) await client.revokeRefreshToken(renewed.refreshToken)
    assert.ok(!emulator.refreshTokens.has(renewed.refreshToken?.refreshToken ?? ''))
  })
}

test('the well-known documents of a custom server are below its path, and not inserted before it (RFC 8414 §3.1)', async () => {
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    assert.equal((await fetch(`${emulator.customIssuer}/.well-known/${name}`)).status, 200)
    assert.equal((await fetch(`${emulator.origin}/.well-known/${name}/oauth2/default`)).status, 404)
  }
})

test('tokens of one authorization server are worth nothing at the other; the org server’s are signed by nobody’s known key', async () => {
  const { tokens: custom } = await signIn(emulator.customIssuer, 'alice')
  const answer = await fetch(`${emulator.origin}/oauth2/v1/userinfo`, { headers: { authorization: `Bearer ${custom.accessToken?.accessToken}` } })
  assert.equal(answer.status, 401)
  const { tokens: org } = await signIn(emulator.origin, 'alice')
  const { keys } = (await (await fetch(`${emulator.origin}/oauth2/v1/keys`)).json()) as { keys: { kid: string }[] }
  assert.ok(!keys.some(({ kid }) => kid === decodeProtectedHeader(org.accessToken?.accessToken ?? '').kid))
})

test('refresh tokens rotate: the old one is good within the grace period, and later ends all that came of it', async () => {
  const { tokens } = await signIn(emulator.customIssuer, 'bob')
  const refresh = async (value: string | undefined): Promise<{ status: number; token: string | undefined }> => {
    const answer = await fetch(`${emulator.customIssuer}/v1/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'refresh_token', client_id: PUBLIC_CLIENT, refresh_token: value ?? '' }) })
    return { status: answer.status, token: ((await answer.json()) as Record<string, string>)['refresh_token'] }
  }
  const first = tokens.refreshToken?.refreshToken
  const second = await refresh(first)
  assert.equal((await refresh(first)).status, 200, 'the grace period')
  const ahead = 31_000
  emulator.now = () => Date.now() + ahead
  assert.equal((await refresh(first)).status, 400)
  assert.equal((await refresh(second.token)).status, 400, 'the whole family ended')
  emulator.now = Date.now
})

test('who is not assigned, and a scope that is not configured, come back as errors', async () => {
  await assert.rejects(signIn(emulator.customIssuer, 'carol'), /access_denied/)
  await assert.rejects(signIn(emulator.customIssuer, 'alice', ['openid', 'groups']), /invalid_scope/)
  assert.deepEqual((await signIn(emulator.origin, 'alice', ['openid', 'groups'])).tokens.idToken?.claims['groups'], ['Everyone', 'engineering'])
})

test('cross app access: an ID-JAG for a connection of the client, in both shapes of the answer, and for no other', async () => {
  const tokens = await gatewaySignIn()
  const audience = 'https://chat.example/'
  emulator.crossApps.push({ clientId: CLIENT_ID, audience, clientIdThere: 'gateway-at-chat', resources: ['https://chat.example/mcp'], scopes: ['chat.read', 'chat.history'], audTenant: 'org_1' })
  const ask = { requested_token_type: ID_JAG, subject_token: tokens['id_token'] ?? '', subject_token_type: 'urn:ietf:params:oauth:token-type:id_token', audience, scope: 'chat.read chat.history', resource: 'https://chat.example/mcp' }
  for (const word of ['Bearer', 'N_A'] as const) {
    emulator.idJagTokenType = word
    const { status, body } = await exchange(ask)
    assert.deepEqual([status, body['token_type'], body['issued_token_type']], [200, word, ID_JAG])
    const jag = decodeJwt(body['access_token'] ?? '')
    assert.equal(decodeProtectedHeader(body['access_token'] ?? '').typ, 'oauth-id-jag+jwt')
    assert.match(jag.jti ?? '', /^IDAAG\./)
    assert.deepEqual([jag.iss, jag.aud, jag.sub, jag['client_id'], jag['scope'], jag['sub_profile'], jag['act'], jag['aud_tenant']], [emulator.origin, audience, '00u1alice', 'gateway-at-chat', 'chat.read chat.history', 'user', { sub: 'wlp1gateway', sub_profile: 'ai_agent' }, 'org_1'])
    assert.equal(Number(jag.exp) - Number(jag.iat), 300)
  }
  assert.equal((await exchange({ ...ask, subject_token: tokens['refresh_token'] ?? '', subject_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' })).status, 200)
  assert.equal((await exchange({ ...ask, audience: 'https://other.example' })).body['error'], 'invalid_target')
  assert.equal((await exchange({ ...ask, resource: 'https://chat.example/other' })).body['error'], 'invalid_target')
  assert.equal((await exchange({ ...ask, scope: 'chat.write' })).body['error'], 'invalid_scope')
  assert.equal((await exchange({ ...ask, subject_token: 'x' })).body['error'], 'invalid_grant')
  assert.equal((await exchange(ask, { client_id: PUBLIC_CLIENT })).status, 401)
})

test('the tokens that Okta keeps of third parties: an interaction first, then the token', async () => {
  const tokens = await gatewaySignIn()
  const ask = { requested_token_type: STS, subject_token: tokens['access_token'] ?? '', subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource: 'github' }
  const before = await exchange(ask)
  assert.deepEqual([before.status, before.body['error']], [400, 'interaction_required'])
  assert.ok(before.body['interaction_uri']?.startsWith(emulator.origin))
  emulator.vaulted.set('github 00u1alice', 'gho_token')
  const after = await exchange(ask)
  assert.deepEqual([after.status, after.body['access_token'], after.body['issued_token_type']], [200, 'gho_token', STS])
})
