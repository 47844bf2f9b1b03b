// Consent: what the page says, whose answer counts, what is remembered, and that each request gets one answer.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { policy } from '../../src/policy/policy.ts'
import type { Browser, Page } from '../support/browser.ts'
import { answerOf, CALLBACK, client, eachHouse, EVERYTHING, press, upstream, type Changes, type House } from '../support/authorize-house.ts'
import { hash } from '../../src/oauth/secret.ts'

function asks(page: Page): boolean {
  return page.forms.some((form) => form.buttons.some(([name]) => name === 'decision'))
}

/** The path of the pending request: a page that comes at once stands at the address that was opened. */
function stepOf(page: Page): string {
  return new URL(page.forms[0]?.action ?? page.url).pathname
}

async function approve(house: House, person: Browser, changes: Changes = {}): Promise<Page> {
  return press(person, await house.ask(person, changes), 'decision', 'approve')
}

/** The one grant and code that this page at the client's address stands for. */
async function assertGranted(house: House, page: Page, count = 1): Promise<void> {
  const answer = answerOf(page)
  assert.equal(page.status, 0, page.text)
  assert.deepEqual(Object.keys(answer), ['code', 'state', 'iss'])
  // RFC 9207 §2, AS-7.
  assert.equal(answer['iss'], house.issuer)
  assert.equal(answer['state'], 'client-state')
  const codes = await house.rows<{ hash: string; grant_id: string; consumed_at: number | null; expires_at: number; redirect_uri: string }>('codes')
  assert.equal(codes.length, count)
  const code = codes.find((row) => row.hash === hash(answer['code'] ?? ''))
  assert.ok(code !== undefined && code.consumed_at === null)
  // B09, ASVS 10.4.3: 60 seconds.
  assert.ok(code.expires_at - house.now / 1000 <= 60)
  assert.equal(code.redirect_uri, page.url.split('?')[0])
  assert.deepEqual(await house.rows('authorization_requests'), [])
  assert.equal(house.events('authorization.granted').filter((event) => event.grantId === code.grant_id).length, 1)
}

async function assertNothingGranted(house: House): Promise<void> {
  for (const table of ['codes', 'grants', 'consents'] as const) assert.deepEqual(await house.rows(table), [], table)
}

eachHouse('an approval becomes one code and one grant, recorded under one reference', async (house) => {
  const page = await approve(house, house.browser(), { scope: 'mcp.read mcp.write' })
  await assertGranted(house, page)
  const [grant] = await house.rows<{ user_id: string; client_id: string; resource: string; scope: string; revoked_at: number | null }>('grants')
  assert.deepEqual({ client: grant?.client_id, resource: grant?.resource, scope: grant?.scope, revoked: grant?.revoked_at }, { client: 'editor', resource: house.resource('notes'), scope: 'mcp.read mcp.write', revoked: null })
  const trail = house.events().map((event) => [event.action, event.outcome, event.reference === house.events()[0]?.reference])
  assert.deepEqual(trail, [
    ['authorization.requested', 'success', true],
    ['login.started', 'success', true],
    ['login.succeeded', 'success', true],
    ['consent.granted', 'success', true],
    ['authorization.granted', 'success', true],
  ])
  const code = answerOf(page)['code'] ?? ''
  assert.ok(code.startsWith('lyd_ac_') && code.length > 40)
  assert.doesNotMatch(JSON.stringify(house.events()), new RegExp(code))
})

eachHouse('P-3, AS-20, AS-21, D13: the page names application, host, person, tools, scopes and lifetime', async (house) => {
  house.upstreams[1] = upstream('tickets', 'oauth', { connector: { type: 'oauth', scopes: ['issues:write'] } })
  house.clients.set('https://app.example/client.json', client('https://app.example/client.json', { kind: 'metadata-document', verifiedHost: 'app.example', name: 'Verified Editor' }))
  const { text, headers } = await house.ask(house.browser(), { client_id: 'https://app.example/client.json', resource: house.resource('engineering'), scope: 'mcp.read mcp.tickets.write' })
  for (const part of ['Verified Editor', 'badge verified">verified: app.example', '<strong>app.example</strong>', 'alice@corp.example', 'Notes', 'Tickets', 'issues:write', 'mcp.read', 'Use every tool of Tickets', 'mcp.tickets.write', '90 days at most', 'https://app.example/client.json', CALLBACK]) assert.ok(text.includes(part), part)
  assert.doesNotMatch(text, /class="warning"/)
  // P-3: no framing, no scripts, no foreign content; RFC 9700 §4.2: nothing leaks by cache or Referer.
  const policyOf = headers.get('content-security-policy') ?? ''
  for (const part of ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'self'"]) assert.ok(policyOf.includes(part), policyOf)
  assert.doesNotMatch(policyOf, /unsafe|script-src|\*(?!;| |$)/)
  assert.match(policyOf, /form-action 'self' https:\/\/app\.example /)
  assert.deepEqual([headers.get('x-frame-options'), headers.get('cache-control'), headers.get('referrer-policy'), headers.get('x-content-type-options')], ['DENY', 'no-store', 'no-referrer', 'nosniff'])
  assert.doesNotMatch(text, /(?:src|href)="(?!\/)/)
})

eachHouse('AS-22, F10, F13: unverified names and returns to this computer are warned of', async (house) => {
  const unverified = await house.ask(house.browser())
  assert.match(unverified.text, /badge unverified/)
  assert.match(unverified.text, /Nobody has verified this application/)
  assert.doesNotMatch(unverified.text, /Its name resembles/)
  house.clients.set('mask', client('mask', { name: 'Clаude Code' }))
  assert.match((await house.ask(house.browser(), { client_id: 'mask' })).text, /Its name resembles Claude \(verified: claude\.ai\)|Its name resembles Claude Code \(verified: claude\.ai\)/)
  house.clients.set('https://app.example/client.json', client('https://app.example/client.json', { kind: 'metadata-document', verifiedHost: 'app.example' }))
  const loopback = await house.ask(house.browser(), { client_id: 'https://app.example/client.json', redirect_uri: 'http://127.0.0.1:4711/callback' })
  assert.match(loopback.text, /Any program on this computer could be asking/)
  assert.match(loopback.text, /<code>127\.0\.0\.1:4711<\/code>/)
  const scheme = await house.ask(house.browser(), { redirect_uri: 'editor://callback' })
  assert.match(scheme.text, /opens <code>editor:<\/code> links/)
  house.clients.set('configured', client('configured', { kind: 'pre-registered' }))
  const configured = await house.ask(house.browser(), { client_id: 'configured' })
  assert.match(configured.text, /registered by your administrator/)
  assert.doesNotMatch(configured.text, /class="warning"/)
})

eachHouse('A13: what a client says of itself is text: no markup, no direction overrides, no more than fits', async (house) => {
  const names = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', `evil\u202egro.elpmaxe\u2066`, 'A'.repeat(4096), 'zero\u200bwidth\u0000', `it's "quoted" & <b>`]
  for (const name of names) {
    house.clients.set('named', client('named', { name }))
    const { text, status } = await house.ask(house.browser(), { client_id: 'named' })
    assert.equal(status, 200)
    for (const hidden of ['\u0000', '\u202e', '\u2066', '\u200b']) assert.ok(!text.includes(hidden))
    assert.doesNotMatch(text, /<script|<img src=x|<b>/)
    assert.doesNotMatch(text, /A{61}/)
  }
  house.clients.set('named', client('named', { name: '\u200b\u202e' }))
  assert.match((await house.ask(house.browser(), { client_id: 'named' })).text, /Allow an application without a name/)
})

eachHouse('a consent is remembered for its user, client, host, resource and scope, and asked again when any grows (D06)', async (house) => {
  const person = house.browser()
  await approve(house, person, { scope: 'mcp.read mcp.notes.write' })
  await assertGranted(house, await house.ask(person, { scope: 'mcp.read' }), 2)
  await assertGranted(house, await house.ask(person, { scope: 'mcp.notes.write mcp.read' }), 3)
  assert.equal(house.events('consent.granted').length, 1)
  const wider: readonly Changes[] = [
    { scope: 'mcp.read mcp.write' },
    { resource: house.resource('engineering'), scope: 'mcp.read' },
    { redirect_uri: 'http://127.0.0.1:4711/callback' },
    { redirect_uri: 'editor://callback' },
    { client_id: 'other' },
    { prompt: 'consent' },
  ]
  for (const changes of wider) assert.ok(asks(await house.ask(person, changes)), JSON.stringify(changes))
  house.person = { subject: 'bob' }
  assert.ok(asks(await house.ask(house.browser())))
  assert.equal((await house.rows('codes')).length, 3)
})

eachHouse('loopback consents hold for any port, and for no host', async (house) => {
  const person = house.browser()
  await approve(house, person, { redirect_uri: 'http://127.0.0.1:4711/callback' })
  await assertGranted(house, await house.ask(person, { redirect_uri: 'http://127.0.0.1:4712/callback' }), 2)
  assert.ok(asks(await house.ask(person)))
})

eachHouse('F08, AS-24, CIMD §6.3: a changed client is asked about again, and what the page did not show is not approved', async (house) => {
  const person = house.browser()
  await approve(house, person)
  house.clients.set('editor', client('editor', { name: 'Renamed', digest: 'digest-2' }))
  const page = await house.ask(person)
  assert.match(page.text, /Allow Renamed/)
  // The document changes again while the page is open: the approval is for what the page showed.
  house.clients.set('editor', client('editor', { name: 'Something else', digest: 'digest-3' }))
  const late = await press(person, page, 'decision', 'approve')
  assert.equal(late.status, 403)
  assert.match(late.text, /out of date/)
  assert.deepEqual((await house.rows<{ client_digest: string }>('consents')).map((row) => row.client_digest), ['digest-1'])
  await assertGranted(house, await press(person, await person.open(house.issuer + stepOf(page)), 'decision', 'approve'), 2)
  assert.deepEqual((await house.rows<{ client_digest: string }>('consents')).map((row) => row.client_digest), ['digest-3'])
})

eachHouse('AS-24, AS-28: no answer goes to a redirect URI that is no longer registered, or to a client that is gone', async (house) => {
  const person = house.browser()
  const page = await house.ask(person)
  house.clients.set('editor', client('editor', { redirectUris: ['https://app.example/new'] }))
  const refused = await press(person, page, 'decision', 'approve')
  assert.equal(refused.status, 400)
  house.clients.delete('editor')
  const gone = await person.open(house.issuer + stepOf(page))
  assert.equal(gone.status, 400)
  assert.match(gone.text, /not known here/)
  const [changed, ended] = house.events('authorization.refused')
  assert.deepEqual([changed?.reason, ended?.clientId], ['redirect_uri is no longer registered', 'editor'])
  assert.match(gone.text, new RegExp(`<code>${ended?.reference ?? 'none'}</code>`))
  await assertNothingGranted(house)
  house.clients.set('editor', client('editor'))
  await assertGranted(house, await press(person, await person.open(house.issuer + stepOf(page)), 'decision', 'approve'))
})

eachHouse('D01: a consent to one client opens nothing to another with the same redirect host', async (house) => {
  const victim = house.browser()
  await approve(house, victim, { resource: house.resource('engineering') }).then((page) => press(victim, page, 'skip', 'tickets'))
  house.clients.set('attacker', client('attacker', { name: 'Editor', redirectUris: ['https://evil.example/cb', CALLBACK] }))
  for (const redirect_uri of ['https://evil.example/cb', CALLBACK]) {
    const page = await house.ask(victim, { client_id: 'attacker', redirect_uri, resource: house.resource('engineering') })
    assert.ok(asks(page))
    assert.ok(page.text.includes(redirect_uri))
  }
  // P-1, P-2, P-6: nothing went to an upstream's provider.
  assert.equal(house.connecting.length, 0)
  assert.deepEqual(await house.rows('connection_attempts'), [])
  assert.equal((await house.rows('codes')).length, 1)
})

eachHouse('D02: a request is finished in the browser that started it', async (house) => {
  const attacker = house.browser()
  const page = await house.ask(attacker)
  const victim = house.browser()
  await house.ask(victim)
  for (const browser of [victim, house.browser()]) {
    const opened = await browser.open(page.url)
    assert.equal(opened.status, 403)
    const event = house.events('authorization.refused').at(-1)
    assert.equal(event?.reason, 'opened in another browser')
    assert.equal(event.reference, house.events('authorization.requested')[0]?.reference)
    assert.ok(opened.text.includes(event.reference ?? 'none'))
    const form = page.forms.find((each) => each.buttons.some(([name]) => name === 'decision'))
    assert.ok(form !== undefined)
    assert.equal((await browser.submit(page, form, { decision: 'approve' })).status, 403)
  }
  await assertNothingGranted(house)
  const done = await press(attacker, page, 'decision', 'approve')
  assert.equal(answerOf(done)['iss'], house.issuer)
  assert.equal((await house.rows('codes')).length, 1)
})

eachHouse('P-3, A10: a form of another site, without its token, or of another request approves nothing', async (house) => {
  const person = house.browser()
  const page = await house.ask(person)
  const other = await house.ask(person, { state: 'other' })
  const path = stepOf(page)
  const csrf = page.forms[0]?.fields['csrf'] ?? ''
  const foreign = other.forms[0]?.fields['csrf'] ?? ''
  assert.ok(csrf.length > 40 && csrf !== foreign)
  const own = { origin: house.issuer, 'sec-fetch-site': 'same-origin' }
  const attempts: readonly (readonly [Record<string, string>, Record<string, string>])[] = [
    [{ decision: 'approve', csrf }, { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }],
    [{ decision: 'approve', csrf }, { origin: house.issuer, 'sec-fetch-site': 'same-site' }],
    [{ decision: 'approve', csrf }, { origin: 'https://evil.example' }],
    [{ decision: 'approve', csrf }, { origin: 'null' }],
    [{ decision: 'approve', csrf }, { origin: 'null', 'sec-fetch-site': 'cross-site' }],
    [{ decision: 'approve' }, own],
    [{ decision: 'approve', csrf: foreign }, own],
    [{ decision: 'approve', csrf: `${csrf}x` }, own],
    [{ skip: 'notes', csrf: foreign }, own],
    [{ account: 'another', csrf: foreign }, own],
  ]
  for (const [form, headers] of attempts) {
    const response = await house.send(person, path, { form, headers })
    assert.equal(response.status, 403, JSON.stringify(headers))
    assert.equal(response.headers.get('location'), null)
  }
  // N03: each attempt is recorded, with why and under the reference of its page.
  const attacks = house.events('authorization.refused')
  assert.deepEqual(attacks.map(({ reason }) => reason), [...Array.from({ length: 5 }, () => 'cross-site form'), ...Array.from({ length: 5 }, () => 'csrf')])
  assert.ok(attacks.every(({ clientId, reference, subject }) => clientId === 'editor' && reference !== undefined && subject === undefined))
  // The query is never read for an answer.
  assert.equal((await house.send(person, `${path}?decision=approve&csrf=${csrf}`, { form: {}, headers: own })).status, 403)
  await assertNothingGranted(house)
  const allowed = await house.send(person, path, { form: { decision: 'approve', csrf }, headers: own })
  // A10: 303 only.
  assert.deepEqual([allowed.status, allowed.headers.get('location'), allowed.headers.get('cache-control')], [303, path, 'no-store'])
  assert.equal((await house.rows('consents')).length, 1)
})

eachHouse('a denial ends the request, tells the client, and is not remembered', async (house) => {
  const person = house.browser()
  const page = await house.ask(person)
  const denied = await press(person, page, 'decision', 'deny')
  assert.deepEqual(answerOf(denied), { error: 'access_denied', error_description: 'the user did not approve', state: 'client-state', iss: house.issuer })
  await assertNothingGranted(house)
  assert.deepEqual(await house.rows('authorization_requests'), [])
  const [asked] = house.events('authorization.requested')
  for (const action of ['consent.denied', 'authorization.refused'] as const) assert.deepEqual(house.events(action).map((event) => event.reference), [asked?.reference])
  assert.equal((await person.open(house.issuer + stepOf(page))).status, 400)
  assert.ok(asks(await house.ask(person)))
})

eachHouse('parallel approvals and parallel returns give one code, and the late ones a page', async (house) => {
  const person = house.browser()
  const page = await house.ask(person)
  const path = stepOf(page)
  const csrf = page.forms[0]?.fields['csrf'] ?? ''
  const headers = { origin: house.issuer, 'sec-fetch-site': 'same-origin' }
  const approvals = await Promise.all(Array.from({ length: 8 }, () => house.send(person, path, { form: { csrf, decision: 'approve' }, headers })))
  assert.deepEqual(new Set(approvals.map((response) => response.status)), new Set([303]))
  assert.equal((await house.rows('consents')).length, 1)
  const returns = await Promise.all(Array.from({ length: 12 }, () => house.send(person, path)))
  const redirected = returns.filter((response) => response.status === 303)
  assert.equal(redirected.length, 1)
  assert.deepEqual(new Set(returns.filter((response) => response.status !== 303).map((response) => response.status)), new Set([400]))
  await assertGranted(house, { url: redirected[0]?.headers.get('location') ?? '', status: 0, text: '', headers: new Headers(), forms: [] })
  assert.equal((await house.rows('grants')).length, 1)
})

eachHouse('an approval and a denial at once give one answer', async (house) => {
  const person = house.browser()
  await approve(house, person)
  for (let round = 0; round < 5; round += 1) {
    const page = await house.ask(person, { prompt: 'consent' })
    const path = stepOf(page)
    const csrf = page.forms[0]?.fields['csrf'] ?? ''
    const headers = { origin: house.issuer, 'sec-fetch-site': 'same-origin' }
    await house.send(person, path, { form: { csrf, decision: 'approve' }, headers })
    const answers = await Promise.all([house.send(person, path), house.send(person, path, { form: { csrf, decision: 'deny' }, headers }), house.send(person, path, { form: { csrf, decision: 'deny' }, headers })])
    assert.deepEqual(answers.map((response) => `${response.status}`).sort(), ['303', '400', '400'])
    const told = answers.filter((response) => (response.headers.get('location') ?? '').startsWith(CALLBACK))
    assert.equal(told.length, 1)
  }
  const granted = house.events('authorization.granted').length
  assert.equal((await house.rows('codes')).length, granted)
  assert.equal(granted - 1 + house.events('consent.denied').length, 5)
})

eachHouse('B10: a code leaves only while policy allows anything of the resource', async (house) => {
  const person = house.browser()
  house.rules = policy([{ ...EVERYTHING, clients: ['other'] }])
  const refused = await house.ask(person)
  assert.equal(answerOf(refused)['error'], 'access_denied')
  assert.match(house.events('authorization.refused')[0]?.reason ?? '', /no rule allows/)
  assert.equal(house.events('authorization.refused')[0]?.subject !== undefined, true)
  assert.deepEqual(await house.rows('consents'), [])
  house.rules = policy([EVERYTHING])
  const page = await house.ask(person)
  // The rule goes while the page is open: the approval stands, the code does not leave.
  house.rules = policy([{ ...EVERYTHING, groups: ['nobody'] }])
  assert.equal(answerOf(await press(person, page, 'decision', 'approve'))['error'], 'access_denied')
  for (const table of ['codes', 'grants'] as const) assert.deepEqual(await house.rows(table), [])
  house.rules = policy([EVERYTHING])
  await assertGranted(house, await house.ask(person))
})

eachHouse('a resource that is gone by now ends the request', async (house) => {
  const person = house.browser()
  const page = await house.ask(person)
  house.upstreams.splice(0, 1)
  assert.equal(answerOf(await press(person, page, 'decision', 'approve'))['error'], 'invalid_target')
  await assertNothingGranted(house)
})

const PUBLIC = 'https://lanyard.example'

eachHouse(
  'P-4: behind https the cookies of a flow are __Host-, Secure, HttpOnly and SameSite=Lax, and hosts are pinned',
  async (house) => {
    const headers = { host: 'lanyard.example' }
    const answer = await new Promise<{ status: number; headers: Readonly<Record<string, string | string[] | undefined>> }>((done, failed) => {
      const url = new URL(house.request())
      request({ port: new URL(house.listening).port, host: '127.0.0.1', path: `${url.pathname}${url.search}`, headers }, (response) => {
        response.resume()
        done({ status: response.statusCode ?? 0, headers: response.headers })
      })
        .on('error', failed)
        .end()
    })
    assert.equal(answer.status, 303)
    const [cookie = ''] = [answer.headers['set-cookie']].flat()
    assert.match(cookie, /^__Host-lanyard_flow=lyd_flow_[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+; Secure$/)
    assert.match(String(answer.headers['strict-transport-security']), /max-age=31536000/)
    assert.equal((await fetch(`${house.listening}/authorize`)).status, 421)
  },
  { issuer: PUBLIC },
)
