// Accounts of their own that upstreams need: offered in the same sitting, after the consent and never before.
import assert from 'node:assert/strict'
import { policy } from '../../src/policy/policy.ts'
import type { Browser, Page } from '../support/browser.ts'
import { answerOf, callbackOf, eachHouse, EVERYTHING, press, type Changes, type House } from '../support/authorize-house.ts'

function offers(page: Page): readonly string[] {
  return page.forms.map((form) => new URL(form.action).pathname).filter((path) => path.startsWith('/connections/'))
}

async function approve(house: House, person: Browser, changes: Changes = {}): Promise<Page> {
  return press(person, await house.ask(person, { resource: house.resource('engineering'), ...changes }), 'decision', 'approve')
}

async function connect(person: Browser, page: Page): Promise<Page> {
  const form = page.forms.find((each) => new URL(each.action).pathname.startsWith('/connections/'))
  assert.ok(form !== undefined, page.text)
  const away = await person.submit(page, form)
  assert.ok(away.url.startsWith('https://tickets.example/authorize'), away.url)
  return person.open(callbackOf(away.url, 'code'))
}

async function assertNoCode(house: House): Promise<void> {
  for (const table of ['codes', 'grants'] as const) assert.deepEqual(await house.rows(table), [])
}

eachHouse('J2, P-1, P-6: after the consent each missing account is offered, then the code leaves', async (house) => {
  const person = house.browser()
  const asked = await house.ask(person, { resource: house.resource('engineering') })
  assert.deepEqual(offers(asked), [])
  const page = await press(person, asked, 'decision', 'approve')
  assert.deepEqual(offers(page), ['/connections/tickets'])
  assert.match(page.headers.get('content-security-policy') ?? '', /form-action 'self' https:\/\/app\.example https: /)
  await assertNoCode(house)
  // Showing the page starts nothing at the provider: state is made for the click.
  assert.deepEqual(await house.rows('connection_attempts'), [])
  const done = await connect(person, page)
  assert.match(answerOf(done)['code'] ?? done.text, /^lyd_ac_/)
  assert.equal((await house.rows('connections')).length, 1)
  const [start] = house.connecting
  assert.equal(start?.returnTo, house.events('authorization.requested').length === 1 ? new URL(page.url).pathname : '')
  // The second time nothing is missing.
  assert.match(answerOf(await house.ask(person, { resource: house.resource('engineering') }))['code'] ?? '', /^lyd_ac_/)
})

eachHouse('P-1, P-2, AS-32: an upstream sign-in never starts before the consent, whatever is posted (D03)', async (house) => {
  const person = house.browser()
  const asked = await house.ask(person, { resource: house.resource('engineering') })
  const csrf = asked.forms[0]?.fields['csrf'] ?? ''
  const headers = { origin: house.issuer, 'sec-fetch-site': 'same-origin' }
  const path = new URL(asked.url).pathname
  assert.equal((await house.send(person, '/connections/tickets', { form: { csrf, continue: path }, headers })).status, 403)
  // Skipping connections skips no consent.
  assert.equal((await house.send(person, path, { form: { csrf, skip: 'tickets' }, headers })).status, 303)
  const still = await person.open(house.issuer + path)
  assert.ok(still.forms.some((form) => form.buttons.some(([name]) => name === 'decision')))
  assert.equal(house.connecting.length, 0)
  await assertNoCode(house)
  const denied = await press(person, still, 'decision', 'deny')
  assert.equal(answerOf(denied)['error'], 'access_denied')
  assert.equal(house.connecting.length, 0)
})

eachHouse('going on without accounts ends with the code, and the next request offers them again', async (house) => {
  const person = house.browser()
  const page = await approve(house, person)
  const done = await press(person, page, 'skip', 'tickets')
  assert.match(answerOf(done)['code'] ?? done.text, /^lyd_ac_/)
  assert.deepEqual(await house.rows('connections'), [])
  assert.deepEqual(offers(await house.ask(person, { resource: house.resource('engineering') })), ['/connections/tickets'])
  const silent = await person.open(house.request({ resource: house.resource('engineering'), prompt: 'none' }))
  assert.match(answerOf(silent)['code'] ?? '', /^lyd_ac_/)
})

eachHouse('nobody is sent to connect what the request does not cover or a rule does not allow', async (house) => {
  const person = house.browser()
  const narrow = await approve(house, person, { scope: 'mcp.notes.write' })
  assert.match(answerOf(narrow)['code'] ?? narrow.text, /^lyd_ac_/)
  house.rules = policy([{ ...EVERYTHING, upstreams: ['notes'] }])
  const forbidden = await approve(house, person, { scope: 'mcp.write' })
  assert.match(answerOf(forbidden)['code'] ?? forbidden.text, /^lyd_ac_/)
  house.rules = policy([EVERYTHING])
  assert.deepEqual(offers(await house.ask(person, { resource: house.resource('engineering'), scope: 'mcp.write' })), ['/connections/tickets'])
})

eachHouse('D04: the account of one browser is not connected by another', async (house) => {
  const attacker = house.browser()
  const page = await approve(house, attacker)
  const form = page.forms.find((each) => new URL(each.action).pathname.startsWith('/connections/'))
  assert.ok(form !== undefined)
  const away = await attacker.submit(page, form)
  const victim = house.browser()
  house.person = { subject: 'bob' }
  await house.ask(victim)
  const opened = await victim.open(callbackOf(away.url, 'code'))
  assert.equal(opened.status, 403)
  assert.deepEqual(await house.rows('connections'), [])
  await assertNoCode(house)
})
