// What a caller may not use does not exist for them: not in a list, whatever way the upstream writes it, and not by name.
import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { policy } from '../../src/policy/policy.ts'
import { eventually } from '../support/eventually.ts'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, toolNames, type Cluster, type Sent } from '../support/mcp-nodes.ts'
import { event, reply, result, TOOLS, type Asked, type Script } from '../support/mcp-upstream.ts'

const LIST = { tools: TOOLS, resultType: 'complete', ttlMs: 60_000, cacheScope: 'public' }
const VISIBLE_TO_BOB = ['read_note']

function bobsList(cluster: Cluster): Sent {
  return modern(cluster.token({ userId: 'usr_bob' }), 'tools/list')
}

function onList(answer: Script): Script {
  return (asked, response) => (asked.message['method'] === 'tools/list' ? answer(asked, response) : false)
}

const list = (asked: Asked): string => JSON.stringify(result(asked, LIST))

eachMcpCluster('each sees the tools of theirs, in order, for nobody else to cache (RS-26, RS-27, RS-28)', async (cluster) => {
  const alice = await cluster.nodes[0].send(modern(cluster.token(), 'tools/list'))
  assert.deepEqual(toolNames(alice.body), ['read_note', 'write_note'])
  const bob = await cluster.nodes[1].send(bobsList(cluster))
  assert.deepEqual(toolNames(bob.body), VISIBLE_TO_BOB)
  assert.equal(resultOf(bob.body)['cacheScope'], 'private')
  assert.equal(resultOf(bob.body)['ttlMs'], 60_000)
  assert.equal((await cluster.events('list.filtered')).length, 2)
})

eachMcpCluster('a JSON list is filtered however it is labelled, or not passed on at all (H07, RS-27)', async (cluster) => {
  const filtered: [string, Script][] = [
    ['another spelling of the type', onList((asked, response) => void response.writeHead(200, { 'content-type': 'Application/JSON ; x=y' }).end(list(asked)))],
    ['status 201', onList((asked, response) => void response.writeHead(201, { 'content-type': 'application/json' }).end(list(asked)))],
    ['a byte order mark', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(`\ufeff${list(asked)}`))],
    ['two results in one object', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(list(asked).replace('"result"', '"result":{"tools":[]},"result"')))],
    ['a list beside the result', onList((asked, response) => reply(response, { ...result(asked, LIST), tools: TOOLS }))],
    ['pieces', onList(async (asked, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      for (const part of list(asked).match(/.{1,100}/g) ?? []) {
        response.write(part)
        await new Promise((resolve) => setImmediate(resolve))
      }
      response.end()
    })],
    ['an unknown charset and length', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json; charset=utf-7', 'content-length': Buffer.byteLength(list(asked)) }).end(list(asked)))],
  ]
  for (const [name, script] of filtered) {
    cluster.notes.script = script
    const answer = await cluster.nodes[0].send(bobsList(cluster))
    assert.deepEqual(toolNames(answer.body), VISIBLE_TO_BOB, `${name}: ${answer.text}`)
    assert.doesNotMatch(answer.text, /delete_note|write_note/, name)
    assert.equal(answer.headers['content-type'], 'application/json')
  }
  const nothing: [string, Script][] = [
    ['the list in the error', onList((asked, response) => reply(response, { jsonrpc: '2.0', id: asked.message['id'], error: { code: -32000, message: 'x', data: LIST } }))],
    ['the list in an error of status 400', onList((asked, response) => reply(response, { jsonrpc: '2.0', id: asked.message['id'], error: { code: -32000, message: 'x', data: LIST } }, 400))],
    ['tools that are no list', onList((asked, response) => reply(response, result(asked, { ...LIST, tools: { write_note: TOOLS[1] } })))],
  ]
  for (const [name, script] of nothing) {
    cluster.notes.script = script
    const answer = await cluster.nodes[0].send(bobsList(cluster))
    assert.deepEqual(toolNames(answer.body), [], name)
    assert.doesNotMatch(answer.text, /write_note/, name)
  }
  cluster.notes.script = onList((asked, response) => reply(response, result(asked, LIST), 400))
  const odd = await cluster.nodes[0].send(bobsList(cluster))
  assert.deepEqual(toolNames(odd.body), VISIBLE_TO_BOB, 'a list of status 400 is a list')
})

eachMcpCluster('an answer that cannot be read is a 502 and never passed raw (H07, X17)', async (cluster) => {
  const unreadable: [string, Script][] = [
    ['HTML', onList((asked, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end(list(asked)))],
    ['no type', onList((asked, response) => void response.writeHead(200).end(list(asked)))],
    ['two types', onList((asked, response) => void response.writeHead(200, ['content-type', 'application/json', 'content-type', 'text/plain']).end(list(asked)))],
    ['another type that begins alike', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json+x' }).end(list(asked)))],
    ['gzip', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(gzipSync(list(asked))))],
    ['gzip without saying so', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(gzipSync(list(asked))))],
    ['an array', onList((asked, response) => reply(response, [result(asked, LIST)]))],
    ['another identifier', onList((asked, response) => reply(response, { ...result(asked, LIST), id: 'other' }))],
    ['no identifier', onList((_asked, response) => reply(response, { jsonrpc: '2.0', result: LIST }))],
    ['a result that is an array', onList((asked, response) => reply(response, { jsonrpc: '2.0', id: asked.message['id'], result: TOOLS }))],
    ['two values', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(`${list(asked)}\n${list(asked)}`))],
    ['bytes that are no UTF-8', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(Buffer.from(list(asked).replace('Reads', '\u00ff'), 'latin1')))],
    ['a null', onList((_asked, response) => reply(response, null))],
    ['a depth that ends a stack', onList((asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(`{"jsonrpc":"2.0","id":${JSON.stringify(asked.message['id'])},"result":{"tools":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`))],
    ['nothing', onList((_asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end())],
    ['status 204', onList((_asked, response) => void response.writeHead(204, { 'content-type': 'application/json' }).end())],
    ['a redirect', onList((_asked, response) => void response.writeHead(307, { location: cluster.weather.url, 'content-type': 'application/json' }).end('{}'))],
    ['an event stream without a response', onList((_asked, response) => void response.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'br' }).end('x'))],
  ]
  for (const [name, script] of unreadable) {
    cluster.notes.script = script
    const answer = await cluster.nodes[0].send(bobsList(cluster))
    assert.equal(answer.status, 502, `${name}: ${answer.text}`)
    assert.equal(errorOf(answer.body).code, -32000, name)
    assert.doesNotMatch(answer.text, /note"|127\.0\.0\.1/, name)
  }
  assert.equal(cluster.weather.asked.length, 0, 'a redirect is not followed')
  assert.equal((await cluster.events('call.finished')).length, unreadable.length)
  cluster.notes.script = () => false
  assert.deepEqual(toolNames((await cluster.nodes[0].send(bobsList(cluster))).body), VISIBLE_TO_BOB)
})

eachMcpCluster('a list in an event stream is filtered, wherever its pieces are cut (H07, P-15)', async (cluster) => {
  const streams: [string, (asked: Asked) => readonly string[]][] = [
    ['one event', (asked) => [event(result(asked, LIST))]],
    ['notifications before it', (asked) => [event({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 1, progress: 1 } }), event(result(asked, LIST))]],
    ['carriage returns', (asked) => [event(result(asked, LIST)).replaceAll('\n', '\r')]],
    ['both line ends, cut between them', (asked) => event(result(asked, LIST)).replaceAll('\n', '\r\n').split(/(?<=\r)/)],
    ['data over several lines', (asked) => [`data: ${list(asked).replace(',"result"', '\ndata: ,"result"')}\n\n`]],
    ['every byte on its own', (asked) => event(result(asked, LIST)).split('')],
    ['a byte order mark', (asked) => [`\ufeff${event(result(asked, LIST))}`]],
    ['the list in a comment', (asked) => [`: ${list(asked)}\n\n`, event(result(asked, LIST))]],
    ['the list in a field that nobody knows', (asked) => [`${list(asked)}\ndata : ${list(asked)}\nDATA: ${list(asked)}\n\n`, event(result(asked, LIST))]],
    ['two responses', (asked) => [event(result(asked, LIST)), event(result(asked, LIST))]],
    ['the list in an error, then as it should be', (asked) => [event({ jsonrpc: '2.0', id: asked.message['id'], error: { code: 1, message: 'x', data: LIST } }), event(result(asked, LIST))]],
    ['an end without an empty line', (asked) => [event(result(asked, LIST)), `data: ${list(asked)}`]],
  ]
  for (const [name, pieces] of streams) {
    cluster.notes.script = onList(async (asked, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const piece of pieces(asked)) {
        response.write(piece)
        if (name !== 'every byte on its own') await new Promise((resolve) => setImmediate(resolve))
      }
      response.end()
    })
    const answer = await cluster.nodes[0].send(bobsList(cluster))
    assert.equal(answer.status, 200, name)
    assert.equal(answer.headers['content-type'], 'text/event-stream')
    assert.doesNotMatch(answer.text, /write_note|delete_note/, name)
    assert.deepEqual(toolNames(answer.events.at(-1)), VISIBLE_TO_BOB, `${name}: ${answer.text}`)
    assert.equal(answer.events.some((message) => message['method'] === 'notifications/progress'), name === 'notifications before it')
  }
})

eachMcpCluster('a stream that cannot be read ends there, and nothing of the rest is passed on (H07)', async (cluster) => {
  const broken: [string, (asked: Asked) => Buffer | string][] = [
    ['junk', (asked) => `data: junk\n\n${event(result(asked, LIST))}`],
    ['no message', () => `data: ${JSON.stringify({ tools: TOOLS })}\n\n`],
    ['an array', (asked) => `data: [${list(asked)}]\n\n`],
    ['another identifier', (asked) => event({ ...result(asked, LIST), id: 'other' })],
    ['bytes that are no UTF-8', (asked) => Buffer.from(event(result(asked, LIST)).replace('Reads', '\u00ff'), 'latin1')],
  ]
  for (const [name, body] of broken) {
    cluster.notes.script = onList((asked, response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(body(asked)))
    const answer = await cluster.nodes[0].send(bobsList(cluster))
    assert.equal(answer.status, 502, `${name}: ${answer.text}`)
    assert.doesNotMatch(answer.text, /_note/)
    // After the first event the head is written: then the answer is cut off, not ended.
    cluster.notes.script = onList(async (asked, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': first\n\n')
      await new Promise((resolve) => setTimeout(resolve, 20))
      response.end(body(asked))
    })
    const stream = await cluster.nodes[0].open(bobsList(cluster))
    assert.equal(stream.status, 200)
    assert.equal(await stream.ended, 'cut', name)
    assert.doesNotMatch(stream.text(), /_note/)
  }
})

eachMcpCluster('the pages of a list are filtered each, and what a page says lives on: numbers, annotations, cursors (RS-28)', async (cluster) => {
  const exact = '{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read_note","inputSchema":{"maximum":18446744073709551615,"default":1.0e400}},{"name":"write_note"}],"nextCursor":"two","resultType":"complete"}}'
  cluster.notes.script = onList((asked, response) => {
    if ((asked.message['params'] as Record<string, unknown>)['cursor'] === undefined) return void response.writeHead(200, { 'content-type': 'application/json' }).end(exact.replace('"id":1', `"id":${JSON.stringify(asked.message['id'])}`))
    reply(response, result(asked, { tools: [{ name: 'delete_note' }, { name: 'read_more' }] }))
    return undefined
  })
  const bob = cluster.token({ userId: 'usr_bob' })
  const first = await cluster.nodes[0].send(modern(bob, 'tools/list'))
  assert.match(first.text, /"maximum":18446744073709551615,"default":1\.0e400/)
  assert.deepEqual(toolNames(first.body), ['read_note'])
  const second = await cluster.nodes[0].send(modern(bob, 'tools/list', { cursor: 'two' }))
  assert.deepEqual(toolNames(second.body), ['read_more'])
  assert.equal(errorOf((await cluster.nodes[0].send(call(bob, 'read_more'))).body).code, undefined)
})

eachMcpCluster('a hidden tool and one that does not exist answer the same, byte for byte (H06)', async (cluster) => {
  const bob = cluster.token({ userId: 'usr_bob' })
  assert.equal(errorOf((await cluster.nodes[0].send(call(bob, 'read_note'))).body).code, undefined)
  const alice = cluster.token()
  for (const [bearer, hidden, unknown] of [[bob, 'write_note', 'write_nota'], [alice, 'delete_note', 'delete_nota'], [alice, 'delete_note', 'absent_note']] as const) {
    for (const send of [(name: string) => call(bearer, name), (name: string) => legacy(bearer, 'tools/call', { name, arguments: {} })]) {
      const answers = await Promise.all([hidden, unknown].map((name) => cluster.nodes[0].send(send(name))))
      const [one, other] = answers.map(({ status, text, headers }) => {
        const { date: _date, ...rest } = headers
        return JSON.stringify({ status, text, rest })
      })
      assert.equal(one, other?.replaceAll(unknown, hidden))
      assert.equal(errorOf(answers[0]?.body ?? {}).code, -32602)
    }
  }
  assert.deepEqual(cluster.notes.calls().map(({ message }) => (message['params'] as Record<string, unknown>)['name']), ['read_note'])
  const denied = await cluster.events('call.denied')
  assert.deepEqual(denied.map(({ tool, rule, subject }) => [tool, rule, subject]).slice(0, 2), [['write_note', 'default', 'usr_bob'], ['write_nota', 'default', 'usr_bob']])
  assert.ok(denied.some(({ tool, rule }) => tool === 'delete_note' && rule === 'nobody-deletes'))
})

eachMcpCluster('a tool cannot be called past policy: batches, notifications, other spellings, other headers (H01, H03, H05, P-11, P-20)', async (cluster) => {
  const bob = cluster.token({ userId: 'usr_bob' })
  const { headers = {} } = call(bob, 'read_note')
  const { headers: older = {} } = legacy(bob, 'tools/call', {})
  const forbidden = { name: 'write_note', arguments: {} }
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} }
  const bodies: [string, unknown, Record<string, unknown>?][] = [
    ['a batch', [{ jsonrpc: '2.0', id: 1, method: 'tools/list' }, { jsonrpc: '2.0', id: 2, method: 'tools/call', params: forbidden }]],
    ['a batch of one', [{ jsonrpc: '2.0', id: 2, method: 'tools/call', params: forbidden }]],
    ['a notification', { jsonrpc: '2.0', method: 'tools/call', params: forbidden }],
    ['a notification of the modern revision', { jsonrpc: '2.0', method: 'tools/call', params: { ...forbidden, _meta: meta } }, { ...headers, 'mcp-name': 'write_note' }],
    ['an identifier that is null', { jsonrpc: '2.0', id: null, method: 'tools/call', params: forbidden }],
    ['a method in another case', '{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{},"PARAMS":{"name":"write_note"}}'],
    ['a name in another case', '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_note","Name":"write_note"}}'],
    ['a long s', '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_note"},"param\u017f":{"name":"write_note"}}'],
    ['a request that is a response too', { jsonrpc: '2.0', id: 1, method: 'tools/call', params: forbidden, result: {} }],
    ['parameters by position', { jsonrpc: '2.0', id: 1, method: 'tools/call', params: ['write_note'] }],
    ['a name that is a list', { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: ['write_note'] } }],
    ['the header of an allowed tool', { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { ...forbidden, _meta: meta } }, headers],
    ['the header of another method', { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { ...forbidden, _meta: meta } }, { ...headers, 'mcp-method': 'tools/list', 'mcp-name': 'write_note' }],
    ['a method in capitals', { jsonrpc: '2.0', id: 1, method: 'Tools/Call', params: forbidden }],
    ['the last of two names', '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_note","name":"write_note"}}'],
    ['an escaped name', '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\\u0077rite_note"}}'],
  ]
  for (const [name, body, given] of bodies) {
    const answer = await cluster.nodes[0].send({ headers: (given ?? older) as Record<string, string>, body: typeof body === 'string' ? body : JSON.stringify(body) })
    assert.ok(answer.status >= 400 || typeof errorOf(answer.body).code === 'number', `${name}: ${answer.status} ${answer.text}`)
  }
  assert.equal(cluster.notes.asked.length, 0)
  const allowed = await cluster.nodes[0].send({ headers, body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write_note","name":"read_note","arguments":{"n":12345678901234567890,"e":1e400},"_meta":${JSON.stringify(meta)}}}` })
  assert.equal(allowed.status, 200, allowed.text)
  // H05: what goes on is what was decided about, and arguments arrive as they were written.
  assert.equal(cluster.notes.calls()[0]?.body.match(/"name"/g)?.length, 1)
  assert.match(cluster.notes.calls()[0]?.body ?? '', /"n":12345678901234567890,"e":1e400/)
})

eachMcpCluster('a session stream that repeats a list is filtered like the list (H07, RS-27)', async (cluster) => {
  const bob = cluster.token({ userId: 'usr_bob' })
  const opened = await cluster.nodes[0].send(initialize(bob))
  const session = String(opened.headers['mcp-session-id'])
  cluster.notes.script = (asked, response) => {
    if (asked.method !== 'GET') return false
    const answer = { jsonrpc: '2.0', id: 7, result: { ...LIST, capabilities: { tools: {}, prompts: {}, tasks: {} } } }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(`${event(answer, `id: ${String(asked.headers['last-event-id'])}-1\n`)}${event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' })}id: end\ndata:\n\n`)
    return undefined
  }
  const stream = await cluster.nodes[1].send({ ...legacy(bob, '', {}, session, { 'last-event-id': 'e1' }), method: 'GET', body: '' })
  assert.equal(stream.status, 200, stream.text)
  assert.deepEqual(toolNames(stream.events[0]), VISIBLE_TO_BOB)
  assert.deepEqual(resultOf(stream.events[0])['capabilities'], { tools: {} })
  assert.equal(stream.events[1]?.['method'], 'notifications/tools/list_changed')
  assert.match(stream.text, /^id: e1-1\n/)
  assert.match(stream.text, /id: end\ndata: \n\n$/)
})

eachMcpCluster('prompts and resources are for those whose rules speak of every tool (P-20)', async (cluster) => {
  const bob = cluster.token({ userId: 'usr_bob' })
  const alice = cluster.token()
  cluster.policy = policy([{ id: 'alice', effect: 'allow', users: ['usr_alice'] }, { id: 'others', effect: 'allow', tools: ['read_note'] }])
  for (const [method, params, empty] of [
    ['prompts/list', {}, { prompts: [] }],
    ['resources/list', {}, { resources: [] }],
    ['resources/templates/list', {}, { resourceTemplates: [] }],
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'a' }, argument: {} }, { completion: { values: [] } }],
  ] as const) {
    const answer = await cluster.nodes[0].send(modern(bob, method, params))
    assert.deepEqual(Object.fromEntries(Object.entries(answer.body['result'] as object).filter(([name]) => name in empty)), empty, method)
    assert.equal(resultOf(answer.body)['resultType'], 'complete')
  }
  const hidden = await cluster.nodes[0].send(modern(bob, 'resources/read', { uri: 'note://1' }))
  assert.equal(errorOf(hidden.body).message, 'Resource not found: note://1')
  assert.equal(errorOf((await cluster.nodes[0].send(modern(bob, 'prompts/get', { name: 'a-prompt' }))).body).code, -32602)
  assert.equal(errorOf((await cluster.nodes[0].send(modern(bob, 'subscriptions/listen', { notifications: { resourceSubscriptions: ['note://1'] } }))).body).code, -32602)
  assert.equal(cluster.notes.asked.length, 0)
  const discovered = await cluster.nodes[0].send(modern(bob, 'server/discover'))
  assert.deepEqual(Object.keys((discovered.body['result'] as { capabilities: object }).capabilities), ['tools', 'logging'])
  const mine = await cluster.nodes[0].send(modern(alice, 'server/discover'))
  assert.deepEqual(Object.keys((mine.body['result'] as { capabilities: object }).capabilities), ['tools', 'prompts', 'resources', 'completions', 'logging'])
  assert.deepEqual((await cluster.nodes[0].send(modern(alice, 'prompts/list'))).body['result'], { resultType: 'complete', ttlMs: 60_000, cacheScope: 'public', prompts: [{ name: 'a-prompt' }] })
  assert.match((await cluster.nodes[0].send(modern(alice, 'resources/read', { uri: 'note://1' }))).text, /content/)
})

eachMcpCluster('an unknown method goes nowhere (RS-20)', async (cluster) => {
  const token = cluster.token()
  for (const method of ['tools/run', 'tasks/run', 'sampling/createMessage', 'constructor', '__proto__', '']) {
    const answer = await cluster.nodes[0].send(modern(token, method))
    assert.equal(answer.status, 404, method)
    assert.equal(errorOf(answer.body).code, -32601)
    const older = await cluster.nodes[0].send(legacy(token, method, {}))
    assert.equal(older.status, 200)
    assert.equal(errorOf(older.body).code, -32601)
  }
  assert.equal(cluster.notes.asked.length, 0)
  // What 2026-07-28 removed is unknown there, and known to those before it.
  assert.equal((await cluster.nodes[0].send(modern(token, 'ping'))).status, 404)
  const session = String((await cluster.nodes[0].send(initialize(token))).headers['mcp-session-id'])
  assert.deepEqual((await cluster.nodes[0].send(legacy(token, 'ping', {}, session))).body['result'], {})
  assert.deepEqual(toolNames((await cluster.nodes[0].send(modern(token, 'tools/list'))).body), ['read_note', 'write_note'])
})

eachMcpCluster('whom no rule lets reach the upstream gets nothing of it, and the others do', async (cluster) => {
  const dana = cluster.token({ userId: 'usr_dana' })
  for (const sent of [modern(dana, 'tools/list'), modern(dana, 'server/discover'), legacy(dana, 'ping', {}), call(dana, 'read_note'), initialize(dana), notify(dana, 'notifications/initialized')]) {
    const answer = await cluster.nodes[0].send(sent)
    assert.equal(answer.status, 404, `${String(sent.body)}: ${answer.text}`)
  }
  assert.equal(cluster.notes.asked.length, 0)
  assert.ok((await cluster.events('call.denied')).every(({ subject, rule }) => subject === 'usr_dana' && rule === 'default'))
  assert.equal((await cluster.nodes[0].send(modern(cluster.token(), 'tools/list'))).status, 200)
})

eachMcpCluster('one question serves callers that come at once, and its failure does not repeat itself for each of them', async (cluster) => {
  let fails = true
  cluster.notes.script = onList(async (_asked, response) => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    if (fails) return void response.writeHead(500).end()
    return false
  })
  const token = cluster.token()
  const burst = () => Promise.all(Array.from({ length: 20 }, (_, id) => cluster.nodes[0].send(call(token, 'read_note', {}, {}, id))))
  const failed = await burst()
  assert.ok(failed.every(({ status }) => status === 502), failed.map(({ status }) => status).join())
  assert.equal(cluster.notes.of('tools/list').length, 1)
  assert.equal(cluster.notes.calls().length, 0, 'what a tool needs is not known: it is not called')
  fails = false
  assert.ok((await burst()).every(({ status, body }) => status === 200 && errorOf(body).code === undefined))
  assert.equal(cluster.notes.of('tools/list').length, 2)
})

eachMcpCluster('when who asked for the tools goes away, the next one asks', async (cluster) => {
  cluster.notes.script = onList(async () => {
    if (cluster.notes.of('tools/list').length === 1) return undefined
    return false
  })
  const token = cluster.token()
  const leave = cluster.nodes[0].begin(call(token, 'read_note'))
  await eventually('the upstream is asked', () => cluster.notes.of('tools/list').length === 1)
  const second = cluster.nodes[0].send(call(token, 'read_note'))
  await new Promise((resolve) => setTimeout(resolve, 30))
  leave()
  assert.equal((await second).status, 200)
  assert.equal(cluster.notes.of('tools/list').length, 2)
  assert.equal(cluster.notes.calls().length, 1)
})

eachMcpCluster('an upstream of another caller is not asked with this one’s account', async (cluster) => {
  cluster.accounts.set('usr_alice', 'alice-account')
  cluster.accounts.set('usr_anna', 'anna-account')
  cluster.tickets.script = (asked, response) => {
    if (asked.message['method'] !== 'tools/list') return false
    const mine = asked.headers.authorization === 'Bearer alice-account' ? 'alices_tool' : 'annas_tool'
    reply(response, result(asked, { tools: [{ name: mine }] }))
    return undefined
  }
  const alice = cluster.token({ profile: 'tickets' })
  const anna = cluster.token({ profile: 'tickets', userId: 'usr_anna' })
  assert.equal(errorOf((await cluster.nodes[0].send(at('tickets', call(alice, 'alices_tool')))).body).code, undefined)
  assert.equal(errorOf((await cluster.nodes[0].send(at('tickets', call(anna, 'alices_tool')))).body).message, 'Unknown tool: alices_tool')
  assert.equal(errorOf((await cluster.nodes[0].send(at('tickets', call(anna, 'annas_tool')))).body).code, undefined)
  assert.deepEqual(cluster.tickets.calls().map(({ headers }) => headers.authorization), ['Bearer alice-account', 'Bearer anna-account'])
})
