// People of a Google Workspace sign in: who is let in, which groups they are in, and when Google is asked for consent.
// Against the emulator of Google, whose answers Google's own library accepts.
import assert from 'node:assert/strict'
import { exportPKCS8 } from 'jose'
import type { ProviderSettings } from '../../src/identity/providers/index.ts'
import { browser } from '../support/browser.ts'
import { addServiceAccount, CLIENT_ID, CLIENT_SECRET, DOMAIN, google, GROUPS_SCOPE, json, type Google, type ServiceAccount } from '../support/google/google.ts'
import { eachIdentity, ISSUER, whoami, type IdentityCluster, type IdentityNode } from '../support/identity-nodes.ts'

interface House {
  readonly cluster: IdentityCluster
  readonly emulator: Google
  readonly account: ServiceAccount
  readonly node: IdentityNode
  start(more?: Partial<ProviderSettings<'google-workspace'>>): Promise<IdentityNode>
}

function eachGoogle(name: string, run: (house: House) => Promise<void>): void {
  eachIdentity(name, async (cluster) => {
    const emulator = await google()
    emulator.now = cluster.now
    const account = await addServiceAccount(emulator, 'groups')
    account.groupsReader = true
    const serviceAccount = { email: account.email, key: { id: account.keys.file.kid, privateKey: await exportPKCS8(account.keys.file.key) }, tokenUrl: `${emulator.origin}/token`, iamUrl: emulator.origin, metadataUrl: emulator.origin, stsUrl: emulator.origin }
    const start: House['start'] = (more = {}) =>
      cluster.start([{ type: 'google-workspace', id: 'google', name: 'Google', issuer: emulator.origin, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, scopes: ['openid', 'profile', 'email'], groupsClaim: 'groups', rolesClaim: 'roles', offlineAccess: 'access_type', domains: [DOMAIN], directory: { url: emulator.origin, serviceAccount }, ...more }])
    try {
      await run({ cluster, emulator, account, node: await start(), start })
    } finally {
      await emulator.close()
    }
  })
}

const signIn = async (node: IdentityNode, person: string) => {
  const visitor = node.browser()
  const page = await visitor.approve(`${ISSUER}/whoami`, { person })
  return { visitor, page }
}

const asked = (emulator: Google): URLSearchParams[] => emulator.at('/o/oauth2/v2/auth').map(({ query }) => query)

eachGoogle('a person of the domain signs in, with their groups and their verified address', async ({ cluster, emulator, node }) => {
  const { visitor, page } = await signIn(node, 'alice')
  assert.equal(page.status, 200, page.text)
  const { user } = await whoami(visitor)
  assert.deepEqual({ ...user, id: '' }, { id: '', provider: 'google', issuer: emulator.origin, subject: '110000000000000000001', name: 'Alice', email: `alice@${DOMAIN}`, emailVerified: true, groups: [`engineering@${DOMAIN}`], disabled: false })
  const [only, ...more] = asked(emulator)
  assert.equal(more.length, 0, 'one consent, one sign-in')
  assert.deepEqual(['access_type', 'prompt', 'hd', 'scope', 'acr_values'].map((name) => only?.get(name)), ['offline', null, DOMAIN, 'openid profile email', null])
  assert.deepEqual(await cluster.events('provider.degraded'), [])
})

eachGoogle('hd is a claim and no parameter: personal accounts on the company’s address, and other companies, stay outside (J01)', async ({ cluster, emulator, node }) => {
  for (const [person, reason] of [['mallory', 'hd is missing: a personal account'], ['eve', 'hd is another domain']] as const) {
    const { page } = await signIn(node, person)
    assert.equal(page.status, 400, page.text)
    // Google's answer names hd in the address as well: whoever changes it there changes nothing.
    assert.equal((await cluster.events('login.failed')).at(-1)?.reason, reason)
  }
  assert.deepEqual(await cluster.rows('users'), [])
  const away = await node.request('/whoami')
  const cookie = away.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ')
  const back = new URL((await browser({ stop: (to) => to.startsWith(`${ISSUER}/login/google/callback`) }).approve(away.headers.get('location') ?? '', { person: 'mallory' })).url)
  back.searchParams.set('hd', DOMAIN)
  assert.equal((await node.request(`${back.pathname}${back.search}`, { headers: { cookie } })).status, 400)
  assert.deepEqual(await cluster.rows('users'), [])
  assert.equal((await signIn(node, 'alice')).page.status, 200)
  assert.equal(emulator.at('/admin/directory/v1/groups').length, 1, 'the directory was asked for nobody else')
})

eachGoogle('both spellings of the issuer are one person, and any other is nobody', async ({ cluster, emulator, node }) => {
  const first = (await whoami((await signIn(node, 'alice')).visitor)).user.id
  emulator.bareIssuer = true
  assert.equal((await whoami((await signIn(node, 'alice')).visitor)).user.id, first)
  cluster.ahead += 300_001
  assert.equal(await node.recheck.recheck(first), 'active')
  assert.deepEqual(await cluster.events('provider.degraded'), [])
  const [user] = await cluster.rows('users')
  assert.equal(user?.['issuer'], emulator.origin)
})

eachGoogle('consent is asked for where it is needed alone: when no refresh token of the person is known', async ({ cluster, emulator, node }) => {
  await signIn(node, 'alice')
  assert.deepEqual(asked(emulator).map((query) => query.get('prompt')), [null])
  await signIn(node, 'alice')
  assert.deepEqual(asked(emulator).map((query) => query.get('prompt')), [null, null], 'the refresh token is known')
  // What was lost here is asked for once more, by itself, with the person's address as a hint.
  await cluster.db.query('UPDATE users SET tokens = NULL')
  const { page } = await signIn(node, 'alice')
  assert.equal(page.status, 200)
  assert.deepEqual(asked(emulator).slice(2).map((query) => [query.get('prompt'), query.get('login_hint')]), [[null, null], ['consent', `alice@${DOMAIN}`]])
  const { user } = await whoami((await signIn(node, 'alice')).visitor)
  assert.equal(asked(emulator).length, 5)
  cluster.ahead += 300_001
  assert.equal(await node.recheck.recheck(user.id), 'active')
  assert.equal(emulator.at('/token').filter(({ form }) => form.get('grant_type') === 'refresh_token').length, 1)
})

eachGoogle('who refuses that consent is signed in all the same, and is not asked again in the same breath', async ({ cluster, emulator, node }) => {
  await signIn(node, 'alice')
  await cluster.db.query('UPDATE users SET tokens = NULL')
  const visitor = node.browser()
  const page = await visitor.approve(`${ISSUER}/whoami`, { person: 'alice', decision: 'deny' })
  assert.equal(page.status, 200, page.text)
  assert.equal(asked(emulator).length, 3)
  assert.equal((await whoami(visitor)).user.subject, '110000000000000000001')
  assert.equal((await cluster.events('login.failed')).at(-1)?.reason, 'provider: access_denied')
})

eachGoogle('who left the company loses access with the next check', async ({ cluster, emulator, node, start }) => {
  const { user } = await whoami((await signIn(node, 'alice')).visitor)
  const { user: bob } = await whoami((await signIn(node, 'bob')).visitor)
  const alice = emulator.people.get('alice')
  assert.ok(alice)
  alice.suspended = true
  cluster.ahead += 300_001
  assert.equal(await node.recheck.recheck(user.id), 'ended')
  assert.equal(await node.recheck.recheck(bob.id), 'active')
  // A domain that is no longer the company's: its people are asked for, and are out.
  const later = await start({ domains: ['new.example'] })
  cluster.ahead += 300_001
  assert.equal(await later.recheck.recheck(bob.id), 'ended')
})

eachGoogle('who took the access back at Google ends here with the next check, and consents anew when they come back', async ({ cluster, emulator, node }) => {
  const { user } = await whoami((await signIn(node, 'alice')).visitor)
  emulator.refreshTokens.clear()
  cluster.ahead += 300_001
  assert.equal(await node.recheck.recheck(user.id), 'ended')
  // Google still remembers the consent, and gives no refresh token for it: the dead one must not be gone on with.
  await signIn(node, 'alice')
  assert.deepEqual(asked(emulator).map((query) => query.get('prompt')), [null, null, 'consent'])
  cluster.ahead += 300_001
  assert.equal(await node.recheck.recheck(user.id), 'active')
})

eachGoogle('groups: all pages, in the name of an administrator, changed ones with the next check', async ({ cluster, emulator, account, start }) => {
  account.groupsReader = false
  account.delegated.add(GROUPS_SCOPE)
  emulator.pageSize = 2
  const alice = emulator.people.get('alice')
  assert.ok(alice)
  alice.groups = ['a', 'b', 'c', 'd', 'e'].map((name) => ({ email: `${name}@${DOMAIN}`, name }))
  const serviceAccount = { email: account.email, key: { id: account.keys.file.kid, privateKey: await exportPKCS8(account.keys.file.key) }, tokenUrl: `${emulator.origin}/token`, iamUrl: emulator.origin, metadataUrl: emulator.origin, stsUrl: emulator.origin }
  const node = await start({ directory: { url: emulator.origin, administrator: `admin@${DOMAIN}`, serviceAccount } })
  const { user } = await whoami((await signIn(node, 'alice')).visitor)
  assert.deepEqual(user.groups, alice.groups.map(({ email }) => email))
  assert.equal(emulator.at('/admin/directory/v1/groups').length, 3)
  assert.deepEqual(emulator.at('/admin/directory/v1/groups').map(({ query }) => query.get('userKey')), Array(3).fill('110000000000000000001'))
  await signIn(node, 'alice')
  assert.equal(emulator.at('/admin/directory/v1/groups').length, 3, 'kept for five minutes')
  alice.groups = [{ email: `a@${DOMAIN}`, name: 'a' }]
  cluster.ahead += 300_001
  await node.recheck.recheck(user.id)
  assert.deepEqual((await node.store.findUser(user.id))?.groups, [`a@${DOMAIN}`])
})

eachGoogle('a directory that cannot be read lets nobody in with no groups; who is in already keeps those that are known', async ({ cluster, emulator, account, node }) => {
  const { user } = await whoami((await signIn(node, 'alice')).visitor)
  account.groupsReader = false
  cluster.ahead += 300_001
  const { page } = await signIn(node, 'bob')
  assert.equal(page.status, 503)
  assert.match((await cluster.events('provider.degraded')).at(-1)?.reason ?? '', /Groups Reader/)
  assert.equal(await node.recheck.recheck(user.id), 'active')
  assert.deepEqual((await node.store.findUser(user.id))?.groups, [`engineering@${DOMAIN}`])
  emulator.instead = ({ path }, response) => {
    if (path !== '/admin/directory/v1/groups') return false
    json(response, 503, {})
    return true
  }
  assert.equal((await signIn(node, 'bob')).page.status, 503)
  emulator.instead = () => false
  account.groupsReader = true
  cluster.ahead += 11_000
  assert.equal((await signIn(node, 'bob')).page.status, 200)
})

eachGoogle('more groups than can be looked at are none at all, and nobody is signed in with a part of them', async ({ cluster, emulator, node }) => {
  const alice = emulator.people.get('alice')
  assert.ok(alice)
  const groups = (count: number): void => void (alice.groups = Array.from({ length: count }, (_, index) => ({ email: `g${index}@${DOMAIN}`, name: `g${index}` })))
  groups(2001)
  assert.equal((await signIn(node, 'alice')).page.status, 400)
  assert.equal((await cluster.events('login.failed')).at(-1)?.reason, 'groups: too_many_groups')
  groups(2000)
  assert.equal((await whoami((await signIn(node, 'alice')).visitor)).user.groups.length, 2000)
})

eachGoogle('an address that Google does not call verified is not the person’s (OpenID Connect Core §5.1)', async ({ emulator, node }) => {
  const alice = emulator.people.get('alice')
  assert.ok(alice)
  alice.emailVerified = false
  const { user } = await whoami((await signIn(node, 'alice')).visitor)
  assert.equal(user.email, undefined)
  alice.emailVerified = true
  assert.equal((await whoami((await signIn(node, 'alice')).visitor)).user.email, `alice@${DOMAIN}`)
})

eachGoogle('a sign-in that must be fresh is proven where the project tells auth_time, and not otherwise (RFC 9470 §5)', async ({ cluster, emulator, node }) => {
  cluster.options = { prompt: 'login' }
  assert.equal((await signIn(node, 'alice')).page.status, 400)
  assert.match((await cluster.events('login.failed')).at(-1)?.reason ?? '', /does not say when/)
  assert.deepEqual([asked(emulator)[0]?.get('prompt'), asked(emulator)[0]?.get('claims')], ['select_account', '{"id_token":{"auth_time":{"essential":true}}}'])
  emulator.sessionAge = true
  const { page } = await signIn(node, 'alice')
  assert.equal(page.status, 200, page.text)
})
