// People sign in by the presets for Okta, Keycloak and Ping, each with what it does otherwise than other providers.
import assert from 'node:assert/strict'
import { okta as oktaPreset } from '../../src/config/preset-schema.ts'
import { outbound } from '../../src/http/outbound.ts'
import { identityProviders, type ProviderSettings } from '../../src/identity/providers/index.ts'
import { pingScopes } from '../../src/identity/providers/ping.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import { eachIdentity, ISSUER, settingsOf, whoami, type IdentityNode } from '../support/identity-nodes.ts'
import { CLIENT_ID, CLIENT_SECRET, okta } from '../support/okta/okta.ts'
import { CLIENT_SECRET as SECRET } from '../support/openid-provider.ts'
import { KEYCLOAK, PING_FEDERATE, PING_ONE, shapedProvider } from '../support/shaped-provider.ts'

const signIn = async (node: IdentityNode, person: string) => {
  const visitor = node.browser()
  const page = await visitor.approve(`${ISSUER}/whoami`, { person })
  return { visitor, page }
}

/** The settings as the configuration's schema makes them. */
function oktaSettings(issuer: string): ProviderSettings<'okta'> {
  const { acceptTokens: _tokens, acceptIdTokens: _idTokens, ...settings } = oktaPreset.parse({ id: 'okta', type: 'okta', issuer, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET })
  return { ...settings, name: 'Okta', clientSecret: CLIENT_SECRET }
}

for (const kind of ['org', 'custom'] as const) {
  for (const thin of [false, true]) {
    eachIdentity(`Okta, ${kind} authorization server${thin ? ', ID tokens without the profile' : ''}: a person signs in with their groups and is asked for again`, async (cluster) => {
      const emulator = await okta()
      emulator.now = cluster.now
      emulator.thin = thin
      try {
        const issuer = kind === 'org' ? emulator.origin : emulator.customIssuer
        const node = await cluster.start([oktaSettings(issuer)])
        const { visitor, page } = await signIn(node, 'alice')
        assert.equal(page.status, 200, page.text)
        const { user } = await whoami(visitor)
        assert.deepEqual({ ...user, id: '' }, { id: '', provider: 'okta', issuer, subject: '00u1alice', name: 'Alice', email: 'alice@corp.example', emailVerified: true, groups: ['Everyone', 'engineering'], disabled: false })
        const asked = emulator.at(kind === 'org' ? '/oauth2/v1/authorize' : '/oauth2/default/v1/authorize')[0]?.query
        assert.equal(asked?.get('scope'), `openid profile email offline_access${kind === 'org' ? ' groups' : ''}`)
        cluster.ahead += 300_001
        assert.equal(await node.recheck.recheck(user.id), 'active')
        const alice = emulator.people.get('alice')
        assert.ok(alice)
        alice.active = false
        cluster.ahead += 300_001
        assert.equal(await node.recheck.recheck(user.id), 'ended')
        assert.deepEqual(await cluster.events('provider.degraded'), [])
      } finally {
        await emulator.close()
      }
    })
  }
}

eachIdentity('Okta: whoever is not assigned, or is in too many groups, is not signed in; a stronger sign-in is asked for in Okta’s words', async (cluster) => {
  const emulator = await okta()
  emulator.now = cluster.now
  try {
    const node = await cluster.start([oktaSettings(emulator.origin)])
    assert.equal((await signIn(node, 'carol')).page.status, 400)
    assert.equal((await cluster.events('login.failed')).at(-1)?.reason, 'provider: access_denied')
    const bob = emulator.people.get('bob')
    assert.ok(bob)
    bob.groups = Array.from({ length: 101 }, (_, index) => `g${index}`)
    assert.notEqual((await signIn(node, 'bob')).page.status, 200)
    bob.groups = ['sales']
    assert.equal((await signIn(node, 'bob')).page.status, 200)
    assert.ok(oktaSettings(emulator.origin).acrValues?.includes('urn:okta:loa:2fa:any'))
    cluster.options = { acrValues: 'urn:okta:loa:2fa:any' }
    const { visitor } = await signIn(node, 'alice')
    const { session } = (await whoami(visitor)) as unknown as { session: { acr?: string; amr?: string[] } }
    assert.deepEqual([session.acr, session.amr], ['urn:okta:loa:2fa:any', ['mfa', 'otp', 'pwd']])
  } finally {
    await emulator.close()
  }
})

eachIdentity('a tile of the provider begins a sign-in at that provider alone, and leads to no other site (OpenID Connect Core §4)', async (cluster) => {
  const emulator = await okta()
  try {
    const node = await cluster.start([oktaSettings(emulator.origin), settingsOf(cluster.idp)])
    const begin = async (query: Readonly<Record<string, string>>): Promise<{ to: string; hint: string | null; back: unknown }> => {
      const answer = await node.request(`/login?${new URLSearchParams(query).toString()}`)
      const to = new URL(answer.headers.get('location') ?? 'none:', ISSUER)
      const [row] = await cluster.db.query<{ state_hash: string; return_to: Sealed }>('SELECT state_hash, return_to FROM logins')
      await cluster.db.query('DELETE FROM logins')
      return { to: to.origin, hint: to.searchParams.get('login_hint'), back: row && cluster.sealer.open(row.return_to, ['logins', row.state_hash, 'return_to']) }
    }
    const tile = { iss: emulator.origin, login_hint: 'alice@corp.example' }
    assert.deepEqual(await begin({ ...tile, target_link_uri: `${ISSUER}/whoami?x=1` }), { to: emulator.origin, hint: 'alice@corp.example', back: '/whoami?x=1' })
    assert.deepEqual(await begin(tile), { to: emulator.origin, hint: 'alice@corp.example', back: '/' })
    for (const target of ['https://evil.example/whoami', `${ISSUER}.evil.example/`, 'javascript:alert(1)', `${ISSUER}//evil.example/`, '//evil.example']) {
      assert.deepEqual(await begin({ ...tile, target_link_uri: target }), { to: emulator.origin, hint: 'alice@corp.example', back: '/' }, target)
    }
    // An issuer that nobody configured begins nothing: the person chooses.
    assert.equal((await node.request(`/login?iss=https://evil.example`)).status, 200)
    const visitor = node.browser()
    const page = await visitor.approve(`${ISSUER}/login?${new URLSearchParams({ ...tile, target_link_uri: `${ISSUER}/whoami` }).toString()}`, { person: 'alice' })
    assert.deepEqual([page.status, page.url], [200, `${ISSUER}/whoami`])
  } finally {
    await emulator.close()
  }
})

eachIdentity('Okta: presented tokens name one person by one identifier, whichever kind they are', async (cluster) => {
  const emulator = await okta()
  emulator.now = cluster.now
  try {
    const client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
    const node = await cluster.start([oktaSettings(emulator.customIssuer)])
    await signIn(node, 'alice')
    const [access] = emulator.access.keys()
    const provider = identityProviders([oktaSettings(emulator.customIssuer)], { outbound: client, now: cluster.now }).get('okta')
    const presented = await provider?.present?.(access ?? '', 'access_token')
    assert.deepEqual([presented?.subject, presented?.clientId, presented?.audiences, presented?.scope], ['00u1alice', CLIENT_ID, ['api://default'], undefined])
    await client.close()
  } finally {
    await emulator.close()
  }
})

const keycloakSettings = (issuer: string, more: Partial<ProviderSettings<'keycloak'>> = {}): ProviderSettings<'keycloak'> => ({ type: 'keycloak', id: 'keycloak', name: 'Keycloak', issuer, clientId: 'lanyard', clientSecret: SECRET, scopes: ['openid', 'profile', 'email', 'offline_access'], groupsClaim: 'groups', rolesClaim: 'roles', offlineAccess: 'scope', ...more })

const ALICE = { name: 'Alice Archer', preferred_username: 'alice', email: 'alice@corp.example', email_verified: true, groups: ['/engineering/platform', 'plain'], realm_access: { roles: ['offline_access', 'employee'] }, resource_access: { lanyard: { roles: ['Notes.Write', 'employee'] }, 'other-app': { roles: ['root'] } } }

eachIdentity('Keycloak: groups without their first slash; roles of the realm and of this client, from the access token, and of no other client', async (cluster) => {
  const provider = await shapedProvider(KEYCLOAK, { alice: ALICE, bob: { name: 'Bob' } })
  try {
    const node = await cluster.start([keycloakSettings(provider.issuer)])
    const { visitor, page } = await signIn(node, 'alice')
    assert.equal(page.status, 200, page.text)
    const user = (await whoami(visitor)).user as { groups: string[]; roles?: string[]; email?: string; id: string }
    assert.deepEqual([user.groups, user.roles, user.email], [['engineering/platform', 'plain'], ['offline_access', 'employee', 'Notes.Write'], 'alice@corp.example'])
    assert.ok(provider.asked[0]?.get('scope')?.includes('offline_access'))
    // Nobody's groups and roles are anybody else's.
    const bob = (await whoami((await signIn(node, 'bob')).visitor)).user as { groups: string[]; roles?: string[] }
    assert.deepEqual([bob.groups, bob.roles], [[], undefined])
    const alice = provider.people.get('alice')
    assert.ok(alice)
    Object.assign(alice, { realm_access: { roles: [] }, resource_access: {}, groups: ['/sales'] })
    cluster.ahead += 300_001
    assert.equal(await node.recheck.recheck(user.id), 'active')
    const later = await node.store.findUser(user.id)
    assert.deepEqual([later?.groups, later?.roles], [['sales'], undefined])
    assert.deepEqual(await cluster.events('provider.degraded'), [])
  } finally {
    await provider.close()
  }
})

eachIdentity('Keycloak: an access token of another person or client brings nobody roles', async (cluster) => {
  for (const wrong of [{ sub: 'bob' }, { azp: 'other-app' }, { azp: undefined }]) {
    const provider = await shapedProvider({ ...KEYCLOAK, accessToken: () => ({ ...KEYCLOAK.accessToken?.(ALICE), ...wrong }) }, { alice: ALICE })
    try {
      const node = await cluster.start([keycloakSettings(provider.issuer)])
      assert.equal((await signIn(node, 'alice')).page.status, 400, JSON.stringify(wrong))
      assert.match((await cluster.events('login.failed')).at(-1)?.reason ?? '', /access token is of somebody else/)
    } finally {
      await provider.close()
    }
  }
  assert.deepEqual(await cluster.rows('users'), [])
})

const pingSettings = (issuer: string, scopes: readonly string[]): ProviderSettings<'ping'> => ({ type: 'ping', id: 'ping', name: 'Ping', issuer, clientId: 'lanyard', clientSecret: SECRET, scopes, groupsClaim: 'groups', offlineAccess: 'scope' })

for (const [name, shape, expected] of [['PingOne', PING_ONE, true], ['PingFederate', PING_FEDERATE, false]] as const) {
  eachIdentity(`${name}: offline_access is asked for where it is known; groups as the mapping tells them`, async (cluster) => {
    const provider = await shapedProvider(shape, { alice: { name: 'Alice', email: 'alice@corp.example', email_verified: true, groups: ['CN=engineering,OU=Groups,DC=corp', 'sales'] } })
    try {
      const node = await cluster.start([pingSettings(provider.issuer, pingScopes(provider.issuer))])
      const { visitor, page } = await signIn(node, 'alice')
      assert.equal(page.status, 200, page.text)
      const { user } = await whoami(visitor)
      assert.deepEqual(user.groups, ['CN=engineering,OU=Groups,DC=corp', 'sales'])
      assert.equal(provider.asked[0]?.get('scope')?.includes('offline_access'), expected)
      cluster.ahead += 300_001
      assert.equal(await node.recheck.recheck(user.id), 'active')
      assert.deepEqual(await cluster.events('provider.degraded'), [])
    } finally {
      await provider.close()
    }
  })
}
