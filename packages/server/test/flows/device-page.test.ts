// A device asks, a person answers in a browser: what they are shown, whose answer counts, and what nobody gets by guessing
// codes or by sending links around.
import assert from 'node:assert/strict'
import { DEVICE_CODE } from '../../src/oauth/grant-type.ts'
import { hash } from '../../src/oauth/secret.ts'
import { policy } from '../../src/policy/policy.ts'
import { deviceStore } from '../../src/store/devices.ts'
import { identityStore } from '../../src/store/users.ts'
import type { Poll } from '../../src/token/grants/device-code.ts'
import { client, eachHouse as eachPlainHouse, press, type Changes, type House } from '../support/authorize-house.ts'
import type { Browser, Form, Page } from '../support/browser.ts'

const MINUTE_MS = 60_000
const ELSEWHERE = '203.0.113.9'
const GRANT_TYPES = [DEVICE_CODE, 'refresh_token']

/** A house whose `editor` is a device. */
function eachHouse(name: string, run: (house: House) => Promise<void>): void {
  eachPlainHouse(name, async (house) => {
    house.clients.set('editor', client('editor', { grantTypes: GRANT_TYPES, redirectUris: [] }))
    await run(house)
  })
}

interface Device {
  readonly code: string
  readonly userCode: string
  readonly link: string
  readonly clientId: string
}

async function askFor(house: House, changes: Changes = {}): Promise<{ readonly status: number; readonly body: Record<string, unknown>; readonly headers: Headers }> {
  const form = Object.fromEntries(Object.entries({ client_id: 'editor', resource: house.resource('notes'), scope: 'mcp.read', ...changes }).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])))
  const response = await house.send(undefined, '/device_authorization', { form })
  return { status: response.status, body: (await response.json()) as Record<string, unknown>, headers: response.headers }
}

async function ask(house: House, changes: Changes = {}): Promise<Device> {
  const { status, body } = await askFor(house, changes)
  assert.equal(status, 200, JSON.stringify(body))
  return { code: String(body['device_code']), userCode: String(body['user_code']), link: String(body['verification_uri_complete']), clientId: String(changes['client_id'] ?? 'editor') }
}

async function poll(house: House, { code, clientId }: Device): Promise<Poll['kind']> {
  house.now += 10_000
  return (await deviceStore(house.store).poll({ hash: hash(code), clientId, now: house.now })).kind
}

/** Opens the page of codes, signs in where that is needed, and enters one. */
async function enter(house: House, person: Browser, typed: string): Promise<Page> {
  const page = await house.open(person, `${house.issuer}/device`)
  return follow(house, person, await submitCode(person, page, typed))
}

async function submitCode(person: Browser, page: Page, typed?: string): Promise<Page> {
  const form = page.forms.find(({ action }) => new URL(action).pathname === '/device')
  assert.ok(form, page.text)
  return person.submit(page, form, typed === undefined ? {} : { user_code: typed })
}

/** Signs in at the identity provider, when that is where the browser ended. */
async function follow(house: House, person: Browser, page: Page): Promise<Page> {
  return page.status === 0 ? house.open(person, page.url) : page
}

function asks(page: Page): boolean {
  return page.forms.some((form) => form.buttons.some(([name]) => name === 'decision'))
}

async function states(house: House): Promise<readonly string[]> {
  return (await house.rows<{ state: string; created_at: number }>('device_codes')).map(({ state }) => state)
}

async function assertNothingGranted(house: House): Promise<void> {
  assert.deepEqual(await house.rows('grants'), [])
  assert.deepEqual(house.events('authorization.granted'), [])
}

eachHouse('a device gets two codes, of which the store keeps hashes alone (RFC 8628 §3.2, §6.1)', async (house) => {
  const { body, headers } = await askFor(house)
  assert.deepEqual(Object.keys(body), ['device_code', 'user_code', 'verification_uri', 'verification_uri_complete', 'expires_in', 'interval'])
  assert.equal(headers.get('cache-control'), 'no-store')
  assert.match(String(body['user_code']), /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
  assert.match(String(body['device_code']), /^lyd_dc_[\w-]{43}$/)
  assert.deepEqual([body['verification_uri'], body['expires_in'], body['interval']], [`${house.issuer}/device`, 600, 5])
  assert.equal(body['verification_uri_complete'], `${house.issuer}/device?user_code=${String(body['user_code'])}`)
  const everything = JSON.stringify([await house.rows('device_codes'), house.events()])
  for (const secret of [String(body['device_code']), String(body['user_code']), String(body['user_code']).replace('-', '')]) assert.equal(everything.includes(secret), false)
  const [event] = house.events('device.requested')
  assert.deepEqual([event?.clientId, event?.resource, event?.address, event?.detail], ['editor', house.resource('notes'), '192.0.2.1', { scope: ['mcp.read'] }])
})

eachHouse('the device endpoint checks the client, resource and scope as the others do (RFC 8628 §3.1, RFC 8707 §2)', async (house) => {
  house.clients.set('secretive', client('secretive', { grantTypes: GRANT_TYPES, tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('right')] }))
  const refused = async (changes: Changes): Promise<unknown> => (await askFor(house, changes)).body['error']
  assert.equal(await refused({ client_id: 'other' }), 'unauthorized_client')
  assert.equal(await refused({ client_id: 'nobody' }), 'invalid_client')
  assert.equal(await refused({ client_id: 'secretive', client_secret: 'wrong' }), 'invalid_client')
  assert.equal(await refused({ resource: `${house.issuer}/mcp/nothing` }), 'invalid_target')
  assert.equal(await refused({ scope: 'mcp.read mcp.fly' }), 'invalid_scope')
  assert.deepEqual(await house.rows('device_codes'), [])
  assert.deepEqual(house.events('device.refused').map(({ clientId, detail }) => [clientId, detail?.['error']]), [['other', 'unauthorized_client'], ['editor', 'invalid_target'], ['editor', 'invalid_scope']])
  await ask(house, { client_id: 'secretive', client_secret: 'right', scope: 'openid mcp.read offline_access' })
  assert.deepEqual((await house.rows<{ scope: string }>('device_codes')).map(({ scope }) => scope), ['mcp.read'])
})

eachHouse('a code in any spelling leads to the page that asks, and an approval to one grant for the device (RFC 8628 §3.3)', async (house) => {
  const device = await ask(house, { scope: 'mcp.read mcp.write' })
  const letters = device.userCode.replace('-', '')
  const spellings = [device.userCode, letters, device.userCode.toLowerCase(), ` ${letters.slice(0, 3)} ${letters.slice(3)} `, letters.split('').join('.'), letters.replace(/[A-Z]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) + 0xfee0))]
  const person = house.browser()
  let page: Page | undefined
  for (const spelling of spellings) {
    page = await enter(house, person, spelling)
    assert.ok(asks(page), spelling)
  }
  assert.ok(page)
  assert.equal(await poll(house, device), 'waiting')
  const done = await press(person, page, 'decision', 'approve')
  assert.match(done.text, /The device is connected/)
  assert.equal(await poll(house, device), 'granted')
  const grants = await house.rows<{ id: string; client_id: string; scope: string; resource: string; session_id: string | null; reach: string }>('grants')
  assert.deepEqual(grants.map(({ client_id: id, scope, resource, reach }) => [id, scope, resource, reach]), [['editor', 'mcp.read mcp.write', house.resource('notes'), '["notes"]']])
  assert.notEqual(grants[0]?.session_id, null)
  const [granted] = house.events('authorization.granted')
  assert.deepEqual([granted?.grantId, granted?.clientId, granted?.detail], [grants[0]?.id, 'editor', { scope: ['mcp.read', 'mcp.write'], device: '192.0.2.1' }])
  // One reference finds the device's request and the person's answer.
  assert.equal(granted?.reference, house.events('device.requested')[0]?.reference)
  assert.deepEqual(await house.rows('codes'), [])
})

eachHouse('the page names application, mark, code, place, time, resource and scopes (L03, RFC 8628 §5.4)', async (house) => {
  house.clients.set('https://tool.example/c', client('https://tool.example/c', { kind: 'metadata-document', name: 'Tool <b>', verifiedHost: 'tool.example', grantTypes: GRANT_TYPES }))
  house.address = ELSEWHERE
  const device = await ask(house, { client_id: 'https://tool.example/c', scope: 'mcp.read mcp.write' })
  const near = await ask(house)
  house.address = '192.0.2.1'
  house.now += 4 * MINUTE_MS
  const here = await ask(house)
  const person = house.browser()
  const page = await enter(house, person, device.userCode)
  for (const shown of [/Tool &lt;b&gt;/, /verified: tool\.example/, new RegExp(device.userCode), /203\.0\.113\.9/, /another network than this browser/, /4 minutes ago, at \d\d:\d\d UTC/, /Notes/, /Use every tool/, /<code>mcp\.write<\/code>/, /Any program, anywhere, can say that it is/, /It does not ask from where you are/, /do not allow it/]) assert.match(page.text, shown)
  assert.doesNotMatch(page.text, /Returns to|Redirect URI/)
  const other = await enter(house, person, near.userCode)
  assert.match(other.text, /unverified: it chose this name itself/)
  const same = await enter(house, person, here.userCode)
  assert.match(same.text, /the network of this browser/)
  assert.doesNotMatch(same.text, /another network|It does not ask from where you are/)
})

eachHouse('who authenticates is not called anybody: a confidential client is not "any program" (L03)', async (house) => {
  house.clients.set('kiosk', client('kiosk', { kind: 'pre-registered', grantTypes: GRANT_TYPES, tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('right')] }))
  const device = await ask(house, { client_id: 'kiosk', client_secret: 'right' })
  const page = await enter(house, house.browser(), device.userCode)
  assert.match(page.text, /registered by your administrator/)
  assert.match(page.text, /Somebody, somewhere, asked for this/)
  assert.doesNotMatch(page.text, /Any program/)
})

eachHouse('a link with a code shows it to be compared, and by itself neither approves nor tells anything (L03, RFC 8628 §3.3.1)', async (house) => {
  const device = await ask(house)
  const person = house.browser()
  // Whoever is not signed in is asked to, and finds the code again; it is not kept meanwhile.
  assert.match((await house.open(person, device.link)).text, new RegExp(device.userCode))
  assert.doesNotMatch(JSON.stringify(await house.store.db.query('SELECT * FROM logins')), new RegExp(device.userCode))
  const page = await house.open(person, device.link)
  assert.match(page.text, /Does your device show this code\?/)
  assert.match(page.text, new RegExp(device.userCode))
  assert.match(page.text, /Never use a code or link that somebody sent you/)
  const made = device.userCode.startsWith('B') ? `C${device.userCode.slice(1)}` : `B${device.userCode.slice(1)}`
  const wrong = await house.open(person, `${house.issuer}/device?user_code=${made}`)
  assert.equal(wrong.text.replaceAll(made, ''), page.text.replaceAll(device.userCode, ''))
  assert.equal(await poll(house, device), 'waiting')
  assert.deepEqual(house.events('device.entered'), [])
  await assertNothingGranted(house)
  const asked = await follow(house, person, await submitCode(person, page))
  assert.ok(asks(asked))
  assert.match(asked.text, new RegExp(device.userCode))
  await assertNothingGranted(house)
  assert.match((await press(person, asked, 'decision', 'approve')).text, /The device is connected/)
})

eachHouse('neither a session nor a remembered consent connects a device: each is asked for anew (L03, D08)', async (house) => {
  const person = house.browser()
  const first = await ask(house)
  await press(person, await enter(house, person, first.userCode), 'decision', 'approve')
  // The provider says that they signed in half an hour ago.
  house.now += 30 * MINUTE_MS
  const second = await ask(house)
  const before = house.asked.length
  const page = await enter(house, person, second.userCode)
  assert.deepEqual(house.asked.slice(before).map(({ prompt }) => prompt), ['login'])
  assert.ok(asks(page))
  assert.equal(await poll(house, second), 'waiting')
  await press(person, page, 'decision', 'approve')
  assert.equal(await poll(house, second), 'granted')
  assert.equal((await house.rows('grants')).length, 2)
})

eachHouse('a sign-in of just now is not asked for again, and where an administrator wants none the decision stays (L03)', async (house) => {
  house.person = { subject: 'alice', authTime: Math.floor(house.now / 1000) }
  const person = house.browser()
  const device = await ask(house)
  await enter(house, person, device.userCode)
  assert.equal(house.asked.length, 1)
  house.person = { subject: 'alice' }
  house.devices = { ...house.devices, freshSignIn: false }
  const other = house.browser()
  await house.open(other, `${house.issuer}/device`)
  house.now += 30 * MINUTE_MS
  const later = await ask(house)
  const signIns = house.asked.length
  const page = await enter(house, other, later.userCode)
  assert.equal(house.asked.length, signIns)
  assert.ok(asks(page))
  await assertNothingGranted(house)
})

eachHouse('the fresh sign-in of one browser is worth nothing in another one, nor after five minutes (L03, D11)', async (house) => {
  const victim = house.browser()
  await house.open(victim, `${house.issuer}/device`)
  house.now += 30 * MINUTE_MS
  house.person = { subject: 'mallory' }
  const theirs = await house.open(house.browser(), `${house.issuer}/device`)
  assert.match(theirs.url, /\?back=/)
  assert.notEqual(theirs.forms[0]?.fields['fresh'], undefined)
  const brought = await victim.open(theirs.url)
  assert.equal(brought.forms[0]?.fields['fresh'], undefined)
  house.person = { subject: 'alice' }
  const before = house.asked.length
  await follow(house, victim, await victim.submit(brought, brought.forms[0] as Form, { user_code: (await ask(house)).userCode, fresh: theirs.forms[0]?.fields['fresh'] ?? '' }))
  assert.deepEqual(house.asked.slice(before).map(({ prompt }) => prompt), ['login'])
  const own = house.browser()
  const page = await house.open(own, `${house.issuer}/device`)
  house.now += 6 * MINUTE_MS
  const late = house.asked.length
  await follow(house, own, await submitCode(own, page, (await ask(house)).userCode))
  assert.equal(house.asked.length, late + 1)
})

eachHouse('an old sign-in that the provider passes off as a new one connects nothing (L03, A15)', async (house) => {
  const device = await ask(house)
  house.person = { subject: 'alice', authTime: Math.floor((house.now - 30 * MINUTE_MS) / 1000) }
  const page = await enter(house, house.browser(), device.userCode)
  assert.equal(page.status, 403)
  assert.match(page.text, /The device was not connected/)
  assert.equal(await poll(house, device), 'denied')
  await assertNothingGranted(house)
  const again = await ask(house)
  house.person = { subject: 'alice' }
  assert.ok(asks(await enter(house, house.browser(), again.userCode)))
})

eachHouse('codes are entered by forms of this session alone (RFC 8628 §5.4, D02)', async (house) => {
  const device = await ask(house)
  const person = house.browser()
  const page = await house.open(person, device.link)
  const fields = page.forms[0]?.fields ?? {}
  const cross = await house.send(person, '/device', { form: fields, headers: { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' } })
  assert.equal(cross.status, 403)
  const other = house.browser()
  await house.open(other, `${house.issuer}/device`)
  assert.equal((await house.send(other, '/device', { form: fields, headers: { origin: house.issuer } })).status, 403)
  assert.equal((await house.send(undefined, '/device', { form: fields })).headers.get('location'), '/device')
  assert.deepEqual(house.events('device.entered'), [])
  assert.equal((await house.send(person, '/device', { form: fields, headers: { origin: house.issuer } })).status, 303)
  assert.equal(house.events('device.entered').length, 1)
})

eachHouse('guessing user codes ends after ten, for the person, whatever address they use, and says nothing of the code (L01)', async (house) => {
  const device = await ask(house)
  const person = house.browser()
  let page = await house.open(person, `${house.issuer}/device`)
  for (let guess = 0; guess < 10; guess += 1) {
    house.address = `198.51.100.${guess}`
    page = await submitCode(person, page, 'BBBB-BBBC')
    assert.equal(page.status, 400)
  }
  const form = await house.open(person, `${house.issuer}/device`)
  const right = await submitCode(person, form, device.userCode)
  const wrong = await submitCode(person, form, 'BBBB-BBBC')
  assert.deepEqual([right.status, wrong.status], [429, 429])
  // What is beyond the limit is recorded a few times: nobody fills the audit trail with it.
  for (let more = 0; more < 15; more += 1) await submitCode(person, form, 'BBBB-BBBC')
  assert.equal(house.events('device.refused').filter(({ reason }) => reason === 'too many user codes').length, 10)
  const text = ({ text: all }: Page): string => all.replace(/[A-Z0-9]{4}-[A-Z0-9]{4}/g, '')
  assert.equal(text(right), text(wrong))
  assert.ok(Number(right.headers.get('retry-after')) > 0)
  assert.deepEqual(house.events('device.entered'), [])
  assert.deepEqual([...new Set(house.events('device.refused').map(({ reason }) => reason))], ['unknown user code', 'too many user codes'])
  assert.equal(await poll(house, device), 'waiting')
  // Somebody else is not kept from entering their code, nor the same person after a while.
  house.person = { subject: 'bob' }
  const other = await ask(house)
  assert.ok(asks(await enter(house, house.browser(), other.userCode)))
  house.now += 10 * MINUTE_MS
  house.person = { subject: 'alice' }
  assert.ok(asks(await enter(house, person, (await ask(house)).userCode)))
})

eachHouse('guesses of many people are limited by network, and of everybody together (L01)', async (house) => {
  const guess = async (subject: string, address: string, typed = 'BBBB-BBBC'): Promise<number> => {
    house.person = { subject }
    house.address = address
    return (await enter(house, house.browser(), typed)).status
  }
  let left = 3
  house.entries = { ...house.entries, network: (key) => (key === '198.51.100.7' ? { allowed: (left -= 1) >= 0, retryAfter: 60 } : { allowed: true, retryAfter: 0 }) }
  for (const subject of ['a', 'b', 'c']) assert.equal(await guess(subject, '198.51.100.7'), 400)
  const device = await ask(house)
  assert.equal(await guess('d', '198.51.100.7', device.userCode), 429)
  assert.equal(await guess('d', '198.51.100.8', device.userCode), 200)
  house.entries = { ...house.entries, everybody: () => ({ allowed: false, retryAfter: 60 }) }
  assert.equal(await guess('e', '198.51.100.9', (await ask(house)).userCode), 429)
})

eachHouse('a code of nobody, one that is over, denied or used, and one of a class that is switched off: one answer (L01)', async (house) => {
  const person = house.browser()
  const answerTo = async (typed: string): Promise<string> => {
    const page = await enter(house, person, typed)
    assert.equal(page.status, 400)
    // What the session seals into the form differs.
    return page.text.replace(/<input type="hidden" name="(?:csrf|fresh)" value="[\w.-]+">\s*/g, '')
  }
  const expected = await answerTo('BBBB-BBBC')
  for (const typed of ['', 'AEIO-UAEI', 'BBBB', 'x'.repeat(500)]) assert.equal(await answerTo(typed), expected, typed)
  const denied = await ask(house)
  await press(person, await enter(house, person, denied.userCode), 'decision', 'deny')
  assert.equal(await answerTo(denied.userCode), expected)
  const used = await ask(house)
  await press(person, await enter(house, person, used.userCode), 'decision', 'approve')
  house.entries = { ...house.entries, person: () => ({ allowed: true, retryAfter: 0 }) }
  assert.equal(await answerTo(used.userCode), expected)
  const off = await ask(house)
  house.devices = { ...house.devices, allow: ['pre-registered', 'verified'] }
  assert.equal(await answerTo(off.userCode), expected)
  house.devices = { ...house.devices, allow: ['unverified'] }
  assert.ok(asks(await enter(house, person, off.userCode)))
  house.now += 10 * MINUTE_MS
  assert.equal(await answerTo(off.userCode), expected)
  assert.equal(await poll(house, off), 'expired')
})

eachHouse('an administrator switches the flow off for applications that nobody verified, and for codes that wait (L03)', async (house) => {
  house.clients.set('https://tool.example/c', client('https://tool.example/c', { kind: 'metadata-document', grantTypes: GRANT_TYPES }))
  const person = house.browser()
  const device = await ask(house)
  const page = await enter(house, person, device.userCode)
  house.devices = { ...house.devices, allow: ['pre-registered', 'verified'] }
  assert.equal((await askFor(house)).body['error'], 'unauthorized_client')
  assert.equal((await press(person, page, 'decision', 'approve')).status, 403)
  await assertNothingGranted(house)
  const verified = await ask(house, { client_id: 'https://tool.example/c' })
  await press(person, await enter(house, person, verified.userCode), 'decision', 'approve')
  assert.equal(await poll(house, verified), 'granted')
})

eachHouse('what is built in was configured by nobody: where applications must be approved, so must it', async (house) => {
  const commandLine = { kind: 'pre-registered', grantTypes: GRANT_TYPES, redirectUris: [] } as const
  house.clients.set('lanyard-cli', client('lanyard-cli', { ...commandLine, builtIn: true }))
  house.clients.set('ours', client('ours', commandLine))
  house.approval = { required: true, holdChanged: false }
  const person = house.browser()
  const waiting = await press(person, await enter(house, person, (await ask(house, { client_id: 'lanyard-cli' })).userCode), 'decision', 'approve')
  assert.match(waiting.text, /Waiting for your administrator/)
  await assertNothingGranted(house)
  const done = await press(person, await enter(house, person, (await ask(house, { client_id: 'ours' })).userCode), 'decision', 'approve')
  assert.match(done.text, /The device is connected/)
})

eachHouse('a denial reaches the device, and nobody approves it afterwards (L04, RFC 8628 §3.5)', async (house) => {
  const device = await ask(house)
  const [one, two] = [house.browser(), house.browser()]
  const [first, second] = [await enter(house, one, device.userCode), await enter(house, two, device.userCode)]
  const denied = await press(one, first, 'decision', 'deny')
  assert.match(denied.text, /You did not allow it/)
  assert.equal(await poll(house, device), 'denied')
  const late = await press(two, second, 'decision', 'approve')
  assert.match(late.text, /This request has ended/)
  assert.equal(await poll(house, device), 'denied')
  await assertNothingGranted(house)
  assert.equal(house.events('consent.denied').length, 1)
})

eachHouse('of many browsers that approve one device at once, one grant comes (L04)', async (house) => {
  const device = await ask(house)
  const people = Array.from({ length: 8 }, () => house.browser())
  const pages: Page[] = []
  for (const person of people) pages.push(await enter(house, person, device.userCode))
  const done = await Promise.all(people.map(async (person, index) => press(person, pages[index] as Page, 'decision', index % 2 === 0 ? 'approve' : 'deny')))
  const connected = done.filter(({ text }) => text.includes('The device is connected')).length
  assert.ok(connected <= 1)
  assert.equal((await house.rows('grants')).length, connected)
  assert.equal(house.events('authorization.granted').length, connected)
  assert.deepEqual(await states(house), [connected === 1 ? 'granted' : 'denied'])
})

eachHouse('whoever leaves takes their device codes along: those they approved, and those they were about to (K04)', async (house) => {
  const person = house.browser()
  const approved = await ask(house)
  await press(person, await enter(house, person, approved.userCode), 'decision', 'approve')
  assert.equal(await poll(house, approved), 'granted')
  const open = await ask(house)
  const page = await enter(house, person, open.userCode)
  const [session] = await house.rows<{ user_id: string }>('sessions')
  await identityStore(house.store).revokeSubject(session?.user_id ?? '', house.now, { action: 'subject.revoked', outcome: 'success' })
  assert.equal(await poll(house, approved), 'ended')
  const late = await press(person, page, 'decision', 'approve')
  assert.doesNotMatch(late.text, /The device is connected/)
  assert.equal(await poll(house, open), 'waiting')
  assert.deepEqual((await house.rows<{ revoked_at: number | null }>('grants')).map(({ revoked_at: at }) => at !== null), [true])
})

eachHouse('policy, approval by an administrator and missing accounts are steps of this flow too', async (house) => {
  house.rules = policy([{ id: 'no', effect: 'deny', upstreams: ['notes'] }, { id: 'tickets', effect: 'allow', upstreams: ['tickets'] }])
  const person = house.browser()
  const refused = await ask(house)
  const page = await enter(house, person, refused.userCode)
  assert.equal(page.status, 403)
  assert.match(page.text, /has not allowed you to use this/)
  assert.equal(await poll(house, refused), 'denied')
  house.approval = { required: true, holdChanged: false }
  const device = await ask(house, { resource: house.resource('tickets') })
  const waiting = await press(person, await enter(house, person, device.userCode), 'decision', 'approve')
  assert.match(waiting.text, /Waiting for your administrator/)
  assert.deepEqual((await house.rows<{ application: string }>('approval_requests')).length, 1)
  assert.equal(await poll(house, device), 'waiting')
  house.approval = { required: false, holdChanged: false }
  const connecting = await person.open(`${house.issuer}${new URL(waiting.url).pathname}`)
  assert.match(connecting.text, /Connect your Tickets account/)
  assert.match((await press(person, connecting, 'skip')).text, /The device is connected/)
  assert.equal(await poll(house, device), 'granted')
})
