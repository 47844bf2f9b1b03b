// The stream of a 2025 client's session over `subscriptions/listen`: whatever ends it, nothing of it goes on.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Answer } from '../exchange.ts'
import type { OpenCall } from '../open-calls.ts'
import type { Outgoing } from '../outgoing.ts'
import type { ClientSession } from './bridge-store.ts'
import type { ClientSessions } from './client-sessions.ts'
import type { Line } from './line.ts'
import { modernListen } from './modern-listen.ts'

const UPSTREAM: Upstream = { id: 'new', name: 'New', url: 'https://new.example/mcp', connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 }
const SESSION: ClientSession = { id: 'lbs_1', userId: 'usr_alice', upstream: 'new', uris: [], opening: { version: '2025-11-25', capabilities: {}, clientInfo: {}, tells: ['tools', 'subscribe'] } }

interface Stream {
  readonly filter: unknown
  readonly open: OpenCall | undefined
  end(): void
  cancelled: boolean
}

/** A session that one client listens to, at an upstream that acknowledges at once unless the test says otherwise. */
function scene(answerOf?: () => Answer | undefined) {
  const streams: Stream[] = []
  const watchers = new Set<(session: ClientSession | undefined) => Promise<void>>()
  const sessions = { watch: (_id: string, changed: (session: ClientSession | undefined) => Promise<void>) => (watchers.add(changed), () => void watchers.delete(changed)) } as unknown as ClientSessions
  const own: OpenCall = { issued: { userId: 'usr_alice', clientId: 'c', grantId: 'g', kid: 'k', issuedAt: 1 }, endsAt: Infinity, stream: true, ended: undefined, stop: undefined }
  const send = (request: Outgoing, open?: OpenCall): Promise<Answer> => {
    const other = answerOf?.()
    if (other !== undefined) return Promise.resolve(other)
    const { promise, resolve } = Promise.withResolvers<void>()
    const stream: Stream = { filter: (JSON.parse(String(request.body)) as { params: { notifications: unknown } }).params.notifications, open, end: resolve, cancelled: false }
    streams.push(stream)
    return Promise.resolve({
      status: 200,
      headers: { 'content-type': 'text/event-stream' },
      consume(take) {
        if (open !== undefined) open.stop = resolve
        take(Buffer.from('data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}\n\n'))
        return promise
      },
      pipe: () => Promise.reject(new Error('not piped')),
      cancel: () => (stream.cancelled = true),
    })
  }
  const line = { contact: { upstream: UPSTREAM, open: own, caller: { expiresAt: 4_000_000_000 } }, send } as unknown as Line
  return { streams, watchers, own, line, sessions }
}

test('a stream that its upstream ends leaves nothing behind: nobody is told of changes, and no other one is opened', async () => {
  const { streams, watchers, line, sessions } = scene()
  const answer = await modernListen(sessions, line, SESSION)
  const read = answer.consume(() => undefined)
  assert.equal(watchers.size, 1)
  assert.equal(streams.length, 1)
  streams[0]?.end()
  await read
  assert.equal(watchers.size, 0)
})

test('a change that cannot be carried out ends the stream, and the subscription that there was', async () => {
  let refuse = false
  let cancelled = false
  const refusal: Answer = { status: 503, headers: {}, consume: () => Promise.resolve(), pipe: () => Promise.resolve(), cancel: () => (cancelled = true) }
  const { streams, watchers, line, sessions } = scene(() => (refuse ? refusal : undefined))
  const answer = await modernListen(sessions, line, SESSION)
  const read = answer.consume(() => undefined)
  refuse = true
  await Promise.all([...watchers].map((changed) => changed({ ...SESSION, uris: ['note://1'] })))
  await read
  assert.equal(streams[0]?.open?.ended, 'gone')
  assert.equal(watchers.size, 0)
  assert.equal(cancelled, true, 'what the upstream says instead is read by nobody')
})

test('while the stream goes on, a change opens another subscription in the place of the first', async () => {
  const { streams, watchers, own, line, sessions } = scene()
  const answer = await modernListen(sessions, line, SESSION)
  const read = answer.consume(() => undefined)
  await Promise.all([...watchers].map((changed) => changed({ ...SESSION, uris: ['note://1'] })))
  assert.deepEqual(streams.map(({ filter }) => filter), [{ toolsListChanged: true }, { toolsListChanged: true, resourceSubscriptions: ['note://1'] }])
  assert.equal(streams[0]?.open?.ended, 'gone')
  assert.equal(streams[1]?.open?.ended, undefined)
  own.stop?.()
  await read
  assert.equal(streams[1]?.open?.ended, 'gone')
  assert.equal(watchers.size, 0)
})

test('a subscription that ends as it begins ends the stream as well', async () => {
  const { streams, watchers, line, sessions } = scene()
  const listening = modernListen(sessions, line, SESSION)
  await new Promise((resolve) => setImmediate(resolve))
  const soon = scene()
  const send = async (request: Outgoing, open?: OpenCall): Promise<Answer> => {
    const answer = await soon.line.send(request, open)
    soon.streams[0]?.end()
    return answer
  }
  await (await modernListen(soon.sessions, { ...soon.line, send }, SESSION)).consume(() => undefined)
  assert.equal(soon.watchers.size, 0)
  // The other one goes on.
  assert.equal(watchers.size, 1)
  streams[0]?.end()
  await (await listening).consume(() => undefined)
})

test('a client that leaves while another subscription begins leaves none of them behind', async () => {
  const { streams, watchers, own, line, sessions } = scene()
  const read = (await modernListen(sessions, line, SESSION)).consume(() => undefined)
  const changing = Promise.all([...watchers].map((changed) => changed({ ...SESSION, uris: ['note://1'] })))
  await Promise.resolve()
  own.stop?.()
  await Promise.all([read, changing])
  assert.deepEqual(streams.map(({ open }) => open?.ended), ['gone', 'gone'])
})
