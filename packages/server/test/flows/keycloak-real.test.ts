// The preset for Keycloak against Keycloak itself, where one is to be had: LANYARD_TEST_KEYCLOAK is the address of a fresh
// `kc.sh start-dev` (java 21 or 17; org.keycloak:keycloak-quarkus-dist) whose bootstrap administrator is admin, admin.
// Elsewhere test/flows/presets.test.ts stands for it, with the shapes that were observed here.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { decodeJwt } from 'jose'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { keycloak } from '../../src/identity/providers/keycloak.ts'
import { ExchangeRefused, type IdentityProvider } from '../../src/identity/providers/provider.ts'
import { newSecret } from '../../src/oauth/secret.ts'
import { browser } from '../support/browser.ts'
import { CLIENT_SECRET } from '../support/openid-provider.ts'

const KEYCLOAK = process.env['LANYARD_TEST_KEYCLOAK']
const options = { skip: KEYCLOAK === undefined && 'needs LANYARD_TEST_KEYCLOAK' }
const CALLBACK = 'http://127.0.0.1:53997/login/keycloak/callback'
const realm = `corp${process.pid}`

const person = (username: string, more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> => ({ username, enabled: true, email: `${username}@corp.example`, emailVerified: true, firstName: username, lastName: 'Example', credentials: [{ type: 'password', value: 'pw', temporary: false }], realmRoles: ['offline_access'], ...more })

/** What docs/setup/keycloak.md says to click. */
const REALM = {
  realm,
  enabled: true,
  roles: { realm: [{ name: 'employee' }], client: { lanyard: [{ name: 'Notes.Write' }], other: [{ name: 'root' }] } },
  groups: [{ name: 'engineering', subGroups: [{ name: 'platform' }] }],
  clients: [
    {
      clientId: 'lanyard',
      secret: CLIENT_SECRET,
      redirectUris: [CALLBACK],
      publicClient: false,
      standardFlowEnabled: true,
      attributes: { 'pkce.code.challenge.method': 'S256', 'standard.token.exchange.enabled': 'true' },
      protocolMappers: [{ name: 'groups', protocol: 'openid-connect', protocolMapper: 'oidc-group-membership-mapper', config: { 'claim.name': 'groups', 'full.path': 'true', 'id.token.claim': 'true', 'access.token.claim': 'true', 'userinfo.token.claim': 'true' } }],
    },
    { clientId: 'other', secret: CLIENT_SECRET },
  ],
  users: [person('alice', { groups: ['/engineering/platform'], realmRoles: ['offline_access', 'employee'], clientRoles: { lanyard: ['Notes.Write'], other: ['root'] } }), person('bob')],
}

let client: Outbound
let provider: IdentityProvider
let token = ''

async function admin(path: string, method: string, body: unknown): Promise<Response> {
  const answer = await fetch(`${KEYCLOAK}/admin/realms${path}`, { method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify(body) })
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`)
  return answer
}

before(async () => {
  if (KEYCLOAK === undefined) return
  client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  const answer = await fetch(`${KEYCLOAK}/realms/master/protocol/openid-connect/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'password', client_id: 'admin-cli', username: 'admin', password: 'admin' }) })
  token = ((await answer.json()) as { access_token: string }).access_token
  await admin('', 'POST', REALM)
  const settings = { id: 'keycloak', name: 'Keycloak', issuer: `${KEYCLOAK}/realms/${realm}`, clientId: 'lanyard', clientSecret: CLIENT_SECRET, scopes: ['openid', 'profile', 'email', 'offline_access'], groupsClaim: 'groups', rolesClaim: 'roles', offlineAccess: 'scope', keepsAccessToken: true } as const
  provider = keycloak(settings, { outbound: client, now: Date.now })
})
after(async () => {
  if (KEYCLOAK === undefined) return
  await admin(`/${realm}`, 'DELETE', {})
  await client.close()
})

/** Signs in on Keycloak's own page. */
async function signIn(username: string) {
  const secrets = { state: newSecret('lyd_st'), nonce: newSecret('lyd_st'), codeVerifier: newSecret('lyd_st') }
  const url = await provider.authorizationUrl(secrets, { redirectUri: CALLBACK })
  const visitor = browser({ stop: (to) => to.startsWith(`${CALLBACK}?`) })
  const page = await visitor.open(url.href)
  const form = page.forms.find(({ fields }) => 'username' in fields)
  assert.ok(form, page.text)
  const back = await visitor.submit(page, form, { username, password: 'pw' })
  return provider.finish(new URL(back.url), secrets, { redirectUri: CALLBACK, startedAt: Date.now() })
}

test('a real Keycloak exchanges the access token of a sign-in for one of another client, and for none that the person has nothing at (RFC 8693 §2.1)', options, async () => {
  const types = { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', requested_token_type: 'urn:ietf:params:oauth:token-type:access_token' }
  const exchange = (accessToken: string | undefined, audience: string) => provider.exchange?.({ ...types, subject_token: accessToken ?? '', audience })
  const [alice, bob] = [await signIn('alice'), await signIn('bob')]
  const exchanged = await exchange(alice.tokens.accessToken, 'other')
  const claims = decodeJwt(exchanged?.token ?? '')
  assert.deepEqual([exchanged?.issuedTokenType, exchanged?.tokenType, claims.aud, claims['azp'], claims.sub], [types.requested_token_type, 'bearer', 'other', 'lanyard', alice.subject])
  assert.ok((exchanged?.expiresAt ?? 0) > Date.now())
  for (const [accessToken, audience] of [[bob.tokens.accessToken, 'other'], [alice.tokens.accessToken, 'nobody']] as const) await assert.rejects(async () => exchange(accessToken, audience), ExchangeRefused)
})

test('a real Keycloak: groups, roles of the realm and of this client, and of no other; asked again, until the user is disabled', options, async () => {
  const alice = await signIn('alice')
  assert.deepEqual([alice.groups, [...(alice.roles ?? [])].sort(), alice.email, alice.emailVerified, alice.name], [['engineering/platform'], ['Notes.Write', 'employee', 'offline_access'], 'alice@corp.example', true, 'alice Example'])
  const bob = await signIn('bob')
  assert.deepEqual([bob.groups, bob.roles], [[], ['offline_access']])
  const again = await provider.refresh?.(alice.tokens, alice, async () => undefined)
  assert.deepEqual([again?.groups, again?.subject], [alice.groups, alice.subject])
  await admin(`/${realm}/users/${alice.subject}`, 'PUT', { enabled: false })
  assert.equal(await provider.refresh?.(again?.tokens ?? alice.tokens, alice, async () => undefined), undefined)
  assert.notEqual(await provider.refresh?.(bob.tokens, bob, async () => undefined), undefined)
})
