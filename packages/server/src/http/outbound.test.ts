import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { request } from 'undici'
import { outbound, OutboundError, type Lookup, type Outbound, type OutboundReason, type OutboundSettings } from './outbound.ts'

interface Target {
  readonly port: number
  readonly requests: IncomingMessage[]
  readonly connections: () => number
}

async function serve(t: TestContext, answer: RequestListener): Promise<Target> {
  const requests: IncomingMessage[] = []
  let connections = 0
  const server = createServer((request, response) => {
    requests.push(request)
    answer(request, response)
  })
  server.on('connection', () => void (connections += 1))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, requests, connections: () => connections }
}

/** A client that may reach loopback where an operator wrote it, and whose names resolve to what the test says. */
function client(t: TestContext, names: Readonly<Record<string, readonly string[]>> = {}, more: Partial<OutboundSettings> = {}): Outbound & { readonly asked: string[] } {
  const asked: string[] = []
  const lookup: Lookup = (hostname, callback) => {
    asked.push(hostname)
    const found = names[hostname]
    if (found === undefined) callback(new Error('ENOTFOUND'), [])
    else callback(null, found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })))
  }
  const made = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: false, lookup, ...more })
  t.after(() => made.close())
  return { ...made, asked }
}

const failed = (reason: OutboundReason) => (error: unknown) => {
  assert.ok(error instanceof OutboundError, String(error))
  assert.equal(error.reason, reason)
  // I08: no address, host or content in what may reach an answer.
  assert.equal(error.message, `outbound request failed: ${reason}`)
  return true
}

test('a name is resolved once, and the connection goes to what was checked, with the name in Host (I03)', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  const made = client(t, { 'idp.example': ['127.0.0.1'] })
  const answer = await made.request(`http://idp.example:${target.port}/a?b=1`, { provenance: 'configured' })
  assert.deepEqual([answer.status, answer.body], [200, 'hello'])
  assert.deepEqual(made.asked, ['idp.example'])
  assert.equal(target.requests[0]?.headers.host, `idp.example:${target.port}`)
  assert.equal(target.requests[0]?.url, '/a?b=1')
})

test('what the name resolves to afterwards is never used (I03: DNS rebinding)', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  let calls = 0
  const lookup: Lookup = (_hostname, callback) => {
    calls += 1
    callback(null, [{ address: calls === 1 ? '127.0.0.1' : '169.254.169.254', family: 4 }])
  }
  const made = client(t, {}, { lookup })
  assert.equal((await made.request(`http://idp.example:${target.port}/`, { provenance: 'configured' })).body, 'hello')
  assert.equal(calls, 1)
  // Another origin, another connection: it is resolved and checked anew, and refused.
  await assert.rejects(made.request(`http://idp.example:${target.port + 1}/`, { provenance: 'configured' }), failed('refused_address'))
  assert.equal(calls, 2)
})

test('one refused address among allowed ones refuses the name (I03)', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  const made = client(t, { mixed: ['127.0.0.1', '10.0.0.1'], reversed: ['10.0.0.1', '127.0.0.1'], six: ['127.0.0.1', '::1'], empty: [], good: ['127.0.0.1', '127.0.0.1'] })
  for (const name of ['mixed', 'reversed', 'six', 'empty']) await assert.rejects(made.request(`http://${name}:${target.port}/`, { provenance: 'configured' }), failed('refused_address'), name)
  assert.equal(target.connections(), 0)
  assert.equal((await made.request(`http://good:${target.port}/`, { provenance: 'configured' })).status, 200)
})

test('an address in the URL is checked in every spelling, and nothing is connected to (I01)', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  const made = client(t)
  for (const host of ['127.0.0.1', '127.1', '2130706433', '0x7f.1', '0177.0.0.1', '[::ffff:127.0.0.1]', '[::1]', '0.0.0.0', '169.254.169.254', '[64:ff9b::7f00:1]', '[2002:7f00:1::]']) {
    for (const scheme of ['http', 'https']) await assert.rejects(made.request(`${scheme}://${host}:${target.port}/`, { provenance: 'discovered' }), failed('refused_address'), host)
  }
  assert.equal(target.connections(), 0)
  assert.equal((await made.request(`http://127.1:${target.port}/`, { provenance: 'configured' })).status, 200)
  assert.deepEqual(made.asked, [])
})

test('a discovered address never profits from a connection that a configured one made', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  const made = client(t, { both: ['127.0.0.1'] })
  assert.equal((await made.request(`http://both:${target.port}/`, { provenance: 'configured' })).status, 200)
  await assert.rejects(made.request(`http://both:${target.port}/`, { provenance: 'discovered' }), failed('refused_address'))
  assert.equal(target.requests.length, 1)
})

test('a gateway on loopback reaches discovered loopback addresses, and no other network (AS-15)', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  const made = client(t, { local: ['127.0.0.1'], lan: ['192.168.0.1'] }, { allow: [], discoveredLoopback: true })
  assert.equal((await made.request(`http://local:${target.port}/`, { provenance: 'discovered' })).status, 200)
  await assert.rejects(made.request(`http://lan:${target.port}/`, { provenance: 'discovered' }), failed('refused_address'))
})

test('schemes other than http(s), user information and what is no URL are refused (C-19)', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  const made = client(t, { a: ['127.0.0.1'] })
  for (const url of ['ftp://a/', 'file:///etc/passwd', 'data:,x', 'gopher://a/', `http://u@a:${target.port}/`, `http://u:p@a:${target.port}/`, 'nonsense', '']) {
    await assert.rejects(made.request(url, { provenance: 'configured' }), failed('refused_scheme'), url)
  }
  assert.equal(target.requests.length, 0)
  assert.equal((await made.request(`http://a:${target.port}/`, { provenance: 'configured' })).status, 200)
})

test('a redirect is an answer, not a way (I04, AS-14)', async (t) => {
  const target = await serve(t, (request, response) => response.writeHead(302, { location: `http://${request.headers.host ?? ''}/secret` }).end('moved'))
  const made = client(t, { a: ['127.0.0.1'] })
  const answer = await made.request(`http://a:${target.port}/`, { provenance: 'configured' })
  assert.deepEqual([answer.status, answer.headers.get('location')], [302, `http://a:${target.port}/secret`])
  assert.equal((await made.fetch('configured')(`http://a:${target.port}/`)).status, 302)
  assert.deepEqual(target.requests.map(({ url }) => url), ['/', '/'])
})

test('the limit counts bytes after decompression (I06, AS-16)', async (t) => {
  const body = JSON.stringify({ text: 'x'.repeat(4000) })
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
  const encodings: Readonly<Record<string, readonly [string | undefined, Buffer]>> = {
    '/plain': [undefined, Buffer.from(body)],
    '/gzip': ['gzip', gzipSync(body)],
    '/deflate': ['deflate', deflateSync(body)],
    '/br': ['br', brotliCompressSync(body)],
    '/large': [undefined, Buffer.alloc(5121, 120)],
    '/exact': [undefined, Buffer.alloc(5120, 120)],
    '/bomb': ['gzip', bomb],
    '/two': ['gzip, gzip', gzipSync(gzipSync(body))],
    '/unknown': ['zstd', Buffer.from(body)],
    '/broken': ['gzip', Buffer.from('not gzip at all')],
    '/short': ['gzip', gzipSync(body).subarray(0, 20)],
  }
  const target = await serve(t, (request, response) => {
    const [encoding, content] = encodings[request.url ?? ''] ?? [undefined, Buffer.from('')]
    response.writeHead(200, encoding === undefined ? {} : { 'content-encoding': encoding }).end(content)
  })
  const made = client(t, { a: ['127.0.0.1'] })
  const get = (path: string) => made.request(`http://a:${target.port}${path}`, { provenance: 'configured', maxBytes: 5120 })
  for (const path of ['/plain', '/gzip', '/deflate', '/br']) assert.equal((await get(path)).body, body, path)
  assert.equal((await get('/exact')).body.length, 5120)
  assert.ok(bomb.length < 5120 * 16)
  for (const path of ['/large', '/bomb']) await assert.rejects(get(path), failed('too_large'), path)
  for (const path of ['/two', '/unknown']) await assert.rejects(get(path), failed('protocol'), path)
  for (const path of ['/broken', '/short']) await assert.rejects(get(path), OutboundError, path)
  assert.equal((await get('/plain')).status, 200)
})

test('the deadline is for the whole exchange, however steadily bytes drip (I06, X02)', async (t) => {
  const gone = Promise.withResolvers<undefined>()
  const target = await serve(t, (_request, response) => {
    response.writeHead(200).write('{')
    const drip = setInterval(() => response.write(' '), 20)
    response.on('close', () => {
      gone.resolve(undefined)
      clearInterval(drip)
    })
  })
  const made = client(t, { a: ['127.0.0.1'] })
  const started = performance.now()
  await assert.rejects(made.request(`http://a:${target.port}/`, { provenance: 'configured', timeoutMs: 300 }), failed('timeout'))
  assert.ok(performance.now() - started < 5000)
  await gone.promise
})

test('a host that accepts and says nothing, and one that drips compressed bytes, meet the deadline too (X18)', async (t) => {
  const sockets: Socket[] = []
  const server = createTcpServer((socket) => void sockets.push(socket.on('error', () => undefined)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    sockets.forEach((socket) => socket.destroy())
    server.close()
  })
  const made = client(t, { a: ['127.0.0.1'] })
  await assert.rejects(made.request(`http://a:${(server.address() as AddressInfo).port}/`, { provenance: 'configured', timeoutMs: 200 }), failed('timeout'))
  const compressed = await serve(t, (_request, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).write(gzipSync('x'.repeat(1000)).subarray(0, 12)))
  await assert.rejects(made.request(`http://a:${compressed.port}/`, { provenance: 'configured', timeoutMs: 200 }), failed('timeout'))
})

test('a caller that gives up ends the request', async (t) => {
  const target = await serve(t, () => undefined)
  const made = client(t, { a: ['127.0.0.1'] })
  const stop = new AbortController()
  const request = made.request(`http://a:${target.port}/`, { provenance: 'configured', signal: stop.signal })
  while (target.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  stop.abort()
  await assert.rejects(request, OutboundError)
})

test('endless headers are cut off (I06)', async (t) => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined)
    socket.write(`HTTP/1.1 200 OK\r\n${`X-Long: ${'x'.repeat(1000)}\r\n`.repeat(64)}\r\n`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const made = client(t, { a: ['127.0.0.1'] })
  await assert.rejects(made.request(`http://a:${(server.address() as AddressInfo).port}/`, { provenance: 'configured' }), failed('protocol'))
})

test('a host that is not there is unreachable, by name as by address, and nothing else is told (I08)', async (t) => {
  const target = await serve(t, (_request, response) => response.end())
  const made = client(t, { a: ['127.0.0.1'] })
  await assert.rejects(made.request('http://nowhere.example/', { provenance: 'configured' }), failed('unreachable'))
  await assert.rejects(made.request('http://127.0.0.1:1/', { provenance: 'configured' }), failed('unreachable'))
  assert.equal((await made.request(`http://a:${target.port}/`, { provenance: 'configured' })).status, 200)
})

test('a server whose certificate nobody vouches for is not spoken to', async (t) => {
  const target = await serve(t, (_request, response) => response.end('plain'))
  const made = client(t, { a: ['127.0.0.1'] })
  await assert.rejects(made.request(`https://a:${target.port}/`, { provenance: 'configured' }), OutboundError)
  assert.equal(target.requests.length, 0)
})

test('as fetch it sends forms and headers, and takes its provenance from the URL', async (t) => {
  const bodies: string[] = []
  const target = await serve(t, (request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => void (body += chunk.toString()))
    request.on('end', () => {
      bodies.push(`${request.method ?? ''} ${request.headers['content-type'] ?? ''} ${body}`)
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(gzipSync('{"a":1}'))
    })
  })
  const made = client(t, { a: ['127.0.0.1'] })
  const fetchAny = made.fetch((url) => (url.pathname === '/configured' ? 'configured' : 'discovered'))
  const init = { method: 'post', headers: new Headers({ 'content-type': 'application/x-www-form-urlencoded' }), body: new URLSearchParams({ code: 'ä b' }) }
  const answer = await fetchAny(`http://a:${target.port}/configured`, init)
  assert.deepEqual(await answer.json(), { a: 1 })
  assert.equal(answer.headers.get('content-encoding'), null)
  assert.deepEqual(bodies, ['POST application/x-www-form-urlencoded code=%C3%A4+b'])
  await assert.rejects(fetchAny(`http://a:${target.port}/found`), failed('refused_address'))
})

test('streams go through the same check', async (t) => {
  const target = await serve(t, (_request, response) => response.end('hello'))
  const made = client(t, { a: ['127.0.0.1'], lan: ['10.0.0.1'] })
  assert.equal(await (await request(`http://a:${target.port}/`, { dispatcher: made.streams })).body.text(), 'hello')
  await assert.rejects(request(`http://lan:${target.port}/`, { dispatcher: made.streams }))
})

test('thousands of streams to one origin leave connections for calls', async (t) => {
  const STREAMS = 1500
  const target = await serve(t, ({ url }, response) => void (url === '/call' ? response.end('hello') : response.writeHead(200).write('open')))
  const made = client(t)
  const base = `http://127.0.0.1:${target.port}`
  const open = await Promise.all(Array.from({ length: STREAMS }, () => request(`${base}/stream`, { dispatcher: made.streams })))
  assert.equal(target.connections(), STREAMS)
  assert.equal(await (await request(`${base}/call`, { dispatcher: made.streams, signal: AbortSignal.timeout(10_000) })).body.text(), 'hello')
  for (const { body } of open) body.on('error', () => undefined).destroy()
})
