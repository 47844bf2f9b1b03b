// Owns what lies between a client of one protocol generation and an upstream of the other: it answers in the client's
// generation, and asks in the upstream's. It decides nothing and holds no credential; requests go out by the gateway's line.
import type { ChangeFeed } from '../../audit/change.ts'
import type { StateSealer } from '../../keys/seal.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Answer } from '../exchange.ts'
import type { OpenCalls } from '../open-calls.ts'
import type { Outgoing } from '../outgoing.ts'
import type { BridgeStore } from './bridge-store.ts'
import { clientSessions } from './client-sessions.ts'
import { DOUBTFUL, generations, WrongGeneration } from './generation.ts'
import { toLegacyUpstream } from './legacy-upstream.ts'
import type { ParkedCall } from './legacy-state.ts'
import { eraOf, type Line } from './line.ts'
import { mailbox } from './mailbox.ts'
import { toModernUpstream } from './modern-upstream.ts'
import { parking, tickets } from './parking.ts'
import { relay } from './relay.ts'
import { knownTools } from './tool-facts.ts'
import { upstreamSessions } from './upstream-sessions.ts'

export interface Bridge {
  /** Whether the upstream is known to speak the generation of the request: then there is nothing to do. */
  isSame(upstream: Upstream, outgoing: Outgoing): boolean
  /** Sends it in the generation of the upstream, which is asked first where it is not known. */
  send(line: Line, outgoing: Outgoing): Promise<Answer>
  /** Looks again at an answer that an upstream would give that has changed its generation. */
  doubt(line: Line, outgoing: Outgoing, answer: Answer): Promise<Answer>
  close(): void
}

export interface BridgeDeps {
  readonly bridgeStore: BridgeStore
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly open: Pick<OpenCalls, 'open' | 'becomeStream' | 'done'>
  readonly state: StateSealer
  readonly now: () => number
}

export function bridge(deps: BridgeDeps): Bridge {
  const known = generations(deps.now)
  const sessions = upstreamSessions(deps)
  const post = mailbox(deps)
  const tools = knownTools(deps.now)
  const modern = { ...deps, mailbox: post, tools, clientSessions: clientSessions(deps) }
  const legacy = { sessions, tools, relay: relay(post), parking: parking<ParkedCall>(), tickets: tickets(deps.state, deps.now), openCalls: deps.open }
  const across = (line: Line, outgoing: Outgoing): Promise<Answer> => (eraOf(outgoing) === 'modern' ? toLegacyUpstream(legacy, line, outgoing) : toModernUpstream(modern, line, outgoing))
  /** An upstream that was asked some time ago may speak something else now; what it refused so was not carried out. */
  const again = async (line: Line, outgoing: Outgoing, error: unknown): Promise<Answer> => {
    if (!(error instanceof WrongGeneration)) throw error
    const { upstream } = line.contact
    if (!known.isDoubtful(upstream)) throw error.failure
    known.forget(upstream)
    if ((await known.learn(line, eraOf(outgoing))) !== true) throw error.failure
    return line.send(outgoing)
  }
  return {
    isSame: (upstream, outgoing) => known.speaks(upstream, eraOf(outgoing)) === true,
    async send(line, outgoing) {
      const speaks = await known.learn(line, eraOf(outgoing))
      return speaks === false ? across(line, outgoing).catch((error: unknown) => again(line, outgoing, error)) : line.send(outgoing)
    },
    async doubt(line, outgoing, answer) {
      const { upstream } = line.contact
      if (!DOUBTFUL.has(answer.status) || !known.isDoubtful(upstream)) return answer
      known.forget(upstream)
      if ((await known.learn(line, eraOf(outgoing))) !== false) return answer
      // An upstream that does not speak this generation has not carried it out.
      answer.cancel()
      return across(line, outgoing).catch((error: unknown) => Promise.reject(error instanceof WrongGeneration ? error.failure : error))
    },
    close() {
      // Nobody finds them on another node.
      for (const call of legacy.parking.all()) call.cancel()
      sessions.close()
    },
  }
}
