// `subscriptions/listen` of a 2026-07-28 client, made of the stream of a session and `resources/subscribe` at a 2025 upstream.
import type { Answer } from '../exchange.ts'
import { isObject } from '../message.ts'
import { resultOf, SUBSCRIPTION_KEY } from '../revisions.ts'
import { paramsOf, type Line } from './line.ts'
import { Outlet, reply } from './outlet.ts'
import type { Json } from './translate.ts'
import { ask, type UpstreamSession } from './upstream-session.ts'
import type { UpstreamSessions } from './upstream-sessions.ts'

const KEEP_ALIVE_MS = 25_000
const MAX_URIS = 200
const LISTS: Readonly<Record<string, readonly [string, string]>> = {
  'notifications/tools/list_changed': ['toolsListChanged', 'tools'],
  'notifications/prompts/list_changed': ['promptsListChanged', 'prompts'],
  'notifications/resources/list_changed': ['resourcesListChanged', 'resources'],
}
const UPDATED = 'notifications/resources/updated'
const MODERN = { era: 'modern', version: '' } as const

export async function legacyListen(sessions: UpstreamSessions, line: Line, session: UpstreamSession, message: Json): Promise<Answer> {
  const { contact } = line
  const { notifications: filter } = paramsOf(message)
  if (!isObject(filter)) return reply(200, { jsonrpc: '2.0', id: message['id'], error: { code: -32602, message: 'Invalid params: notifications is required' } })
  const stream = await sessions.listen(session)
  const honored = stream === undefined ? {} : await honor(session, filter)
  const stop = (): void => {
    clearInterval(alive)
    if (session.listeners.delete(hear)) void release(session, honored)
  }
  const out = new Outlet(contact.upstream, stop)
  const tagged = (method: string, params: Json): Json => ({ jsonrpc: '2.0', method, params: { ...params, _meta: { ...(isObject(params['_meta']) ? params['_meta'] : {}), [SUBSCRIPTION_KEY]: message['id'] } } })
  const hear = (heard: Json): void => {
    const { method, params } = heard
    if (typeof method === 'string' && isWanted(honored, method, params)) out.write(tagged(method, isObject(params) ? params : {}))
  }
  const alive = setInterval(() => {
    // A session that is over says nothing any more: the client asks again, and gets another one.
    if (session.over) end()
    else out.comment()
  }, KEEP_ALIVE_MS).unref()
  const end = (): void => {
    stop()
    out.write({ jsonrpc: '2.0', id: message['id'], result: resultOf(MODERN, { _meta: { [SUBSCRIPTION_KEY]: message['id'] } }, false) })
    out.end()
  }
  session.listeners.add(hear)
  contact.open.stop = end
  // RS-32
  out.write(tagged('notifications/subscriptions/acknowledged', { notifications: honored }))
  if (Object.keys(honored).length === 0) end()
  if (contact.open.ended !== undefined) end()
  return out
}

/** What of it the upstream can tell of. */
async function honor(session: UpstreamSession, filter: Json): Promise<Json> {
  const capabilities = isObject(session.initialized['capabilities']) ? session.initialized['capabilities'] : {}
  const can = (what: string, how: string): boolean => isObject(capabilities[what]) && capabilities[what][how] === true
  const honored: Record<string, unknown> = {}
  for (const [name, what] of Object.values(LISTS)) if (filter[name] === true && can(what, 'listChanged')) honored[name] = true
  const wanted = Array.isArray(filter['resourceSubscriptions']) && can('resources', 'subscribe') ? [...new Set(filter['resourceSubscriptions'].filter((uri) => typeof uri === 'string'))].slice(0, MAX_URIS) : []
  const uris: string[] = []
  try {
    for (const uri of wanted) if (await subscribe(session, uri)) uris.push(uri)
  } catch (error) {
    await release(session, { resourceSubscriptions: uris })
    throw error
  }
  if (uris.length > 0) honored['resourceSubscriptions'] = uris
  return honored
}

async function subscribe(session: UpstreamSession, uri: string): Promise<boolean> {
  const count = session.uris.get(uri) ?? 0
  session.uris.set(uri, count + 1)
  let done = count > 0
  try {
    done ||= (await ask(session, 'resources/subscribe', { uri })) !== undefined
  } finally {
    if (!done) unsubscribe(session, uri)
  }
  return done
}

/** @returns whether nobody wants it any more */
function unsubscribe(session: UpstreamSession, uri: string): boolean {
  const left = (session.uris.get(uri) ?? 1) - 1
  if (left > 0) session.uris.set(uri, left)
  else session.uris.delete(uri)
  return left === 0
}

async function release(session: UpstreamSession, { resourceSubscriptions }: Json): Promise<void> {
  for (const uri of Array.isArray(resourceSubscriptions) ? resourceSubscriptions : []) {
    if (typeof uri === 'string' && unsubscribe(session, uri) && !session.over) await ask(session, 'resources/unsubscribe', { uri }).catch(() => undefined)
  }
}

function isWanted(honored: Json, method: string, params: unknown): boolean {
  const list = LISTS[method]
  if (list !== undefined) return honored[list[0]] === true
  const uri = isObject(params) ? params['uri'] : undefined
  const uris: readonly unknown[] = Array.isArray(honored['resourceSubscriptions']) ? honored['resourceSubscriptions'] : []
  return method === UPDATED && typeof uri === 'string' && uris.some((each) => uri === each || (typeof each === 'string' && uri.startsWith(`${each}/`)))
}
