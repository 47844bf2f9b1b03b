// Which generation of the protocol an upstream speaks: asked once in a while, with a caller's own credential.
import { isModern, LEGACY_VERSIONS } from '../revisions.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import { legacyRequest, legacySessionRequest, MODERN_VERSION, modernRequest, outcomeOf, ownOpen, tell, type Era, type Line } from './line.ts'

export interface Generations {
  /** Whether the upstream speaks it, as far as this node knows: one look-up. */
  speaks(upstream: Upstream, era: Era): boolean | undefined
  /** The same, asking the upstream where it is not known; undefined when it gives no clear answer. */
  learn(line: Line, era: Era): Promise<boolean | undefined>
  /** What is known is old enough to be asked again, after an answer that a change would explain. */
  isDoubtful(upstream: Upstream): boolean
  forget(upstream: Upstream): void
}

/** An upstream refused a request as it would refuse one of the other generation: it was not carried out. */
export class WrongGeneration extends Error {
  override readonly name = 'WrongGeneration'
  /** What the caller hears when the upstream speaks what it spoke before all the same. */
  readonly failure: Error
  constructor(failure: Error) {
    super('refused as of the other generation')
    this.failure = failure
  }
}

/** What an upstream of the other generation says to a request, or to a whole path of methods. */
export const DOUBTFUL: ReadonlySet<number> = new Set([400, 404, 405])

/** An upstream that speaks the client's own generation is asked again after an hour; one that needs a bridge may learn it any time. */
const KNOWN_MS = 3600_000
const BRIDGED_MS = 600_000
const UNCLEAR_MS = 5000
const DOUBT_AFTER_MS = 30_000
const MAX_KNOWN = 10_000

interface Knowledge {
  readonly speaks: Readonly<Partial<Record<Era, boolean>>>
  readonly learnedAt: number
  readonly until: number
}

/** Undefined when the answer says nothing; `refused` when it is about who asked. */
type Verdict = boolean | 'refused' | undefined

const OTHER: Readonly<Record<Era, Era>> = { modern: 'legacy', legacy: 'modern' }

export function generations(now: () => number): Generations {
  /** By address: another one is another server. */
  const known = new Map<string, Knowledge>()
  const asking = new Map<string, Promise<boolean | undefined>>()
  const knowledge = ({ url }: Upstream): Knowledge | undefined => {
    const found = known.get(url)
    return found !== undefined && found.until > now() ? found : undefined
  }
  const keep = ({ url }: Upstream, speaks: Knowledge['speaks'], keepMs: number): void => {
    known.delete(url)
    known.set(url, { speaks, learnedAt: now(), until: now() + keepMs })
    const [oldest] = known.keys()
    if (known.size > MAX_KNOWN && oldest !== undefined) known.delete(oldest)
  }
  const speaks: Generations['speaks'] = (upstream, era) => {
    const { protocol, http } = upstream
    if (protocol === undefined || http !== undefined) return true
    return protocol === 'auto' ? knowledge(upstream)?.speaks[era] : era === (protocol === '2025' ? 'legacy' : 'modern')
  }
  const ask = async (line: Line, era: Era): Promise<Verdict> => {
    const { upstream } = line.contact
    const before = knowledge(upstream)?.speaks ?? {}
    const own = await QUESTIONS[era](line)
    if (own === true) keep(upstream, { ...before, [era]: true }, KNOWN_MS)
    if (own !== false) return own
    const other = before[OTHER[era]] ?? (await QUESTIONS[OTHER[era]](line))
    if (other === true) keep(upstream, { [era]: false, [OTHER[era]]: true }, BRIDGED_MS)
    // Neither, as it seems: it is asked as the client asks, and its answer is what the client gets.
    return other === true ? false : other === 'refused' ? other : undefined
  }
  return {
    speaks,
    learn(line, era) {
      const { upstream } = line.contact
      const answer = speaks(upstream, era)
      if (answer !== undefined) return Promise.resolve(answer)
      const key = `${era} ${upstream.url}`
      const under = asking.get(key)
      if (under !== undefined) return under
      const question = ask(line, era)
        .catch(() => undefined)
        .then((verdict) => {
          // For a moment nobody asks again: an upstream that is down is not asked twice as often. With another credential it is.
          if (verdict === undefined) setTimeout(() => asking.delete(key), UNCLEAR_MS).unref()
          else asking.delete(key)
          return verdict === 'refused' ? undefined : verdict
        })
      asking.set(key, question)
      return question
    },
    isDoubtful(upstream) {
      const found = known.get(upstream.url)
      return upstream.protocol === 'auto' && found !== undefined && now() - found.learnedAt > DOUBT_AFTER_MS
    },
    forget: ({ url }) => void known.delete(url),
  }
}

const ID = 'lanyard-generation'
const INFO = { name: 'lanyard', version: '1' }
/** Errors that 2026-07-28 alone has. */
const MODERN_CODES: ReadonlySet<unknown> = new Set([-32020, -32021])

type Question = (line: Line) => Promise<Verdict>

/** C-27: what is about the credential, or an upstream in trouble, is no evidence of a generation. */
const QUESTIONS: Readonly<Record<Era, Question>> = {
  async modern(line) {
    const { upstream } = line.contact
    const answer = await line.send(modernRequest({ id: ID, method: 'server/discover' }, { capabilities: {} }), ownOpen(line.contact))
    const outcome = await outcomeOf(answer, ID, upstream)
    if (outcome.kind === 'result') {
      const { supportedVersions } = outcome.result
      return Array.isArray(supportedVersions) && supportedVersions.includes(MODERN_VERSION)
    }
    if (outcome.kind === 'error') return MODERN_CODES.has(outcome.error['code'])
    outcome.answer.cancel()
    return unclear(answer.status)
  },
  async legacy(line) {
    const { upstream } = line.contact
    const params = { protocolVersion: LEGACY_VERSIONS[0], capabilities: {}, clientInfo: INFO }
    const answer = await line.send(legacyRequest({ id: ID, method: 'initialize', params }, {}), ownOpen(line.contact))
    const { 'mcp-session-id': session } = answer.headers
    const outcome = await outcomeOf(answer, ID, upstream)
    if (outcome.kind === 'result') {
      const { protocolVersion: version } = outcome.result
      if (typeof session === 'string') tell(line, legacySessionRequest('DELETE', { id: session, ...(typeof version === 'string' ? { version } : {}) }))
      return typeof version === 'string' && !isModern(version)
    }
    if (outcome.kind === 'error') return false
    outcome.answer.cancel()
    return unclear(answer.status)
  },
}

function unclear(status: number): Verdict {
  if (status === 401 || status === 403 || status === 407) return 'refused'
  return status >= 400 && status < 500 && status !== 408 && status !== 429 ? false : undefined
}
