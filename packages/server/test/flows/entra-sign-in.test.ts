// Signing in by Entra ID: who somebody is, whose keys and tenants count, and groups that no token holds. Against the
// emulator whose answers Microsoft's own library accepts.
import assert from 'node:assert/strict'
import { outbound } from '../../src/http/outbound.ts'
import { identityProviders } from '../../src/identity/providers/index.ts'
import { addCertificate } from '../support/entra/certificate.ts'
import { CONSUMERS, GATEWAY, GATEWAY_SECRET, GRAPH, NOTES_API, OTHER_TENANT, TENANT } from '../support/entra/entra.ts'
import { eachEntra, entraSettings, signedIn, signIn, type World } from '../support/entra/nodes.ts'
import { CHECK_MS } from '../support/identity-nodes.ts'

async function refusal({ cluster }: World): Promise<string | undefined> {
  return (await cluster.events('login.failed')).at(-1)?.reason
}

eachEntra('a person is oid in tid, whatever app asks; groups come by identifier, app roles as roles (J02, G12)', async (world) => {
  const { idp, person } = world
  const { user } = await signedIn(await world.start())
  assert.deepEqual(user, { ...user, provider: 'entra', issuer: `${idp.origin}/${TENANT}/v2.0`, subject: person('alice').oid, groups: person('alice').groups, roles: ['mcp.tasks.read'], name: 'Alice', email: 'alice@contoso.com' })
  assert.equal('emailVerified' in user, false, 'an address that an administrator wrote')
  // The same person by another name and address, and nobody else by theirs.
  Object.assign(person('alice'), { name: 'Alice B.', email: 'alice.b@contoso.com' })
  Object.assign(person('bob'), { email: 'alice@contoso.com' })
  assert.equal((await signedIn(await world.start())).user.id, user.id)
  assert.notEqual((await signedIn(await world.start(), 'bob')).user.id, user.id)
  idp.idToken = (claims) => ({ ...claims, xms_edov: true })
  assert.equal((await signedIn(await world.start()) as unknown as { user: { emailVerified?: boolean } }).user.emailVerified, true)
})

eachEntra('a guest is a person of this tenant, with or without an address (idp)', async (world) => {
  const { user } = await signedIn(await world.start(), 'guest')
  assert.deepEqual([user.subject, user.email, user.groups], [world.person('guest').oid, undefined, []])
})

eachEntra('what is asked: PKCE although no metadata speaks of it, claims with cp1, no `resource`, no acr_values (RFC 7636 §4.3)', async (world) => {
  const { cluster, idp } = world
  cluster.options = { acrValues: 'c1', claims: { amr: ['mfa'] } }
  const { session } = await signedIn(await world.start()) as unknown as { session: { acr?: string; claims?: object } }
  const [asked] = idp.at(`/${TENANT}/oauth2/v2.0/authorize`)
  assert.equal(asked?.query.get('code_challenge_method'), 'S256')
  assert.deepEqual(JSON.parse(asked?.query.get('claims') ?? ''), {
    id_token: { amr: { essential: true, value: 'mfa' }, acrs: { essential: true, value: 'c1' } },
    access_token: { xms_cc: { values: ['cp1'] } },
  })
  assert.deepEqual([asked?.query.has('resource'), asked?.query.has('acr_values')], [false, false])
  const [redeemed] = idp.at(`/${TENANT}/oauth2/v2.0/token`)
  assert.deepEqual(JSON.parse(redeemed?.form.get('claims') ?? ''), { access_token: { xms_cc: { values: ['cp1'] } } })
  assert.deepEqual([session.acr, session.claims], ['c1', { acrs: ['c1'] }])
})

eachEntra('many tenants: the issuer follows the token, and only the tenants of the list sign in (J01)', async (world) => {
  const { idp } = world
  const node = await world.start({ tenant: 'common', tenants: [TENANT, OTHER_TENANT] })
  const { user: alice } = await signedIn(node)
  const { user: eve } = await signedIn(node, `${OTHER_TENANT} eve`)
  assert.deepEqual([alice.subject, eve.subject, eve.email], [world.person('alice').oid, 'e0e00000-0000-4000-8000-000000000004', 'alice@contoso.com'])
  assert.notEqual(alice.id, eve.id)
  assert.equal((await signIn(node, `${CONSUMERS} home`)).status, 400)
  assert.equal(await refusal(world), 'the tenant is not among those that may sign in')
  const alone = await world.start({ tenant: 'organizations', tenants: [TENANT] })
  assert.equal((await signIn(alone, `${OTHER_TENANT} eve`)).status, 400)
  assert.equal((await signedIn(alone)).user.id, alice.id)
  assert.equal(idp.at('/common/v2.0/.well-known/openid-configuration').length, 1)
})

eachEntra('each key signs for its own issuer: the key of personal accounts signs for no company (J01)', async (world) => {
  const { idp } = world
  const node = await world.start({ tenant: 'common', tenants: [TENANT, CONSUMERS] })
  await signedIn(node)
  assert.equal((await signedIn(node, `${CONSUMERS} home`)).user.subject, '00000000-0000-0000-aaaa-000000000005')
  idp.signer = idp.consumerKey
  assert.equal((await signIn(node)).status, 400)
  assert.equal(await refusal(world), 'signature: no key of the identity provider made it')
})

for (const [title, change, reason] of [
  ['an issuer of another tenant', (claims: Record<string, unknown>) => ({ ...claims, iss: String(claims['iss']).replace(TENANT, OTHER_TENANT) }), /iss/],
  ['a tid that is no GUID', (claims: Record<string, unknown>) => ({ ...claims, tid: 'contoso.com' }), /tid is no tenant/],
  ['a tid of another tenant', (claims: Record<string, unknown>) => ({ ...claims, tid: OTHER_TENANT }), /not among those/],
  ['no oid', (claims: Record<string, unknown>) => ({ ...claims, oid: undefined }), /oid is missing/],
  ['another audience', (claims: Record<string, unknown>) => ({ ...claims, aud: TENANT }), /aud/],
] as const) {
  eachEntra(`an ID token with ${title} signs nobody in (OpenID Connect Core §3.1.3.7, J01)`, async (world) => {
    const node = await world.start()
    world.idp.idToken = change
    assert.equal((await signIn(node)).status, 400)
    assert.match((await refusal(world)) ?? '', reason)
    assert.equal((await world.cluster.rows('users')).length, 0)
    world.idp.idToken = (claims) => claims
    await signedIn(node)
  })
}

for (const overage of ['delegated', 'application'] as const) {
  eachEntra(`more groups than a token holds are asked of Graph, ${overage}: once a minute, and never where the token says (J10)`, async (world) => {
    const { idp, person, cluster } = world
    person('alice').groups = Array.from({ length: 201 }, (_, index) => `9f000000-0000-4000-8000-${String(index).padStart(12, '0')}`)
    idp.apps.get(GATEWAY)?.permissions.add('User.ReadBasic.All').add('GroupMember.Read.All')
    const path = overage === 'delegated' ? '/v1.0/me/getMemberObjects' : `/v1.0/users/${person('alice').oid}/getMemberObjects`
    const node = await world.start({ overage })
    const [first] = await Promise.all([signedIn(node), signedIn(node)])
    assert.equal(first.user.groups.length, 201)
    await signedIn(node)
    assert.equal(idp.at(path).length, 1)
    assert.equal(idp.at(path)[0]?.body, '{"securityEnabledOnly":false}')
    cluster.ahead += CHECK_MS + 1000
    person('alice').groups.pop()
    assert.equal(await node.recheck.recheck(first.user.id), 'active')
    assert.equal((await node.store.findUser(first.user.id))?.groups.length, 200)
  })
}

eachEntra('groups that nobody tells are not "no groups": the sign-in ends, and says why in the audit trail', async (world) => {
  const { idp, person } = world
  person('alice').groups = Array.from({ length: 201 }, (_, index) => `group-${index}`)
  const node = await world.start({ overage: 'application' })
  assert.equal((await signIn(node)).status, 400)
  assert.equal(await refusal(world), 'Graph says nothing of the groups: 403 Authorization_RequestDenied')
  idp.apps.get(GATEWAY)?.permissions.add('User.ReadBasic.All').add('GroupMember.Read.All')
  idp.throttled = true
  assert.equal((await signIn(node)).status, 503)
  idp.throttled = false
  assert.equal((await signedIn(node)).user.groups.length, 201)
})

eachEntra('the app proves itself by a certificate, or by a secret in the body (RFC 7523 §3)', async (world) => {
  const { idp } = world
  const app = idp.apps.get(GATEWAY) ?? assert.fail()
  const { certificate, privateKey } = await addCertificate(app)
  await signedIn(await world.start({ credential: { type: 'certificate', certificate, privateKey } }))
  const [sent] = idp.at(`/${TENANT}/oauth2/v2.0/token`)
  assert.deepEqual([sent?.form.has('client_secret'), sent?.headers.authorization, idp.assertions.size], [false, undefined, 1])
  // Each request has an assertion of its own.
  await signedIn(await world.start({ credential: { type: 'certificate', certificate, privateKey } }))
  assert.equal(idp.assertions.size, 2)
  await signedIn(await world.start())
  const other = await addCertificate({ ...app, certificates: new Map() })
  assert.equal((await signIn(await world.start({ credential: { type: 'certificate', ...other } }))).status, 400)
  assert.match((await refusal(world)) ?? '', /invalid_client/)
})

eachEntra('a revoked session (50173) ends the access here; so does a policy that wants the person', async (world) => {
  const { idp, person, cluster } = world
  const node = await world.start()
  const { user } = await signedIn(node)
  cluster.ahead += CHECK_MS + 1000
  idp.policies.set(GRAPH, { context: 'c1', code: 50076 })
  // Whoever signs in now satisfies it at once.
  assert.equal((await signedIn(node, 'bob')).session.acr, 'c1')
  assert.equal(await node.recheck.recheck(user.id), 'ended')
  assert.deepEqual((await cluster.rows('sessions')).map((row) => row['user_id'] === user.id), [false])
  const again = await signedIn(node)
  assert.deepEqual([again.user.id, again.session.acr], [user.id, 'c1'])
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await node.recheck.recheck(user.id), 'active')
  person('alice').revokedAt = Math.floor(cluster.now() / 1000)
  cluster.ahead += CHECK_MS + 60_000
  assert.equal(await node.recheck.recheck(user.id), 'ended')
  assert.deepEqual((await cluster.events('subject.revoked')).map(({ subject }) => subject), [user.id, user.id])
})

eachEntra('access tokens that people present are of the same people, whichever kind the resource gets; those for Graph are nobody’s to verify (RFC 8725 §3.11)', async (world) => {
  const { idp, cluster, person } = world
  const { user } = await signedIn(await world.start())
  const client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  try {
    const provider = identityProviders([entraSettings(idp)], { outbound: client, now: cluster.now }).get('entra') ?? assert.fail()
    const [refreshToken = ''] = [...idp.refreshTokens.keys()].slice(-1)
    const tokenFor = async (scope: string): Promise<string> => {
      const answer = await fetch(`${idp.origin}/${TENANT}/oauth2/v2.0/token`, { method: 'POST', body: new URLSearchParams({ client_id: GATEWAY, client_secret: GATEWAY_SECRET, grant_type: 'refresh_token', refresh_token: refreshToken, scope }) })
      return ((await answer.json()) as { access_token: string }).access_token
    }
    for (const tokenVersion of [2, 1] as const) {
      Object.assign(idp.apps.get(NOTES_API) ?? {}, { tokenVersion })
      const claims = await provider.present?.(await tokenFor(`api://${NOTES_API}/notes.read`), 'access_token')
      assert.deepEqual([claims?.issuer, claims?.subject, claims?.audiences, claims?.clientId, claims?.scope], [user.issuer, person('alice').oid, [tokenVersion === 1 ? `api://${NOTES_API}` : NOTES_API], GATEWAY, undefined])
    }
    for (const issuer of [`${idp.origin}/${TENANT}/v2.0`, `${idp.origin}/${TENANT}/`]) assert.equal(provider.issues?.(issuer), true)
    assert.equal(provider.issues?.(`${idp.origin}/${OTHER_TENANT}/v2.0`), false)
    await assert.rejects(async () => provider.present?.(await tokenFor('User.Read'), 'access_token'), { reason: 'signature: no key of the identity provider made it' })
    const ownToken = await fetch(`${idp.origin}/${TENANT}/oauth2/v2.0/token`, { method: 'POST', body: new URLSearchParams({ client_id: GATEWAY, client_secret: GATEWAY_SECRET, grant_type: 'client_credentials', scope: `api://${NOTES_API}/.default` }) })
    await assert.rejects(async () => provider.present?.(((await ownToken.json()) as { access_token: string }).access_token, 'access_token'), { name: 'LoginRefused' })
  } finally {
    await client.close()
  }
})
