// Sign-in from the browser's side: who is signed in, in which browser, by which provider, and what that leaves behind.
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { startProvider, type RunningProvider } from '../../../demo/src/provider.ts'
import { hash } from '../../src/oauth/secret.ts'
import { addGrant, eachIdentity, IDLE_MS, ISSUER, referenceOf, SESSION_MS, settingsOf, whoami, type IdentityCluster, type IdentityNode } from '../support/identity-nodes.ts'
import { CLIENT_SECRET } from '../support/openid-provider.ts'

const HOST = 'lanyard.example'
const SESSION = '__Host-lanyard_session'
const FLOW = '__Host-lanyard_flow'

/** Starts a sign-in and comes back from the provider by hand: the callback's path, and the browser's flow cookie. */
async function leave(node: IdentityNode, headers: Readonly<Record<string, string>> = {}, path = '/whoami'): Promise<{ callback: string; cookie: string; asked: URL }> {
  const away = await node.request(path, { headers })
  assert.equal(away.status, 303, await away.clone().text())
  const asked = new URL(away.headers.get('location') ?? '')
  const back = await fetch(asked, { redirect: 'manual' })
  const callback = new URL(back.headers.get('location') ?? '')
  return { callback: `${callback.pathname}${callback.search}`, cookie: cookieOf(away, FLOW), asked }
}

function cookieOf(response: Response, name: string): string {
  return (response.headers.getSetCookie().find((line) => line.startsWith(`${name}=`)) ?? '').split(';')[0] ?? ''
}

async function nobody(cluster: IdentityCluster): Promise<void> {
  assert.deepEqual([await cluster.rows('users'), await cluster.rows('sessions')], [[], []])
}

function demoProvider(): Promise<RunningProvider> {
  return startProvider({
    name: 'Demo',
    port: 0,
    registration: false,
    clients: [{ client_id: 'lanyard', client_secret: CLIENT_SECRET, redirect_uris: [`${ISSUER}/login/corp/callback`], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] }],
  })
}

eachIdentity('a person signs in at a real OpenID provider, and out again', async (cluster) => {
  const demo = await demoProvider()
  try {
    const node = await cluster.start([settingsOf(demo)])
    const visitor = node.browser()
    const page = await visitor.approve(`${ISSUER}/whoami`, { person: 'bob' })
    assert.equal(page.status, 200, page.text)
    const { user, session } = await whoami(visitor)
    assert.deepEqual(
      { ...user, id: '' },
      { id: '', provider: 'corp', issuer: demo.issuer, subject: 'bob', name: 'Bob Baker', email: 'bob@demo.example', emailVerified: true, groups: ['sales'], disabled: false },
    )
    // Another node knows the session; the next sign-in of the same person finds the same user.
    const first = { user: user.id, session: session.id }
    const again = node.browser()
    await again.approve(`${ISSUER}/whoami`, { person: 'bob' })
    const second = await whoami(again)
    assert.equal(second.user.id, first.user)
    assert.notEqual(second.session.id, first.session)
    // The recheck asks the same provider with the refresh token that it gave, and gets a new one each time.
    for (const step of [1, 2]) {
      cluster.ahead += 300_001
      const [before] = await cluster.rows('users')
      assert.equal(await node.recheck.recheck(user.id), 'active', `recheck ${step}`)
      const [after] = await cluster.rows('users')
      assert.notEqual(after?.['tokens'], before?.['tokens'])
      assert.equal((await node.store.findUser(user.id))?.groups.join(' '), 'sales')
    }
    assert.deepEqual(await cluster.events('provider.degraded'), [])
  } finally {
    await demo.close()
  }
})

eachIdentity('prompt=login makes a real provider ask again (OpenID Connect Core §3.1.2.1, A15)', async (cluster) => {
  const demo = await demoProvider()
  try {
    const node = await cluster.start([settingsOf(demo)])
    const visitor = node.browser()
    await visitor.approve(`${ISSUER}/whoami`)
    const { session } = await whoami(visitor)
    const clear = async (): Promise<void> => void (await cluster.db.query('DELETE FROM sessions'))
    await clear()
    // The twin: without it the provider signs the browser in as before, without a page.
    assert.notEqual((await whoami(visitor)).session.id, session.id)
    await clear()
    cluster.options = { prompt: 'login' }
    const asks = await visitor.open(`${ISSUER}/whoami`)
    assert.ok(asks.forms.some((form) => form.buttons.some(([name]) => name === 'login')), asks.text)
    const page = await visitor.approve(`${ISSUER}/whoami`)
    assert.equal(page.status, 200, page.text)
  } finally {
    await demo.close()
  }
})

eachIdentity('the session cookie is bound to the host, to https and to the browser (ASVS 3.3)', async (cluster) => {
  const [node] = cluster.nodes
  const { callback, cookie, asked } = await leave(node)
  assert.match(cookie, /^__Host-lanyard_flow=lyd_flow_[\w-]{43}$/)
  assert.equal(asked.searchParams.get('redirect_uri'), `${ISSUER}/login/corp/callback`)
  assert.equal(asked.searchParams.get('code_challenge_method'), 'S256')
  assert.equal(asked.searchParams.get('response_type'), 'code')
  const back = await node.request(callback, { headers: { cookie } })
  assert.equal(back.status, 303)
  assert.equal(back.headers.get('location'), '/whoami')
  assert.equal(back.headers.get('cache-control'), 'no-store')
  assert.equal(back.headers.get('referrer-policy'), 'no-referrer')
  const [line = ''] = back.headers.getSetCookie()
  assert.match(line, /^__Host-lanyard_session=lyd_ses_[\w-]{43};/)
  const attributes = line.split('; ').slice(1).sort()
  assert.deepEqual(attributes, ['HttpOnly', `Max-Age=${SESSION_MS / 1000}`, 'Path=/', 'SameSite=Lax', 'Secure'])
  const session = cookieOf(back, SESSION)
  assert.equal((await node.request('/whoami', { headers: { cookie: session } })).status, 200)
  // A second cookie of the name was planted by somebody: neither is believed.
  assert.equal((await node.request('/whoami', { headers: { cookie: `${session}; ${SESSION}=lyd_ses_planted` } })).status, 303)
})

eachIdentity('a sign-in makes a new session and ends the one that was there (ASVS 7.2.4, D09)', async (cluster) => {
  const [node, another] = cluster.nodes
  const planted = `${SESSION}=lyd_ses_${'A'.repeat(43)}`
  const first = await leave(node, { cookie: planted })
  const signedIn = await node.request(first.callback, { headers: { cookie: `${first.cookie}; ${planted}` } })
  const session = cookieOf(signedIn, SESSION)
  assert.notEqual(session, planted)
  assert.equal((await node.request('/whoami', { headers: { cookie: planted } })).status, 303)
  assert.equal((await another.request('/whoami', { headers: { cookie: session } })).status, 200)
  const other = await leave(node)
  const elsewhere = cookieOf(await node.request(other.callback, { headers: { cookie: other.cookie } }), SESSION)
  // The same browser signs in again, as a step-up does.
  const second = await leave(node, { cookie: first.cookie }, '/login?return_to=/whoami')
  const again = await node.request(second.callback, { headers: { cookie: `${second.cookie}; ${session}` } })
  assert.equal(again.status, 303)
  assert.equal((await another.request('/whoami', { headers: { cookie: session } })).status, 303, 'the old session goes on')
  assert.equal((await another.request('/whoami', { headers: { cookie: cookieOf(again, SESSION) } })).status, 200)
  assert.equal((await another.request('/whoami', { headers: { cookie: elsewhere } })).status, 200, 'the session of another browser ended')
})

eachIdentity('a session ends when it is not used, and at its time whatever its use', async (cluster) => {
  const [node] = cluster.nodes
  const visitor = node.browser()
  await whoami(visitor)
  const cookie = `${SESSION}=${visitor.cookies(HOST).get(SESSION)}`
  const status = async (): Promise<number> => (await node.request('/whoami', { headers: { cookie } })).status
  for (let used = 0; used < SESSION_MS - IDLE_MS; used += IDLE_MS - 1000) {
    assert.equal(await status(), 200)
    cluster.ahead += IDLE_MS - 1000
  }
  assert.equal(await status(), 200)
  cluster.ahead += IDLE_MS - 1000
  assert.equal(await status(), 303, 'used beyond its time')
  const idle = node.browser()
  await whoami(idle)
  cluster.ahead += IDLE_MS + 1000
  assert.equal((await node.request('/whoami', { headers: { cookie: `${SESSION}=${idle.cookies(HOST).get(SESSION)}` } })).status, 303)
  cluster.ahead += SESSION_MS
  await node.store.reap(cluster.now())
  assert.deepEqual([await cluster.rows('sessions'), await cluster.rows('logins')], [[], []])
})

eachIdentity('state is good once, for a while, and known to its hash alone (RFC 9700 §4.7)', async (cluster) => {
  const [node, another] = cluster.nodes
  const { callback, cookie, asked } = await leave(node)
  const state = asked.searchParams.get('state') ?? ''
  assert.equal((await cluster.rows('logins'))[0]?.['state_hash'], hash(state))
  assert.equal((await another.request(callback, { headers: { cookie } })).status, 303, 'any node takes the answer')
  for (const [path, reason] of [
    [callback, 'unknown or used state'],
    [callback.replace(state, `lyd_st_${'x'.repeat(43)}`), 'unknown or used state'],
    [callback.replace(/state=[^&]*/, ''), 'no state, or a repeated parameter'],
    [`${callback}&state=x`, 'no state, or a repeated parameter'],
    [callback.replace('/corp/', '/unknown/'), 'no such provider'],
  ] as const) {
    const response = await node.request(path, { headers: { cookie } })
    const text = await response.text()
    assert.equal(response.status, 400, path)
    assert.deepEqual(response.headers.getSetCookie(), [])
    const failed = (await cluster.events('login.failed')).at(-1)
    assert.deepEqual([failed?.reason, failed?.reference], [reason, referenceOf(text)])
  }
  assert.equal((await cluster.rows('sessions')).length, 1)
  const late = await leave(node)
  cluster.ahead += 10 * 60_000 + 1
  assert.equal((await node.request(late.callback, { headers: { cookie: late.cookie } })).status, 400)
  assert.equal((await cluster.rows('sessions')).length, 1)
})

eachIdentity('only the browser that left may come back (login CSRF, D11)', async (cluster) => {
  const [node] = cluster.nodes
  const attacker = await leave(node)
  const victim = await leave(node)
  for (const headers of [{ cookie: victim.cookie }, {}, { cookie: `${attacker.cookie}; ${victim.cookie}` }] as const) {
    const { callback } = await leave(node, { cookie: attacker.cookie })
    const response = await node.request(callback, { headers })
    assert.equal(response.status, 400)
    assert.deepEqual(response.headers.getSetCookie(), [])
    const text = await response.text()
    const failed = (await cluster.events('login.failed')).at(-1)
    assert.deepEqual([failed?.reason, failed?.reference], ['another browser', referenceOf(text)])
    // It is used up: nobody tries twice.
    assert.equal((await node.request(callback, { headers: { cookie: attacker.cookie } })).status, 400)
  }
  await nobody(cluster)
  assert.equal((await node.request(victim.callback, { headers: { cookie: victim.cookie } })).status, 303)
})

eachIdentity('a long time at the provider does not make it another browser', async (cluster) => {
  const [node] = cluster.nodes
  const first = await leave(node)
  const again = await node.request('/whoami', { headers: { cookie: first.cookie } })
  assert.equal(cookieOf(again, FLOW), first.cookie)
  assert.match(again.headers.getSetCookie().find((line) => line.startsWith(FLOW)) ?? '', /Max-Age=1800/)
})

eachIdentity('an answer at another provider’s address signs nobody in (mix-up, RFC 9700 §4.4)', async (cluster) => {
  const node = await cluster.start([settingsOf(cluster.idp), settingsOf(cluster.other, { id: 'other', name: 'Other' })])
  const { callback, cookie } = await leave(node, {}, '/login?provider=corp&return_to=/whoami')
  const response = await node.request(callback.replace('/corp/', '/other/'), { headers: { cookie } })
  assert.equal(response.status, 400)
  await nobody(cluster)
  assert.equal((await cluster.events('login.failed')).at(-1)?.reason, 'another provider')
  assert.equal(cluster.other.count('/token') + cluster.idp.count('/token'), 0, 'a code was sent to somebody')
  const twin = await leave(node, {}, '/login?provider=other&return_to=/whoami')
  assert.equal((await node.request(twin.callback, { headers: { cookie: twin.cookie } })).status, 303)
})

eachIdentity('of parallel callbacks on two nodes one signs in', async (cluster) => {
  const { callback, cookie } = await leave(cluster.nodes[0])
  const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => cluster.nodes[index % 2 === 0 ? 0 : 1].request(callback, { headers: { cookie } })))
  assert.deepEqual(answers.map(({ status }) => status).sort((a, b) => a - b), [303, ...Array.from({ length: 9 }, () => 400)])
  assert.equal((await cluster.rows('sessions')).length, 1)
  assert.equal(cluster.idp.count('/token'), 1)
  assert.deepEqual([(await cluster.events('login.succeeded')).length, (await cluster.events('login.failed')).length], [1, 9])
})

eachIdentity('parallel first sign-ins of one person make one user', async (cluster) => {
  const flows = await Promise.all(Array.from({ length: 6 }, (_, index) => leave(cluster.nodes[index % 2 === 0 ? 0 : 1])))
  const answers = await Promise.all(flows.map(({ callback, cookie }, index) => cluster.nodes[index % 2 === 0 ? 1 : 0].request(callback, { headers: { cookie } })))
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([303]))
  assert.deepEqual([(await cluster.rows('users')).length, (await cluster.rows('sessions')).length], [1, 6])
  assert.equal(new Set((await cluster.events('login.succeeded')).map(({ subject }) => subject)).size, 1)
})

eachIdentity('groups come from the ID token or from userinfo, as a string or a list; junk names none', async (cluster) => {
  const { idp, nodes } = cluster
  for (const [claim, groups] of [
    [['engineering', 'it'], ['engineering', 'it']],
    ['engineering', ['engineering']],
    [['a', 7, null, '', { name: 'admins' }, ['admins'], 'a', 'x'.repeat(257)], ['a']],
    [{ admins: true }, []],
    [true, []],
    ['', []],
    [[], []],
    [undefined, []],
  ] as const) {
    for (const onlyUserinfo of [[], ['groups']]) {
      Object.assign(idp.behave, { onlyUserinfo, person: { sub: 'alice', email: 'alice@corp.example', groups: claim } })
      assert.deepEqual((await whoami(nodes[0].browser())).user.groups, groups, JSON.stringify(claim))
    }
  }
  assert.equal((await cluster.rows('users')).length, 1, 'the groups of a person are those of the newest sign-in')
  const asked = idp.count('/userinfo')
  idp.behave.person = { sub: 'alice', email: 'alice@corp.example', groups: [] }
  idp.behave.onlyUserinfo = []
  await whoami(nodes[0].browser())
  assert.equal(idp.count('/userinfo'), asked, 'userinfo was asked for what the ID token said')
})

eachIdentity('userinfo adds to the ID token and never replaces it', async (cluster) => {
  const { idp, nodes } = cluster
  idp.behave.person = { sub: 'alice', groups: ['engineering'], acr: 'low', amr: ['pwd'] }
  idp.behave.userinfo = (own) => ({ ...own, groups: ['it-admins'], email: 'alice@corp.example', acr: 'high', sid: 'planted', iss: 'https://elsewhere.example' })
  const { user } = await whoami(nodes[0].browser())
  assert.deepEqual([user.groups, user.email], [['engineering'], 'alice@corp.example'])
  const [session] = await cluster.rows('sessions')
  assert.deepEqual([session?.['acr'], session?.['amr'], session?.['sid']], ['low', '["pwd"]', null])
  // What the userinfo endpoint says of the sign-in itself is not believed either.
  idp.behave.person = { sub: 'bob' }
  await whoami(nodes[0].browser())
  const bob = (await cluster.rows('sessions')).find((row) => row['acr'] === null)
  assert.equal(bob?.['sid'], null)
})

eachIdentity('a person is provider, issuer and subject, never an e-mail address (J02, G12)', async (cluster) => {
  const node = await cluster.start([settingsOf(cluster.idp), settingsOf(cluster.other, { id: 'other', name: 'Other' })])
  const who = async (provider: 'idp' | 'other', sub: string, email: string): Promise<string> => {
    cluster[provider].behave.person = { sub, email, email_verified: true, groups: [] }
    const { user } = await whoami(node.browser(), `/login?provider=${provider === 'idp' ? 'corp' : 'other'}&return_to=/whoami`)
    assert.equal(user.subject, sub)
    return user.id
  }
  const alice = await who('idp', 'alice', 'alice@corp.example')
  assert.notEqual(await who('idp', 'mallory', 'alice@corp.example'), alice, 'the address made another subject Alice')
  assert.notEqual(await who('other', 'alice', 'alice@corp.example'), alice, 'another provider’s Alice is ours')
  assert.notEqual(await who('idp', 'ALICE', 'alice@corp.example'), alice, 'subjects are compared without case')
  assert.notEqual(await who('idp', 'alice ', 'alice@corp.example'), alice)
  assert.equal(await who('idp', 'alice', 'alice@new.example'), alice, 'a new address made a new person')
  // The provider moved to another issuer: its subjects are others (OpenID Connect Core §2).
  const moved = await cluster.start([settingsOf(cluster.other)])
  cluster.other.behave.person = { sub: 'alice' }
  assert.notEqual((await whoami(moved.browser())).user.id, alice)
})

eachIdentity('names are shown, so they hold no control and no direction characters', async (cluster) => {
  cluster.idp.behave.person = { sub: 'alice', name: 'Ali\u0000ce\u202e \u0007evil', email: `a\u0000${'x'.repeat(400)}@corp.example`, groups: ['a\u0000b'] }
  const { user } = await whoami(cluster.nodes[0].browser())
  assert.equal(user.name, 'Ali ce evil')
  assert.equal(user.email?.includes('\u0000'), false)
  assert.ok((user.email?.length ?? 0) <= 320)
})

eachIdentity('a disabled user is refused, and their sessions are none', async (cluster) => {
  const [node, another] = cluster.nodes
  const visitor = node.browser()
  const { user } = await whoami(visitor)
  await cluster.db.query('UPDATE users SET disabled = 1 WHERE id = $1', [user.id])
  const page = await visitor.open(`${ISSUER}/whoami`)
  assert.equal(page.status, 403)
  const [failed] = await cluster.events('login.failed')
  assert.deepEqual([failed?.reason, failed?.reference], ['the user is disabled', referenceOf(page.text)])
  assert.equal((await cluster.rows('sessions')).length, 1)
  assert.equal(await another.recheck.recheck(user.id), 'ended')
  await cluster.db.query('UPDATE users SET disabled = 0 WHERE id = $1', [user.id])
  assert.equal((await whoami(visitor)).user.id, user.id)
})

eachIdentity('sessions of a provider that was removed are none any more (J09)', async (cluster) => {
  const [node] = cluster.nodes
  const visitor = node.browser()
  const { user } = await whoami(visitor)
  const cookie = `${SESSION}=${visitor.cookies(HOST).get(SESSION)}`
  const without = await cluster.start([settingsOf(cluster.other, { id: 'other' })])
  assert.equal((await without.request('/whoami', { headers: { cookie } })).status, 303)
  assert.equal(await without.recheck.recheck(user.id), 'ended')
  assert.equal((await without.request('/login/corp/callback?state=x&code=y', { headers: { cookie } })).status, 400)
  assert.equal((await node.request('/whoami', { headers: { cookie } })).status, 200)
})

eachIdentity('a sign-in that must be fresh is not proven by an old one, nor by one of unknown age (A15, ASVS 10.3.4)', async (cluster) => {
  const { idp, nodes } = cluster
  const seconds = (): number => Math.floor(cluster.now() / 1000)
  for (const options of [{ prompt: 'login' as const }, { maxAge: 60 }, { maxAge: 0 }, { prompt: 'login' as const, maxAge: 86_400 }]) {
    cluster.options = options
    for (const authTime of [seconds() - 3600, 0, undefined]) {
      idp.behave.authTime = () => authTime
      const page = await nodes[0].browser().open(`${ISSUER}/whoami`)
      assert.equal(page.status, 400, `${JSON.stringify(options)} ${authTime}`)
      assert.match((await cluster.events('login.failed')).at(-1)?.reason ?? '', /signed in/)
    }
    idp.behave.authTime = seconds
    const { session } = await whoami(nodes[0].browser())
    assert.ok(seconds() - (session.authTime ?? 0) < 10)
    assert.equal(idp.asked.get('max_age'), String(options.maxAge ?? 0))
    assert.equal(idp.asked.get('prompt'), options.prompt ?? null)
  }
  cluster.options = { maxAge: 7200 }
  idp.behave.authTime = () => seconds() - 3600
  await whoami(nodes[0].browser())
  // Where nothing was asked, the age may be unknown, and is then not invented.
  cluster.options = {}
  idp.behave.authTime = () => 0
  assert.equal((await whoami(nodes[0].browser())).session.authTime, undefined)
  assert.equal(idp.asked.get('max_age'), null)
})

eachIdentity('with several providers a person chooses, and the choice loses nothing that was asked', async (cluster) => {
  const node = await cluster.start([settingsOf(cluster.idp), settingsOf(cluster.other, { id: 'other', name: '<b>Other</b>\u202e', offlineAccess: 'scope-and-consent' })])
  cluster.options = { prompt: 'login', maxAge: 30, acrValues: 'mfa', loginHint: 'alice@corp.example' }
  const visitor = node.browser()
  const page = await visitor.open(`${ISSUER}/whoami`)
  assert.equal(page.status, 200)
  assert.match(page.text, /&lt;b&gt;Other&lt;\/b&gt;/)
  assert.deepEqual([cluster.idp.count('/authorize'), cluster.other.count('/authorize'), (await cluster.rows('logins')).length], [0, 0, 0])
  const links = [...page.text.matchAll(/href="(\/login\?[^"]*)"/g)].map(([, link = '']) => `${ISSUER}${link.replaceAll('&amp;', '&')}`)
  assert.deepEqual(links.map((link) => new URL(link).searchParams.get('provider')), ['corp', 'other'])
  assert.doesNotMatch(links.join(' '), /prompt|max_age|mfa|corp\.example/)
  const stranger = await node.browser().open(links[1] ?? '')
  assert.equal(stranger.status, 400, 'the choice of one browser was good in another')
  const changed = await visitor.open((links[1] ?? '').replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')).replace('choice=', 'choice=x'))
  assert.equal(changed.status, 400)
  cluster.other.behave.authTime = () => 1000
  assert.equal((await visitor.open(links[1] ?? '')).status, 400, 'the choice forgot that the sign-in must be fresh')
  cluster.other.behave.authTime = () => Math.floor(cluster.now() / 1000)
  const done = await visitor.open(links[1] ?? '')
  assert.equal(done.status, 200, done.text)
  const { asked } = cluster.other
  assert.deepEqual(
    ['prompt', 'max_age', 'acr_values', 'login_hint'].map((name) => asked.get(name)),
    ['login consent', '30', 'mfa', 'alice@corp.example'],
  )
  const references = new Set((await cluster.events()).filter(({ action }) => action === 'login.started' || action === 'login.succeeded').map(({ reference }) => reference))
  assert.equal(references.size, 1, 'the reference of the flow was lost')
  await cluster.db.query('DELETE FROM sessions')
  cluster.ahead += 31 * 60_000
  assert.equal((await visitor.open(links[1] ?? '')).status, 400, 'a choice is good for ever')
})

eachIdentity('E08: where a sign-in comes back to may prove that it succeeded, and does not stand in the database in the clear', async (cluster) => {
  const [node] = cluster.nodes
  const proof = 'lyd_st_only-whoever-signed-in-learns-it'
  cluster.options = { returnTo: `/whoami?signed_in=${proof}` }
  const { callback, cookie } = await leave(node)
  assert.equal((await cluster.rows('logins')).length, 1)
  assert.equal(JSON.stringify(await cluster.rows('logins')).includes(proof), false)
  const response = await cluster.nodes[1].request(callback, { headers: { cookie } })
  assert.deepEqual([response.status, response.headers.get('location')], [303, `/whoami?signed_in=${proof}`])
})

eachIdentity('return_to leads to a path of this gateway and nowhere else (RFC 9700 §4.11)', async (cluster) => {
  const [node] = cluster.nodes
  for (const [given, expected] of [
    ['/whoami?x=1#y', '/whoami?x=1#y'],
    ['https://evil.example/', '/'],
    ['//evil.example/', '/'],
    ['/\\evil.example', '/'],
    ['/\t/evil.example', '/'],
    ['/\r\nLocation: https://evil.example', '/'],
    ['\\/evil.example', '/'],
    ['/%0d%0aset-cookie:x=y', '/%0d%0aset-cookie:x=y'],
    ['javascript:alert(1)', '/'],
    ['/a\u2028b', '/'],
    ['', '/'],
  ] as const) {
    const { callback, cookie } = await leave(node, {}, `/login?${new URLSearchParams({ return_to: given }).toString()}`)
    const response = await node.request(callback, { headers: { cookie } })
    assert.equal(response.status, 303)
    const location = response.headers.get('location') ?? ''
    assert.equal(location, expected)
    assert.equal(new URL(location, ISSUER).origin, ISSUER)
  }
})

eachIdentity('no path that a random string makes leaves the gateway', async (cluster) => {
  const [node] = cluster.nodes
  const letters = ['/', '\\', ':', '@', 'a', '.', '?', '#', '%', '\t', ' ', 'h', '\u00e4']
  for (let round = 0; round < 40; round += 1) {
    const text = `/${Array.from({ length: randomInt(1, 8) }, () => letters[randomInt(letters.length)]).join('')}`
    const { callback, cookie } = await leave(node, {}, `/login?${new URLSearchParams({ return_to: text }).toString()}`)
    const location = (await node.request(callback, { headers: { cookie } })).headers.get('location') ?? ''
    assert.equal(new URL(location, ISSUER).origin, ISSUER, JSON.stringify(text))
  }
})

eachIdentity('signing out takes a form of the same site and session, and ends that session alone', async (cluster) => {
  const [node, another] = cluster.nodes
  const visitor = node.browser()
  const { csrf, user } = await whoami(visitor)
  const elsewhere = another.browser()
  const foreign = await whoami(elsewhere)
  const cookie = `${SESSION}=${visitor.cookies(HOST).get(SESSION)}`
  const out = (fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = { origin: ISSUER, 'sec-fetch-site': 'same-origin' }): Promise<Response> =>
    node.request('/logout', { method: 'POST', body: new URLSearchParams(fields).toString(), headers: { cookie, 'content-type': 'application/x-www-form-urlencoded', ...headers } })
  for (const refused of [
    await out({}),
    await out({ csrf: 'x' }),
    await out({ csrf: foreign.csrf }),
    await out({ csrf }, { origin: 'https://evil.example' }),
    await out({ csrf }, { origin: ISSUER, 'sec-fetch-site': 'cross-site' }),
    await out({ csrf }, { origin: 'null', 'sec-fetch-site': 'cross-site' }),
    await out({ csrf }, { origin: 'null' }),
    await out({ csrf }, { origin: 'https://sub.lanyard.example', 'sec-fetch-site': 'same-site' }),
  ]) {
    assert.equal(refused.status, 403)
    assert.deepEqual(refused.headers.getSetCookie(), [])
  }
  assert.equal((await node.request('/logout', { headers: { cookie } })).status, 405)
  assert.equal((await node.request('/whoami', { headers: { cookie } })).status, 200)
  // Of a form on a page without referrer, browsers say `Origin: null` and where it came from.
  const done = await out({ csrf, return_to: '//evil.example' }, { origin: 'null', 'sec-fetch-site': 'same-origin' })
  assert.deepEqual([done.status, done.headers.get('location')], [303, '/'])
  assert.match(done.headers.getSetCookie()[0] ?? '', /^__Host-lanyard_session=; Path=\/; .*Max-Age=0/)
  assert.equal((await another.request('/whoami', { headers: { cookie } })).status, 303)
  assert.equal((await elsewhere.open(`${ISSUER}/whoami`)).status, 200)
  assert.deepEqual((await cluster.events('logout')).map(({ subject }) => subject), [user.id])
  assert.equal((await out({ csrf })).status, 303, 'who is signed out may sign out')
  assert.equal((await cluster.events('logout')).length, 1)
})

eachIdentity('nothing secret of a sign-in stands anywhere in clear', async (cluster) => {
  const { idp, nodes } = cluster
  const visitor = nodes[0].browser()
  const { user } = await whoami(visitor)
  await addGrant(cluster.db, user.id, cluster.now())
  const refused = await leave(nodes[0])
  const open = await leave(nodes[0])
  await nodes[0].request(refused.callback)
  const gone = await leave(nodes[0])
  idp.behave.sign = () => 'junk'
  await nodes[0].request(gone.callback, { headers: { cookie: gone.cookie } })
  delete idp.behave.sign
  cluster.ahead += 300_001
  assert.equal(await nodes[1].recheck.recheck(user.id), 'active')
  const cookies = [...visitor.cookies(HOST).values(), open.cookie.split('=')[1] ?? '', CLIENT_SECRET]
  const secrets = [...idp.secrets, ...cookies].filter((secret) => secret !== 'junk' && secret !== 'none')
  assert.ok(secrets.length > 20)
  const tables = await cluster.db.query<{ name: string }>(
    cluster.db.dialect === 'sqlite'
      ? "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
      : "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'",
  )
  assert.ok(tables.length > 10)
  for (const { name } of tables) {
    const text = JSON.stringify(await cluster.db.query(`SELECT * FROM ${name}`))
    for (const secret of secrets) assert.equal(text.includes(secret), false, `${name} holds ${secret}`)
  }
  assert.equal(JSON.stringify(await cluster.events()).includes('alice@corp.example'), false)
  // Sealed for its row alone: in another row it does not open.
  const [row] = await cluster.rows('users')
  const sealed = String(row?.['tokens']) as Parameters<typeof cluster.sealer.open>[0]
  const kept = cluster.sealer.open(sealed, ['users', user.id, 'tokens'])
  assert.match(kept, /idp-rt-/)
  assert.doesNotMatch(kept, /idp-at-/, 'what nobody uses again is not kept')
  assert.throws(() => cluster.sealer.open(sealed, ['users', 'usr_other', 'tokens']))
})

eachIdentity('a network that floods gets 429 and writes nothing, at the start and on the way back', async (cluster) => {
  const [node] = cluster.nodes
  const left = await leave(node)
  const before = (await cluster.rows('logins')).length
  cluster.flood = () => ({ allowed: false, retryAfter: 7 })
  for (const path of ['/login?return_to=/whoami', left.callback]) {
    const answer = await node.request(path, { headers: { cookie: left.cookie } })
    assert.equal(answer.status, 429)
    assert.equal(answer.headers.get('retry-after'), '7')
  }
  assert.equal((await cluster.rows('logins')).length, before)
  cluster.flood = () => ({ allowed: true, retryAfter: 0 })
  assert.equal((await node.request(left.callback, { headers: { cookie: left.cookie } })).status, 303)
})
