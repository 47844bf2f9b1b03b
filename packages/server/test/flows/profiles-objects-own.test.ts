// People's own profiles, made and removed on their own page: of what they may use, for themselves alone.
import assert from 'node:assert/strict'
import { policy } from '../../src/policy/policy.ts'
import type { Browser, Form, Page } from '../support/browser.ts'
import { answerOf, eachHouse, EVERYTHING, press, upstream, type House } from '../support/authorize-house.ts'

const THREE = { upstreams: () => [upstream('notes', 'none'), upstream('tickets', 'oauth'), upstream('calendar', 'none')] }

function formAt(page: Page, path: RegExp): Form {
  const form = page.forms.find(({ action }) => path.test(new URL(action).pathname))
  assert.ok(form !== undefined, page.text)
  return form
}

async function signIn(house: House, subject = 'alice', groups: readonly string[] = ['staff']): Promise<Browser> {
  const person = house.browser()
  house.person = { subject, groups }
  await house.open(person, `${house.issuer}/login?return_to=/`)
  return person
}

/** What a browser sends of the form: of its checkboxes those that are checked. */
async function build(house: House, person: Browser, name: string, ...upstreams: readonly string[]): Promise<Page> {
  const home = await person.open(`${house.issuer}/`)
  const form = formAt(home, /^\/profiles$/)
  const { csrf = '' } = form.fields
  const checked = Object.fromEntries(upstreams.map((id) => [`upstream.${id}`, 'yes']))
  return person.submit(home, { ...form, fields: { csrf } }, { name, ...checked })
}

interface Row {
  readonly id: string
  readonly name: string
  readonly owner: string
  readonly upstreams: string
}

async function onlyRow(house: House): Promise<Row> {
  const [row, ...others] = await house.rows<Row>('profiles')
  assert.ok(row !== undefined && others.length === 0)
  return row
}

eachHouse('J13: a person builds a profile of what they may use, pastes its address, and one flow covers it', async (house) => {
  const person = await signIn(house)
  const page = await build(house, person, '  My \u202e work ', 'tickets', 'notes')
  assert.equal(page.status, 200)
  const row = await onlyRow(house)
  assert.match(row.id, /^u-[a-z2-7]{24}$/)
  assert.equal(row.name, 'My work')
  assert.deepEqual(JSON.parse(row.upstreams), ['tickets', 'notes'])
  assert.match(page.text, new RegExp(`<strong>My work</strong> <span class="muted">Notes, Tickets</span><br><code>${house.issuer}/mcp/${row.id}</code>`))
  const [event] = house.events('profile.created')
  assert.deepEqual([event?.subject, event?.resource, event?.detail], [row.owner, `${house.issuer}/mcp/${row.id}`, { upstreams: ['tickets', 'notes'] }])
  const consent = await house.ask(person, { resource: house.resource(row.id) })
  assert.match(consent.text, /Allow Editor to use My work as you\?/)
  const done = await press(person, await press(person, consent, 'decision', 'approve'), 'skip', 'tickets')
  assert.match(answerOf(done)['code'] ?? done.text, /^lyd_ac_/)
}, THREE)

eachHouse('E06: a profile of somebody else is not shown, not used, and not deleted; its owner does all three', async (house) => {
  const alice = await signIn(house)
  await build(house, alice, 'Private', 'notes')
  const { id } = await onlyRow(house)
  const bob = await signIn(house, 'bob')
  const home = await bob.open(`${house.issuer}/`)
  assert.doesNotMatch(home.text, new RegExp(`Private|${id}`))
  const gone = answerOf(await bob.open(house.request({ resource: house.resource('u-aaaaaaaaaaaaaaaaaaaaaaaa') })))
  assert.equal(gone['error'], 'invalid_target')
  assert.deepEqual(answerOf(await bob.open(house.request({ resource: house.resource(id) }))), gone)
  // Bob's form for a profile of his own does not delete another one, and neither does a form for this one made up by him.
  await build(house, bob, 'Of bob', 'notes')
  const own = formAt(await bob.open(`${house.issuer}/`), /\/delete$/)
  const headers = { origin: house.issuer, 'sec-fetch-site': 'same-origin' }
  assert.equal((await house.send(bob, `/profiles/${id}/delete`, { form: own.fields, headers })).status, 403)
  assert.equal((await house.rows('profiles')).length, 2)
  const mine = await alice.open(`${house.issuer}/`)
  const after = await alice.submit(mine, formAt(mine, new RegExp(`^/profiles/${id}/delete$`)))
  assert.doesNotMatch(after.text, /Private/)
  assert.deepEqual((await house.rows<Row>('profiles')).map((row) => row.name), ['Of bob'])
  assert.deepEqual(house.events('profile.deleted').map((event) => event.resource), [`${house.issuer}/mcp/${id}`])
}, THREE)

eachHouse('nobody builds a profile of what no rule lets them use, of what is not there, or of nothing', async (house) => {
  house.rules = policy([{ ...EVERYTHING, upstreams: ['notes'] }])
  const person = await signIn(house)
  const home = await person.open(`${house.issuer}/`)
  assert.match(home.text, /name="upstream\.notes"/)
  assert.doesNotMatch(home.text, /name="upstream\.(?:tickets|calendar)"/)
  for (const [name, upstreams, message] of [
    ['Mine', ['notes', 'tickets'], /There is no upstream tickets for you/],
    ['Mine', ['nothing'], /There is no upstream nothing for you/],
    ['Mine', ['__proto__'], /There is no upstream __proto__ for you/],
    ['Mine', [], /Choose at least one upstream/],
    ['\u200b ', ['notes'], /Give it a name/],
  ] as const) {
    const page = await build(house, person, name, ...upstreams)
    assert.equal(page.status, 400, name)
    assert.match(page.text, message)
  }
  assert.deepEqual(await house.rows('profiles'), [])
  assert.deepEqual(house.events('profile.created'), [])
  assert.equal((await build(house, person, 'Mine', 'notes')).status, 200)
  assert.equal((await house.rows('profiles')).length, 1)
}, THREE)

eachHouse('a person has twenty profiles at most, and can make another one when one is gone', async (house) => {
  const person = await signIn(house)
  for (let count = 1; count <= 20; count += 1) assert.equal((await build(house, person, `Mine ${count}`, 'notes')).status, 200)
  const full = await build(house, person, 'One too many', 'notes')
  assert.equal(full.status, 400)
  assert.match(full.text, /You have 20 profiles, which is as many as there can be\. Delete one first\./)
  assert.equal((await house.rows('profiles')).length, 20)
  // Somebody else is not held up by it.
  assert.equal((await build(house, await signIn(house, 'bob'), 'Of bob', 'notes')).status, 200)
  const home = await person.open(`${house.issuer}/`)
  await person.submit(home, formAt(home, /\/delete$/))
  assert.equal((await build(house, person, 'Now', 'notes')).status, 200)
}, THREE)

eachHouse('what may be used no more is in no flow of the profile, and its owner still deletes it', async (house) => {
  const person = await signIn(house)
  await build(house, person, 'Both', 'notes', 'calendar')
  const { id } = await onlyRow(house)
  house.rules = policy([{ ...EVERYTHING, upstreams: ['notes'] }])
  const consent = await house.ask(person, { resource: house.resource(id) })
  assert.match(consent.text, /Notes/)
  assert.doesNotMatch(consent.text, /Calendar/)
  house.rules = policy([])
  assert.equal(answerOf(await house.ask(person, { resource: house.resource(id) }))['error'], 'access_denied')
  const home = await person.open(`${house.issuer}/`)
  await person.submit(home, formAt(home, /\/delete$/))
  assert.deepEqual(await house.rows('profiles'), [])
}, THREE)

eachHouse('P-3, D02: the forms are for this session and this page alone', async (house) => {
  const person = await signIn(house)
  const { csrf = '' } = formAt(await person.open(`${house.issuer}/`), /^\/profiles$/).fields
  const other = await signIn(house, 'bob')
  const foreign = formAt(await other.open(`${house.issuer}/`), /^\/profiles$/).fields['csrf'] ?? ''
  const own = { origin: house.issuer, 'sec-fetch-site': 'same-origin' }
  const form = { name: 'Mine', 'upstream.notes': 'yes' }
  for (const [given, headers, status] of [
    [{ ...form, csrf }, { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, 403],
    [{ ...form, csrf: foreign }, own, 403],
    [form, own, 403],
  ] as const) {
    assert.equal((await house.send(person, '/profiles', { form: given, headers })).status, status)
  }
  assert.equal((await house.send(undefined, '/profiles', { form: { ...form, csrf }, headers: own })).headers.get('location'), '/')
  assert.deepEqual(await house.rows('profiles'), [])
  assert.equal((await house.send(person, '/profiles', { form: { ...form, csrf }, headers: own })).status, 303)
  assert.equal((await house.rows('profiles')).length, 1)
}, THREE)

eachHouse('the profiles that are published are listed for their groups', async (house) => {
  const [notes, , calendar] = house.upstreams
  assert.ok(notes !== undefined && calendar !== undefined)
  house.profiles.push({ id: 'board', name: 'The board', groups: ['board'], resource: house.resource('board'), upstreams: [notes, calendar] })
  const member = await signIn(house, 'dana', ['board'])
  assert.match((await member.open(`${house.issuer}/`)).text, /The board/)
  const other = await signIn(house, 'bob')
  assert.doesNotMatch((await other.open(`${house.issuer}/`)).text, /The board/)
}, THREE)
