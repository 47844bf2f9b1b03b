// `subscriptions/listen` over a session of a 2025 upstream that several listen to: each has what they asked for, and no more goes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Answer } from '../exchange.ts'
import type { OpenCall } from '../open-calls.ts'
import type { Outgoing } from '../outgoing.ts'
import { legacyListen } from './legacy-listen.ts'
import type { Line } from './line.ts'
import { reply } from './outlet.ts'
import type { Json } from './translate.ts'
import { route, type UpstreamSession } from './upstream-session.ts'
import type { UpstreamSessions } from './upstream-sessions.ts'

const UPSTREAM: Upstream = { id: 'old', name: 'Old', url: 'https://old.example/mcp', connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 }
const [ONE, TWO] = ['note://1', 'note://2']

function scene() {
  const asked: string[] = []
  const down = new Set<string>()
  const send = (request: Outgoing): Promise<Answer> => {
    const { id, method, params } = JSON.parse(String(request.body)) as { id: unknown; method: string; params: { uri: string } }
    asked.push(`${method} ${params.uri}`)
    return down.has(params.uri) ? Promise.reject(new Error('broken off')) : Promise.resolve(reply(200, { jsonrpc: '2.0', id, result: {} }))
  }
  const session: UpstreamSession = { name: { id: 's', version: '2025-11-25' }, initialized: { capabilities: { resources: { subscribe: true } } }, capabilities: {}, calls: new Map(), listeners: new Set(), uris: new Map(), line: undefined as unknown as Line, stream: undefined, streamless: false, level: undefined, usedAt: 0, over: false }
  const visit = (): { own: OpenCall; line: Line } => {
    const own: OpenCall = { issued: { userId: 'usr_alice', clientId: 'c', grantId: 'g', kid: 'k', issuedAt: 1 }, endsAt: Infinity, stream: true, ended: undefined, stop: undefined }
    return { own, line: { contact: { upstream: UPSTREAM, open: own, caller: { expiresAt: 4_000_000_000 } }, send } as unknown as Line }
  }
  session.line = visit().line
  const sessions = { listen: () => Promise.resolve({ ready: Promise.resolve('open'), stop: () => undefined }) } as unknown as UpstreamSessions
  const listen = async (...uris: string[]) => {
    const { own, line } = visit()
    const answer = await legacyListen(sessions, line, session, { jsonrpc: '2.0', id: 1, method: 'subscriptions/listen', params: { notifications: { resourceSubscriptions: uris } } })
    const heard: string[] = []
    const read = answer.consume((chunk) => void heard.push(chunk.toString()))
    return { own, heard, read, answer }
  }
  const updated = (uri: string): void => route(session, { jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri } } satisfies Json)
  return { asked, down, session, listen, updated }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('who is stopped twice gives up what they wanted once: others go on hearing of it (RS-32)', async () => {
  const { asked, session, listen, updated } = scene()
  const [first, second] = [await listen(ONE), await listen(ONE)]
  first.own.stop?.()
  first.answer.cancel()
  first.own.stop?.()
  await settle()
  assert.equal(session.uris.get(ONE), 1)
  updated(ONE)
  assert.match(second.heard.at(-1) ?? '', /resources\/updated/)
  second.own.stop?.()
  await settle()
  assert.deepEqual(asked, [`resources/subscribe ${ONE}`, `resources/unsubscribe ${ONE}`])
  await Promise.all([first.read, second.read])
})

test('what could not be subscribed to is asked for again by the next one, and what was is given up (RS-32)', async () => {
  const { asked, down, session, listen } = scene()
  down.add(TWO)
  await assert.rejects(listen(ONE, TWO), /broken off/)
  await settle()
  assert.deepEqual([...session.uris], [])
  assert.equal(session.listeners.size, 0)
  down.clear()
  const again = await listen(ONE, TWO)
  assert.match(again.heard.join(''), /"resourceSubscriptions":\["note:\/\/1","note:\/\/2"\]/)
  assert.deepEqual(asked, [`resources/subscribe ${ONE}`, `resources/subscribe ${TWO}`, `resources/unsubscribe ${ONE}`, `resources/subscribe ${ONE}`, `resources/subscribe ${TWO}`])
  again.own.stop?.()
  await again.read
})
