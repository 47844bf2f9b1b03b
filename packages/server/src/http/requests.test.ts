import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { OAuthError } from '../oauth/error.ts'
import { addressBucket, clientAddress } from './address.ts'
import { cookies } from './cookies.ts'
import { checkCsrf, csrfToken } from './csrf.ts'
import { PageError } from './errors.ts'
import { Params, readText } from './params.ts'
import { rateLimit, requireRate } from './rate-limit.ts'
import { requireSameOrigin } from './same-origin.ts'

const ISSUER = 'https://lanyard.example'

test('X-Forwarded-For is believed as far as trusted proxies wrote it', () => {
  const address = clientAddress(['10.0.0.0/8', '::1/128'])
  assert.equal(address('10.0.0.1', '198.51.100.7'), '198.51.100.7')
  assert.equal(address('10.0.0.1', '192.0.2.66, 198.51.100.7, 10.0.0.2'), '198.51.100.7')
  assert.equal(address('::ffff:10.0.0.1', '198.51.100.7'), '198.51.100.7')
  assert.equal(address('203.0.113.9', '198.51.100.7'), '203.0.113.9')
  assert.equal(address('10.0.0.1', undefined), '10.0.0.1')
  assert.equal(address('10.0.0.1', '198.51.100.7, not an address'), '10.0.0.1')
  assert.equal(address(undefined, '198.51.100.7'), 'unknown')
  assert.equal(clientAddress([])('127.0.0.1', '198.51.100.7'), '127.0.0.1')
  assert.throws(() => clientAddress(['10.0.0.0/99']))
})

test('a flood guard counts an IPv6 network as one, and a mapped address as the IPv4 address (F01)', () => {
  assert.equal(addressBucket('2001:db8:1:2:3:4:5:6'), addressBucket('2001:db8:1:2::ffff'))
  assert.notEqual(addressBucket('2001:db8:1:2::1'), addressBucket('2001:db8:1:3::1'))
  assert.equal(addressBucket('::ffff:192.0.2.1'), '192.0.2.1')
  assert.notEqual(addressBucket('192.0.2.1'), addressBucket('192.0.2.2'))
  assert.equal(addressBucket('unknown'), 'unknown')
})

test('cookies are bound to the host, out of reach of scripts and plain http (P-4)', () => {
  const jar = cookies(ISSUER)
  assert.equal(jar.write('session', 'v', 60), '__Host-lanyard_session=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure')
  const read = (cookie: string): string | undefined => jar.read(new Request(ISSUER, { headers: { cookie } }), 'session')
  assert.equal(read('a=1; __Host-lanyard_session=v; b=2'), 'v')
  assert.equal(read('lanyard_session=v'), undefined)
  assert.equal(read('x__Host-lanyard_session=v; __Host-lanyard_session2=w'), undefined)
  assert.equal(cookies('http://127.0.0.1:8080').write('session', '', 0), 'lanyard_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0')
})

test('of two cookies of one name neither is believed: one of them was planted (D09)', () => {
  const request = new Request(ISSUER, { headers: { cookie: '__Host-lanyard_flow=theirs; __Host-lanyard_flow=mine' } })
  assert.equal(cookies(ISSUER).read(request, 'flow'), undefined)
})

test('a form token is good for one session and one purpose', () => {
  const token = csrfToken('secret', 'consent:1')
  assert.equal(checkCsrf(token, 'secret', 'consent:1'), true)
  for (const [given, secret, purpose] of [[token, 'other', 'consent:1'], [token, 'secret', 'consent:2'], [`${token}x`, 'secret', 'consent:1'], ['', 'secret', 'consent:1'], [undefined, 'secret', 'consent:1']] as const) {
    assert.equal(checkCsrf(given, secret, purpose), false)
  }
})

test('a form is taken from our own pages alone; they send no Referer, so browsers call their origin null', () => {
  const post = (headers: Readonly<Record<string, string>>) => (): void => requireSameOrigin(new Request(`${ISSUER}/authorize/1`, { method: 'POST', headers }), ISSUER)
  const own: readonly Readonly<Record<string, string>>[] = [
    { origin: ISSUER, 'sec-fetch-site': 'same-origin' },
    { origin: 'null', 'sec-fetch-site': 'same-origin' },
    { origin: 'null', 'sec-fetch-site': 'none' },
    { origin: ISSUER },
    {},
  ]
  for (const headers of own) assert.doesNotThrow(post(headers), JSON.stringify(headers))
  const foreign: readonly Readonly<Record<string, string>>[] = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'null', 'sec-fetch-site': 'cross-site' },
    { origin: 'null', 'sec-fetch-site': 'same-site' },
    { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' },
    { origin: ISSUER, 'sec-fetch-site': 'cross-site' },
    { origin: `${ISSUER}.evil.example` },
    { origin: 'http://lanyard.example' },
    { 'sec-fetch-site': 'cross-site' },
  ]
  for (const headers of foreign) assert.throws(post(headers), (error) => error instanceof PageError && error.status === 403, JSON.stringify(headers))
})

const code = (expected: string) => (error: unknown) => error instanceof OAuthError && error.code === expected

test('a parameter stands once (A06, RFC 6749 §3.1), resource excepted (RFC 8707 §2)', () => {
  for (const query of ['a=1&a=2', 'a=1&a=1', 'a=&a=1', 'client_id=x&b=1&client_id=y']) assert.throws(() => Params.from(new URLSearchParams(query)), code('invalid_request'), query)
  const params = Params.from(new URLSearchParams('resource=a&resource=b&state=1&__proto__=2'))
  assert.deepEqual(params.all('resource'), ['a', 'b'])
  assert.equal(params.get('__proto__'), '2')
  assert.equal(params.get('toString'), undefined)
  assert.equal(params.entries().length, 4)
})

test('a parameter without a value is as good as none (RFC 6749 §3.1), one with a NUL is none at all', () => {
  const params = Params.from(new URLSearchParams('scope=&resource=&resource=a'))
  assert.equal(params.get('scope'), undefined)
  assert.deepEqual(params.all('resource'), ['a'])
  assert.throws(() => params.require('scope'), code('invalid_request'))
  assert.throws(() => Params.from(new URLSearchParams('client_id=a%00b')), code('invalid_request'))
})

test('what an error says of a repeated parameter is fit for a description', () => {
  assert.throws(() => Params.from(new URLSearchParams('<b>=1&<b>=2')), /^OAuthError: a parameter is repeated$/)
})

test('many parameters cost as little as few (O02)', () => {
  const count = 200_000
  const search = new URLSearchParams(Array.from({ length: count }, (_, index) => [`p${index}`, '1']))
  const before = process.cpuUsage()
  assert.equal(Params.from(search).entries().length, count)
  // One look per parameter; a look at all others for each of them would take minutes.
  assert.ok(process.cpuUsage(before).user < 5_000_000)
})

test('property: parameters are read as they were written, or refused because one repeats', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'resource')
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string({ unit: fc.constantFrom('x', '&', '=', '+', 'ä') }))), (pairs) => {
      const others = pairs.map(([key]) => key).filter((key) => key !== 'resource')
      const read = (): Params => Params.from(new URLSearchParams(pairs))
      if (new Set(others).size < others.length) assert.throws(read, code('invalid_request'))
      else for (const [key, value] of pairs) if (value !== '') assert.ok(read().all(key).includes(value))
    }),
  )
})

function form(type: string, body: string | Uint8Array<ArrayBuffer> = 'grant_type=x'): Request {
  return new Request(`${ISSUER}/token?grant_type=y`, { method: 'POST', body, headers: type === '' ? {} : { 'content-type': type } })
}

test('a form is a form, of 64 kB at most, and the query string is no part of it (C14, RFC 6749 §3.2)', async () => {
  for (const type of ['application/x-www-form-urlencoded', 'application/x-www-form-urlencoded; charset=UTF-8', 'Application/X-WWW-Form-URLEncoded;charset="utf-8"']) {
    assert.equal((await Params.fromForm(form(type))).get('grant_type'), 'x')
  }
  const others = ['application/json', 'text/plain', 'multipart/form-data; boundary=x', 'application/json, application/x-www-form-urlencoded', 'application/x-www-form-urlencoded; charset=utf-16', 'application/x-www-form-urlencodedx']
  for (const type of others) await assert.rejects(Params.fromForm(form(type)), code('invalid_request'), type)
  await assert.rejects(Params.fromForm(form('', new Uint8Array([97, 61, 49]))), code('invalid_request'))
  await assert.rejects(Params.fromForm(form('application/x-www-form-urlencoded', `a=${'x'.repeat(64 * 1024)}`)), code('invalid_request'))
  assert.equal((await Params.fromForm(form('application/x-www-form-urlencoded', `a=${'x'.repeat(64 * 1024 - 2)}`))).get('a')?.length, 64 * 1024 - 2)
})

test('nothing past the limit of a body is read', async () => {
  const post = (body: string | ReadableStream | null): Request => new Request(ISSUER, { method: 'POST', body, duplex: 'half' })
  let pulled = 0
  let cancelled = false
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      pulled += 1
      controller.enqueue(new Uint8Array(1000))
    },
    cancel: () => void (cancelled = true),
  })
  assert.equal(await readText(post(body), 5000), undefined)
  assert.ok(pulled < 10)
  assert.equal(cancelled, true)
  assert.equal(await readText(post('ä'), 2), 'ä')
  assert.equal(await readText(post(null), 2), '')
})

test('a burst up to the limit, then evenly spread, for each key alone', () => {
  let now = 1_760_000_000_123
  const allow = rateLimit({ limit: 7, windowMs: 60_000, now: () => now })
  for (let call = 0; call < 7; call += 1) assert.equal(allow('a').allowed, true, `call ${call + 1}`)
  assert.deepEqual(allow('a'), { allowed: false, retryAfter: 9 })
  assert.equal(allow('b').allowed, true)
  now += 9000
  assert.equal(allow('a').allowed, true)
  assert.equal(allow('a').allowed, false)
  now += 3600_000
  for (let call = 0; call < 7; call += 1) assert.equal(allow('a').allowed, true)
  assert.equal(allow('a').allowed, false)
})

test('a clock that is set back shuts nobody out until it is there again, and lifts no limit', () => {
  let now = 1_760_000_000_000
  const allow = rateLimit({ limit: 2, windowMs: 1000, now: () => now })
  assert.deepEqual([allow('a').allowed, allow('a').allowed, allow('a').allowed], [true, true, false])
  now -= 3600_000
  assert.deepEqual([allow('a').allowed, allow('a').allowed, allow('a').allowed], [true, true, false])
})

test('keys are remembered up to a number (O05); a refusal is a 429 that says when', () => {
  const allow = rateLimit({ limit: 1, windowMs: 10_000, now: () => 0, maxKeys: 2 })
  for (const key of ['a', 'b', 'c']) assert.equal(allow(key).allowed, true)
  assert.equal(allow('c').allowed, false)
  assert.equal(allow('a').allowed, true)
  assert.throws(() => requireRate(allow, 'a'), (error) => error instanceof OAuthError && error.status === 429 && error.retryAfter === 10)
})
