// Approval of applications in the flow of a person: what waits, for how long, for whom, and what ends the waiting.
import assert from 'node:assert/strict'
import type { ApprovalSettings } from '../../src/approval/approval.ts'
import type { RequestDecision, StoredRequest } from '../../src/approval/approval-store.ts'
import { decisions, type Decisions } from '../../src/approval/decisions.ts'
import { policy } from '../../src/policy/policy.ts'
import { approvalStore } from '../../src/store/applications.ts'
import type { Browser, Page } from '../support/browser.ts'
import { answerOf, client, eachHouse, EVERYTHING, press, upstream, type Changes, type House } from '../support/authorize-house.ts'

const REQUIRED: ApprovalSettings = { required: true, holdChanged: false }
const HOLD: ApprovalSettings = { required: true, holdChanged: true }
const DOCUMENT = 'https://app.example/client.json'
const DANA = { userId: 'usr_dana', reference: 'r', address: '192.0.2.9' }

function eachRequiringHouse(name: string, run: (house: House) => Promise<void>, settings = REQUIRED): void {
  eachHouse(name, async (house) => {
    house.approval = settings
    house.clients.set(DOCUMENT, document())
    await run(house)
  })
}

const document = (more: Parameters<typeof client>[1] = {}): ReturnType<typeof client> => client(DOCUMENT, { kind: 'metadata-document', verifiedHost: 'app.example', name: 'App', ...more })
const admin = (house: House): Decisions => decisions(approvalStore(house.store), () => house.now)
const queue = (house: House): Promise<readonly StoredRequest[]> => approvalStore(house.store).requests('pending', 100)
const isConsent = (page: Page): boolean => page.forms.some(({ buttons }) => buttons.some(([name, value]) => name === 'decision' && value === 'approve'))
const isWaiting = (page: Page): boolean => page.status === 200 && page.text.includes('<h1>Waiting for your administrator</h1>')
const refreshOf = (page: Page): string | undefined => /<meta http-equiv="refresh" content="([^"]*)">/.exec(page.text)?.[1]

/** Asks and consents: what a person does before anything waits. */
async function ask(house: House, person: Browser, changes: Changes = {}): Promise<Page> {
  house.now += 1
  const page = await house.ask(person, changes)
  return isConsent(page) ? press(person, page, 'decision', 'approve') : page
}

/** What the page does by itself after a while. */
function again(person: Browser, page: Page): Promise<Page> {
  return person.open(new URL(refreshOf(page)?.split('url=')[1] ?? '', page.url).href)
}

async function decideAll(house: House, decision: RequestDecision): Promise<void> {
  for (const { id } of await queue(house)) assert.equal(await admin(house).decide(id, decision, DANA), 'decided')
}

function assertGranted(page: Page): void {
  assert.equal(page.status, 0, page.text)
  assert.deepEqual(Object.keys(answerOf(page)), ['code', 'state', 'iss'])
}

async function assertWaiting(house: House, page: Page): Promise<void> {
  assert.ok(isWaiting(page), page.text)
  assert.deepEqual(await house.rows('codes'), [])
  assert.deepEqual(await house.rows('grants'), [])
}

eachRequiringHouse('an unknown application waits for an administrator, on a page that goes on by itself once they approve', async (house) => {
  const person = house.browser()
  const consent = await house.ask(person)
  assert.ok(isConsent(consent))
  assert.deepEqual(await queue(house), [])
  const page = await press(person, consent, 'decision', 'approve')
  await assertWaiting(house, page)
  assert.match(refreshOf(page) ?? '', /^3;url=\/authorize\/req_[\w-]{22}$/)
  assert.match(page.text, /badge unverified/)
  await assertWaiting(house, await again(person, page))
  const [request, ...others] = await queue(house)
  assert.deepEqual(others, [])
  assert.deepEqual([request?.kind, request?.content.id, request?.content.name, request?.content.verified, request?.content.needs], ['application', 'editor', 'Editor', false, [{ upstream: 'notes', access: 'read' }]])
  assert.deepEqual(request?.content.redirectUris, client('editor').redirectUris)
  const [event] = house.events('approval.requested')
  assert.deepEqual([event?.application, event?.verified, event?.reference, event?.detail?.['needs']], ['editor', false, request?.reference, ['notes read']])
  assert.equal((await house.rows('notices')).length, 1)
  assert.equal(house.told[0]?.summary, 'alice asks to use Editor (unverified)')

  await decideAll(house, { effect: 'approve' })
  assert.ok(house.store.changes.some(({ kind, key }) => kind === 'application' && key === 'editor'))
  assertGranted(await again(person, page))
  const [granted] = house.events('approval.granted')
  assert.deepEqual([granted?.subject, granted?.application, granted?.detail?.['askedBy']], [DANA.userId, 'editor', request?.userId])
  // The next time, nobody waits: neither this person nor another one.
  assertGranted(await house.ask(person))
  house.person = { subject: 'bob' }
  assertGranted(await ask(house, house.browser()))
})

eachRequiringHouse('RFC 6749 §4.1.2.1: whoever is refused reads the administrator’s reason in the answer, at once and at the next try', async (house) => {
  const person = house.browser()
  const page = await ask(house, person)
  await decideAll(house, { effect: 'refuse', reason: 'Use "Notes" instead – frag Jürgen' })
  const answer = answerOf(await again(person, page))
  // RFC 6749 §4.1.2.1: neither quotes nor backslashes nor anything beyond ASCII.
  assert.deepEqual([answer['error'], answer['error_description'], answer['state'], answer['iss']], ['access_denied', "Use 'Notes' instead ' frag Jurgen", 'client-state', house.issuer])
  // Before anything is asked of the person.
  assert.equal(answerOf(await house.ask(person))['error'], 'access_denied')
  assert.equal(answerOf(await house.ask(house.browser()))['error'], 'access_denied')
  assert.deepEqual(await house.rows('grants'), [])
  assert.deepEqual(await queue(house), [])
  assert.equal(house.events('authorization.refused').every(({ reason }) => reason?.startsWith('access_denied: refused by an administrator') === true), true)
  // Another application is another matter.
  assert.ok(isWaiting(await ask(house, person, { client_id: 'other' })))
})

eachRequiringHouse('what is approved for groups is approved for them alone', async (house) => {
  const [person, staff] = [house.browser(), house.browser()]
  const page = await ask(house, person)
  await decideAll(house, { effect: 'approve', groups: ['finance'] })
  const answer = answerOf(await again(person, page))
  assert.deepEqual([answer['error'], answer['error_description']], ['access_denied', 'your administrator has approved this application for others only'])
  house.person = { subject: 'frida', groups: ['finance'] }
  assertGranted(await ask(house, staff))
})

eachRequiringHouse('scope growth: who was approved for reading waits again to write, and goes on reading meanwhile', async (house) => {
  const person = house.browser()
  await ask(house, person)
  await decideAll(house, { effect: 'approve' })
  assertGranted(await house.ask(person))
  const page = await ask(house, person, { scope: 'mcp.read mcp.write' })
  assert.ok(isWaiting(page))
  assert.deepEqual((await queue(house)).map(({ content }) => content.needs), [[{ upstream: 'notes', access: 'write' }]])
  assertGranted(await house.ask(person, { scope: 'mcp.read' }))
  await decideAll(house, { effect: 'refuse', reason: 'Reading is enough' })
  assert.equal(answerOf(await again(person, page))['error_description'], 'Reading is enough')
  assertGranted(await house.ask(person, { scope: 'mcp.read' }))
})

eachRequiringHouse('an upstream that it was not approved for waits; who was approved to write may read', async (house) => {
  const person = house.browser()
  await ask(house, person, { scope: 'mcp.write' })
  await decideAll(house, { effect: 'approve' })
  assertGranted(await ask(house, person, { scope: 'mcp.read' }))
  const page = await ask(house, person, { resource: house.resource('engineering') })
  assert.ok(isWaiting(page))
  assert.deepEqual((await queue(house)).map(({ content }) => content.needs), [[{ upstream: 'tickets', access: 'read' }]])
  // Nothing goes to an upstream's provider before that (P-1).
  assert.deepEqual(house.connecting, [])
  assert.match(page.text, /Tickets/)
})

eachRequiringHouse('what its person may not use is asked of nobody', async (house) => {
  house.upstreams.push(upstream('weather', 'none'))
  house.rules = policy([EVERYTHING, { id: 'no-weather', effect: 'deny', upstreams: ['weather', 'tickets'] }])
  await ask(house, house.browser(), { resource: house.resource('engineering') })
  assert.deepEqual((await queue(house)).map(({ content }) => content.needs), [[{ upstream: 'notes', access: 'read' }]])
})

eachRequiringHouse('a configured application was approved by having been configured', async (house) => {
  house.clients.set('configured', client('configured', { kind: 'pre-registered' }))
  assertGranted(await ask(house, house.browser(), { client_id: 'configured' }))
  for (const action of ['consent.granted', 'authorization.granted'] as const) assert.deepEqual(house.events(action).map(({ application, verified }) => [application, verified]), [['configured', true]])
  assert.deepEqual(await queue(house), [])
})

eachRequiringHouse('attack: approval of a changed document: what was approved is what was seen, and no more', async (house) => {
  const person = house.browser()
  const page = await ask(house, person)
  const [seen] = await queue(house)
  house.clients.set('editor', client('editor', { digest: 'digest-2', redirectUris: [...client('editor').redirectUris, 'https://evil.example/cb'] }))
  await decideAll(house, { effect: 'approve' })
  // The person is asked about what it became, and then waits again.
  const consent = await again(person, page)
  assert.ok(isConsent(consent))
  assert.ok(isWaiting(await press(person, consent, 'decision', 'approve')))
  const [changed] = await queue(house)
  assert.notEqual(changed?.content.digest, seen?.content.digest)
  assert.deepEqual(await house.rows('grants'), [])
  // As it was, it is approved.
  house.clients.set('editor', client('editor'))
  assertGranted(await ask(house, house.browser()))
})

eachRequiringHouse('a verified application that changed goes on, and administrators are told once', async (house) => {
  const person = house.browser()
  await ask(house, person, { client_id: DOCUMENT })
  await decideAll(house, { effect: 'approve' })
  assertGranted(await house.ask(person, { client_id: DOCUMENT }))
  house.clients.set(DOCUMENT, document({ digest: 'digest-2' }))
  house.told.length = 0
  assertGranted(await ask(house, person, { client_id: DOCUMENT }))
  assertGranted(await ask(house, person, { client_id: DOCUMENT }))
  const [event, ...others] = house.events('application.changed')
  assert.deepEqual([event?.application, event?.verified, others.length], [DOCUMENT, true, 0])
  assert.deepEqual(house.told.map(({ type }) => type), ['application.changed'])
})

eachRequiringHouse('or, by setting, it is held back until it is approved as it is now', async (house) => {
  const person = house.browser()
  await ask(house, person, { client_id: DOCUMENT })
  await decideAll(house, { effect: 'approve' })
  assertGranted(await house.ask(person, { client_id: DOCUMENT }))
  house.clients.set(DOCUMENT, document({ digest: 'digest-2' }))
  const page = await ask(house, person, { client_id: DOCUMENT })
  assert.ok(isWaiting(page))
  await decideAll(house, { effect: 'approve' })
  assertGranted(await again(person, page))
}, HOLD)

eachRequiringHouse('a pin holds an application back by itself, where no approval is required, and moves with the next approval', async (house) => {
  house.approval = { required: false, holdChanged: true }
  const person = house.browser()
  assertGranted(await ask(house, person, { client_id: DOCUMENT }))
  // What an administrator did not look at is not pinned.
  assert.equal(await admin(house).pin(DOCUMENT, 'digest-0', DANA), 'changed')
  assert.equal(await admin(house).pin(DOCUMENT, 'digest-1', DANA), 'done')
  assertGranted(await ask(house, person, { client_id: DOCUMENT }))
  house.clients.set(DOCUMENT, document({ digest: 'digest-2' }))
  const page = await ask(house, person, { client_id: DOCUMENT })
  assert.ok(isWaiting(page))
  await decideAll(house, { effect: 'approve' })
  assertGranted(await again(person, page))
  assert.deepEqual((await house.rows<{ pin: string }>('applications')).map(({ pin }) => pin), ['digest-2'])
  assert.equal(await admin(house).pin(DOCUMENT, undefined, DANA), 'done')
  assert.equal(house.events('application.pinned').length, 2)
})

eachRequiringHouse('OpenID Connect Core §3.1.2.6: with prompt=none nobody is shown a page that waits', async (house) => {
  const person = house.browser()
  assert.ok(isWaiting(await ask(house, person)))
  assert.equal(answerOf(await house.ask(person, { prompt: 'none' }))['error'], 'interaction_required')
  await decideAll(house, { effect: 'approve' })
  assertGranted(await house.ask(person, { prompt: 'none' }))
})

eachRequiringHouse('F01, F13: a link that leads somebody astray puts nothing into the queue, and nobody fills it for the others', async (house) => {
  const person = house.browser()
  for (let index = 0; index < 12; index += 1) house.clients.set(`app-${index}`, client(`app-${index}`, { name: 'Claude' }))
  for (let index = 0; index < 12; index += 1) assert.ok(isConsent(await house.ask(house.browser(), { client_id: `app-${index}` })))
  assert.deepEqual([await queue(house), await house.rows('applications'), await house.rows('notices')], [[], [], []])
  for (let index = 0; index < 10; index += 1) assert.ok(isWaiting(await ask(house, person, { client_id: `app-${index}` })))
  // The same application again is the same request, whoever asks.
  assert.ok(isWaiting(await ask(house, person, { client_id: 'app-3' })))
  const eleventh = answerOf(await ask(house, person, { client_id: 'app-10' }))
  assert.deepEqual([eleventh['error'], eleventh['error_description']], ['access_denied', 'too many of your applications wait for your administrator already'])
  assert.equal((await queue(house)).length, 10)
  house.person = { subject: 'bob' }
  assert.ok(isWaiting(await ask(house, house.browser(), { client_id: 'app-11' })))
  assert.ok(isWaiting(await ask(house, house.browser(), { client_id: 'app-3' })))
  assert.equal((await queue(house)).length, 11)
})

eachRequiringHouse('another person’s waiting page is nobody else’s, signed in or not', async (house) => {
  const [person, other] = [house.browser(), house.browser()]
  const page = await ask(house, person)
  await decideAll(house, { effect: 'approve' })
  house.person = { subject: 'mallory' }
  await ask(house, other, { client_id: 'other' })
  const address = new URL(refreshOf(page)?.split('url=')[1] ?? '', page.url).href
  for (const stranger of [other, house.browser()]) assert.equal((await stranger.open(address)).status, 403)
  assert.deepEqual(await house.rows('grants'), [])
  assertGranted(await person.open(address))
})

eachRequiringHouse('who stops waiting is told so at the application, and the request stays with the administrator', async (house) => {
  const person = house.browser()
  const page = await ask(house, person)
  assert.equal(answerOf(await press(person, page, 'decision', 'deny'))['error'], 'access_denied')
  assert.deepEqual(await house.rows('grants'), [])
  await decideAll(house, { effect: 'approve' })
  assertGranted(await ask(house, person))
})

eachRequiringHouse('the page asks ever more rarely, and not for ever', async (house) => {
  const person = house.browser()
  let page = await ask(house, person)
  const here = new URL(refreshOf(page)?.split('url=')[1] ?? '', page.url).href
  const began = house.now
  const pace: (string | undefined)[] = []
  for (const minutes of [0, 2, 10, 25]) {
    house.now = began + minutes * 60_000
    page = await person.open(here)
    pace.push(refreshOf(page)?.split(';')[0])
  }
  assert.deepEqual(pace, ['3', '6', '15', undefined])
  assert.match(page.text, /<a [^>]*href="\/authorize\/req_[\w-]+"[^>]*>Check now<\/a>/)
  // WCAG 2.2.1: whoever wants to read on is not taken away from it.
  house.now = began
  const still = await person.open(`${here}?still`)
  assert.ok(isWaiting(still))
  assert.equal(refreshOf(still), undefined)
  assert.match(still.text, /Check automatically/)
  house.now = began + 25 * 60_000
  house.now += 6 * 60_000
  assert.equal((await person.open(here)).status, 400)
})

eachRequiringHouse('of parallel looks at an approved request, one gets the code', async (house) => {
  const person = house.browser()
  const page = await ask(house, person)
  await decideAll(house, { effect: 'approve' })
  const path = refreshOf(page)?.split('url=')[1] ?? ''
  const answers = await Promise.all(Array.from({ length: 8 }, () => house.send(person, path)))
  assert.equal(answers.filter(({ status }) => status === 303).length, 1)
  assert.equal((await house.rows('grants')).length, 1)
})

eachRequiringHouse('withdrawn: the application’s grants end, and its next try waits again; refused: it ends with the reason', async (house) => {
  const [alice, bob] = [house.browser(), house.browser()]
  await ask(house, alice)
  await decideAll(house, { effect: 'approve' })
  assertGranted(await house.ask(alice))
  house.person = { subject: 'bob' }
  assertGranted(await ask(house, bob))
  const waiting = await ask(house, bob, { client_id: 'other' })
  await decideAll(house, { effect: 'approve' })
  assertGranted(await again(bob, waiting))
  assert.equal(await admin(house).withdraw('editor', DANA), 2)
  const grants = await house.rows<{ client_id: string; revoked_at: number | null; id: string }>('grants')
  for (const grant of grants) {
    assert.equal(grant.revoked_at !== null, grant.client_id === 'editor')
    assert.equal(house.store.changes.some(({ kind, key }) => kind === 'grant' && key === grant.id), grant.client_id === 'editor')
  }
  assert.ok(isWaiting(await ask(house, alice)))
  assertGranted(await house.ask(bob, { client_id: 'other' }))
  assert.equal(await admin(house).refuse('other', 'No longer', DANA), 2)
  assert.equal(answerOf(await house.ask(bob, { client_id: 'other' }))['error_description'], 'No longer')
  assert.equal(await admin(house).withdraw('nobody', DANA), undefined)
})

eachHouse('where no approval is required, an application can still be refused, and approved again', async (house) => {
  const person = house.browser()
  assertGranted(await ask(house, person))
  assert.equal(await admin(house).refuse('editor', 'No longer', DANA), 1)
  assert.equal(answerOf(await house.ask(person))['error'], 'access_denied')
  assert.equal(await admin(house).approve('editor', 'digest-0', undefined, DANA), 'changed')
  assert.equal(await admin(house).approve('editor', 'digest-1', undefined, DANA), 'done')
  assertGranted(await ask(house, person))
})

eachRequiringHouse('an application that is approved or refused as a whole leaves nobody waiting', async (house) => {
  const person = house.browser()
  const page = await ask(house, person)
  assert.equal(await admin(house).approve('editor', 'digest-1', ['staff'], DANA), 'done')
  assert.deepEqual(await queue(house), [])
  assertGranted(await again(person, page))
  const other = await ask(house, person, { client_id: 'other' })
  assert.equal(await admin(house).refuse('other', 'Not that one', DANA), 0)
  assert.deepEqual(await queue(house), [])
  assert.equal(answerOf(await again(person, other))['error_description'], 'Not that one')
})
