// Requests that clients push before they send the browser (RFC 9126): checked at once, good once, for a minute, and for
// the client that pushed them.
import assert from 'node:assert/strict'
import { hash } from '../../src/oauth/secret.ts'
import { answerOf, CALLBACK, CHALLENGE, client, eachHouse, press, type Changes, type House } from '../support/authorize-house.ts'
import { proofKey } from '../support/dpop.ts'
import type { Browser, Page } from '../support/browser.ts'

interface Pushed {
  readonly status: number
  readonly body: Record<string, unknown>
}

function parameters(house: House): Record<string, string> {
  return { client_id: 'editor', response_type: 'code', redirect_uri: CALLBACK, code_challenge: CHALLENGE, code_challenge_method: 'S256', resource: house.resource('notes'), scope: 'mcp.read', state: 'client-state' }
}

async function push(house: House, changes: Changes = {}, headers: Readonly<Record<string, string>> = {}): Promise<Pushed> {
  const form = Object.fromEntries(Object.entries({ ...parameters(house), ...changes }).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])))
  const response = await house.send(undefined, '/par', { form, headers })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

async function pushed(house: House, changes: Changes = {}, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const { status, body } = await push(house, changes, headers)
  assert.equal(status, 201, JSON.stringify(body))
  return String(body['request_uri'])
}

function authorize(house: House, person: Browser, query: Readonly<Record<string, string>>): Promise<Page> {
  return house.open(person, `${house.issuer}/authorize?${new URLSearchParams(query).toString()}`)
}

function asks(page: Page): boolean {
  return page.forms.some((form) => form.buttons.some(([name]) => name === 'decision'))
}

async function assertRefused(house: House, page: Page, reason: RegExp): Promise<void> {
  assert.equal(page.status, 400, page.text)
  assert.equal(asks(page), false)
  assert.match(house.events('authorization.refused').at(-1)?.reason ?? '', reason)
  assert.deepEqual(await house.rows('grants'), [])
}

eachHouse('a pushed request is answered with a request_uri, and ends as every other (RFC 9126 §2.2, §4)', async (house) => {
  const { status, body } = await push(house, { state: 'of the client', scope: 'mcp.read mcp.write' })
  assert.equal(status, 201)
  assert.deepEqual(Object.keys(body), ['request_uri', 'expires_in'])
  assert.match(String(body['request_uri']), /^urn:ietf:params:oauth:request_uri:lyd_par_[\w-]{43}$/)
  assert.equal(body['expires_in'], 60)
  const person = house.browser()
  const page = await authorize(house, person, { client_id: 'editor', request_uri: String(body['request_uri']) })
  assert.ok(asks(page))
  // A page that is loaded again still stands there.
  assert.ok(asks(await person.open(page.url)))
  assert.match(page.text, /<code>mcp\.write<\/code>/)
  const done = await press(person, page, 'decision', 'approve')
  assert.equal(done.url.split('?')[0], CALLBACK)
  assert.deepEqual([answerOf(done)['state'], answerOf(done)['iss']], ['of the client', house.issuer])
  assert.equal((await house.rows<{ scope: string }>('grants'))[0]?.scope, 'mcp.read mcp.write')
  const [event] = house.events('authorization.pushed')
  assert.deepEqual([event?.clientId, event?.resource, event?.detail], ['editor', house.resource('notes'), { scope: ['mcp.read', 'mcp.write'] }])
})

eachHouse('a request_uri is good once, whoever is faster (RFC 9126 §7.3, A16)', async (house) => {
  const requestUri = await pushed(house)
  const answers = await Promise.all(Array.from({ length: 8 }, () => authorize(house, house.browser(), { client_id: 'editor', request_uri: requestUri })))
  assert.equal(answers.filter(asks).length, 1)
  assert.deepEqual(answers.filter((page) => !asks(page)).map(({ status }) => status), Array.from({ length: 7 }, () => 400))
  assert.equal((await house.rows('authorization_requests')).length, 1)
  assert.deepEqual(await house.rows('pushed_requests'), [])
})

eachHouse('a request_uri lasts a minute and is its client’s alone, which another one does not use up (RFC 9126 §2.2, §7.3)', async (house) => {
  const requestUri = await pushed(house)
  await assertRefused(house, await authorize(house, house.browser(), { client_id: 'other', request_uri: requestUri }), /request_uri is not good/)
  await assertRefused(house, await authorize(house, house.browser(), { request_uri: requestUri }), /request_uri is not good/)
  await assertRefused(house, await authorize(house, house.browser(), { client_id: 'editor', request_uri: `${requestUri.slice(0, -1)}-` }), /request_uri is not good/)
  house.now += 59_000
  assert.ok(asks(await authorize(house, house.browser(), { client_id: 'editor', request_uri: requestUri })))
  const late = await pushed(house)
  house.now += 60_000
  await assertRefused(house, await authorize(house, house.browser(), { client_id: 'editor', request_uri: late }), /request_uri is not good/)
})

eachHouse('what is wrong with a request is said when it is pushed, and nothing of it is kept (RFC 9126 §2.3)', async (house) => {
  house.clients.set('secretive', client('secretive', { tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('right')] }))
  const cases: readonly (readonly [Changes, string])[] = [
    [{ request_uri: 'urn:ietf:params:oauth:request_uri:other' }, 'invalid_request'],
    [{ request: 'eyJhbGciOiJub25lIn0.e30.' }, 'request_not_supported'],
    [{ redirect_uri: 'https://evil.example/cb' }, 'invalid_request'],
    [{ response_type: 'token' }, 'unsupported_response_type'],
    [{ code_challenge: undefined }, 'invalid_request'],
    [{ code_challenge_method: 'plain' }, 'invalid_request'],
    [{ resource: `${house.issuer}/mcp/nothing` }, 'invalid_target'],
    [{ scope: 'mcp.fly' }, 'invalid_scope'],
    [{ client_id: 'nobody' }, 'invalid_client'],
    [{ client_id: 'secretive', client_secret: 'wrong' }, 'invalid_client'],
  ]
  for (const [changes, error] of cases) assert.equal((await push(house, changes)).body['error'], error, JSON.stringify(changes))
  assert.deepEqual(await house.rows('pushed_requests'), [])
  await pushed(house, { client_id: 'secretive', client_secret: 'right' })
  const [row] = await house.rows<{ params: string }>('pushed_requests')
  // How a client proved itself is not kept.
  assert.doesNotMatch(row?.params ?? '', /right|client_secret/)
})

eachHouse('what comes beside request_uri must say the same: nothing is ignored in silence (RFC 9126 §4, A06)', async (house) => {
  for (const [name, value] of Object.entries({ scope: 'mcp.write', redirect_uri: 'editor://callback', state: 'of somebody', prompt: 'none', max_age: '0' })) {
    const page = await authorize(house, house.browser(), { client_id: 'editor', request_uri: await pushed(house), [name]: value })
    await assertRefused(house, page, new RegExp(`beside request_uri: ${name}`))
  }
  // OpenID Connect Core §6.2: clients repeat what its form requires.
  const same = await authorize(house, house.browser(), { client_id: 'editor', request_uri: await pushed(house), response_type: 'code', scope: 'mcp.read' })
  assert.ok(asks(same))
})

eachHouse('A16: a request_uri of somebody else is fetched by nobody, with or without pushed requests', async (house) => {
  const person = house.browser()
  await house.open(person, house.request())
  const page = await house.open(person, house.request({ request_uri: 'http://169.254.169.254/latest' }))
  assert.equal(answerOf(page)['error'], 'request_uri_not_supported')
  assert.ok(asks(await authorize(house, person, { client_id: 'editor', request_uri: await pushed(house) })))
})

eachHouse('a client that must push is refused when it does not, by its own word or an administrator’s (RFC 9126 §5, §6)', async (house) => {
  house.clients.set('strict', client('strict', { requirePushedAuthorizationRequests: true }))
  const person = house.browser()
  await house.open(person, house.request())
  const refusal = async (changes: Changes): Promise<unknown> => answerOf(await house.open(person, house.request(changes)))['error']
  assert.equal(await refusal({ client_id: 'strict' }), 'invalid_request')
  assert.match(house.events('authorization.refused').at(-1)?.reason ?? '', /not pushed/)
  assert.ok(asks(await authorize(house, person, { client_id: 'strict', request_uri: await pushed(house, { client_id: 'strict' }) })))
  assert.ok(asks(await house.open(person, house.request())))
  house.requirePushed = true
  assert.equal(await refusal({}), 'invalid_request')
  assert.ok(asks(await authorize(house, person, { client_id: 'editor', request_uri: await pushed(house) })))
})

eachHouse('RFC 9449 §10.1: the key that a pushed request proves is the one that its code is bound to', async (house) => {
  const [key, other] = [await proofKey(), await proofKey()]
  const prove = (of: typeof key): Promise<string> => of.prove({ htm: 'POST', htu: `${house.issuer}/par`, iat: Math.floor(house.now / 1000) })
  const person = house.browser()
  const requestUri = await pushed(house, {}, { dpop: await prove(key) })
  await press(person, await authorize(house, person, { client_id: 'editor', request_uri: requestUri }), 'decision', 'approve')
  assert.deepEqual((await house.rows<{ jkt: string | null }>('grants')).map(({ jkt }) => jkt), [key.jkt])
  assert.equal((await push(house, { dpop_jkt: other.jkt }, { dpop: await prove(key) })).body['error'], 'invalid_dpop_proof')
  assert.equal((await push(house, {}, { dpop: await key.prove({ htm: 'POST', htu: `${house.issuer}/token`, iat: Math.floor(house.now / 1000) }) })).body['error'], 'invalid_dpop_proof')
  assert.equal((await push(house, { dpop_jkt: key.jkt }, { dpop: await prove(key) })).status, 201)
})
