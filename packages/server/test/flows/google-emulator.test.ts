// The emulator of Google answers as Google's own client library expects: OAuth2Client signs people in, JWT acts for one of
// them, Impersonated signs without a key. What the gateway then accepts was not written to fit the gateway.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { exportPKCS8 } from 'jose'
import { CodeChallengeMethod, GoogleAuth, IdentityPoolClient, Impersonated, JWT, OAuth2Client, type Credentials } from 'google-auth-library'
import { browser } from '../support/browser.ts'
import { signed, signingKey } from '../support/openid-provider.ts'
import { addServiceAccount, CLIENT_ID, CLIENT_SECRET, CLOUD_SCOPE, DOMAIN, GMAIL_SCOPE, google, GROUPS_SCOPE, type Google, type ServiceAccount } from '../support/google/google.ts'

const REDIRECT = 'http://127.0.0.1:53999/login/google/callback'

let emulator: Google
before(async () => {
  emulator = await google()
})
after(() => emulator.close())

/** The library names Google's hosts; this reaches the emulator in their place. */
function transporterOptions(): { fetchImplementation: typeof fetch } {
  const hosts = /^https:\/\/(?:accounts\.google\.com|[a-z0-9]+\.googleapis\.com)/
  return { fetchImplementation: (url, init) => fetch(String(url instanceof Request ? url.url : url).replace(hosts, emulator.origin), init) }
}

function oauthClient(): OAuth2Client {
  const at = (path: string): string => `${emulator.origin}${path}`
  return new OAuth2Client({
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    redirectUri: REDIRECT,
    endpoints: { oauth2AuthBaseUrl: at('/o/oauth2/v2/auth'), oauth2TokenUrl: at('/token'), oauth2RevokeUrl: at('/revoke'), tokenInfoUrl: at('/tokeninfo'), oauth2FederatedSignonPemCertsUrl: at('/oauth2/v1/certs'), oauth2FederatedSignonJwkCertsUrl: at('/oauth2/v3/certs') },
    issuers: [emulator.origin, new URL(emulator.origin).host],
    transporterOptions: transporterOptions(),
  })
}

async function signIn(client: OAuth2Client, person: string, more: { access_type?: string; prompt?: string; scope?: string[]; include_granted_scopes?: boolean } = {}): Promise<{ tokens: Credentials; answer: URLSearchParams }> {
  const { codeVerifier, codeChallenge } = await client.generateCodeVerifierAsync()
  const url = client.generateAuthUrl({ scope: ['openid', 'email', 'profile'], state: 's', code_challenge_method: CodeChallengeMethod.S256, code_challenge: codeChallenge ?? '', ...more })
  const page = await browser({ stop: (to) => to.startsWith(`${REDIRECT}?`) }).approve(url, { person })
  const answer = new URL(page.url).searchParams
  const { tokens } = await client.getToken({ code: answer.get('code') ?? '', codeVerifier })
  return { tokens, answer }
}

async function delegate(account: ServiceAccount, subject: string | undefined, scopes: readonly string[]): Promise<JWT> {
  return new JWT({ email: account.email, key: await exportPKCS8(account.keys.file.key), keyId: account.keys.file.kid, scopes: [...scopes], ...(subject === undefined ? {} : { subject }), transporterOptions: transporterOptions() })
}

test('OAuth2Client signs a person in, verifies the ID token in both spellings of the issuer, refreshes and revokes', async () => {
  const client = oauthClient()
  const { tokens, answer } = await signIn(client, 'alice', { access_type: 'offline' })
  assert.equal(answer.get('state'), 's')
  assert.match(tokens.access_token ?? '', /^ya29\./)
  assert.match(tokens.refresh_token ?? '', /^1\/\//)
  const ticket = await client.verifyIdToken({ idToken: tokens.id_token ?? '', audience: CLIENT_ID })
  assert.deepEqual([ticket.getPayload()?.hd, ticket.getPayload()?.email, ticket.getPayload()?.email_verified], [DOMAIN, `alice@${DOMAIN}`, true])

  emulator.bareIssuer = true
  client.setCredentials(tokens)
  const { credentials } = await client.refreshAccessToken()
  const bare = await client.verifyIdToken({ idToken: credentials.id_token ?? '', audience: CLIENT_ID })
  assert.equal(bare.getPayload()?.iss, new URL(emulator.origin).host)
  emulator.bareIssuer = false

  assert.equal((await client.getTokenInfo(credentials.access_token ?? '')).email, `alice@${DOMAIN}`)
  await client.revokeToken(tokens.refresh_token ?? '')
  await assert.rejects(client.refreshAccessToken(), /invalid_grant/)
  await assert.rejects(client.getTokenInfo(credentials.access_token ?? ''))
})

test('a refresh token comes with access_type=offline and a consent alone; a personal account has no hd', async () => {
  const client = oauthClient()
  assert.equal((await signIn(client, 'mallory')).tokens.refresh_token, undefined)
  // Consented to now: offline access asks nobody again, and brings nothing.
  assert.equal((await signIn(client, 'mallory', { access_type: 'offline' })).tokens.refresh_token, undefined)
  const { tokens, answer } = await signIn(client, 'mallory', { access_type: 'offline', prompt: 'consent' })
  assert.match(tokens.refresh_token ?? '', /^1\/\//)
  assert.equal(answer.get('hd'), null)
  assert.equal((await client.verifyIdToken({ idToken: tokens.id_token ?? '', audience: CLIENT_ID })).getPayload()?.hd, undefined)
})

test('a hundred refresh tokens of one person and client: the oldest dies silently', async () => {
  const client = oauthClient()
  const ask = { access_type: 'offline', prompt: 'consent' }
  const first = (await signIn(client, 'bob', ask)).tokens.refresh_token ?? ''
  for (let count = 1; count < 100; count += 1) await signIn(client, 'bob', ask)
  assert.ok(emulator.refreshTokens.has(first))
  await signIn(client, 'bob', ask)
  assert.ok(!emulator.refreshTokens.has(first))
})

test('granular consent: what a person unticked is not in the scope of the answer', async () => {
  const client = oauthClient()
  const calendar = 'https://www.googleapis.com/auth/calendar.readonly'
  emulator.unticked.add(calendar)
  const { tokens } = await signIn(client, 'alice', { access_type: 'offline', scope: ['openid', GMAIL_SCOPE, calendar] })
  assert.deepEqual(tokens.scope?.split(' '), ['openid', GMAIL_SCOPE])
  emulator.unticked.clear()
  const again = await signIn(client, 'alice', { access_type: 'offline', scope: ['openid', GMAIL_SCOPE, calendar] })
  assert.deepEqual(again.tokens.scope?.split(' '), ['openid', GMAIL_SCOPE, calendar])
  const both = await signIn(client, 'alice', { scope: ['openid'], include_granted_scopes: true })
  assert.ok(both.tokens.scope?.includes(calendar), 'include_granted_scopes brings wider tokens than asked')
})

test('JWT with a subject: domain-wide delegation, its refusals as Google words them', async () => {
  const account = await addServiceAccount(emulator, 'gateway')
  account.delegated.add(GMAIL_SCOPE)
  const client = await delegate(account, `alice@${DOMAIN}`, [GMAIL_SCOPE])
  const { data } = await client.request<{ emailAddress: string }>({ url: 'https://gmail.googleapis.com/gmail/v1/users/me/profile' })
  assert.equal(data.emailAddress, `alice@${DOMAIN}`)

  const refused = async (subject: string, scopes: readonly string[], error: RegExp): Promise<void> => assert.rejects((await delegate(account, subject, scopes)).authorize(), error)
  await refused(`alice@${DOMAIN}`, [GMAIL_SCOPE, GROUPS_SCOPE], /unauthorized_client/)
  await refused(`nobody@${DOMAIN}`, [GMAIL_SCOPE], /invalid_grant/)
  // A personal account on the company's address is nobody of the domain.
  await refused(`mallory@${DOMAIN}`, [GMAIL_SCOPE], /invalid_grant/)
  const stranger = { ...account, keys: (await addServiceAccount(emulator, 'stranger')).keys }
  await assert.rejects((await delegate(stranger, `alice@${DOMAIN}`, [GMAIL_SCOPE])).authorize(), /invalid_grant/)
})

test('the Directory API: an administrator that is impersonated, or a service account with the role, page by page', async () => {
  const account = await addServiceAccount(emulator, 'directory')
  const url = `https://admin.googleapis.com/admin/directory/v1/groups?userKey=alice@${DOMAIN}&maxResults=200`
  account.delegated.add(GROUPS_SCOPE)
  const asAlice = await delegate(account, `alice@${DOMAIN}`, [GROUPS_SCOPE])
  await assert.rejects(asAlice.request({ url }), /Not Authorized/)
  const asAdmin = await delegate(account, `admin@${DOMAIN}`, [GROUPS_SCOPE])
  assert.deepEqual((await asAdmin.request<{ groups: { email: string }[] }>({ url })).data.groups.map(({ email }) => email), [`engineering@${DOMAIN}`])

  const itself = await delegate(account, undefined, [GROUPS_SCOPE])
  await assert.rejects(itself.request({ url }), /Not Authorized/)
  account.groupsReader = true
  emulator.people.get('alice')?.groups.push({ email: `platform@${DOMAIN}`, name: 'Platform' })
  emulator.pageSize = 1
  const first = (await itself.request<{ groups: { email: string }[]; nextPageToken: string }>({ url })).data
  const second = (await itself.request<{ groups: { email: string }[]; nextPageToken?: string }>({ url: `${url}&pageToken=${first.nextPageToken}` })).data
  assert.deepEqual([...first.groups, ...second.groups].map(({ email }) => email), [`engineering@${DOMAIN}`, `platform@${DOMAIN}`])
  assert.equal(second.nextPageToken, undefined)
  emulator.pageSize = 200
})

test('Impersonated: IAM signs and gives tokens to whoever holds Token Creator, and to nobody else', async () => {
  const source = await addServiceAccount(emulator, 'machine')
  const target = await addServiceAccount(emulator, 'keyless')
  target.tokenCreators.add(source.email)
  const as = async (from: ServiceAccount): Promise<Impersonated> =>
    new Impersonated({ sourceClient: await delegate(from, undefined, [CLOUD_SCOPE]), targetPrincipal: target.email, targetScopes: [GROUPS_SCOPE], endpoint: emulator.origin })
  const client = await as(source)
  assert.match((await client.getAccessToken()).token ?? '', /^ya29\./)
  const { keyId, signedBlob } = await client.sign('something')
  assert.equal(keyId, target.keys.system.kid)
  assert.ok(signedBlob.length > 300)
  await assert.rejects((await as(await addServiceAccount(emulator, 'other'))).getAccessToken(), /PERMISSION_DENIED/)

  // IAM's signature on the claims of a delegation is as good as the key file's.
  target.delegated.add(GMAIL_SCOPE)
  const now = Math.floor(Date.now() / 1000)
  const payload = JSON.stringify({ iss: target.email, sub: `bob@${DOMAIN}`, scope: GMAIL_SCOPE, aud: 'https://oauth2.googleapis.com/token', iat: now, exp: now + 3600 })
  const { data } = await (await delegate(source, undefined, [CLOUD_SCOPE])).request<{ signedJwt: string }>({ url: `https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/${target.email}:signJwt`, method: 'POST', data: { payload } })
  const answer = await fetch(`${emulator.origin}/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: data.signedJwt }) })
  assert.match(((await answer.json()) as { access_token: string }).access_token, /^ya29\./)
})

test('IdentityPoolClient: a pool that trusts an issuer gives its workloads the right to sign, and nobody else', async () => {
  const provider = 'projects/123/locations/global/workloadIdentityPools/pool/providers/own'
  const target = await addServiceAccount(emulator, 'federated')
  const key = await signingKey('own')
  emulator.pools.set(provider, { issuer: 'https://lanyard.example', keys: [key.jwk] })
  const jwt = (aud: string): Promise<string> => {
    const now = Math.floor(Date.now() / 1000)
    return signed({ iss: 'https://lanyard.example', sub: 'lanyard', aud, iat: now, exp: now + 300 }, key)
  }
  const client = (aud: string): IdentityPoolClient =>
    new IdentityPoolClient({ type: 'external_account', audience: `//iam.googleapis.com/${provider}`, subject_token_type: 'urn:ietf:params:oauth:token-type:jwt', token_url: `${emulator.origin}/v1/token`, subject_token_supplier: { getSubjectToken: () => jwt(aud) }, service_account_impersonation_url: `${emulator.origin}/v1/projects/-/serviceAccounts/${target.email}:generateAccessToken` })
  await assert.rejects(client('https://elsewhere.example').getAccessToken(), /invalid_grant/)
  await assert.rejects(client(`https://iam.googleapis.com/${provider}`).getAccessToken(), /denied|403/)
  target.tokenCreators.add('principal://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool/subject/lanyard')
  assert.match((await client(`https://iam.googleapis.com/${provider}`).getAccessToken()).token ?? '', /^ya29\./)
})

test('GoogleAuth reads a key file as the Cloud console gives it out', async () => {
  const account = await addServiceAccount(emulator, 'file')
  account.delegated.add(GMAIL_SCOPE)
  const credentials = { type: 'service_account', client_email: account.email, private_key: await exportPKCS8(account.keys.file.key), private_key_id: account.keys.file.kid, client_id: account.clientId, token_uri: 'https://oauth2.googleapis.com/token' }
  const client = await new GoogleAuth({ credentials, scopes: [GMAIL_SCOPE], clientOptions: { subject: `bob@${DOMAIN}`, transporterOptions: transporterOptions() } }).getClient()
  assert.equal((await client.request<{ emailAddress: string }>({ url: 'https://gmail.googleapis.com/gmail/v1/users/me/profile' })).data.emailAddress, `bob@${DOMAIN}`)
})
