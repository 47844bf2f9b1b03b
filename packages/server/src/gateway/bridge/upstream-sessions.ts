import { upstreamSessionId } from '../session.ts'
import type { Answer } from '../exchange.ts'
import { drain } from '../drain.ts'
import { isModern, LEGACY_VERSIONS } from '../revisions.ts'
import { newId } from '../../oauth/secret.ts'
import type { Contact } from '../call.ts'
import { unreadable } from '../answers.ts'
import { DOUBTFUL, WrongGeneration } from './generation.ts'
import type { Introduced } from './introduced.ts'
import { legacyRequest, legacySessionRequest, outcomeOf, ownOpen, tell, type Line } from './line.ts'
import { sessionStream, type Over, type SessionStream, type SessionStreamDeps } from './session-stream.ts'
import type { Json } from './translate.ts'
import { route, type UpstreamSession } from './upstream-session.ts'

export interface UpstreamSessions {
  of(line: Line, introduced: Introduced): Promise<UpstreamSession | Refused>
  /** The upstream knows it no more. */
  forget(session: UpstreamSession): void
  /** The stream on which the upstream speaks by itself; undefined when it has none. */
  listen(session: UpstreamSession): Promise<SessionStream | undefined>
  /** Ends those that nobody uses: calls go on. */
  close(): void
}

/** What the upstream said instead of opening a session. */
export interface Refused {
  readonly refused: { readonly status: number; readonly headers: Readonly<Record<string, string>> }
}

export interface UpstreamSessionsDeps extends SessionStreamDeps {
  readonly now: () => number
}

const IDLE_MS = 300_000
const SWEEP_MS = 30_000
const MAX_SESSIONS = 5000
const MAX_PER_USER = 40

interface Kept {
  readonly userId: string
  readonly opening: Promise<UpstreamSession | Refused>
  session?: UpstreamSession
}

export function upstreamSessions(deps: UpstreamSessionsDeps): UpstreamSessions {
  const { now } = deps
  const kept = new Map<string, Kept>()
  const drop = (key: string, entry: Kept): void => {
    if (kept.get(key) === entry) kept.delete(key)
    giveUp(entry)
  }
  const sweep = setInterval(() => {
    for (const [key, entry] of kept) if (isIdle(entry) && now() - (entry.session?.usedAt ?? 0) > IDLE_MS) drop(key, entry)
  }, SWEEP_MS).unref()
  /** The oldest ones that nobody uses make room. */
  const makeRoom = (userId: string): void => {
    const own = [...kept].filter(([, entry]) => entry.userId === userId)
    const idle = own.length >= MAX_PER_USER ? own : kept.size >= MAX_SESSIONS ? [...kept] : []
    for (const [key, entry] of idle) if (isIdle(entry)) return drop(key, entry)
  }
  return {
    async of(line, introduced) {
      const key = keyOf(line.contact, introduced)
      let entry = kept.get(key)
      if (entry === undefined || entry.session?.over === true) {
        makeRoom(line.contact.caller.user.id)
        const fresh: Kept = { userId: line.contact.caller.user.id, opening: open(line, introduced, now) }
        kept.set(key, fresh)
        fresh.opening.then(
          (opened) => ('refused' in opened ? drop(key, fresh) : (fresh.session = opened)),
          () => drop(key, fresh),
        )
        entry = fresh
      } else {
        // What is used goes behind what is not.
        kept.delete(key)
        kept.set(key, entry)
      }
      const opened = await entry.opening
      if (!('refused' in opened)) {
        opened.usedAt = now()
        opened.line = line
      }
      return opened
    },
    forget(session) {
      session.over = true
      session.stream?.stop()
    },
    async listen(session) {
      if (session.streamless || session.over) return undefined
      session.stream ??= startStream(deps, session)
      return (await session.stream?.ready) === 'open' ? session.stream : undefined
    },
    close() {
      clearInterval(sweep)
      for (const [key, entry] of kept) if (isIdle(entry)) drop(key, entry)
    },
  }
}

function isIdle({ session }: Kept): boolean {
  return session !== undefined && session.calls.size === 0 && session.listeners.size === 0
}

/** The upstream is told: it may keep something for a session. */
function giveUp({ session }: Kept): void {
  if (session === undefined || session.over) return
  session.over = true
  session.stream?.stop()
  if (session.name.id !== undefined) tell(session.line, legacySessionRequest('DELETE', session.name))
}

/** @returns undefined for one stream too many of this person's: the call goes on without */
function startStream(deps: UpstreamSessionsDeps, session: UpstreamSession): SessionStream | undefined {
  const given = {
    line: session.line,
    name: session.name,
    hear: (message: Json) => route(session, message),
    over: (reason: Over) => {
      session.stream = undefined
      // Others may still listen, with newer tokens.
      const goesOn = reason === 'expired' && session.listeners.size > 0 && session.line.contact.caller.expiresAt * 1000 > deps.now()
      if (goesOn) session.stream = startStream(deps, session)
      if (reason === 'none') session.streamless = true
      if (reason === 'gone') session.over = true
    },
  }
  try {
    return sessionStream(deps, given)
  } catch {
    return undefined
  }
}

/** Whose session it is: nobody else's requests go into it, and none of another grant's. */
function keyOf({ caller, profile, upstream }: Contact, { capabilities }: Introduced): string {
  return JSON.stringify([caller.user.id, caller.clientId, caller.grantId, profile.id, upstream.id, upstream.url, capabilities])
}

async function open(line: Line, { capabilities, clientInfo }: Introduced, now: () => number): Promise<UpstreamSession | Refused> {
  const { upstream } = line.contact
  const id = newId('req')
  const params = { protocolVersion: LEGACY_VERSIONS[0], capabilities, clientInfo }
  // All who need the session wait for it, whoever of them goes away.
  const own = ownOpen(line.contact)
  const answer = await line.send(legacyRequest({ id, method: 'initialize', params }, {}), own)
  const given = upstreamSessionId(answer, upstream)
  const outcome = await outcomeOf(answer, id, upstream)
  const refused = unreadable(upstream, 'no session')
  if (outcome.kind === 'failure' && DOUBTFUL.has(answer.status)) {
    outcome.answer.cancel()
    throw new WrongGeneration(refused)
  }
  if (outcome.kind === 'failure') return refusal(outcome.answer)
  if (outcome.kind === 'error') throw new WrongGeneration(refused)
  const { protocolVersion: version } = outcome.result
  if (typeof version !== 'string' || isModern(version) || !/^[\x21-\x7e]{1,40}$/.test(version)) throw unreadable(upstream, 'version of the session')
  const name = { id: given, version }
  const ready = await line.send(legacyRequest({ method: 'notifications/initialized' }, name), own)
  await drain(ready)
  return { name, initialized: outcome.result, capabilities, calls: new Map(), listeners: new Set(), uris: new Map(), line, stream: undefined, streamless: false, level: undefined, usedAt: now(), over: false }
}

async function refusal(answer: Answer): Promise<Refused> {
  await drain(answer)
  const headers = ['www-authenticate', 'retry-after'].flatMap((name) => (typeof answer.headers[name] === 'string' ? [[name, answer.headers[name]]] : []))
  return { refused: { status: answer.status, headers: Object.fromEntries(headers) as Record<string, string> } }
}
