// The page where a person confirms that it is them: for whom it works, what it changes, and what nobody can do with it.
import assert from 'node:assert/strict'
import { elevation, type StepUpLink } from '../../src/authorize/step-up-link.ts'
import { stepUpStore } from '../../src/store/step-ups.ts'
import { tokenStore } from '../../src/store/tokens.ts'
import type { Browser, Page } from '../support/browser.ts'
import { callbackOf, eachHouse, press, PROVIDER, type House } from '../support/authorize-house.ts'

const MFA = 'urn:mfa'

async function signedIn(house: House, clientId = 'editor'): Promise<Browser> {
  const person = house.browser()
  await press(person, await house.ask(person, { client_id: clientId }), 'decision', 'approve')
  return person
}

interface GrantRow {
  readonly id: string
  readonly user_id: string
  readonly client_id: string
  readonly acr: string | null
  readonly auth_time: number | null
  readonly revoked_at: number | null
}

const grants = (house: House) => house.rows<GrantRow>('grants')

async function grantOf(house: House, clientId = 'editor'): Promise<GrantRow> {
  const found = (await grants(house)).find((each) => each.client_id === clientId)
  assert.ok(found !== undefined)
  return found
}

async function linkTo(house: House, more: Partial<StepUpLink> = {}): Promise<string> {
  const grant = await grantOf(house)
  const { issuer, state, store } = house
  const elevate = elevation({ issuer, state, stepUps: stepUpStore(store), grants: tokenStore(store), now: () => house.now })
  return elevate.url({ grantId: grant.id, userId: grant.user_id, clientId: grant.client_id, resource: house.resource('notes'), requirement: { acrValues: [MFA], maxAge: 300 }, use: 'delete_note of Notes', ...more })
}

/** Confirms, signs in at the identity provider as whoever it knows now, and comes back. */
async function confirm(person: Browser, link: string): Promise<Page> {
  const page = await person.open(link)
  assert.match(page.text, /Editor.*wants to use delete_note of Notes/s)
  const away = await press(person, page, 'decision', 'confirm')
  assert.ok(away.url.startsWith(PROVIDER), `${away.url} ${away.text}`)
  return person.open(callbackOf(away.url, 'code'))
}

eachHouse('RS-36: whose grant it is confirms, signs in again, and the grant has it; no other grant has', async (house) => {
  const person = await signedIn(house)
  await press(person, await house.ask(person, { client_id: 'other' }), 'decision', 'approve')
  house.person = { subject: 'alice', acr: MFA, authTime: Math.floor(house.now / 1000) }
  const link = await linkTo(house)
  assert.match((await confirm(person, link)).text, /Thank you/)
  assert.deepEqual([house.asked.at(-1)?.acrValues, house.asked.at(-1)?.maxAge], [MFA, 300])
  assert.deepEqual([(await grantOf(house)).acr, (await grantOf(house)).auth_time], [MFA, Math.floor(house.now / 1000)])
  assert.equal((await grantOf(house, 'other')).acr, null)
  assert.deepEqual(house.events('step-up.granted').map(({ grantId, clientId, outcome }) => [grantId, clientId, outcome]), [[(await grantOf(house)).id, 'editor', 'success']])
  const changes = await house.store.db.query<{ kind: string; key: string }>("SELECT kind, key FROM changes WHERE kind = 'authentication'")
  assert.deepEqual(changes.map(({ key }) => key), [(await grantOf(house)).id])
  // What the session proves already is not asked for again, and still only by the person's own word.
  const before = house.asked.length
  const again = await person.open(await linkTo(house))
  assert.match((await press(person, again, 'decision', 'confirm')).text, /Thank you/)
  assert.equal(house.asked.length, before)
})

eachHouse('RS-36: somebody else in the same browser, before or after the sign-in, lifts nothing', async (house) => {
  await signedIn(house)
  const link = await linkTo(house)
  const before = await grantOf(house)
  // Bob opens the link of alice's application.
  house.person = { subject: 'bob', acr: MFA, authTime: Math.floor(house.now / 1000) }
  const bob = await signedIn(house, 'other')
  assert.equal((await bob.open(link)).status, 403)
  // Alice confirms, and bob is who signs in.
  house.person = { subject: 'alice' }
  const alice = house.browser()
  await house.ask(alice)
  house.person = { subject: 'bob', acr: MFA, authTime: Math.floor(house.now / 1000) }
  assert.equal((await confirm(alice, link)).status, 403)
  assert.deepEqual((await grants(house)).find(({ id }) => id === before.id), before)
  assert.equal(house.events('step-up.granted').length, 0)
  assert.deepEqual(house.events('step-up.refused').map(({ reason }) => reason), ['another person', 'another person'])
  // Her own sign-in is good.
  house.person = { subject: 'alice', acr: MFA, authTime: Math.floor(house.now / 1000) }
  const herself = house.browser()
  await house.ask(herself)
  assert.match((await press(herself, await herself.open(link), 'decision', 'confirm')).text, /Thank you/)
})

eachHouse('RFC 9470 §5: a sign-in that does not prove it changes nothing, and says so', async (house) => {
  const person = await signedIn(house)
  for (const proof of [{}, { acr: 'urn:pwd', authTime: Math.floor(house.now / 1000) }, { acr: MFA, authTime: Math.floor(house.now / 1000) - 3600 }, { acr: MFA, authTime: undefined }]) {
    house.person = { subject: 'alice', ...proof }
    const page = await confirm(person, await linkTo(house))
    assert.equal(page.status, 403)
    assert.match(page.text, /not as strong or as recent/)
  }
  assert.equal((await grantOf(house)).acr, null)
  assert.equal(house.events('step-up.refused').length, 4)
  house.person = { subject: 'alice', acr: MFA }
  assert.match((await confirm(person, await linkTo(house))).text, /Thank you/)
})

eachHouse('a link that was changed, is old, or whose grant has ended, is worth nothing; one of another link is no confirmation', async (house) => {
  const person = await signedIn(house)
  const link = await linkTo(house)
  const sealed = new URL(link).searchParams.get('for') ?? ''
  for (const bad of ['', 'x', `${sealed.slice(0, -2)}AA`, `${sealed}A`, 'x'.repeat(5000)]) {
    assert.equal((await person.open(`${house.issuer}/step-up?${new URLSearchParams({ for: bad }).toString()}`)).status, 400, bad.slice(0, 20))
  }
  house.person = { subject: 'alice', acr: MFA, authTime: Math.floor(house.now / 1000) }
  // A confirmation that nobody gave shows the page, and lifts nothing.
  for (const confirmed of ['x', sealed, house.state.seal('step-up confirmed', ['usr_other', (await grantOf(house)).id], { at: house.now }, house.now + 60_000)]) {
    const page = await person.open(`${link}&${new URLSearchParams({ confirmed }).toString()}`)
    assert.match(page.text, /Confirm that it is you/)
  }
  assert.equal((await grantOf(house)).acr, null)
  await house.store.db.query('UPDATE grants SET revoked_at = 1')
  assert.equal((await confirm(person, link)).status, 400)
  assert.equal((await grantOf(house)).acr, null)
  await house.store.db.query('UPDATE grants SET revoked_at = NULL')
  const late = await linkTo(house)
  house.now += 30 * 60_000
  assert.equal((await person.open(late)).status, 400)
  const fresh = await person.open(await linkTo(house))
  assert.match(fresh.text, /Confirm that it is you/)
})

eachHouse('a form of another site, or with the token of another form, confirms nothing (P-3)', async (house) => {
  const person = await signedIn(house)
  house.person = { subject: 'alice', acr: MFA, authTime: Math.floor(house.now / 1000) }
  const [one, other] = [await person.open(await linkTo(house)), await person.open(await linkTo(house, { use: 'write_note of Notes' }))]
  const fields = (page: Page): Readonly<Record<string, string>> => page.forms[0]?.fields ?? {}
  const post = async (form: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = {}) => (await house.send(person, '/step-up', { form, headers: { origin: house.issuer, 'sec-fetch-site': 'same-origin', ...headers } })).status
  assert.equal(await post(fields(one), { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }), 403)
  assert.equal(await post({ ...fields(one), csrf: fields(other)['csrf'] ?? '' }), 403)
  assert.equal(await post({ for: fields(one)['for'] ?? '' }), 403)
  const before = house.asked.length
  assert.equal((await house.rows('logins' as 'sessions')).length, 0)
  assert.equal(await post(fields(one)), 303)
  assert.equal(house.asked.length, before + 1)
})

eachHouse('whoever is not signed in signs in for it at once, and is asked all the same', async (house) => {
  await signedIn(house)
  const link = await linkTo(house)
  house.person = { subject: 'alice', acr: MFA }
  const elsewhere = house.browser()
  const away = await elsewhere.open(link)
  assert.ok(away.url.startsWith(PROVIDER))
  assert.equal(house.asked.at(-1)?.acrValues, MFA)
  const page = await elsewhere.open(callbackOf(away.url, 'code'))
  assert.match(page.text, /Confirm that it is you/)
  assert.equal((await grantOf(house)).acr, null)
  assert.match((await press(elsewhere, page, 'decision', 'confirm')).text, /Thank you/)
  assert.equal((await grantOf(house)).acr, MFA)
})
