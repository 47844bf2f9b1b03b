// RFC 9470 at the authorization endpoint: what a sign-in must prove, what the identity provider is asked for, what the
// client is told when it was not proven, and how grants unite.
import assert from 'node:assert/strict'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { identityProviders } from '../../src/identity/providers/index.ts'
import { scopeMapping } from '../../src/identity/scope-mapping.ts'
import { stepUpStore } from '../../src/store/step-ups.ts'
import { browser, type Browser, type Page } from '../support/browser.ts'
import { answerOf, callbackOf, eachHouse, press, PROVIDER, type Changes, type House, type HouseOptions } from '../support/authorize-house.ts'
import { CLIENT_SECRET, openIdProvider, type OpenIdProvider } from '../support/openid-provider.ts'

const UNMET = 'unmet_authentication_requirements'
const MFA = 'urn:mfa'

async function signedIn(house: House, changes: Changes = {}): Promise<Browser> {
  const person = house.browser()
  assertCode(await press(person, await house.ask(person, changes), 'decision', 'approve'))
  return person
}

function assertCode(page: Page): void {
  assert.match(answerOf(page)['code'] ?? page.text, /^lyd_ac_/)
}

const grants = (house: House) => house.rows<{ scope: string; acr: string | null; auth_time: number | null; claims: string | null; revoked_at: number | null; client_id: string }>('grants')

/** Comes back from the identity provider as the person that it knows now. */
async function comeBack(house: House, person: Browser, changes: Changes): Promise<Page> {
  const away = await person.open(house.request(changes))
  assert.ok(away.url.startsWith(PROVIDER), away.url)
  return person.open(callbackOf(away.url, 'code'))
}

eachHouse('RFC 9470 §5, B10: an acr that was asked for and not proven ends the request; one that was proven is in the grant', async (house) => {
  const person = await signedIn(house)
  for (const acr of [undefined, 'urn:pwd', 'URN:MFA', `${MFA} urn:pwd`]) {
    house.person = { subject: 'alice', ...(acr === undefined ? {} : { acr }) }
    const before = house.asked.length
    const page = await comeBack(house, person, { acr_values: MFA })
    assert.deepEqual([answerOf(page)['error'], answerOf(page)['state'], answerOf(page)['iss'], house.asked.length - before], [UNMET, 'client-state', house.issuer, 1])
    assert.deepEqual(await house.rows('authorization_requests'), [])
  }
  assert.equal((await grants(house)).length, 1)
  assert.equal(house.events('authorization.refused').length, 4)
  house.person = { subject: 'alice', acr: MFA }
  assertCode(await comeBack(house, person, { acr_values: `urn:hardware ${MFA}` }))
  assert.deepEqual((await grants(house)).map(({ acr }) => acr).filter((acr) => acr !== null), [MFA])
})

eachHouse('OpenID Connect Core §5.5: essential claims are passed on and must be proven; an essential acr counts like acr_values', async (house) => {
  const person = await signedIn(house)
  const managed = { claims: JSON.stringify({ access_token: { device: { essential: true, value: 'managed' } }, id_token: { acr: { essential: true, values: [MFA, 'urn:hardware'] }, name: null, email: { essential: true } }, userinfo: { x: { essential: true, value: 1 } } }) }
  const proofs = [{ acr: MFA }, { acr: MFA, claims: { device: 'private' } }, { claims: { device: 'managed' } }] as const
  for (const proof of proofs) {
    house.person = { subject: 'alice', ...proof }
    assert.equal(answerOf(await comeBack(house, person, managed))['error'], UNMET, JSON.stringify(proof))
  }
  assert.deepEqual([house.asked.at(-1)?.acrValues, house.asked.at(-1)?.claims], [`${MFA} urn:hardware`, { device: ['managed'] }])
  house.person = { subject: 'alice', acr: MFA, claims: { device: ['managed', 'encrypted'] } }
  assertCode(await comeBack(house, person, managed))
  assert.equal((await grants(house)).filter(({ claims }) => claims === '{"device":["managed","encrypted"]}').length, 1)
  // What the session proves already needs no sign-in, and what is voluntary asks for nothing.
  assertCode(await person.open(house.request(managed)))
  assertCode(await person.open(house.request({ claims: '{"id_token":{"device":{"value":"other"},"acr":{"values":["urn:none"]}}}' })))
})

eachHouse('a claims parameter that is none, or a large one, is refused before anybody is asked anything', async (house) => {
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`c${index}`, { essential: true, value: 1 }]))
  const bad = ['', '[]', 'null', '{', '"x"', '{"id_token":[]}', '{"id_token":{"acr":1}}', '{"id_token":{"acr":{"essential":"yes"}}}', '{"id_token":{"a":{"essential":true,"value":{}}}}', '{"id_token":{"a":{"essential":true,"values":"x"}}}', '{"id_token":{"acr":{"essential":true,"value":"a b"}}}', JSON.stringify({ id_token: many }), JSON.stringify({ id_token: { a: { essential: true, values: Array.from({ length: 33 }, () => 1) } } }), `{"id_token":{}}${' '.repeat(4096)}`, `{"id_token":${'{"a":'.repeat(700)}{}${'}'.repeat(700)}}`]
  for (const claims of bad) {
    const answer = answerOf(await (await signedInOnce(house)).open(house.request({ claims })))
    assert.equal(answer['error'], claims === '' ? undefined : 'invalid_request', claims.slice(0, 80))
  }
  const person = await signedInOnce(house)
  const before = house.asked.length
  for (const acr of ['x'.repeat(513), 'a"b']) assert.equal(answerOf(await person.open(house.request({ acr_values: acr })))['error'], 'invalid_request')
  assert.equal(house.asked.length, before)
  for (const claims of ['{}', '{"id_token":{}}', '{"id_token":{"__proto__":null,"constructor":{"essential":false,"value":"x"}},"other":[1]}']) assertCode(await person.open(house.request({ claims })))
})

const known = new WeakMap<House, Promise<Browser>>()
function signedInOnce(house: House): Promise<Browser> {
  const person = known.get(house) ?? signedIn(house)
  known.set(house, person)
  return person
}

eachHouse('a re-authorization with less is a grant of its own, and takes nothing from the stronger one (downgrade)', async (house) => {
  house.person = { subject: 'alice', acr: MFA, authTime: Math.floor(house.now / 1000) }
  const person = await signedIn(house)
  house.person = { subject: 'alice', acr: 'urn:pwd' }
  assertCode(await comeBack(house, person, { prompt: 'login' }))
  assert.deepEqual(new Map((await grants(house)).map(({ acr, revoked_at: end }) => [acr, end])), new Map([[MFA, null], ['urn:pwd', null]]))
  // The session is the weak one now: what it was before counts no more.
  assert.equal(answerOf(await comeBack(house, person, { acr_values: MFA }))['error'], UNMET)
})

const KEY = async (house: House, more: { userId?: string; clientId?: string } = {}) => {
  const [user] = await house.store.db.query<{ id: string }>("SELECT id FROM users WHERE subject = 'alice'")
  return { userId: user?.id ?? '', clientId: 'editor', resource: house.resource('notes'), ...more }
}

eachHouse('what a client was told at the resource is added to its next request of that person alone (RFC 9470 §3)', async (house) => {
  const person = await signedIn(house)
  const stepUps = stepUpStore(house.store)
  const ask = async (more: { userId?: string; clientId?: string } = {}) => stepUps.ask({ ...(await KEY(house, more)), grantId: 'grt', requirement: { acrValues: [MFA], maxAge: 300, claims: { device: ['managed'] } }, scope: [] }, house.now, house.now)
  await ask({ clientId: 'other' })
  await ask({ userId: 'usr_other' })
  assertCode(await person.open(house.request()))
  await ask()
  house.now += 10 * 60_000
  assertCode(await person.open(house.request()))
  await ask()
  house.person = { subject: 'alice', acr: MFA, claims: { device: 'managed' }, authTime: Math.floor(house.now / 1000) }
  assertCode(await comeBack(house, person, {}))
  const { acrValues, maxAge, claims } = house.asked.at(-1) ?? {}
  assert.deepEqual([acrValues, maxAge, claims], [MFA, 300, { device: ['managed'] }])
  // Done: a request of later asks for what it says.
  house.now += 3600_000
  assertCode(await person.open(house.request()))
  assert.equal((await house.rows('step_ups')).length, 2)
})

eachHouse('what the provider cannot give is told to the client, and keeps nobody from using the rest (no loop)', async (house) => {
  const person = await signedIn(house)
  await stepUpStore(house.store).ask({ ...(await KEY(house)), grantId: 'grt', requirement: { acrValues: [MFA] }, scope: [] }, house.now, house.now)
  assert.equal(answerOf(await comeBack(house, person, {}))['error'], UNMET)
  const before = house.asked.length
  assertCode(await person.open(house.request()))
  assert.equal(house.asked.length, before)
  const [row] = await house.rows<{ unmet_at: number | null }>('step_ups')
  assert.equal(row?.unmet_at, house.now)
})

eachHouse('somebody else who signs in for it gets a grant of their own, by their own consent', async (house) => {
  const person = await signedIn(house)
  await stepUpStore(house.store).ask({ ...(await KEY(house)), grantId: 'grt', requirement: { acrValues: [MFA] }, scope: ['mcp.write'] }, house.now, house.now)
  house.person = { subject: 'bob', acr: MFA }
  const page = await comeBack(house, person, {})
  assert.match(page.text, /Allow Editor/)
  assert.doesNotMatch(page.text, /mcp\.write/)
  assert.equal((await grants(house)).filter(({ acr }) => acr === MFA).length, 0)
})

eachHouse('D06: grants unite when more is asked for, and the person approves all of it; who asks for less gets less (RS-9)', async (house) => {
  const person = await signedIn(house, { scope: 'mcp.notes.read' })
  const page = await person.open(house.request({ scope: 'mcp.notes.write' }))
  assert.match(page.text, /<code>mcp\.notes\.write<\/code>[\s\S]*<code>mcp\.notes\.read<\/code>/)
  assert.equal((await grants(house)).length, 1)
  assertCode(await press(person, page, 'decision', 'approve'))
  assertCode(await person.open(house.request({ scope: 'mcp.notes.read' })))
  // Other clients and resources have nothing to do with it.
  assert.doesNotMatch((await person.open(house.request({ client_id: 'other', scope: 'mcp.read' }))).text, /mcp\.notes/)
  assert.deepEqual((await grants(house)).map(({ scope }) => scope).toSorted(), ['mcp.notes.read', 'mcp.notes.read', 'mcp.notes.write mcp.notes.read'])
})

eachHouse('D06: a page that was opened before the scope grew approves nothing', async (house) => {
  const person = house.browser()
  const page = await house.ask(person, { scope: 'mcp.read' })
  await stepUpStore(house.store).ask({ ...(await KEY(house)), grantId: 'grt', requirement: {}, scope: ['mcp.write'] }, house.now, house.now)
  assert.equal((await press(person, page, 'decision', 'approve')).status, 403)
  assert.deepEqual([await house.rows('consents'), await house.rows('codes')], [[], []])
  const [row] = await house.rows<{ id: string }>('authorization_requests')
  const again = await person.open(`${house.issuer}/authorize/${row?.id}`)
  assert.match(again.text, /mcp\.write/)
  assertCode(await press(person, again, 'decision', 'approve'))
  assert.deepEqual((await grants(house)).map(({ scope }) => scope), ['mcp.read mcp.write'])
})

eachHouse('AS-30: of the scope that is asked for, the person gets what their groups and roles give them', async (house) => {
  house.scopes = scopeMapping([{ scopes: ['mcp.read'], groups: ['staff'] }, { scopes: ['mcp.write'], roles: ['Writer'] }])
  const person = house.browser()
  const page = await house.ask(person, { scope: 'mcp.read mcp.write' })
  assert.doesNotMatch(page.text, /mcp\.write/)
  assertCode(await press(person, page, 'decision', 'approve'))
  house.person = { subject: 'bob', roles: ['Writer'] }
  const writer = house.browser()
  assertCode(await press(writer, await house.ask(writer, { scope: 'mcp.read mcp.write' }), 'decision', 'approve'))
  assert.deepEqual((await grants(house)).map(({ scope }) => scope), ['mcp.read', 'mcp.read mcp.write'])
  house.scopes = scopeMapping([{ scopes: ['mcp.read'], groups: ['others'] }])
  assert.equal(answerOf(await person.open(house.request({ scope: 'mcp.read' })))['error'], 'access_denied')
})

const real: { provider?: OpenIdProvider; outbound?: Outbound } = {}
const withProvider: HouseOptions = {
  async providers({ now }) {
    real.provider = await openIdProvider(now)
    real.outbound = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
    const settings = { id: 'corp', type: 'oidc', name: 'Corp', issuer: real.provider.issuer, clientId: 'lanyard', clientSecret: CLIENT_SECRET, scopes: ['openid'], groupsClaim: 'groups', claims: ['device', 'nested', 'huge'], offlineAccess: 'scope' } as const
    return [...identityProviders([settings], { outbound: real.outbound, now }).values()]
  },
}

eachHouse(
  'the ID token alone proves acr and auth_time: not userinfo, not a time in the future or of another unit (A15)',
  async (house) => {
    const provider = real.provider
    assert.ok(provider !== undefined)
    try {
      const person = browser({ stop: (url) => url.startsWith('https://app.example/') })
      assertCode(await person.approve(house.request()))
      // Older than all of the requests want it.
      house.now += 120_000
      const seconds = Math.floor(house.now / 1000)
      const lies: readonly (readonly [string, () => void, Changes])[] = [
        ['a time in the future', () => (provider.behave.authTime = () => seconds + 3600), { max_age: '60' }],
        ['milliseconds', () => (provider.behave.authTime = () => house.now), { max_age: '60' }],
        ['no time', () => (provider.behave.authTime = () => undefined), { max_age: '60' }],
        ['an old time', () => (provider.behave.authTime = () => seconds - 3600), { max_age: '60' }],
        ['userinfo', () => Object.assign(provider.behave, { userinfo: (claims: object) => ({ ...claims, acr: MFA }) }), { acr_values: MFA }],
        ['a list', () => (provider.behave.idToken = (claims) => ({ ...claims, acr: [MFA] })), { acr_values: MFA }],
      ]
      for (const [name, lie, changes] of lies) {
        lie()
        assert.equal(answerOf(await person.open(house.request(changes)))['error'], UNMET, name)
        Object.assign(provider.behave, { authTime: () => seconds, idToken: undefined, userinfo: undefined })
      }
      provider.behave.callback = (parameters) => {
        parameters.delete('code')
        parameters.set('error', UNMET)
      }
      assert.equal(answerOf(await person.open(house.request({ acr_values: MFA })))['error'], UNMET)
      provider.behave.callback = () => undefined
      provider.behave.person = { ...provider.behave.person, acr: MFA, device: 'managed', nested: { a: 1 }, huge: 'x'.repeat(257) }
      assertCode(await person.open(house.request({ acr_values: MFA, max_age: '60', claims: '{"id_token":{"device":{"essential":true,"value":"managed"}}}' })))
      assert.equal(provider.asked.get('claims'), '{"id_token":{"device":{"essential":true,"value":"managed"}}}')
      assert.deepEqual((await grants(house)).map(({ acr, auth_time: at, claims }) => [acr, at, claims]).at(-1), [MFA, seconds, '{"device":"managed"}'])
    } finally {
      await provider.close()
      await real.outbound?.close()
    }
  },
  withProvider,
)
