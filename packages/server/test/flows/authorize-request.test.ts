// What a client may ask for: until it is proven where the answer goes an error is a page, and from then on a redirect.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Browser, Page } from '../support/browser.ts'
import { matchRedirectUri, redirectClass } from '../../src/oauth/redirect-uri.ts'
import { rateLimit } from '../../src/http/rate-limit.ts'
import { answerOf, CALLBACK, client, eachHouse, press, PROVIDER, type Changes, type House } from '../support/authorize-house.ts'

/** An error page that sends nobody anywhere, with nothing stored but the event under the reference that it shows. */
async function assertPage(house: House, page: Page, reason: RegExp, status = 400): Promise<void> {
  assert.equal(page.status, status, page.url)
  assert.equal(page.headers.get('location'), null)
  assert.equal(page.headers.get('cache-control'), 'no-store')
  assert.deepEqual(await house.rows('authorization_requests'), [])
  const event = house.events('authorization.refused').at(-1)
  assert.match(event?.reason ?? '', reason)
  assert.equal(event?.outcome, 'failure')
  assert.match(page.text, new RegExp(`<code>${event?.reference ?? 'none'}</code>`))
}

/** An error that the client is told of (RFC 6749 §4.1.2.1), with `iss` (AS-7) and `state`. */
async function assertTold(house: House, page: Page, error: string): Promise<void> {
  const answer = answerOf(page)
  assert.equal(page.url.split('?')[0], CALLBACK, page.text)
  assert.equal(answer['error'], error)
  assert.equal(answer['iss'], house.issuer)
  assert.equal(answer['state'], 'client-state')
  assert.equal(answer['code'], undefined)
  // RFC 6749 §4.1.2.1
  assert.match(answer['error_description'] ?? '', /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/)
  assert.deepEqual(await house.rows('authorization_requests'), [])
  assert.match(house.events('authorization.refused').at(-1)?.reason ?? '', new RegExp(`^${error}: `))
}

/** A browser whose person has signed in before. */
async function signedIn(house: House): Promise<Browser> {
  const person = house.browser()
  await house.open(person, `${house.issuer}/login?return_to=/`)
  return person
}

async function assertAsks(house: House, changes: Changes): Promise<Page> {
  const page = await house.ask(house.browser(), changes)
  assert.equal(page.status, 200, page.text)
  assert.ok(page.forms.some((form) => form.buttons.some(([name]) => name === 'decision')), page.text)
  return page
}

const STRANGE_URIS = [
  'https://evil.example/cb',
  'https://app.example/cb/../x',
  'https://app.example/cb/',
  'https://app.example/cb?x=1',
  'https://app.example/cb#x',
  'https://app.example/CB',
  'https://APP.example/cb',
  'HTTPS://app.example/cb',
  'https://app.example:443/cb',
  'https://app.example@evil.example/cb',
  'https://user@app.example/cb',
  'https://app.example.evil.example/cb',
  'https://app.example%2fcb',
  'https://app.example/%63b',
  'https://app.example/cb%2f',
  'https://app.example/cb%00',
  'https://app.example//cb',
  'https://app.example/cb\\@evil.example',
  'https://аpp.example/cb',
  'https://app。example/cb',
  'https://app.example/*',
  'http://app.example/cb',
  '//app.example/cb',
  '/cb',
  ' https://app.example/cb',
  'https://app.example/cb\n',
  'javascript:alert(1)',
  'data:text/html,x',
  'http://127.0.0.1.evil.example/callback',
  'http://localhost.evil.example/callback',
  'http://localhost/callback',
  'http://127.1/callback',
  'http://2130706433/callback',
  'http://0x7f.0.0.1/callback',
  'http://[::ffff:127.0.0.1]/callback',
  'http://[::1]/callback',
  'http://0.0.0.0/callback',
  'http://127.0.0.1:4711/other',
  'http://127.0.0.1:4711/callback?x=1',
  'http://127.0.0.1:4711@evil.example/callback',
  'http://127.0.0.1:999999/callback',
  'https://127.0.0.1/callback',
  'editor://callback/x',
  'editor://other',
  'Editor://callback',
]

eachHouse('A01, A02, A03, A05, AS-12, P-5: a redirect URI that is not registered to the letter is a page and goes nowhere', async (house) => {
  for (const uri of STRANGE_URIS) await assertPage(house, await house.ask(house.browser(), { redirect_uri: uri }), /redirect_uri is not registered/)
  assert.deepEqual(await house.rows('codes'), [])
  assert.equal(house.asked.length, 0)
})

eachHouse('AS-12, RFC 8252 §7.3: registered redirect URIs are good, and loopback ones with any port', async (house) => {
  for (const uri of [CALLBACK, 'http://127.0.0.1/callback', 'http://127.0.0.1:4711/callback', 'http://127.0.0.1:65535/callback', 'editor://callback']) {
    const person = house.browser()
    const denied = await press(person, await house.ask(person, { redirect_uri: uri }), 'decision', 'deny')
    assert.equal(denied.url.split('?')[0], uri)
    assert.equal(answerOf(denied)['error'], 'access_denied')
  }
})

test('A02: no text but a registered URI, or its loopback twin, ever matches (property)', () => {
  const registered = [CALLBACK, 'http://127.0.0.1/callback']
  const pieces = fc.array(fc.constantFrom('https', 'http', ':', '/', '//', 'app.example', '127.0.0.1', '@', '?', '#', '\\', '%2f', '..', 'cb', 'callback', '.evil.example', ':80', ':4711', ' ', '\t', 'localhost'), { maxLength: 9 })
  const near = fc.tuple(fc.constantFrom(...registered), fc.nat(30), fc.string({ maxLength: 3 })).map(([uri, at, more]) => uri.slice(0, at) + more + uri.slice(at))
  fc.assert(
    fc.property(fc.oneof(pieces.map((parts) => parts.join('')), near), (uri) => {
      const matched = matchRedirectUri(uri, registered)
      if (matched === undefined) return
      assert.equal(matched, uri)
      assert.notEqual(redirectClass(uri), undefined)
      assert.ok(uri === CALLBACK || /^http:\/\/127\.0\.0\.1(?::\d{1,5})?\/callback$/.test(uri), uri)
    }),
    { numRuns: 2000 },
  )
})

eachHouse('RFC 6749 §3.1.2.3: a redirect URI may be left out when exactly one is registered', async (house) => {
  await assertPage(house, await house.ask(house.browser(), { redirect_uri: undefined }), /redirect_uri is missing/)
  house.clients.set('one', client('one', { redirectUris: [CALLBACK] }))
  const person = house.browser()
  const page = await press(person, await house.ask(person, { client_id: 'one', redirect_uri: undefined }), 'decision', 'deny')
  assert.equal(page.url.split('?')[0], CALLBACK)
})

eachHouse('A05: an unknown or missing client is a page, whatever else is wrong', async (house) => {
  await assertPage(house, await house.ask(house.browser(), { client_id: 'nobody' }), /no such registration/)
  await assertPage(house, await house.ask(house.browser(), { client_id: undefined, response_type: undefined }), /client_id is missing/)
  await assertPage(house, await house.ask(house.browser(), { client_id: '<script>alert(1)</script>' }), /no such registration/)
  await assertAsks(house, {})
})

eachHouse('A06, RFC 6749 §3.1: a repeated parameter is a page, even with equal values', async (house) => {
  for (const name of ['client_id', 'redirect_uri', 'scope', 'state', 'code_challenge', 'code_challenge_method', 'response_type', 'prompt']) {
    await assertPage(house, await house.ask(house.browser(), { [name]: ['x', 'y'] }), new RegExp(`${name} is repeated`))
  }
  await assertPage(house, await house.ask(house.browser(), { state: ['same', 'same'] }), /state is repeated/)
  await assertAsks(house, { state: '', prompt: '' })
})

eachHouse('B02, OAuth 2.1 §4.1.1, AS-4: PKCE with S256 is required', async (house) => {
  const wrong: readonly Changes[] = [
    { code_challenge: undefined },
    { code_challenge_method: undefined },
    { code_challenge_method: 'plain' },
    { code_challenge_method: 's256' },
    { code_challenge_method: 'S512' },
    { code_challenge: 'short' },
    { code_challenge: `${'a'.repeat(42)}=` },
    { code_challenge: 'a'.repeat(44) },
  ]
  for (const changes of wrong) await assertTold(house, await house.ask(await signedIn(house), changes), 'invalid_request')
  await assertAsks(house, {})
})

eachHouse('A08, A16: request objects, other response types and modes are refused at the client', async (house) => {
  const cases: readonly (readonly [Changes, string])[] = [
    [{ request: 'eyJhbGciOiJub25lIn0.e30.' }, 'request_not_supported'],
    [{ request_uri: 'http://169.254.169.254/latest' }, 'request_uri_not_supported'],
    [{ response_type: undefined }, 'invalid_request'],
    [{ response_type: 'token' }, 'unsupported_response_type'],
    [{ response_type: 'code id_token' }, 'unsupported_response_type'],
    [{ response_mode: 'fragment' }, 'invalid_request'],
    [{ response_mode: 'form_post' }, 'invalid_request'],
    [{ response_mode: 'query.jwt' }, 'invalid_request'],
    [{ max_age: '-1' }, 'invalid_request'],
    [{ max_age: '1e3' }, 'invalid_request'],
    [{ prompt: 'none login' }, 'invalid_request'],
    [{ prompt: 'create' }, 'invalid_request'],
  ]
  for (const [changes, error] of cases) {
    const page = await house.ask(await signedIn(house), changes)
    await assertTold(house, page, error)
    assert.doesNotMatch(page.url, /#/)
  }
  house.clients.set('machine', client('machine', { grantTypes: ['client_credentials'] }))
  await assertTold(house, await house.ask(await signedIn(house), { client_id: 'machine' }), 'unauthorized_client')
  const long = await house.ask(await signedIn(house), { state: 's'.repeat(4097) })
  assert.equal(answerOf(long)['error'], 'invalid_request')
  await assertAsks(house, { response_mode: 'query', state: 's'.repeat(4096), max_age: '0' })
})

eachHouse('RFC 9700 §4.11.2: a wrong request sends nobody to a site that nobody has verified, who has not signed in', async (house) => {
  const wrong: Changes = { scope: 'mcp.admin' }
  for (const kind of ['dynamic', 'metadata-document'] as const) {
    house.clients.set('editor', client('editor', { kind }))
    const page = await house.ask(house.browser(), wrong)
    await assertPage(house, page, /^invalid_scope: /)
    assert.match(page.text, /go there only if you know it/)
    // The person may go on: the link is the answer that the client would have had.
    const link = /href="([^"]+)" rel="noreferrer">Go to app\.example</.exec(page.text)?.[1]?.replaceAll('&amp;', '&') ?? ''
    assert.ok(link.startsWith(`${CALLBACK}?error=invalid_scope&`), page.text)
    assert.deepEqual([new URL(link).searchParams.get('state'), new URL(link).searchParams.get('iss')], ['client-state', house.issuer])
    await assertTold(house, await house.ask(await signedIn(house), wrong), 'invalid_scope')
    // A program on the person's own machine waits for its answer, and is no site.
    for (const uri of ['http://127.0.0.1:4711/callback', 'editor://callback']) {
      const told = await house.ask(house.browser(), { ...wrong, redirect_uri: uri })
      assert.ok(told.url.startsWith(`${uri}?error=invalid_scope&`), told.url)
    }
  }
  house.clients.set('editor', client('editor', { kind: 'pre-registered' }))
  await assertTold(house, await house.ask(house.browser(), wrong), 'invalid_scope')
})

eachHouse('RFC 9700 §4.11.2: nor does a request that may ask nobody anything', async (house) => {
  const silent: Changes = { prompt: 'none' }
  for (const kind of ['dynamic', 'metadata-document'] as const) {
    house.clients.set('editor', client('editor', { kind }))
    const page = await house.ask(house.browser(), silent)
    await assertPage(house, page, /^login_required: /)
    assert.match(page.text, new RegExp(`href="${CALLBACK}\\?error=login_required&`))
    const told = await house.ask(house.browser(), { ...silent, redirect_uri: 'http://127.0.0.1:4711/callback' })
    assert.ok(told.url.startsWith('http://127.0.0.1:4711/callback?error=login_required&'), told.url)
    await assertTold(house, await house.ask(await signedIn(house), { ...silent, scope: 'mcp.write' }), 'consent_required')
  }
  house.clients.set('editor', client('editor', { kind: 'pre-registered' }))
  await assertTold(house, await house.ask(house.browser(), silent), 'login_required')
})

eachHouse('RFC 8707 §2, AS-29: one resource, in any spelling of its one name', async (house) => {
  const notes = house.resource('notes')
  for (const resource of [`${house.issuer}/mcp/nothing`, 'https://elsewhere.example/mcp/notes', `${notes}#x`, `${notes}?x=1`, `${house.issuer}/MCP/notes`, 'notes', 'urn:x:notes', [notes, house.resource('tickets')], [notes, 'junk']]) {
    await assertTold(house, await house.ask(await signedIn(house), { resource }), 'invalid_target')
  }
  // Old clients name none: with several resources here that says nothing.
  await assertTold(house, await house.ask(await signedIn(house), { resource: undefined }), 'invalid_target')
  for (const resource of [notes, `${notes}/`, notes.replace('http://', 'HTTP://'), [notes, notes], [notes, `${notes}/`]]) {
    const page = await assertAsks(house, { resource })
    assert.match(page.text, /use Notes as you/)
  }
  const stored = await house.rows<{ request: string }>('authorization_requests')
  assert.deepEqual(new Set(stored.map((row) => (JSON.parse(row.request) as { resource: string }).resource)), new Set([notes]))
})

eachHouse('RFC 6749 §3.3, AS-30: scopes that do not exist here are refused, habitual ones change nothing', async (house) => {
  for (const scope of ['mcp.admin', 'mcp.read mcp.tickets.read', 'mcp.read "', 'mcp.*', 'MCP.READ']) await assertTold(house, await house.ask(await signedIn(house), { scope }), 'invalid_scope')
  const granted = async (scope: string | undefined): Promise<string> => {
    const person = house.browser()
    await press(person, await house.ask(person, { scope, prompt: 'consent' }), 'decision', 'approve')
    const grants = await house.rows<{ id: string; scope: string; created_at: number }>('grants')
    await house.store.db.query('DELETE FROM codes')
    await house.store.db.query('DELETE FROM grants')
    return grants.map((grant) => grant.scope).join('|')
  }
  assert.equal(await granted('mcp.read'), 'mcp.read')
  assert.equal(await granted('openid profile mcp.notes.write offline_access mcp.notes.write'), 'mcp.notes.write')
  assert.equal(await granted(undefined), 'mcp.read mcp.write')
  assert.equal(await granted('openid offline_access'), 'mcp.read mcp.write')
})

eachHouse('RFC 6749 §3.1.2, AS-7: the registered query is kept to the letter, but no answer hides in it', async (house) => {
  const uri = 'https://app.example/cb?a=1%20+2&flag&code=stolen&error=none&iss=https://evil.example&state=old'
  house.clients.set('query', client('query', { redirectUris: [uri] }))
  const person = house.browser()
  const denied = await press(person, await house.ask(person, { client_id: 'query', redirect_uri: uri, state: undefined }), 'decision', 'deny')
  const [, query = ''] = denied.url.split('?')
  assert.match(query, /^a=1%20\+2&flag&error=access_denied&/)
  assert.deepEqual([...new URL(denied.url).searchParams.keys()], ['a', 'flag', 'error', 'error_description', 'iss'])
  assert.equal(answerOf(denied)['iss'], house.issuer)
})

eachHouse('RFC 6749 §3.1: a request by POST is asked again by GET, in the flow of this browser', async (house) => {
  const form = Object.fromEntries(new URL(house.request()).searchParams)
  const posted = await house.send(undefined, '/authorize', { form, headers: { origin: 'https://app.example', 'sec-fetch-site': 'cross-site' } })
  assert.equal(posted.status, 303)
  assert.deepEqual(posted.headers.getSetCookie(), [])
  const page = await house.open(house.browser(), new URL(posted.headers.get('location') ?? '', house.issuer).href)
  assert.match(page.text, /Allow Editor/)
  const doubled = await fetch(`${house.issuer}/authorize`, { method: 'POST', body: 'client_id=editor&client_id=other', headers: { 'content-type': 'application/x-www-form-urlencoded' }, redirect: 'manual' })
  assert.equal(doubled.status, 400)
  assert.equal(doubled.headers.get('location'), null)
})

eachHouse('a browser keeps its 20 newest requests, each for 30 minutes', async (house) => {
  const person = house.browser()
  const first = await house.ask(person)
  for (let count = 1; count <= 20; count += 1) {
    house.now += 1000
    await house.ask(person, { state: String(count) })
  }
  assert.equal((await house.rows('authorization_requests')).length, 20)
  assert.equal((await person.open(first.url)).status, 400)
  const other = house.browser()
  const page = await house.ask(other)
  assert.equal((await house.rows('authorization_requests')).length, 21)
  house.now += 30 * 60_000 - 1
  assert.equal((await other.open(page.url)).status, 200)
  house.now += 1
  const late = await other.open(page.url)
  assert.equal(late.status, 400)
  assert.match(late.text, /This request has ended/)
  assert.deepEqual(await house.rows('codes'), [])
})

eachHouse('a flood from one network is told to wait', async (house) => {
  house.flood = rateLimit({ limit: 2, windowMs: 60_000, now: () => house.now })
  await house.ask(house.browser())
  await house.ask(house.browser())
  const page = await house.ask(house.browser())
  assert.equal(page.status, 429)
  assert.equal(page.headers.get('retry-after'), '60')
  assert.equal((await house.rows('authorization_requests')).length, 2)
  house.now += 60_000
  assert.equal((await house.ask(house.browser())).status, 200)
})

eachHouse('nothing but the way to sign in happens before somebody is signed in', async (house) => {
  const page = await house.browser().open(house.request())
  assert.ok(page.url.startsWith(PROVIDER))
  for (const table of ['codes', 'grants', 'consents', 'connection_attempts'] as const) assert.deepEqual(await house.rows(table), [])
})
