// What goes wrong between a client and an upstream: each is told, nothing runs twice, nothing is kept, nobody else waits.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { mock } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, type Cluster } from '../support/mcp-nodes.ts'
import { event, reply, result, type Asked } from '../support/mcp-upstream.ts'

function onCall(answer: (asked: Asked, response: ServerResponse) => void | Promise<void>) {
  return (asked: Asked, response: ServerResponse) => (asked.message['method'] === 'tools/call' ? answer(asked, response) : false)
}

async function warm(cluster: Cluster, token: string, node = cluster.nodes[0]): Promise<void> {
  assert.equal((await node.send(call(token, 'write_note'))).status, 200)
  cluster.notes.forget()
}

const SHORT = { upstreams: { timeoutMs: 700 } }

eachMcpCluster('an upstream’s failure is told with its name, and the tool ran once (X17, O04)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  const failures: [string, number, (asked: Asked, response: ServerResponse) => void][] = [
    ['reset before the answer', 502, (_asked, response) => void response.socket?.resetAndDestroy()],
    ['end before the answer', 502, (_asked, response) => void response.socket?.destroy()],
    ['no HTTP', 502, (_asked, response) => void response.socket?.end('SSH-2.0-OpenSSH\r\n')],
    ['an upgrade', 502, (_asked, response) => void response.socket?.end('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n')],
    ['lengths that differ', 502, (_asked, response) => void response.socket?.end('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}')],
    ['endless headers', 502, (_asked, response) => void response.socket?.end(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`)],
    ['HTML', 502, (_asked, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Sign in</h1>')],
    ['500', 502, (_asked, response) => void response.writeHead(500).end('trace: at 10.0.0.1')],
  ]
  for (const [name, status, fail] of failures) {
    cluster.notes.script = onCall(fail)
    const answer = await cluster.nodes[0].send(call(token, 'write_note', {}, {}, 'my-id'))
    assert.equal(answer.status, status, `${name}: ${answer.text}`)
    assert.equal(answer.body['id'], 'my-id')
    assert.equal(errorOf(answer.body).code, -32000, name)
    assert.match(errorOf(answer.body).message ?? '', /^The notes /)
    assert.doesNotMatch(answer.text, /127\.0|10\.0|UND_|trace|Sign in/)
    assert.equal(cluster.notes.calls().length, 1, `${name}: exactly once`)
    cluster.notes.script = () => false
    await warm(cluster, token)
  }
  const finished = await cluster.events('call.finished')
  assert.equal(finished.length, failures.length)
  assert.ok(finished.every(({ outcome, tool, reason }) => outcome === 'failure' && tool === 'write_note' && reason?.startsWith('upstream: ') === true), JSON.stringify(finished.map(({ reason }) => reason)))
})

eachMcpCluster('what an upstream says of the message goes on, its Retry-After too, and nothing odd in it (X17)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  const respond = (status: number, headers: Record<string, string>, body: unknown) => onCall((_asked, response) => reply(response, body, status, headers))
  cluster.notes.script = respond(429, { 'retry-after': '17' }, { not: 'a message' })
  const odd = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.equal(odd.status, 502)
  cluster.notes.script = onCall((_asked, response) => void response.writeHead(429, { 'retry-after': '17' }).end('slow down'))
  const limited = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.deepEqual([limited.status, limited.headers['retry-after']], [429, '17'])
  assert.match(errorOf(limited.body).message ?? '', /too many requests/)
  cluster.notes.script = onCall((_asked, response) => void response.writeHead(503, { 'retry-after': 'Wed, 21 Oct 2026 07:28:00 GMT' }).end())
  const away = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.deepEqual([away.status, away.headers['retry-after']], [503, 'Wed, 21 Oct 2026 07:28:00 GMT'])
  cluster.notes.script = onCall((_asked, response) => void response.writeHead(503, { 'retry-after': '\u00e9"<script>' }).end())
  assert.equal((await cluster.nodes[0].send(call(token, 'write_note'))).headers['retry-after'], undefined)
  cluster.notes.script = onCall((asked, response) => reply(response, { jsonrpc: '2.0', id: asked.message['id'], error: { code: -32602, message: 'bad arguments', data: { field: 'a' } } }, 400))
  const theirs = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.equal(theirs.status, 400)
  assert.deepEqual(errorOf(theirs.body), { code: -32602, message: 'bad arguments', data: { field: 'a' } })
})

eachMcpCluster('an answer whose connection closes before it is taken is whole all the same (X17, X18)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  const body = (asked: Asked): string => JSON.stringify(result(asked, { content: [{ type: 'text', text: 'x'.repeat(30_000) }] }))
  let recorded = (): void => undefined
  cluster.beforeRecord = () => new Promise((resolve) => (recorded = resolve))
  const WHOLE = /^200 whole true$/
  const answers: [string, (asked: Asked, response: ServerResponse) => void, RegExp][] = [
    ['with a length', (asked, response) => void response.writeHead(200, { 'content-type': 'application/json', connection: 'close', 'content-length': Buffer.byteLength(body(asked)) }).end(body(asked)), WHOLE],
    ['until the end', (asked, response) => void response.socket?.end(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n${body(asked)}`), WHOLE],
    ['in an event', (asked, response) => void response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'close' }).end(`data: ${body(asked)}\n\n`), WHOLE],
    ['nothing of it', (_asked, response) => void response.socket?.end('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n'), /^502 whole/],
    ['a reset', (_asked, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).write('{"a"')
      setTimeout(() => response.socket?.resetAndDestroy(), 20)
    }, /cut|^502 whole/],
    ['half of it', (_asked, response) => void response.socket?.end('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"a"'), /cut/],
  ]
  for (const [name, answer, expected] of answers) {
    cluster.notes.forget()
    cluster.notes.script = onCall(answer)
    const stream = cluster.nodes[0].open(call(token, 'write_note'))
    // The record takes longer than the upstream and its connection.
    await eventually('the upstream was asked', () => cluster.notes.calls().length === 1)
    await new Promise((resolve) => setTimeout(resolve, 80))
    cluster.beforeRecord = () => Promise.resolve()
    recorded()
    const outcome = await stream.then(async (opened) => `${opened.status} ${await opened.ended} ${opened.text().length > 30_000}`, () => 'cut')
    assert.match(outcome, expected, name)
    cluster.beforeRecord = () => new Promise((resolve) => (recorded = resolve))
  }
})

eachMcpCluster('an answer that breaks off in the middle is not ended as if it were whole', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  for (const type of ['application/json', 'text/event-stream']) {
    cluster.notes.script = onCall((_asked, response) => {
      response.writeHead(200, { 'content-type': type }).write(type === 'application/json' ? '{"jsonrpc"' : 'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n')
      setTimeout(() => response.socket?.resetAndDestroy(), 30)
    })
    const stream = await cluster.nodes[0].open(call(token, 'write_note'))
    assert.equal(await stream.ended, 'cut')
  }
  assert.deepEqual((await cluster.events('call.finished')).map(({ reason }) => reason), ['upstream: broken off', 'upstream: broken off'])
})

eachMcpCluster(
  'each answer has its deadline: to its first line, and for lists to their end (X18, C-28)',
  async (cluster) => {
    const token = cluster.token()
    await warm(cluster, token)
    cluster.notes.script = onCall(() => undefined)
    const started = Date.now()
    const silent = await cluster.nodes[0].send(call(token, 'write_note'))
    assert.equal(silent.status, 504)
    assert.match(errorOf(silent.body).message ?? '', /took too long/)
    assert.ok(Date.now() - started < 4000)
    await eventually('the upstream is left', () => cluster.notes.calls()[0]?.left === true)
    // One byte after the other, forever.
    cluster.notes.script = ({ message }, response) => {
      if (message['method'] !== 'tools/list') return false
      response.writeHead(200, { 'content-type': 'application/json' })
      const timer = setInterval(() => response.write(' '), 50)
      response.once('close', () => clearInterval(timer))
      return undefined
    }
    const slow = await cluster.nodes[0].send(modern(token, 'tools/list'))
    assert.equal(slow.status, 504)
    await eventually('the upstream is left', () => cluster.notes.of('tools/list').at(-1)?.left === true)
    cluster.notes.script = () => false
    await warm(cluster, token)
  },
  SHORT,
)

eachMcpCluster('a failure that never ends is not waited for (X18)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  const endless = (status: number, type: string) => (asked: Asked, response: ServerResponse) => {
    if (asked.message['method'] === 'tools/list') return false
    response.writeHead(status, { 'content-type': type })
    const timer = setInterval(() => response.write(' '), 20)
    response.once('close', () => clearInterval(timer))
    return undefined
  }
  cluster.notes.script = endless(500, 'text/plain')
  assert.equal((await cluster.nodes[0].send(call(token, 'write_note'))).status, 502)
  await eventually('the upstream is left', () => cluster.notes.calls()[0]?.left === true)
  cluster.notes.script = endless(200, 'text/event-stream')
  assert.equal((await cluster.nodes[0].send(notify(token, 'notifications/cancelled', { requestId: 1 }))).status, 202)
  await eventually('the upstream is left', () => cluster.notes.asked.at(-1)?.left === true)
})

eachMcpCluster('a client that goes away takes its call along: before the first line, in the middle, and while its token is checked (RS-29, X20)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  cluster.notes.script = onCall(() => undefined)
  const leave = cluster.nodes[0].begin(call(token, 'write_note'))
  await eventually('the tool runs', () => cluster.notes.calls().length === 1)
  leave()
  await eventually('the upstream is told', () => cluster.notes.calls()[0]?.left === true)
  cluster.notes.script = onCall((_asked, response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': running\n\n'))
  const stream = await cluster.nodes[0].open(call(token, 'write_note'))
  await stream.until((text) => text.includes('running'))
  stream.leave()
  await eventually('the upstream is told', () => cluster.notes.calls()[1]?.left === true)
  await eventually('it is recorded', async () => (await cluster.events('call.finished')).filter(({ reason }) => reason === 'ended: gone').length === 2)

  let go = (): void => undefined
  let checking = false
  cluster.beforeUser = () => {
    checking = true
    return new Promise((resolve) => (go = resolve))
  }
  const leaveEarly = cluster.nodes[0].begin(call(cluster.token({ scope: ['mcp.write'] }), 'write_note'))
  await eventually('the token is checked', () => checking)
  leaveEarly()
  await new Promise((resolve) => setTimeout(resolve, 50))
  go()
  cluster.beforeUser = () => Promise.resolve()
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(cluster.notes.calls().length, 2, 'nothing is sent for nobody')
})

eachMcpCluster('requests that wait behind a stream on one connection end with it (X20)', async (cluster) => {
  const token = cluster.token()
  const session = String((await cluster.nodes[0].send(initialize(token))).headers['mcp-session-id'])
  cluster.notes.script = ({ method }, response) => {
    if (method !== 'GET') return false
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': open\n\n')
    return undefined
  }
  const { hostname, port } = new URL(cluster.nodes[0].address)
  const one = `GET /mcp/notes HTTP/1.1\r\nhost: lanyard.example\r\nauthorization: Bearer ${token}\r\nmcp-session-id: ${session}\r\n\r\n`
  const socket = connect(Number(port), hostname, () => socket.write(one.repeat(5)))
  socket.on('error', () => undefined)
  await eventually('the streams are open', () => cluster.notes.asked.filter(({ method }) => method === 'GET').length === 5)
  socket.destroy()
  await eventually('all of them are left', () => cluster.notes.asked.filter(({ method, left }) => method === 'GET' && left).length === 5)
})

eachMcpCluster('an upstream that fails again and again is left alone, the others are not, and it comes back (O04, X01)', async (cluster) => {
  const token = cluster.token()
  const weather = cluster.token({ profile: 'weather' })
  await warm(cluster, token)
  cluster.notes.script = onCall((_asked, response) => void response.socket?.destroy())
  for (let failures = 0; failures < 5; failures += 1) assert.equal((await cluster.nodes[0].send(call(token, 'write_note'))).status, 502)
  const left = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.deepEqual([left.status, left.headers['retry-after']], [503, '10'])
  assert.match(errorOf(left.body).message ?? '', /did not answer several times/)
  assert.equal(cluster.notes.calls().length, 5)
  assert.equal((await cluster.events('call.finished')).at(-1)?.reason, 'upstream: circuit open')
  assert.equal((await cluster.nodes[0].send(at('weather', call(weather, 'read_note')))).status, 200)

  const clock = mock.method(Date, 'now', () => performance.timeOrigin + performance.now() + 10_001)
  try {
    // One call tries; the others wait for what becomes of it.
    const probe = await Promise.all(Array.from({ length: 5 }, () => cluster.nodes[0].send(call(token, 'write_note'))))
    assert.deepEqual(probe.map(({ status }) => status).sort((a, b) => a - b), [502, 503, 503, 503, 503])
    assert.equal(cluster.notes.calls().length, 6)
    clock.mock.mockImplementation(() => performance.timeOrigin + performance.now() + 20_100)
    cluster.notes.script = () => false
    const back = await Promise.all(Array.from({ length: 5 }, () => cluster.nodes[0].send(call(token, 'write_note'))))
    assert.ok(back.every(({ status }) => status === 200))
  } finally {
    clock.mock.restore()
  }
})

eachMcpCluster('callers who go away say nothing of an upstream, and errors of its own neither (O04)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  cluster.notes.script = onCall(() => undefined)
  for (let calls = 1; calls <= 8; calls += 1) {
    const leave = cluster.nodes[0].begin(call(token, 'write_note'))
    await eventually('the tool runs', () => cluster.notes.calls().length === calls)
    leave()
    await eventually('the upstream is told', () => cluster.notes.calls()[calls - 1]?.left === true)
  }
  cluster.notes.script = onCall((_asked, response) => void response.writeHead(500).end())
  for (let calls = 0; calls < 8; calls += 1) assert.equal((await cluster.nodes[0].send(call(token, 'write_note'))).status, 502)
  cluster.notes.script = () => false
  assert.equal((await cluster.nodes[0].send(call(token, 'write_note'))).status, 200)
})

eachMcpCluster('a thousand calls with one identifier at once each get their own answer (H10, CVE-2026-25536)', async (cluster) => {
  const tokens = Array.from({ length: 10 }, (_, index) => cluster.token({ userId: index % 2 === 0 ? 'usr_alice' : 'usr_anna', grantId: `grt_${index}` }))
  cluster.notes.script = onCall(async (asked, response) => {
    const { arguments: args } = asked.message['params'] as { arguments: { n: number } }
    await new Promise((resolve) => setTimeout(resolve, (args.n * 7919) % 40))
    const message = result(asked, { content: [{ type: 'text', text: String(args.n) }] })
    if (args.n % 3 === 0) response.writeHead(200, { 'content-type': 'text/event-stream' }).end(event(message))
    else reply(response, message)
  })
  const answers = await Promise.all(Array.from({ length: 1000 }, (_, n) => cluster.nodes[n % 2 === 0 ? 0 : 1].send(call(tokens[n % 10] ?? '', 'read_note', { n }, {}, 1))))
  answers.forEach((answer, n) => {
    const message = answer.events[0] ?? answer.body
    assert.equal(message['id'], 1)
    assert.deepEqual(resultOf(message)['content'], [{ type: 'text', text: String(n) }])
  })
  assert.equal(cluster.notes.calls().length, 1000)
  const allowed = await cluster.events('call.allowed')
  assert.equal(allowed.length, 1000)
})

eachMcpCluster('events go on as they come, not when the tool is done (RS-30, P-15), and a cancellation goes the other way', async (cluster) => {
  const token = cluster.token()
  const session = String((await cluster.nodes[0].send(initialize(token))).headers['mcp-session-id'])
  let write: ((text: string) => void) | undefined
  let end = (): void => undefined
  cluster.notes.script = onCall((asked, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    write = (text) => void response.write(text)
    end = () => void response.end(event(result(asked, { content: [] })))
  })
  const stream = await cluster.nodes[0].open(legacy(token, 'tools/call', { name: 'read_note', arguments: {}, _meta: { progressToken: 'p' } }, session, {}, 'call-1'))
  assert.equal(stream.headers['x-accel-buffering'], 'no')
  for (let progress = 1; progress <= 3; progress += 1) {
    write?.(event({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'p', progress } }))
    await stream.until((text) => text.includes(`"progress":${progress}`))
  }
  assert.equal((await cluster.nodes[1].send(notify(token, 'notifications/cancelled', { requestId: 'call-1', reason: 'enough' }, session))).status, 202)
  const [cancelled] = cluster.notes.of('notifications/cancelled')
  assert.deepEqual(cancelled?.message['params'], { requestId: 'call-1', reason: 'enough' })
  assert.equal(cancelled?.headers['mcp-session-id'], [...cluster.notes.sessions][0])
  end()
  assert.equal(await stream.ended, 'whole')
})

eachMcpCluster('H07, H20: an upstream answers the call that was made, and not the list that its client waits for as well', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  const list = (asked: Asked): string => JSON.stringify({ ...result(asked, { tools: [{ name: 'never_seen', inputSchema: { type: 'object' } }] }), id: 'the list' })
  const forms: [string, (text: string) => string][] = [['application/json', (text) => text], ['text/event-stream', (text) => `data: ${text}\n\n`]]
  for (const [type, form] of forms) {
    cluster.notes.script = onCall((asked, response) => void response.writeHead(200, { 'content-type': type }).end(form(list(asked))))
    const outcome = await cluster.nodes[0].open(call(token, 'write_note')).then(async (stream) => `${stream.status} ${await stream.ended} ${stream.text()}`, () => 'cut')
    assert.match(outcome, type === 'application/json' ? /^502 whole \{.*"id":1.*gave an answer that cannot be used/ : /^(?:200 )?cut\s*$/)
    const told = (await cluster.events('call.finished')).filter(({ reason }) => reason === 'upstream: not the response to this request')
    assert.equal(told.length, forms.findIndex(([each]) => each === type) + 1)
    cluster.notes.script = onCall((asked, response) => void response.writeHead(200, { 'content-type': type }).end(form(JSON.stringify(result(asked, { content: [] })))))
    const own = await cluster.nodes[0].open(call(token, 'write_note'))
    assert.deepEqual([own.status, await own.ended], [200, 'whole'])
    assert.match(own.text(), /"content":\[\]/)
  }
})

eachMcpCluster('fifty megabytes to a slow reader stay with the upstream until they are read (X19, I7)', async (cluster) => {
  const token = cluster.token()
  const MEGABYTES = 50
  const piece = Buffer.alloc(1024 * 1024, 'x')
  for (const [method, type] of [['tools/call', 'application/json'], ['tools/call', 'text/event-stream'], ['tools/list', 'text/event-stream']] as const) {
    let written = 0
    cluster.notes.script = async (asked, response) => {
      if (asked.message['method'] !== method) return false
      const isList = method === 'tools/list'
      const closed = new Promise((resolve) => response.once('close', resolve))
      response.writeHead(200, { 'content-type': type })
      const [start = '', end = ''] = JSON.stringify(result(asked, { content: [{ type: 'text', text: '@' }] })).split('@')
      if (!isList) response.write(`${type === 'text/event-stream' ? 'data: ' : ''}${start}`)
      for (; written < MEGABYTES; written += 1) {
        const text = isList ? event({ jsonrpc: '2.0', method: 'notifications/message', params: piece.toString() }) : piece
        if (!response.write(text)) await Promise.race([closed, new Promise((resolve) => response.once('drain', resolve))])
        if (response.destroyed) return undefined
      }
      response.end(isList ? event(result(asked, { tools: cluster.notes.tools })) : `${end}\n\n`)
      return undefined
    }
    const stream = await cluster.nodes[0].open(method === 'tools/call' ? call(token, 'write_note') : modern(token, 'tools/list'))
    stream.message.pause()
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().external
    await new Promise((resolve) => setTimeout(resolve, 700))
    assert.ok(written < 30, `${type}: ${written} MB were taken from the upstream for a reader who reads nothing`)
    assert.ok(process.memoryUsage().arrayBuffers + process.memoryUsage().external - before < 60 * 1024 * 1024)
    stream.message.resume()
    assert.equal(await stream.ended, 'whole')
    assert.ok(stream.text().length >= MEGABYTES * piece.length)
    assert.doesNotMatch(stream.text().slice(-2000), /delete_note/)
  }
})

eachMcpCluster('what a client sends too much of is refused, and the next request is served (O02, X19, H05)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  const { headers = {} } = call(token, 'write_note')
  const send = (body: string | Buffer) => cluster.nodes[0].send({ headers, body })
  const nested = (depth: number): string => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write_note","arguments":${'['.repeat(depth)}${']'.repeat(depth)}}}`
  assert.equal((await send(nested(100_000))).status, 400)
  assert.equal((await send(Buffer.from([0x7b, 0xff, 0x7d]))).status, 400)
  assert.equal((await send('{"jsonrpc":"2.0"')).status, 400)
  assert.equal((await send('')).status, 400)
  assert.equal((await cluster.nodes[0].send({ headers: { ...headers, 'content-type': 'text/plain' }, body: '{}' })).status, 415)
  // Of a body that is read to its end, and of one that never ends, the sender hears why it is refused.
  assert.equal((await send(' '.repeat(10 * 0x10_0000))).status, 413)
  assert.match(await overlong(cluster, headers, 200), /^HTTP\/1\.1 413 /)
  assert.equal(cluster.notes.asked.length, 0)
  const started = process.hrtime.bigint()
  assert.equal((await send(`{"jsonrpc":"2.0","id":1,"method":"x","params":{${Array.from({ length: 200_000 }, (_, key) => `"${key}":1`).join(',')}}}`)).status, 400)
  assert.ok(process.hrtime.bigint() - started < 2_000_000_000n)
  await warm(cluster, token)
})

/** Sends a chunked body of so many megabytes, as far as the other side takes it. */
function overlong(cluster: Cluster, headers: Readonly<Record<string, string | readonly string[]>>, megabytes: number): Promise<string> {
  const { hostname, port } = new URL(cluster.nodes[0].address)
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(Number(port), hostname)
    const lines = Object.entries({ ...headers, host: 'lanyard.example', 'transfer-encoding': 'chunked' }).map(([name, value]) => `${name}: ${[value].flat().join()}`)
    socket.write(`POST /mcp/notes HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
    const chunk = `100000\r\n${' '.repeat(0x10_0000)}\r\n`
    let left = megabytes
    const more = (): void => {
      while (left > 0 && !socket.destroyed) {
        left -= 1
        if (!socket.write(chunk)) return void socket.once('drain', more)
      }
    }
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(text))
    more()
  })
}

eachMcpCluster('a call that cannot be recorded is not answered for, and one that is refused is refused still (N04)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  cluster.beforeRecord = () => Promise.reject(new Error('the disk is full'))
  const answer = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.equal(answer.status, 500)
  assert.doesNotMatch(answer.text, /disk/)
  assert.match(errorOf(answer.body).message ?? '', /the reference is/)
  cluster.beforeRecord = () => Promise.resolve()
  assert.equal(cluster.bugs.splice(0).length, 1)
  await warm(cluster, token)
})

eachMcpCluster('a node that stops lets the calls on their way end, and ends its streams (O04)', async (cluster) => {
  const token = cluster.token()
  await warm(cluster, token)
  const [node] = cluster.nodes
  let finish = (): void => undefined
  cluster.notes.script = (asked, response) => {
    if (asked.message['method'] === 'subscriptions/listen') return void response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': open\n\n')
    if (asked.message['method'] !== 'tools/call') return false
    finish = () => reply(response, result(asked, { content: [{ type: 'text', text: 'written' }], resultType: 'complete' }))
    return undefined
  }
  const stream = await node.open(modern(token, 'subscriptions/listen', { notifications: { toolsListChanged: true } }))
  assert.equal(stream.status, 200)
  const running = node.send(call(token, 'write_note'))
  await eventually('the upstream was asked', () => cluster.notes.calls().length === 1)
  node.plane.close()
  assert.equal(await stream.ended, 'cut')
  assert.equal((await node.send(modern(token, 'subscriptions/listen', { notifications: { toolsListChanged: true } }))).status, 503)
  finish()
  const answer = await running
  assert.equal(answer.status, 200, answer.text)
  assert.match(answer.text, /written/)
  assert.equal(cluster.notes.calls().length, 1)
})
