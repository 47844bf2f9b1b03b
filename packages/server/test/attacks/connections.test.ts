// What can be done to a node below HTTP: requests that two could read differently, floods of bytes, and hardly any.
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { answersOf, exchange, open } from '../support/raw-http.ts'
import { routeTable } from '../support/route-table.ts'

const MEGABYTE = Buffer.alloc(1024 * 1024, 'a')

describe('connections to a node', () => {
  let gateway: RunningGateway
  let host: string
  before(async () => {
    gateway = await startGateway()
    host = new URL(gateway.issuer).host
  })
  after(() => gateway.close())

  const request = (line: string, headers: readonly string[], body = ''): string => [`${line} HTTP/1.1`, ...headers, '', body].join('\r\n')
  const form = 'content-type: application/x-www-form-urlencoded'

  test('a request that two could read as different ones is refused, and what it hides is not answered (Z04, RFC 9112 §6.3)', async () => {
    const hidden = `GET /jwks HTTP/1.1\r\nhost: ${host}\r\n\r\n`
    const own = [`host: ${host}`, form]
    const ambiguous = [
      request('POST /token', [...own, 'content-length: 5', 'transfer-encoding: chunked'], `0\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'transfer-encoding: chunked', 'content-length: 5'], `0\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'content-length: 0', `content-length: ${hidden.length}`], hidden),
      request('POST /token', [...own, `content-length: 0, ${hidden.length}`], hidden),
      request('POST /token', [...own, 'transfer-encoding: chunked, chunked'], `0\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'transfer-encoding: gzip'], hidden),
      request('POST /token', [...own, 'transfer-encoding : chunked'], `0\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'transfer-encoding:\tchunked\x0b'], `0\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'transfer-encoding: chunked'], `1\n\n0\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'transfer-encoding: chunked'], `-1\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'transfer-encoding: chunked'], `0x5\r\naaaaa\r\n0\r\n\r\n${hidden}`),
      request('POST /token', [...own, 'transfer-encoding: chunked'], `fffffffffffffffff\r\n${hidden}`),
      request('GET /livez', [`host: ${host}`, 'x-folded: a', ' transfer-encoding: chunked'], `0\r\n\r\n${hidden}`),
      request('GET /livez', [`host: ${host}`, 'x\0y: a'], hidden),
      request('GET /livez\r\nx: y', [`host: ${host}`]).replace('\r\n', '\r'),
      `GET /jwks\r\n\r\n`,
      request('GET /livez', ['content-length: 0'], hidden),
    ]
    for (const attack of ambiguous) {
      const answers = answersOf(await exchange(gateway.issuer, [attack]))
      assert.deepEqual(answers.map(({ status }) => status), [400], JSON.stringify(attack.slice(0, 200)))
    }
    // The twin: the same by the book, and pipelined.
    const proper = [request('GET /jwks', [`host: ${host}`]), request('POST /token', [...own, 'transfer-encoding: chunked'], '3\r\na=b\r\n0\r\n\r\n'), request('GET /livez', [`host: ${host}`])]
    assert.deepEqual(answersOf(await exchange(gateway.issuer, [proper.join('')])).map(({ status }) => status), [200, 401, 200])
  })

  test('the body of a request that is refused before it is read never becomes the next request (Z04)', async () => {
    const hidden = `GET /jwks HTTP/1.1\r\nhost: ${host}\r\n\r\n`
    const length = `content-length: ${hidden.length}`
    const chunked = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
    const next = request('GET /livez', [`host: ${host}`])
    const refused: readonly (readonly [number, string])[] = [
      [401, request('POST /mcp/notes', [`host: ${host}`, length], hidden)],
      [401, request('POST /mcp/notes', [`host: ${host}`, 'transfer-encoding: chunked'], chunked)],
      [404, request('POST /mcp/unknown', [`host: ${host}`, length], hidden)],
      [421, request('POST /token', ['host: evil.example', form, length], hidden)],
      [405, request('POST /jwks', [`host: ${host}`, length], hidden)],
      [404, request('POST /nothing', [`host: ${host}`, 'transfer-encoding: chunked'], chunked)],
      [400, request('POST /token', [`host: ${host}`, 'content-type: text/plain', length], hidden)],
      [403, request('POST /logout', [`host: ${host}`, 'origin: https://evil.example', length], hidden)],
      [200, request('GET /livez', [`host: ${host}`, length], hidden)],
    ]
    for (const [status, first] of refused) {
      const answers = answersOf(await exchange(gateway.issuer, [first + next]))
      assert.equal(answers[0]?.status, status, first.slice(0, 80))
      assert.ok(answers.length <= 2, first.slice(0, 80))
      for (const { status: second, body } of answers.slice(1)) assert.deepEqual([second, /"keys"/.test(body)], [200, false], first.slice(0, 80))
    }
  })

  test('an address with a host in it is judged by the Host header, and leads nowhere else (Z04, H15, RFC 9112 §3.2.2)', async () => {
    const status = async (target: string, name = host): Promise<number | undefined> => answersOf(await exchange(gateway.issuer, [request(`GET ${target}`, [`host: ${name}`])]))[0]?.status
    assert.equal(await status('/.well-known/oauth-authorization-server'), 200)
    assert.equal(await status('/.well-known/oauth-authorization-server', 'evil.example'), 421)
    for (const target of [`http://evil.example/login?return_to=/`, `http://evil.example/authorize`, '//evil.example/login']) {
      const [answer] = answersOf(await exchange(gateway.issuer, [request(`GET ${target}`, [`host: ${host}`])]))
      assert.ok(answer !== undefined && answer.status < 500, target)
      assert.doesNotMatch(/^location:.*$/im.exec(answer.head)?.[0] ?? '', /^location: *(?:https?:)?\/\/evil/i, target)
      assert.doesNotMatch(/redirect_uri=[^&\s]*/.exec(answer.head)?.[0] ?? '', /evil/, target)
    }
    for (const [line, names] of [['GET /jwks', [host, 'evil.example']], ['GET /livez', ['evil.example', host]], ['POST /mcp/notes', [host, 'evil.example']]] as const) {
      const two = answersOf(await exchange(gateway.issuer, [request(line, names.map((name) => `host: ${name}`))]))
      assert.deepEqual(two.map((answer) => answer.status), [400], line)
    }
  })

  test('ten megabytes at every route that takes a body: refused, not kept, and nobody else waits (Z02, C14, O02)', async () => {
    const taking = [...(await routeTable()).filter(({ method }) => method === 'POST' || method === 'PUT'), { method: 'POST', path: '/mcp/:profile' }, { method: 'POST', path: '/nothing' }]
    assert.ok(taking.length > 9)
    let told = 0
    for (const { method, path } of taking) {
      const target = path.replace(':profile', 'notes').replace(':upstream', 'tickets').replace(/:\w+/, 'x')
      const type = path.startsWith('/register') || path.startsWith('/mcp') ? 'content-type: application/json' : form
      const head = (framing: string): string => request(`${method} ${target}`, [`host: ${host}`, type, 'connection: close', framing])
      const chunk = [MEGABYTE.length.toString(16), '\r\n'].join('')
      const bodies: readonly (readonly (string | Buffer)[])[] = [
        [head(`content-length: ${MEGABYTE.length * 10}`), ...Array.from({ length: 10 }, () => MEGABYTE)],
        [head('transfer-encoding: chunked'), ...Array.from({ length: 10 }, () => [chunk, MEGABYTE, '\r\n']).flat(), '0\r\n\r\n'],
      ]
      for (const pieces of bodies) {
        const [answer] = answersOf(await exchange(gateway.issuer, pieces, 5000))
        // A connection that is closed on whoever goes on sending may lose its answer.
        if (answer !== undefined) told += 1
        assert.ok(answer === undefined || (answer.status >= 400 && answer.status < 500), `${method} ${path}: ${answer?.status}`)
      }
      assert.equal((await fetch(`${gateway.issuer}/readyz`)).status, 200)
    }
    assert.ok(told > taking.length, `${told} of ${taking.length * 2} were answered`)
  })

  test('three hundred connections that hardly send anything keep nobody waiting, and are closed (Z05, X18)', { timeout: 60_000 }, async () => {
    const begun = Date.now()
    const starts = [`GET /livez HTTP/1.1\r\nhost: ${host}\r\nx: `, '', `POST /mcp/notes HTTP/1.1\r\nhost: ${host}\r\n`]
    const sockets = await Promise.all(Array.from({ length: 300 }, () => open(gateway.issuer)))
    const closed = Promise.all(sockets.map((socket, index) => untilClosed(socket, starts[index % starts.length] ?? '')))
    const bodies = await Promise.all(Array.from({ length: 100 }, () => open(gateway.issuer)))
    for (const socket of bodies) socket.on('error', () => undefined).write(request('POST /token', [`host: ${host}`, form, 'content-length: 1000'], 'a'))
    for (let turn = 0; turn < 20; turn += 1) {
      const before = Date.now()
      assert.equal((await fetch(`${gateway.issuer}/jwks`)).status, 200)
      assert.ok(Date.now() - before < 2000)
    }
    await closed
    assert.ok(Date.now() - begun < 30_000)
    for (const socket of bodies) socket.destroy()
    assert.equal((await fetch(`${gateway.issuer}/readyz`)).status, 200)
  })
})

/** Sends the start, and then a byte now and again, until the other side has enough. */
function untilClosed(socket: Socket, start: string): Promise<void> {
  return new Promise((resolve) => {
    socket.on('error', () => undefined)
    socket.resume()
    if (start !== '') socket.write(start)
    const drip = setInterval(() => (start === '' || socket.destroyed ? undefined : socket.write('a')), 1000)
    socket.once('close', () => {
      clearInterval(drip)
      resolve()
    })
  })
}
