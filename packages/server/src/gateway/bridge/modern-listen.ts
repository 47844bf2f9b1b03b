// The stream of a 2025 client's session, made of `subscriptions/listen` at an upstream of 2026-07-28.
import type { Answer } from '../exchange.ts'
import { newId } from '../../oauth/secret.ts'
import type { OpenCall } from '../open-calls.ts'
import { SUBSCRIPTION_KEY } from '../revisions.ts'
import { isObject } from '../message.ts'
import type { ClientSession } from './bridge-store.ts'
import type { ClientSessions } from './client-sessions.ts'
import { listenTo, modernRequest, ownOpen, type Line } from './line.ts'
import { Outlet, reply } from './outlet.ts'
import { introduction } from './session-words.ts'
import { withoutMeta, type Json } from './translate.ts'

const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged'
const KEEP_ALIVE_MS = 25_000
const ACKNOWLEDGE_MS = 5000
const LISTS: Readonly<Record<string, string>> = { tools: 'toolsListChanged', prompts: 'promptsListChanged', resources: 'resourcesListChanged' }

/** One subscription at the upstream; another one takes its place when the client wants to hear of other resources. */
interface Subscription {
  readonly filter: string
  readonly open: OpenCall
  /** Whether the upstream has ended it. */
  over: boolean
}

export async function modernListen(sessions: ClientSessions, line: Line, session: ClientSession): Promise<Answer> {
  if (session.opening.tells.length === 0) return reply(405, undefined, { allow: 'POST' })
  const { contact } = line
  let current: Subscription | undefined
  let work = Promise.resolve()
  let stopped = false
  const stop = (): void => {
    stopped = true
    leave()
    clearInterval(alive)
    if (current !== undefined) end(current)
  }
  const out = new Outlet(contact.upstream, stop)
  // A 2025 client comes back by itself when its stream has ended.
  const finish = (): void => {
    stop()
    out.end()
  }
  const apply = async (wanted: ClientSession | undefined): Promise<void> => {
    if (wanted === undefined) return finish()
    const filter = filterOf(wanted)
    if (current?.filter === JSON.stringify(filter) || contact.open.ended !== undefined) return
    const before = current
    const next = Object.keys(filter).length === 0 ? undefined : await subscribe(line, wanted, filter, out, (ended) => {
      if (current === ended) finish()
    })
    current = next
    if (before !== undefined) end(before)
    // It may have ended while it began, at either side.
    if (next?.over === true || stopped) finish()
  }
  const leave = sessions.watch(session.id, (changed) => {
    work = work.then(() => apply(changed)).catch((error: unknown) => {
      if (error instanceof Refused) error.answer.cancel()
      finish()
    })
    return work
  })
  const alive = setInterval(() => out.comment(), KEEP_ALIVE_MS).unref()
  try {
    await apply(session)
  } catch (error) {
    stop()
    if (error instanceof Refused) return error.answer
    throw error
  }
  contact.open.stop = finish
  if (contact.open.ended !== undefined) finish()
  return out
}

/** The upstream does not let itself be listened to, for this caller. */
class Refused extends Error {
  override readonly name = 'Refused'
  readonly answer: Answer
  constructor(answer: Answer) {
    super('refused')
    this.answer = answer
  }
}

function end({ open }: Subscription): void {
  open.ended ??= 'gone'
  open.stop?.()
}

function filterOf({ opening, uris }: ClientSession): Json {
  const lists = opening.tells.flatMap((what) => (LISTS[what] === undefined ? [] : [[LISTS[what], true]]))
  return { ...Object.fromEntries(lists), ...(opening.tells.includes('subscribe') && uris.length > 0 ? { resourceSubscriptions: uris } : {}) }
}

/** Listens; returns when the upstream has acknowledged it, so that nothing that happens after that is missed. */
async function subscribe(line: Line, session: ClientSession, filter: Json, out: Outlet, over: (ended: Subscription) => void): Promise<Subscription> {
  const open = ownOpen(line.contact)
  const answer = await line.send(modernRequest({ id: newId('req'), method: 'subscriptions/listen', params: { notifications: filter } }, introduction(session), {}, 0), open)
  if (answer.status !== 200) throw new Refused(answer)
  const subscription: Subscription = { filter: JSON.stringify(filter), open, over: false }
  const acknowledged = Promise.withResolvers<void>()
  const listener = {
    message(message: Json): void {
      const { method, params } = message
      if (method === ACKNOWLEDGED) acknowledged.resolve()
      else if (typeof method === 'string' && message['id'] === undefined) out.write({ jsonrpc: '2.0', method, ...(isObject(params) && Object.keys(withoutMeta(params, SUBSCRIPTION_KEY)).length > 0 ? { params: withoutMeta(params, SUBSCRIPTION_KEY) } : {}) })
    },
  }
  const ended = (): void => {
    acknowledged.resolve()
    subscription.over = true
    over(subscription)
  }
  listenTo(answer, line.contact.upstream, listener, out).then(ended, ended)
  const timer = setTimeout(() => acknowledged.resolve(), ACKNOWLEDGE_MS)
  await acknowledged.promise
  clearTimeout(timer)
  return subscription
}
