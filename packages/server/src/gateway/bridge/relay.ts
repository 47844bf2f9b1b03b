// A client of 2026-07-28 came back to another node than the one on which its call waits: the answer goes there, and what
// becomes of the call comes here. What the upstream tells on the way, such as progress, stays there.
import { newId } from '../../oauth/secret.ts'
import { readResponse } from '../answers.ts'
import { McpError } from '../error.ts'
import type { Answer } from '../exchange.ts'
import { isObject } from '../message.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Line } from './line.ts'
import type { Mailbox } from './mailbox.ts'
import { reply } from './outlet.ts'
import type { Json } from './translate.ts'

export interface Relay {
  /** The name of this node, for as long as it runs. */
  readonly node: string
  /** Waits for who comes back elsewhere. @param resume undefined when nothing waits for that round (any more) */
  hold(park: string, upstream: Upstream, resume: (round: string, message: Json, responses: Json) => Promise<Answer> | undefined, cancel: () => void): () => void
  /** Answers with what the node says that holds the call. */
  pass(line: Line, place: { readonly park: string; readonly round: string }, message: Json, responses: Json): Promise<Answer>
}

/** Nodes hear of one another within a second, or at once. */
const TAKEN_MS = 3000
const ALIVE_MS = 15_000
const SILENT_MS = 60_000
const MAX_BYTES = 4 * 1024 * 1024

export function relay(mailbox: Mailbox): Relay {
  return {
    node: newId('node'),
    hold: (park, upstream, resume, cancel) => mailbox.wait(park, (note) => void held(mailbox, note, upstream, resume, cancel)),
    pass: (line, place, message, responses) => passOn(mailbox, line, place, message, responses),
  }
}

async function held(mailbox: Mailbox, note: Json, upstream: Upstream, resume: Parameters<Relay['hold']>[2], cancel: () => void): Promise<void> {
  const { replyTo, round, message, responses } = note
  if (note['cancel'] === true) return cancel()
  if (typeof replyTo !== 'string' || typeof round !== 'string' || !isObject(message) || !isObject(responses)) return
  const resumed = resume(round, message, responses)
  await mailbox.post(replyTo, resumed === undefined ? { gone: true } : { taken: true })
  if (resumed === undefined) return
  const alive = setInterval(() => void mailbox.post(replyTo, { taken: true }).catch(() => undefined), ALIVE_MS).unref()
  try {
    const answer = await resumed
    const { id } = message
    const final = await readResponse(answer, typeof id === 'string' || typeof id === 'number' ? id : null, upstream)
    const whole = { final, status: answer.status }
    await mailbox.post(replyTo, Buffer.byteLength(JSON.stringify(whole)) > MAX_BYTES ? { failed: true } : whole)
  } catch {
    await mailbox.post(replyTo, { failed: true }).catch(() => undefined)
  } finally {
    clearInterval(alive)
  }
}

async function passOn(mailbox: Mailbox, line: Line, { park, round }: { readonly park: string; readonly round: string }, message: Json, responses: Json): Promise<Answer> {
  const { upstream, open } = line.contact
  const replyTo = newId('rly')
  const heard = Promise.withResolvers<Json>()
  const silent = (): void => heard.resolve({ gone: true })
  let timer = setTimeout(silent, TAKEN_MS)
  const leave = mailbox.wait(replyTo, (note) => {
    clearTimeout(timer)
    if (note['taken'] === true) timer = setTimeout(() => heard.resolve({ failed: true }), SILENT_MS)
    else heard.resolve(note)
  })
  open.stop = () => {
    void mailbox.post(park, { cancel: true }).catch(() => undefined)
    heard.resolve({ failed: true })
  }
  try {
    await mailbox.post(park, { replyTo, round, message, responses })
    const { final, status, gone } = await heard.promise
    if (gone === true) return reply(200, notWaiting(message['id']))
    if (isObject(final) && typeof status === 'number') return reply(status, final)
    throw new McpError('unavailable', `${upstream.name} did not finish the call`, { status: 502, reason: 'upstream: the call was lost on another node' })
  } finally {
    clearTimeout(timer)
    leave()
  }
}

/** It was answered already, has waited too long, or its node has gone: nothing is carried out twice. */
export function notWaiting(id: unknown): Json {
  return { jsonrpc: '2.0', id, error: { code: -32602, message: 'The call that this answers does not wait any more; make it again' } }
}
