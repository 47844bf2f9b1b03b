// One flow for a profile of several upstreams: one consent that names them, then each missing account in turn, one page
// each, and whatever becomes of an account, the code at the end.
import assert from 'node:assert/strict'
import { policy } from '../../src/policy/policy.ts'
import { ACCESS_DENIED, ConnectionRefused, UpstreamUnavailable } from '../../src/upstreams/connectors/connector.ts'
import type { Browser, Page } from '../support/browser.ts'
import { answerOf, callbackOf, eachHouse, EVERYTHING, press, upstream, type Changes, type House } from '../support/authorize-house.ts'

const FOUR = { upstreams: () => [upstream('notes', 'none'), upstream('tickets', 'oauth'), upstream('calendar', 'oauth', { connector: { type: 'oauth', scopes: ['events.read', 'events.write'] } }), upstream('mail', 'oauth')] }

/** The account that a page offers to connect: one, or none. */
function offered(page: Page): string | undefined {
  const paths = page.forms.map((form) => new URL(form.action).pathname).filter((path) => path.startsWith('/connections/'))
  assert.ok(paths.length <= 1, `one page each: ${paths.join(' ')}`)
  return paths[0]?.slice('/connections/'.length)
}

function ask(house: House, person: Browser, changes: Changes = {}): Promise<Page> {
  return house.ask(person, { resource: house.resource('engineering'), scope: 'mcp.write', ...changes })
}

async function approve(house: House, person: Browser, changes: Changes = {}): Promise<Page> {
  return press(person, await ask(house, person, changes), 'decision', 'approve')
}

/** Presses Connect, and comes back from the provider with what it answered. */
async function connect(house: House, person: Browser, page: Page): Promise<Page> {
  const form = page.forms.find((each) => new URL(each.action).pathname.startsWith('/connections/'))
  assert.ok(form !== undefined, page.text)
  const away = await person.submit(page, form)
  // P-6, RFC 9700 §4.4: each upstream's provider answers at a redirect URI of its own.
  if (away.status === 0) assert.equal(new URL(away.url).searchParams.get('redirect_uri'), `${house.issuer}/connections/${offered(page)}/callback`)
  return away.status === 0 ? person.open(callbackOf(away.url, 'code')) : away
}

async function connected(house: House): Promise<readonly string[]> {
  return (await house.rows<{ upstream: string }>('connections')).map((row) => row.upstream).sort()
}

function assertCode(page: Page): void {
  assert.match(answerOf(page)['code'] ?? page.text, /^lyd_ac_/)
}

eachHouse('J2, P-3: the consent names the profile, each of its upstreams and what is asked for there; then each account has its page, with the reason and the scopes', async (house) => {
  const person = house.browser()
  const consent = await ask(house, person)
  assert.match(consent.text, /Allow Editor to use Engineering as you\?/)
  for (const text of [/Notes/, /Tickets <span class="muted">with your own account there:<\/span> <code>tickets:read<\/code> <code>tickets:write<\/code>/, /Calendar[^]*<code>events\.read<\/code> <code>events\.write<\/code>/, /Mail/]) assert.match(consent.text, text)
  assert.equal(offered(consent), undefined)
  let page = await press(person, consent, 'decision', 'approve')
  const order: string[] = []
  for (let at = offered(page); at !== undefined; at = offered(page)) {
    order.push(at)
    assert.match(page.text, /You allowed Editor to use Engineering as you/)
    assert.match(page.text, new RegExp(`<code>${at}:read</code>[^]*<code>${at}:write</code>`))
    assert.match(page.text, [/2 more accounts can be connected/, /One more account can be connected/, /the first tool that needs it will ask\.<\/p>/][order.length - 1] ?? /never/)
    assert.deepEqual(await house.rows('codes'), [])
    page = await connect(house, person, page)
  }
  assert.deepEqual(house.events('consent.granted')[0]?.detail?.['reach'], ['notes', 'tickets', 'calendar', 'mail'])
  assertCode(page)
  assert.deepEqual(order, ['tickets', 'calendar', 'mail'])
  assert.deepEqual(await connected(house), ['calendar', 'mail', 'tickets'])
  // P-1, P-2: nothing was started before the consent was stored.
  const steps = house.events().map(({ action }) => action).filter((action) => /^(?:consent|connection|authorization)\./.test(action))
  assert.deepEqual(steps, ['authorization.requested', 'consent.granted', 'connection.created', 'connection.created', 'connection.created', 'authorization.granted'])
  assertCode(await ask(house, person))
}, FOUR)

eachHouse('each account is skipped for itself: it is not asked for again in this flow, and the others are', async (house) => {
  const person = house.browser()
  let page = await approve(house, person)
  assert.equal(offered(page), 'tickets')
  page = await press(person, page, 'skip', 'tickets')
  assert.equal(offered(page), 'calendar')
  page = await connect(house, person, page)
  assert.equal(offered(page), 'mail')
  // What is none of the profile is kept nowhere.
  const csrf = page.forms.find(({ buttons }) => buttons.some(([name]) => name === 'skip'))?.fields['csrf'] ?? ''
  for (const skip of ['nothing', 'x'.repeat(60_000)]) assert.equal((await house.send(person, new URL(page.url).pathname, { form: { csrf, skip }, headers: { origin: house.issuer, 'sec-fetch-site': 'same-origin' } })).status, 303)
  assert.deepEqual((await house.rows<{ progress: string }>('authorization_requests')).map(({ progress }) => (JSON.parse(progress) as { skipped?: string[] }).skipped), [['tickets']])
  // The page of one that was skipped is gone; coming back to the flow asks for what is left.
  page = await person.open(house.issuer + new URL(page.url).pathname)
  assert.equal(offered(page), 'mail')
  assertCode(await press(person, page, 'skip', 'mail'))
  assert.deepEqual(await connected(house), ['calendar'])
  // Another flow asks for them again.
  assert.equal(offered(await ask(house, person)), 'tickets')
}, FOUR)

for (const [name, at, error, message, reason] of [
  ['its provider cannot be reached', 'connect', new UpstreamUnavailable('no answer'), /Tickets was not connected\.<\/strong> The service does not answer/, 'no answer'],
  ['it was refused there', 'finish', new ConnectionRefused(ACCESS_DENIED), /Tickets was not connected\.<\/strong> The service says that it was refused there/, ACCESS_DENIED],
  ['its provider answers with nothing of use', 'finish', new ConnectionRefused('issuer differs'), /Tickets was not connected\.<\/strong> The service gave an answer that cannot be used/, 'issuer differs'],
] as const) {
  eachHouse(`an account that is not connected because ${name}: the flow says so and goes on, and it comes again at the end`, async (house) => {
    const person = house.browser()
    house.broken.set('tickets', { at, error })
    let page = await connect(house, person, await approve(house, person))
    assert.equal(page.status, 200)
    assert.equal(offered(page), 'calendar')
    assert.match(page.text, message)
    assert.deepEqual(house.events('connection.failed').map((event) => [event.upstream, event.reason]), [['tickets', reason]])
    // J11: the reference finds every step of the flow.
    assert.equal(house.events('connection.failed')[0]?.reference, house.events('authorization.requested')[0]?.reference)
    page = await connect(house, person, page)
    assert.doesNotMatch(page.text, /was not connected/)
    page = await press(person, page, 'skip', 'mail')
    assert.equal(offered(page), 'tickets')
    assert.match(page.text, message)
    // It fails once more, and can still be left out.
    const again = await connect(house, person, page)
    assert.equal(offered(again), 'tickets')
    house.broken.clear()
    assertCode(at === 'connect' ? await press(person, again, 'skip', 'tickets') : await connect(house, person, again))
    assert.deepEqual(await connected(house), at === 'connect' ? ['calendar'] : ['calendar', 'tickets'])
  }, FOUR)
}

eachHouse('a failure that a link makes up changes nothing but the words on the page', async (house) => {
  const person = house.browser()
  const page = await approve(house, person)
  const flow = house.issuer + new URL(page.url).pathname
  for (const query of ['?unconnected=notes&why=failed', '?unconnected=nothing&why=failed', '?unconnected=tickets&why=<script>', '?unconnected=&why=']) {
    const shown = await person.open(flow + query)
    assert.equal(offered(shown), 'tickets', query)
    assert.doesNotMatch(shown.text, /was not connected|script/)
  }
  assert.equal((await house.send(house.browser(), `${new URL(page.url).pathname}?unconnected=tickets&why=failed`)).status, 403)
  assert.equal(offered(await person.open(`${flow}?unconnected=tickets&why=failed`)), 'calendar')
  assert.deepEqual(house.events('connection.failed'), [])
}, FOUR)

eachHouse('what no rule allows is neither shown nor asked for, and the scope narrows both', async (house) => {
  const person = house.browser()
  house.rules = policy([{ ...EVERYTHING, upstreams: ['notes', 'calendar'] }])
  const consent = await ask(house, person)
  assert.match(consent.text, /Calendar/)
  assert.doesNotMatch(consent.text, /Tickets|Mail/)
  let page = await press(person, consent, 'decision', 'approve')
  assert.equal(offered(page), 'calendar')
  assertCode(await press(person, page, 'skip', 'calendar'))
  house.rules = policy([EVERYTHING])
  const narrow = await ask(house, person, { scope: 'mcp.mail.read mcp.notes.read' })
  assert.match(narrow.text, /Mail/)
  assert.doesNotMatch(narrow.text, /Tickets|Calendar/)
  page = await press(person, narrow, 'decision', 'approve')
  assert.equal(offered(page), 'mail')
  assertCode(await press(person, page, 'skip', 'mail'))
  // Nothing of what is asked for may be used: no page, and the client is told.
  house.rules = policy([{ ...EVERYTHING, upstreams: ['notes'] }])
  assert.equal(answerOf(await ask(house, person, { scope: 'mcp.mail.read' }))['error'], 'access_denied')
  assertCode(await press(person, await ask(house, person, { scope: 'mcp.notes.read', prompt: 'consent' }), 'decision', 'approve'))
}, FOUR)

eachHouse('D06: a consent is for the profile as it was; one that grew is asked for anew, one that shrank is not', async (house) => {
  const person = house.browser()
  const [notes, tickets, calendar, mail] = house.upstreams
  assert.ok(notes !== undefined && tickets !== undefined && calendar !== undefined && mail !== undefined)
  const team = { id: 'team', name: 'Team', resource: house.resource('team'), upstreams: [notes, tickets], tools: { tickets: ['list_*'] } }
  const changes = { resource: team.resource, scope: 'mcp.write' }
  const asks = async (): Promise<Page> => house.ask(person, { ...changes, prompt: undefined })
  const finish = async (page: Page): Promise<void> => assertCode(offered(page) === undefined ? page : await press(person, page, 'skip', 'tickets'))
  house.profiles.push(team)
  const first = await asks()
  assert.match(first.text, /Tickets, only\s+<code>list_\*<\/code>/)
  await finish(await press(person, first, 'decision', 'approve'))
  const again = async (profile: typeof team | Omit<typeof team, 'tools'>, wanted: 'asked' | 'remembered'): Promise<Page> => {
    house.profiles[0] = profile
    const page = await asks()
    assert.equal(/Allow Editor to use Team/.test(page.text) ? 'asked' : 'remembered', wanted)
    return page
  }
  await finish(await again(team, 'remembered'))
  await again({ ...team, tools: { tickets: ['list_*', 'delete_*'] } }, 'asked')
  await again({ id: team.id, name: team.name, resource: team.resource, upstreams: team.upstreams }, 'asked')
  const grown = await again({ ...team, upstreams: [...team.upstreams, mail] }, 'asked')
  assert.equal(answerOf(await person.open(house.request({ ...changes, prompt: 'none' })))['error'], 'consent_required')
  await finish(await again({ ...team, upstreams: [notes] }, 'remembered'))
  // What the open page showed is what it approves: it grew meanwhile, and the answer is refused.
  house.profiles[0] = { ...team, upstreams: [...team.upstreams, mail, calendar] }
  assert.equal((await press(person, grown, 'decision', 'approve')).status, 403)
  assert.equal((await house.rows('consents')).length, 1)
  house.profiles[0] = { ...team, upstreams: [...team.upstreams, mail] }
  assert.equal(offered(await press(person, grown, 'decision', 'approve')), 'tickets')
}, FOUR)

eachHouse('a profile of somebody else, or for other groups, is told of as one that does not exist', async (house) => {
  const person = house.browser()
  const [notes] = house.upstreams
  assert.ok(notes !== undefined)
  house.profiles.push({ id: 'u-secret', name: 'Private name', owner: 'usr_somebody', resource: house.resource('u-secret'), upstreams: [notes] })
  house.profiles.push({ id: 'board', name: 'Board', groups: ['board'], resource: house.resource('board'), upstreams: [notes] })
  const told = async (profile: string, scope = 'mcp.read'): Promise<Readonly<Record<string, string>>> => answerOf(await house.ask(person, { resource: house.resource(profile), scope }))
  // Signed in: whoever is not is sent to sign in first where there is something, by a name that nobody guesses.
  await house.ask(person)
  const nothing = await told('nothing')
  assert.equal(nothing['error'], 'invalid_target')
  assert.deepEqual(await told('u-secret'), nothing)
  assert.deepEqual(await told('board'), nothing)
  assert.deepEqual(await house.rows('consents'), [])
  // The twins: whose it is, and who is in the group.
  const [row] = await house.store.db.query<{ id: string }>('SELECT id FROM users')
  house.profiles[0] = { id: 'u-secret', name: 'Private name', owner: row?.id ?? '', resource: house.resource('u-secret'), upstreams: [notes] }
  assertCode(await press(person, await house.ask(person, { resource: house.resource('u-secret') }), 'decision', 'approve'))
  const member = house.browser()
  house.person = { subject: 'dana', groups: ['board'] }
  assertCode(await press(member, await house.ask(member, { resource: house.resource('board') }), 'decision', 'approve'))
}, FOUR)

const SHARED = { upstreams: () => [upstream('notes', 'none'), upstream('weather', 'none', { connector: { type: 'api-key', header: 'X-Key', value: 'k' } }), upstream('billing', 'none', { connector: { type: 'client-credentials', clientId: 'lanyard', clientSecret: 's', tokenEndpointAuthMethod: 'client_secret_basic', grantType: 'client_credentials' } })] }

eachHouse('P-3: the consent says where everybody shares one account, and there is nothing to connect for it', async (house) => {
  const person = house.browser()
  const consent = await ask(house, person)
  for (const name of ['Weather', 'Billing']) assert.match(consent.text, new RegExp(`${name} <span class="muted">with one account there that everybody shares</span>`))
  assert.doesNotMatch(consent.text, /Notes <span/)
  assertCode(await press(person, consent, 'decision', 'approve'))
}, SHARED)
