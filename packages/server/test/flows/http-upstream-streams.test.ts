// Bodies of HTTP APIs pass as they come, in both directions, and no faster than they are read.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { request as httpRequest, type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { decodeJwt } from 'jose'
import { newProofKey, possession } from '../../src/upstreams/connectors/oauth/possession.ts'
import { eachApiHouse, type ApiHouse } from '../support/api-house.ts'
import { eventually } from '../support/eventually.ts'

const MIB = 1024 * 1024
const PIECE = randomBytes(256 * 1024)
const PIECES = 200
const TOTAL = PIECES * PIECE.length

/** A request whose body the test writes itself. */
function start({ nodes, apiToken }: ApiHouse, path: string, method = 'POST', headers: Readonly<Record<string, string>> = {}): ClientRequest {
  const { hostname, port } = new URL(nodes[0].address)
  return httpRequest({ hostname, port, path, method, agent: false, headers: { host: 'lanyard.example', authorization: `Bearer ${apiToken(/^\/http\/([a-z]+)/.exec(path)?.[1])}`, ...headers } })
}

function answerOf(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => void request.once('response', resolve).once('error', reject))
}

async function write(to: ClientRequest | ServerResponse, pieces: number): Promise<void> {
  for (let count = 0; count < pieces; count += 1) if (!to.write(PIECE)) await new Promise((resolve) => void to.once('drain', resolve))
}

/** Reads to the end. @returns the hash and the length of it */
async function digest(message: IncomingMessage): Promise<string> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    hash.update(chunk)
    size += chunk.length
  }
  return `${size} ${hash.digest('hex')}`
}

const expected = ((hash) => {
  for (let count = 0; count < PIECES; count += 1) hash.update(PIECE)
  return `${TOTAL} ${hash.digest('hex')}`
})(createHash('sha256'))

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** The most that lived in this process at once while the work ran: garbage is collected before each look. */
async function growth(work: () => Promise<void>): Promise<number> {
  const look = (): number => {
    collect()
    return process.memoryUsage().arrayBuffers
  }
  const before = look()
  let most = 0
  const timer = setInterval(() => (most = Math.max(most, look() - before)), 100)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  return most
}

eachApiHouse('50 MB go down whole, and a reader that stops stops the API: nothing is gathered', async (house) => {
  const { api } = house
  let written = 0
  api.script = async (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream' })
    for (let count = 0; count < PIECES; count += 1) {
      await write(response, 1)
      written += PIECE.length
    }
    response.end()
  }
  const grown = await growth(async () => {
    const answer = await answerOf(start(house, '/http/api/large', 'GET').end())
    assert.equal(answer.statusCode, 200, String(answer.headers['content-type']))
    // Nobody reads: the sockets in between fill, and then the API waits.
    let before = -1
    while (written !== before) {
      before = written
      await delay(200)
    }
    assert.ok(written < TOTAL, `the API could write ${written} bytes that nobody read`)
    assert.equal(await digest(answer), expected)
  })
  assert.ok(grown < 32 * MIB, `${Math.round(grown / MIB)} MiB were held`)
})

eachApiHouse('50 MB go up whole, with their length or without, and an API that does not read stops the caller', async (house) => {
  const { api } = house
  const received: string[] = []
  let open = (): void => undefined
  api.script = async (request, response) => {
    await new Promise<void>((resolve) => (open = resolve))
    received.push(`${await digest(request)} ${request.headers['content-length'] ?? 'chunked'}`)
    response.writeHead(201).end('done')
  }
  for (const headers of [{ 'content-length': String(TOTAL) }, {}]) {
    const grown = await growth(async () => {
      const request = start(house, '/http/api/large', 'PUT', { 'content-type': 'application/octet-stream', ...headers })
      const answer = answerOf(request)
      let written = 0
      const writing = (async () => {
        for (let count = 0; count < PIECES; count += 1) {
          await write(request, 1)
          written += PIECE.length
        }
        request.end()
      })()
      let before = -1
      while (written !== before) {
        before = written
        await delay(200)
      }
      assert.ok(written < TOTAL, `the caller could write ${written} bytes that nobody read`)
      open()
      await writing
      assert.equal((await answer).statusCode, 201)
    })
    assert.ok(grown < 32 * MIB, `${Math.round(grown / MIB)} MiB were held`)
  }
  assert.deepEqual(received, [`${expected} ${TOTAL}`, `${expected} chunked`])
})

eachApiHouse('a body that is too large is refused, announced or not; one that fits passes', async (house) => {
  const { api, ask, events } = house
  const body = (mib: number): Buffer => Buffer.alloc(mib * MIB, 1)
  assert.equal((await ask('/http/slashes/a', { method: 'POST', body: body(1) })).status, 200)
  assert.equal(api.requests.length, 1)
  const announced = await ask('/http/slashes/a', { method: 'POST', body: body(2) })
  assert.deepEqual([announced.status, announced.body['detail']], [413, 'the body is larger than 1 MiB'])
  assert.equal(api.requests.length, 1)
  const request = start(house, '/http/slashes/a')
  const answer = answerOf(request)
  await write(request, 12)
  request.end()
  assert.equal((await answer).statusCode, 413)
  assert.equal(api.requests.length, 1, 'no whole request arrived')
  await eventually('its end is recorded', async () => (await events('call.finished')).some(({ outcome, reason }) => outcome === 'failure' && /larger/.test(reason ?? '')))
  // Nothing is wrong with the API: it is asked at once again, however often this happens.
  for (let count = 0; count < 6; count += 1) {
    const more = start(house, '/http/slashes/a')
    const refused = answerOf(more)
    await write(more, 8)
    more.end()
    assert.equal((await refused).statusCode, 413)
  }
  assert.equal((await ask('/http/slashes/a')).status, 200)
})

eachApiHouse('events pass as they come', async (house) => {
  const { api, nodes, apiToken } = house
  let send: ServerResponse | undefined
  api.script = (_request, response) => {
    send = response
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
  }
  const stream = await nodes[0].open({ method: 'GET', path: '/http/api/events', headers: { authorization: `Bearer ${apiToken()}` } })
  assert.deepEqual([stream.status, stream.headers['content-type'], stream.text()], [200, 'text/event-stream', ''])
  send?.write('data: one\n\n')
  await stream.until((text) => text.includes('one'))
  send?.write('data: two\n\n')
  await stream.until((text) => text.includes('two'))
  send?.end()
  assert.equal(await stream.ended, 'whole')
})

eachApiHouse('a caller that goes away takes the call along, while the answer comes and while the body goes', async (house) => {
  const { api, nodes, apiToken, events } = house
  api.script = (_request, response) => {
    response.writeHead(200)
    response.write('a')
  }
  const stream = await nodes[0].open({ method: 'GET', path: '/http/api/long', headers: { authorization: `Bearer ${apiToken()}` } })
  await stream.until((text) => text === 'a')
  stream.leave()
  await eventually('the API hears of it', () => api.left() === 1)
  await eventually('and the audit trail', async () => (await events('call.finished')).some(({ reason }) => reason === 'ended: gone'))
  let aborted = 0
  api.script = (request) => {
    request.once('error', () => undefined).once('close', () => (aborted += request.complete ? 0 : 1)).resume()
  }
  // More often than a breaker would suffer: nothing is wrong with the API.
  for (let count = 1; count <= 6; count += 1) {
    const request = start(house, '/http/api/large').on('error', () => undefined)
    await write(request, 2)
    request.destroy()
    await eventually('the API hears of that too', () => aborted === count)
  }
  api.script = () => false
  assert.equal((await house.ask('/http/api/after')).status, 200)
})

eachApiHouse('a revoked grant ends what is under way', async (house) => {
  const { api, nodes, apiToken, revoke } = house
  api.script = (_request, response) => {
    response.writeHead(200)
    response.write('a')
  }
  const token = apiToken('api', { grantId: 'grt_open' })
  const stream = await nodes[0].open({ method: 'GET', path: '/http/api/long', headers: { authorization: `Bearer ${token}` } })
  await stream.until((text) => text === 'a')
  await revoke({ kind: 'grant', key: 'grt_open' })
  assert.equal(await stream.ended, 'cut')
  assert.equal((await house.ask('/http/api/long', { token })).status, 401)
})

eachApiHouse('an API that answers early, late, with nonsense or not at all', async (house) => {
  const { api, ask } = house
  // Early: before the body is whole.
  api.script = (_request, response) => void response.writeHead(400, { 'content-type': 'text/plain' }).end('I have seen enough')
  // As clients do: of a connection that ends with its answer, a sender who still writes may lose it.
  const early = start(house, '/http/api/large', 'POST', { connection: 'keep-alive' })
  const answer = answerOf(early)
  early.on('error', () => undefined)
  await Promise.race([write(early, 40), answer])
  const received = await answer
  assert.equal(received.statusCode, 400)
  assert.equal(await digest(received), `18 ${createHash('sha256').update('I have seen enough').digest('hex')}`)
  early.destroy()
  // Cut off in the middle: half an answer must not look like a whole one.
  api.script = (_request, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('half', () => response.destroy())
  }
  await assert.rejects(ask('/http/api/half'), /cut off|aborted|hang up/)
  api.script = (request) => void request.socket.end('nonsense\r\n\r\n')
  assert.equal((await ask('/http/api/a')).status, 502)
  api.script = () => undefined
  const late = await ask('/http/api/a')
  assert.deepEqual([late.status, late.headers['content-type']], [504, 'application/problem+json'])
  api.script = (_request, response) => void response.writeHead(503, { 'retry-after': '9' }).end('busy')
  const busy = await ask('/http/api/a')
  assert.deepEqual([busy.status, busy.text, busy.headers['retry-after']], [503, 'busy', '9'])
  api.script = () => false
  assert.equal((await ask('/http/api/a')).status, 200)
}, { upstream: { timeoutMs: 1000 } })

eachApiHouse('RFC 9449 §9: a body that is gone is asked for again when the API wants its nonce, the token stays, and the next request has the nonce', async (house) => {
  const { api, accounts, refusals } = house
  accounts.set('usr_alice', 'bound')
  house.possession = possession(await newProofKey(), 'bound')
  const nonces: unknown[] = []
  api.script = (request, response) => {
    const { nonce } = decodeJwt(String(request.headers['dpop']))
    nonces.push(nonce)
    // Each nonce is good for one request, and the next one comes with the answer.
    const isGood = nonce === `n${nonces.length - 1}`
    response.setHeader('dpop-nonce', `n${nonces.length}`)
    request.resume().once('end', () => (isGood ? response.writeHead(200) : response.writeHead(401, { 'www-authenticate': 'DPoP error="use_dpop_nonce"' })).end())
  }
  const upload = async (): Promise<number | undefined> => {
    const request = start(house, '/http/personal/upload')
    const answer = answerOf(request)
    await write(request, 2)
    request.end()
    return (await answer).resume().statusCode
  }
  assert.deepEqual([await upload(), await upload(), await upload()], [503, 200, 200])
  assert.deepEqual([nonces, refusals], [[undefined, 'n1', 'n2'], []])
  assert.deepEqual([(await house.ask('/http/personal/a')).status, (await house.ask('/http/personal/b')).status], [200, 200])
  assert.deepEqual(nonces, [undefined, 'n1', 'n2', 'n3', 'n4'])
})

eachApiHouse('an API that fails in a row is left alone for a while, and the others are not', async (house) => {
  const { api, ask } = house
  let asked = 0
  api.script = (_request, response) => {
    asked += 1
    response.writeHead(502).end()
  }
  for (let count = 0; count < 5; count += 1) assert.equal((await ask('/http/api/a')).status, 502)
  const left = await ask('/http/api/a')
  assert.deepEqual([left.status, left.headers['problem-source'], asked], [503, 'lanyard', 5])
  api.script = () => false
  assert.equal((await ask('/http/keyed/a')).status, 200)
})
