// The emulator of Entra ID answers as Microsoft's own library expects. What the gateway then accepts was not written to
// fit the gateway.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { InteractionRequiredAuthError, type AuthenticationResult } from '@azure/msal-node'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { browser } from '../support/browser.ts'
import { addCertificate } from '../support/entra/certificate.ts'
import { entra, GATEWAY, GATEWAY_SECRET, GRAPH, MIDDLE, NOTES_API, TENANT, type Entra } from '../support/entra/entra.ts'
import { msal } from '../support/entra/msal.ts'
import { signed, signingKey } from '../support/openid-provider.ts'

const REDIRECT = 'http://127.0.0.1:53998/callback'
const SECRET = { clientId: GATEWAY, clientSecret: GATEWAY_SECRET }

let emulator: Entra
before(async () => {
  emulator = await entra()
})
after(() => emulator.close())

/** The way of an application with the library: it makes the address, the person signs in, it redeems the code with PKCE. */
async function signIn(person: string, scopes: string[], more: { claims?: string; app?: Parameters<typeof msal>[1] } = {}): Promise<{ client: ReturnType<typeof msal>; result: AuthenticationResult }> {
  const client = msal(emulator, more.app ?? { ...SECRET, clientCapabilities: ['CP1'] })
  const verifier = randomBytes(32).toString('base64url')
  const asked = { scopes, redirectUri: REDIRECT, ...(more.claims === undefined ? {} : { claims: more.claims }) }
  const url = await client.getAuthCodeUrl({ ...asked, codeChallenge: createHash('sha256').update(verifier).digest('base64url'), codeChallengeMethod: 'S256', state: 's', nonce: 'n' })
  const page = await browser({ stop: (to) => to.startsWith(`${REDIRECT}?`) }).approve(url.replace('https://login.microsoftonline.com', emulator.origin), { person })
  const code = new URL(page.url).searchParams.get('code')
  assert.ok(code, page.url)
  return { client, result: await client.acquireTokenByCode({ ...asked, code, codeVerifier: verifier, nonce: 'n' }) }
}

test('msal-node signs in with PKCE, is served from its cache, and refreshes', async () => {
  const { client, result } = await signIn('alice', ['User.Read'])
  assert.deepEqual([result.tenantId, result.account?.username, result.uniqueId], [TENANT, 'alice@contoso.com', 'a11ce000-0000-4000-8000-000000000001'])
  assert.equal(decodeJwt(result.idToken).iss, `${emulator.origin}/${TENANT}/v2.0`)
  assert.ok(decodeProtectedHeader(result.accessToken)['nonce'], 'nobody but Graph can verify a token for Graph')
  assert.ok(result.account)
  const asked = emulator.seen.length
  assert.equal((await client.acquireTokenSilent({ account: result.account, scopes: ['User.Read'] })).accessToken, result.accessToken)
  assert.equal(emulator.seen.length, asked)
  const renewed = await client.acquireTokenSilent({ account: result.account, scopes: ['User.Read'], forceRefresh: true })
  assert.notEqual(renewed.accessToken, result.accessToken)
  const other = await client.acquireTokenSilent({ account: result.account, scopes: [`api://${NOTES_API}/notes.read`] })
  assert.deepEqual([decodeJwt(other.accessToken).aud, decodeJwt(other.accessToken)['scp'], decodeJwt(other.accessToken)['xms_cc']], [NOTES_API, 'notes.read', ['cp1']])
})

test('msal-node proves an app by a certificate (PS256, x5t#S256) and by an assertion of a trusted issuer', async () => {
  const app = emulator.apps.get(GATEWAY)
  assert.ok(app)
  const { certificate, privateKey, thumbprint } = await addCertificate(app)
  app.permissions.add('User.ReadBasic.All')
  const byCertificate = msal(emulator, { clientId: GATEWAY, clientCertificate: { thumbprintSha256: Buffer.from(thumbprint, 'base64url').toString('hex'), privateKey } })
  assert.ok(certificate.startsWith('-----BEGIN'))
  const own = await byCertificate.acquireTokenByClientCredential({ scopes: [`${GRAPH}/.default`] })
  assert.deepEqual([decodeJwt(own?.accessToken ?? '')['idtyp'], decodeJwt(own?.accessToken ?? '')['roles']], ['app', ['User.ReadBasic.All']])
  const issuer = await trustedIssuer()
  try {
    app.federated.push({ issuer: issuer.url, subject: 'lanyard', audience: 'api://AzureADTokenExchange' })
    const by = (claims: object) => msal(emulator, { clientId: GATEWAY, clientAssertion: () => issuer.sign({ iss: issuer.url, sub: 'lanyard', aud: 'api://AzureADTokenExchange', ...claims }) })
    assert.ok((await by({}).acquireTokenByClientCredential({ scopes: [`${GRAPH}/.default`] }))?.accessToken)
    for (const [claims, code] of [[{ sub: 'Lanyard' }, 700213], [{ aud: GATEWAY }, 700212], [{ iss: 'https://other.example' }, 700211]] as const) {
      await assert.rejects(by(claims).acquireTokenByClientCredential({ scopes: [`${GRAPH}/.default`], skipCache: true }), { errorNo: code })
    }
    // ES256 verifies, and is refused all the same.
    const elliptic = await trustedIssuer('ES256')
    app.federated.push({ issuer: elliptic.url, subject: 'lanyard', audience: 'api://AzureADTokenExchange' })
    await assert.rejects(msal(emulator, { clientId: GATEWAY, clientAssertion: () => elliptic.sign({ iss: elliptic.url, sub: 'lanyard', aud: 'api://AzureADTokenExchange' }) }).acquireTokenByClientCredential({ scopes: [`${GRAPH}/.default`], skipCache: true }), { errorNo: 5000811 }).finally(elliptic.close)
  } finally {
    issuer.close()
  }
  await assert.rejects(msal(emulator, { clientId: GATEWAY, clientSecret: 'wrong' }).acquireTokenByClientCredential({ scopes: [`${GRAPH}/.default`] }), { errorNo: 7000215 })
})

test('on-behalf-of by msal-node, by secret, certificate and assertion: an assertion for this app alone; a claims challenge comes back and is met by a new sign-in', async () => {
  const middle = msal(emulator, { clientId: MIDDLE, clientSecret: emulator.apps.get(MIDDLE)?.secret ?? '', clientCapabilities: ['CP1'] })
  const { result } = await signIn('alice', [`api://${MIDDLE}/access`])
  const obo = { oboAssertion: result.accessToken, scopes: [`${GRAPH}/User.Read`] }
  const app = emulator.apps.get(MIDDLE) ?? assert.fail()
  const { privateKey, thumbprint } = await addCertificate(app)
  const issuer = await trustedIssuer()
  app.federated.push({ issuer: issuer.url, subject: 'middle', audience: 'api://AzureADTokenExchange' })
  const byCertificate = msal(emulator, { clientId: MIDDLE, clientCertificate: { thumbprintSha256: Buffer.from(thumbprint, 'base64url').toString('hex'), privateKey } })
  const byAssertion = msal(emulator, { clientId: MIDDLE, clientAssertion: () => issuer.sign({ iss: issuer.url, sub: 'middle', aud: 'api://AzureADTokenExchange' }) })
  try {
    for (const client of [middle, byCertificate, byAssertion]) {
      const granted = await client.acquireTokenOnBehalfOf(obo)
      assert.equal((await graph('/v1.0/me', granted?.accessToken)).status, 200)
    }
  } finally {
    issuer.close()
  }
  const { result: forGraph } = await signIn('alice', ['User.Read'])
  await assert.rejects(middle.acquireTokenOnBehalfOf({ ...obo, oboAssertion: forGraph.accessToken }), { errorNo: 50013 })
  const { result: forNotes } = await signIn('alice', [`api://${NOTES_API}/notes.read`])
  await assert.rejects(middle.acquireTokenOnBehalfOf({ ...obo, oboAssertion: forNotes.accessToken }), { errorNo: 500131 })
  for (const code of [50076, 50079] as const) {
    emulator.policies.set(GRAPH, { context: 'c1', code })
    const refused = await middle.acquireTokenOnBehalfOf({ ...obo, skipCache: true }).catch((error: unknown) => error)
    assert.ok(refused instanceof InteractionRequiredAuthError)
    assert.deepEqual([refused.errorNo, JSON.parse(refused.claims)], [code, { access_token: { acrs: { essential: true, value: 'c1' } } }])
    const { result: stronger } = await signIn('alice', [`api://${MIDDLE}/access`], { claims: refused.claims })
    const granted = await middle.acquireTokenOnBehalfOf({ ...obo, oboAssertion: stronger.accessToken, skipCache: true, claims: refused.claims })
    assert.deepEqual(decodeJwt(granted?.accessToken ?? '')['acrs'], ['c1'])
  }
  emulator.policies.clear()
})

test('Graph evaluates each token anew: a challenge in base64, and the refresh token of a revoked session is worth nothing (50173)', async () => {
  const { client, result } = await signIn('bob', ['User.Read'])
  const bob = emulator.tenants.get(TENANT)?.get('bob')
  assert.ok(bob && result.account)
  const later = Math.floor(Date.now() / 1000) + 1
  emulator.evaluated.set(bob.oid, later)
  const refused = await graph('/v1.0/me', result.accessToken)
  const challenge = /error="insufficient_claims", claims="([^"]+)"/.exec(refused.headers.get('www-authenticate') ?? '')?.[1] ?? ''
  assert.deepEqual([refused.status, JSON.parse(Buffer.from(challenge, 'base64').toString())], [401, { access_token: { nbf: { essential: true, value: String(later) } } }])
  bob.revokedAt = later
  await assert.rejects(client.acquireTokenSilent({ account: result.account, scopes: ['User.Read'], forceRefresh: true }), { errorCode: 'invalid_grant', errorNo: 50173 })
  delete bob.revokedAt
  emulator.evaluated.clear()
})

test('metadata: a template for many tenants, an issuer for each key, no PKCE, no registration; `resource` is refused', async () => {
  const [many, one, domain] = await Promise.all(['common', TENANT, 'contoso.onmicrosoft.com'].map(async (tenant) => (await (await fetch(`${emulator.origin}/${tenant}/v2.0/.well-known/openid-configuration`)).json()) as Record<string, unknown>))
  assert.deepEqual([many?.['issuer'], one?.['issuer'], domain?.['issuer']], [`${emulator.origin}/{tenantid}/v2.0`, `${emulator.origin}/${TENANT}/v2.0`, `${emulator.origin}/${TENANT}/v2.0`])
  for (const name of ['code_challenge_methods_supported', 'registration_endpoint', 'revocation_endpoint', 'introspection_endpoint']) assert.equal(many?.[name], undefined)
  const { keys } = (await (await fetch(String(many?.['jwks_uri']))).json()) as { keys: { issuer: string }[] }
  assert.deepEqual(keys.map(({ issuer }) => issuer.endsWith('/{tenantid}/v2.0')), [true, false])
  const answer = await fetch(`${emulator.origin}/${TENANT}/oauth2/v2.0/token`, { method: 'POST', body: new URLSearchParams({ client_id: GATEWAY, client_secret: GATEWAY_SECRET, grant_type: 'client_credentials', scope: `${GRAPH}/.default`, resource: GRAPH }) })
  assert.deepEqual([answer.status, ((await answer.json()) as { error_codes: number[] }).error_codes], [400, [9010010]])
})

function graph(path: string, token: string | undefined): Promise<Response> {
  return fetch(`${emulator.origin}${path}`, { headers: { authorization: `Bearer ${token}` } })
}

/** An issuer with a discovery document, as Entra ID looks for the keys of a federated credential. */
async function trustedIssuer(alg = 'RS256'): Promise<{ url: string; sign: (claims: object) => Promise<string>; close: () => void }> {
  const key = await signingKey(undefined, alg)
  const server = createServer((request, response) => {
    const document = request.url === '/jwks' ? { keys: [key.jwk] } : { issuer: url, jwks_uri: `${url}/jwks` }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const now = Math.floor(Date.now() / 1000)
  const close = (): void => {
    server.close()
    server.closeAllConnections()
  }
  return { url, sign: (claims) => signed({ iat: now, nbf: now, exp: now + 300, jti: randomBytes(8).toString('hex'), ...claims }, key, { alg }), close }
}
