// Keys are rotated and revoked under load; a node runs out of file descriptors; a node is told to stop while it works.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { modern } from '../support/mcp-nodes.ts'
import { event, reply, result } from '../support/mcp-upstream.ts'
import { ask, type Client, type Tried } from './client.ts'
import { fault, house, pause, until, type House } from './house.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname
const FILES = 100

let all: House
before(async () => {
  // The first node may open few files; where no shell can say so, the system's own limit stands.
  all = await house({ perNode: (index) => (index === 0 ? { wrapper: ['sh', '-c', `ulimit -n ${FILES}; exec "$@"`, 'sh'] } : {}) })
})
after(() => all.close())

const lanyard = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, [BIN, ...args, '--config', all.gateway.processes[1]?.config ?? ''], { encoding: 'utf8' })).stdout
const kidOf = (client: Client): string => (JSON.parse(Buffer.from(client.tokens?.access.split('.')[0] ?? '', 'base64url').toString('utf8')) as { kid: string }).kid
const isReady = (node: string): Promise<boolean> => fetch(`${node}/readyz`).then(({ status }) => status === 200, () => false)

fault({ id: 'X05', injected: 'the signing key is rotated under load on two nodes, and the old one is revoked', expected: 'no verification fails in the overlap; within 2 s of the revocation no node accepts a token of the old key, and every client goes on with its refresh token' }, async () => {
  const old = all.client('x05-old')
  const busy = await Promise.all([0, 1, 2].map(async (index) => {
    const each = all.client(`x05-${index}`)
    await each.signIn(all.nodes[index % 2] ?? '')
    return each
  }))
  await old.signIn(all.one)
  const oldKid = kidOf(old)
  const tried: Tried[] = []
  const over = new AbortController()
  const work = async (each: Client): Promise<void> => {
    for (let turn = 0; !over.signal.aborted; turn += 1) {
      tried.push(await each.refresh(all.nodes[turn % 2] ?? ''))
      for (const node of all.nodes) tried.push(await each.call(node))
    }
  }
  const working = Promise.all(busy.map(work))
  working.catch(() => undefined)
  await pause(300)
  await lanyard('keys', 'rotate', '--force')
  await until('every client has a token of the new key', () => busy.every((each) => kidOf(each) !== oldKid))
  await pause(500)
  // In the overlap both keys are good, everywhere.
  for (const node of all.nodes) assert.equal((await old.call(node)).outcome, 'done')
  await lanyard('keys', 'revoke', oldKid)
  const revokedAt = Date.now()
  await until('both nodes refuse the old key', async () => (await Promise.all(all.nodes.map((node) => old.call(node)))).every(({ outcome }) => outcome === 'refused'), 2000)
  const bound = Date.now() - revokedAt
  await pause(300)
  over.abort()
  await working
  assert.deepEqual(tried.filter(({ outcome }) => outcome !== 'done').map(({ status, text }) => `${status} ${text}`), [])
  for (const node of all.nodes) assert.equal((await ask(node, `${all.gateway.issuer}/jwks`)).text.includes(oldKid), false)
  assert.equal((await old.refresh(all.two)).outcome, 'done')
  assert.equal((await old.call(all.one)).outcome, 'done')
  return `${tried.length} refreshes and calls around the rotation, none failed; the revoked key was refused on both nodes ${bound} ms after the command ended`
})

fault({ id: 'X26', injected: `a node may open ${FILES} files (EMFILE), and 300 connections come`, expected: 'the process lives, the other node is not touched, and it works again when they are gone' }, async () => {
  const alice = all.client('emfile')
  await alice.signIn(all.one)
  const pid = all.gateway.processes[0]?.pid
  const { port } = new URL(all.one)
  const sockets: Socket[] = Array.from({ length: 300 }, () => connect(Number(port), '127.0.0.1').on('error', () => undefined))
  await pause(1000)
  const crowded = await Promise.all([alice.call(all.two), alice.refresh(all.two), ...Array.from({ length: 5 }, () => Promise.race([alice.call(all.one), pause(3000)]))])
  assert.deepEqual(crowded.slice(0, 2).map((tried) => tried?.outcome), ['done', 'done'])
  for (const socket of sockets) socket.destroy()
  const ms = await until('the node is ready', () => isReady(all.one))
  assert.equal(all.gateway.processes[0]?.pid, pid)
  assert.equal((await alice.call(all.one)).outcome, 'done')
  assert.equal((await alice.refresh(all.one)).outcome, 'done')
  return `${sockets.length} connections held; the other node answered all; the same process was ready ${ms} ms after they went`
})

fault({ id: 'X27', injected: 'SIGTERM with 40 calls in flight and 20 open streams', expected: 'calls finish, streams end, nothing new is taken, the process ends with 0 within 25 s; what comes goes to the other node' }, async () => {
  const alice = all.client('x27')
  await alice.signIn(all.two)
  assert.equal((await alice.call(all.two)).outcome, 'done')
  all.notes.script = async (asked, response) => {
    if (asked.message['method'] === 'subscriptions/listen') {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(event({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: {} }))
      return undefined
    }
    if (asked.message['method'] !== 'tools/call') return false
    await pause(2000)
    reply(response, result(asked, { resultType: 'complete', content: [{ type: 'text', text: 'slow' }] }))
    return undefined
  }
  all.notes.forget()
  const streams = Array.from({ length: 20 }, (_, index) => {
    // Each asks for something else: who asks for the same shares one stream of the upstream.
    const { headers, body } = modern(alice.tokens?.access ?? '', 'subscriptions/listen', { notifications: { toolsListChanged: true, [`x27-${index}`]: true } })
    return ask(all.two, `${all.gateway.issuer}/mcp/notes`, { method: 'POST', headers: headers as Record<string, string>, body: String(body) }).then(({ status }) => String(status), () => 'cut')
  })
  await until('the streams are open', () => all.notes.of('subscriptions/listen').length === 20)
  const calls = Array.from({ length: 40 }, () => alice.call(all.two))
  await until('the calls are under way', () => all.notes.calls().length >= 40)
  const node = all.gateway.processes[1]
  assert.ok(node)
  const startedAt = Date.now()
  node.signal('SIGTERM')
  await pause(200)
  const late = await alice.call(all.two)
  assert.notEqual(late.outcome, 'done')
  const elsewhere = alice.insist([all.two, all.one], (at) => alice.call(at))
  const outcomes = (await Promise.all(calls)).map(({ outcome, status }) => `${outcome} ${status}`)
  assert.deepEqual([...new Set(outcomes)], ['done 200'])
  const ended = await Promise.all(streams)
  const ending = await node.ended()
  const ms = Date.now() - startedAt
  assert.equal(ending.code, 0, JSON.stringify(ending))
  assert.ok(ms < 25_000, `${ms} ms`)
  assert.equal((await elsewhere).outcome, 'done')
  all.notes.script = () => false
  await node.start()
  assert.equal((await alice.refresh(all.two)).outcome, 'done')
  return `40 of 40 calls were answered, 20 streams ended (${[...new Set(ended)].join(', ')}), exit code 0 after ${(ms / 1000).toFixed(1)} s; a late call was answered by the other node`
})

test('what the clients saw and what the database holds agree (I1 to I4), and no secret stands in the clear', async (t) => t.diagnostic(await all.verify()))
