// Signing in for a request: when it is asked for, what the identity provider is told, and which session proves it.
import assert from 'node:assert/strict'
import { startProvider, type RunningProvider } from '../../../demo/src/provider.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { identityProviders } from '../../src/identity/providers/index.ts'
import { ProviderUnavailable, type IdentityProvider } from '../../src/identity/providers/provider.ts'
import type { Browser, Page } from '../support/browser.ts'
import { answerOf, callbackOf, client, eachHouse, press, PROVIDER, type House, type HouseOptions } from '../support/authorize-house.ts'
import { browser } from '../support/browser.ts'

async function signedIn(house: House): Promise<Browser> {
  const person = house.browser()
  await press(person, await house.ask(person), 'decision', 'approve')
  return person
}

function assertCode(page: Page): void {
  assert.match(answerOf(page)['code'] ?? page.text, /^lyd_ac_/)
}

async function sessionIds(house: House): Promise<readonly string[]> {
  return (await house.rows<{ id: string }>('sessions')).map((row) => row.id)
}

eachHouse('OpenID Connect Core §3.1.2.1: prompt=none asks nobody anything (D08)', async (house) => {
  const stranger = await house.browser().open(house.request({ prompt: 'none' }))
  // A site that nobody has verified is gone to by the person's own hand (RFC 9700 §4.11.2).
  assert.match(stranger.text, /href="https:\/\/app\.example\/cb\?error=login_required&/)
  assert.equal(house.asked.length, 0)
  const person = await signedIn(house)
  assertCode(await person.open(house.request({ prompt: 'none' })))
  // D08: from a client that was not approved.
  const unknown = await person.open(house.request({ prompt: 'none', client_id: 'other' }))
  assert.equal(answerOf(unknown)['error'], 'consent_required')
  assert.equal(answerOf(unknown)['iss'], house.issuer)
  assert.equal(answerOf(await person.open(house.request({ prompt: 'none', scope: 'mcp.write' })))['error'], 'consent_required')
  house.now += 3600_000
  assert.equal(answerOf(await person.open(house.request({ prompt: 'none', max_age: '60' })))['error'], 'login_required')
  assert.equal((await house.rows('codes')).length, 2)
  assert.deepEqual(await house.rows('authorization_requests'), [])
})

eachHouse('A15: prompt=login and select_account ask for a new sign-in, once', async (house) => {
  const person = await signedIn(house)
  for (const prompt of ['login', 'select_account', 'login consent']) {
    const before = house.asked.length
    house.now += 120_000
    const away = await person.open(house.request({ prompt }))
    assert.ok(away.url.startsWith(PROVIDER), prompt)
    assert.equal(house.asked.at(-1)?.prompt, 'login')
    const page = await person.open(callbackOf(away.url, 'code'))
    if (prompt.includes('consent')) assert.match(page.text, /Allow Editor/)
    else assertCode(page)
    assert.equal(house.asked.length, before + 1)
  }
  const times = (await house.rows<{ auth_time: number }>('grants')).map((grant) => grant.auth_time)
  assert.ok(times.includes(Math.floor(house.now / 1000) - 120))
})

eachHouse('A15: max_age is measured by the time of authentication, and one that is not known is too old', async (house) => {
  const person = await signedIn(house)
  const unknown = await person.open(house.request({ max_age: '3600' }))
  assert.ok(unknown.url.startsWith(PROVIDER))
  assert.equal(house.asked.at(-1)?.maxAge, 3600)
  assertCode(await person.open(callbackOf(unknown.url, 'code')))
  house.now += 3599_000
  assertCode(await person.open(house.request({ max_age: '3600' })))
  house.now += 2000
  const old = await person.open(house.request({ max_age: '3600' }))
  assert.ok(old.url.startsWith(PROVIDER))
  assertCode(await person.open(callbackOf(old.url, 'code')))
  assertCode(await person.open(house.request()))
})

eachHouse('A15: a session that came of another sign-in does not stand for the one that was asked for', async (house) => {
  const person = await signedIn(house)
  for (const changes of [{ prompt: 'login' }, { max_age: '60' }]) {
    house.now += 3600_000
    const away = await person.open(house.request(changes))
    assert.ok(away.url.startsWith(PROVIDER))
    const step = await pendingStep(house)
    // In another tab, without asking for anything: the identity provider answers with its old session.
    const before = await sessionIds(house)
    house.person = { subject: 'alice', authTime: Math.floor(house.now / 1000) - 3600 }
    for (const returnTo of [step, `${step}?signed_in=guess`]) {
      const tab = await person.open(`${house.issuer}/login?return_to=${encodeURIComponent(returnTo)}`)
      assert.equal(house.asked.at(-1)?.prompt, undefined)
      const back = await person.open(callbackOf(tab.url, 'code'))
      assert.notDeepEqual(await sessionIds(house), before)
      assert.ok(back.url.startsWith(PROVIDER), back.url)
    }
    // The sign-in that the request itself asks for is good.
    house.person = { subject: 'alice' }
    assertCode(await house.open(person, house.issuer + step))
  }
})

async function pendingStep(house: House): Promise<string> {
  const [row] = await house.rows<{ id: string }>('authorization_requests')
  return `/authorize/${row?.id ?? ''}`
}

eachHouse('RFC 9470 §4: acr_values that the session does not have are asked for, and what it then has is in the grant', async (house) => {
  const person = await signedIn(house)
  house.person = { subject: 'alice', acr: 'urn:mfa' }
  const away = await person.open(house.request({ acr_values: 'urn:mfa urn:hardware' }))
  assert.ok(away.url.startsWith(PROVIDER))
  assert.equal(house.asked.at(-1)?.acrValues, 'urn:mfa urn:hardware')
  assertCode(await person.open(callbackOf(away.url, 'code')))
  assertCode(await person.open(house.request({ acr_values: 'urn:mfa' })))
  assert.deepEqual((await house.rows<{ acr: string | null }>('grants')).map((grant) => grant.acr ?? 'none').sort(), ['none', 'urn:mfa', 'urn:mfa'])
})

eachHouse('somebody else than the one who is signed in chooses another account, and is asked then', async (house) => {
  const person = await signedIn(house)
  const page = await house.ask(person, { client_id: 'other', login_hint: 'alice@corp.example' })
  assert.match(page.text, /alice@corp\.example/)
  house.person = { subject: 'bob' }
  const away = await press(person, page, 'account', 'another')
  assert.ok(away.url.startsWith(PROVIDER))
  assert.deepEqual([house.asked.at(-1)?.prompt, house.asked.at(-1)?.loginHint], ['login', undefined])
  const asked = await person.open(callbackOf(away.url, 'code'))
  assert.match(asked.text, /bob@corp\.example/)
  assertCode(await press(person, asked, 'decision', 'approve'))
  const consents = await house.rows<{ user_id: string; client_id: string }>('consents')
  assert.equal(new Set(consents.map((row) => row.user_id)).size, 2)
  assert.deepEqual(consents.map((row) => row.client_id).sort(), ['editor', 'other'])
})

eachHouse('D09, D11: the sign-in ends in the browser that began it, with a session of its own', async (house) => {
  const attacker = house.browser()
  const away = await attacker.open(house.request())
  const victim = house.browser()
  const page = await victim.open(callbackOf(away.url, 'code'))
  assert.equal(page.status, 400)
  assert.deepEqual(await sessionIds(house), [])
  assert.deepEqual(await house.rows('codes'), [])
  const again = await attacker.open(house.request())
  assert.match((await attacker.open(callbackOf(again.url, 'code'))).text, /Allow Editor/)
})

eachHouse('a session that ended meanwhile is asked for again, and the answer of its page does not count', async (house) => {
  const person = house.browser()
  const page = await house.ask(person)
  await house.store.db.query('DELETE FROM sessions')
  const away = await press(person, page, 'decision', 'approve')
  assert.ok(away.url.startsWith(PROVIDER))
  assert.deepEqual(await house.rows('consents'), [])
  assertCode(await press(person, await person.open(callbackOf(away.url, 'code')), 'decision', 'approve'))
})

const real: { provider?: RunningProvider; outbound?: Outbound } = {}
const withRealProvider: HouseOptions = {
  async providers({ issuer, now }) {
    const clients = [{ client_id: 'lanyard', client_secret: 'lanyard-secret-lanyard-secret-12', redirect_uris: [`${issuer}/login/corp/callback`], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code' as const] }]
    real.provider = await startProvider({ name: 'Demo Company', port: 0, clients, registration: false })
    real.outbound = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
    const settings = { id: 'corp', type: 'oidc', name: 'Demo Company', issuer: real.provider.issuer, clientId: 'lanyard', clientSecret: 'lanyard-secret-lanyard-secret-12', scopes: ['openid', 'profile', 'email', 'offline_access'], groupsClaim: 'groups', offlineAccess: 'scope' } as const
    return [...identityProviders([settings], { outbound: real.outbound, now }).values()]
  },
}

eachHouse(
  'J1: with a real OpenID provider a person signs in once, approves once, and is asked again when a client wants that',
  async (house) => {
    try {
      const person = browser({ stop: (url) => url.startsWith('https://app.example/') })
      assertCode(await person.approve(house.request()))
      const [user] = await house.store.db.query<{ name: string; groups: string }>('SELECT name, groups FROM users')
      assert.deepEqual([user?.name, user?.groups], ['Alice Andersson', '["engineering"]'])
      assertCode(await person.open(house.request({ state: 'again' })))
      // The provider knows the person for a moment only: it says when it last asked, and that is recent enough.
      assertCode(await person.open(house.request({ max_age: '3600' })))
      const [grant] = await house.store.db.query<{ auth_time: number }>('SELECT auth_time FROM grants WHERE auth_time IS NOT NULL')
      assert.ok(Math.abs((grant?.auth_time ?? 0) - Date.now() / 1000) < 60)
      const page = await person.open(house.request({ prompt: 'login' }))
      assert.ok(page.url.startsWith(real.provider?.issuer ?? 'none'), page.url)
      assertCode(await person.approve(house.request({ prompt: 'login' })))
      assert.equal((await house.rows('codes')).length, 4)
      house.clients.set('second', client('second'))
      assertCode(await person.approve(house.request({ client_id: 'second' })))
      assert.equal(house.events('login.succeeded').length, 3)
    } finally {
      await real.provider?.close()
      await real.outbound?.close()
    }
  },
  withRealProvider,
)

eachHouse('a cookie that is no flow makes no second one: the sign-in that it starts comes back (D09)', async (house) => {
  const jar = (answer: Response): string[] => answer.headers.getSetCookie().flatMap((cookie) => /^lanyard_(?:flow|session)=[^;]+/.exec(cookie)?.[0] ?? [])
  for (const cookie of ['lanyard_flow=garbage', 'x=lanyard_flow=c;lanyard_flow=a; lanyard_flow=b', '']) {
    const away = await fetch(house.request(), { headers: { cookie }, redirect: 'manual' })
    const flows = new Set(jar(away))
    assert.equal(flows.size, 1, cookie)
    const back = await fetch(callbackOf(away.headers.get('location') ?? '', 'code'), { headers: { cookie: [...flows].join() }, redirect: 'manual' })
    assert.equal(back.status, 303, await back.text())
    assert.match(jar(back).join(), /^lanyard_session=lyd_ses_/)
  }
})

const outage: { from?: 'start' | 'finish' } = {}

/** A provider that never says when the user signed in, and does not answer at times. */
const fallible: IdentityProvider = {
  id: 'corp',
  name: 'Corp',
  async authorizationUrl({ state }, { redirectUri }) {
    if (outage.from === 'start') throw new ProviderUnavailable('it is down')
    return new URL(`${PROVIDER}/authorize?${new URLSearchParams({ state, redirect_uri: redirectUri }).toString()}`)
  },
  async finish() {
    if (outage.from === 'finish') throw new ProviderUnavailable('it is down')
    return { provider: 'corp', issuer: PROVIDER, subject: 'alice', groups: ['staff'], tokens: { idToken: 'id-token' } }
  },
}

eachHouse(
  'A15: a provider that does not answer vouches for no new sign-in, whatever its page leads to',
  async (house) => {
    const person = await signedIn(house)
    for (const from of ['start', 'finish'] as const) {
      const codes = (await house.rows('codes')).length
      outage.from = from
      const asked = await person.open(house.request({ prompt: 'login' }))
      const down = from === 'start' ? asked : await person.open(callbackOf(asked.url, 'code'))
      assert.equal(down.status, 503)
      const again = /href="(\/authorize\/[^"]*)">Try again/.exec(down.text)?.[1]?.replaceAll('&amp;', '&')
      assert.ok(again, down.text)
      delete outage.from
      const away = await person.open(`${house.issuer}${again}`)
      assert.ok(away.url.startsWith(PROVIDER), away.url)
      assert.equal((await house.rows('codes')).length, codes)
      assertCode(await person.open(callbackOf(away.url, 'code')))
    }
  },
  { providers: async () => [fallible] },
)
