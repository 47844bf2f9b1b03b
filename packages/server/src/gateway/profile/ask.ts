import type { Call } from '../call.ts'
import { Challenge } from '../challenge.ts'
import { resultOfOwn } from '../deliver.ts'
import { sendInSession } from '../late-session.ts'
import type { Answer } from '../exchange.ts'
import type { Verdict } from '../permit.ts'
import { beginRecord } from '../record.ts'
import type { Line } from '../tools.ts'
import { credentialFor } from '../upstream-call.ts'
import type { ProfileDeps } from './deps.ts'

type Json = Readonly<Record<string, unknown>>

/** @returns undefined when the user has no account there. @throws McpError */
export async function lineTo(deps: ProfileDeps, call: Call): Promise<Line | undefined> {
  const connector = deps.connector(call.upstream)
  const credential = await credentialFor(connector, call).catch(unlessChallenged)
  if (credential === 'connection_required') return undefined
  return { connector, credential, session: await deps.lateSessions.upstreamSession(call, connector, credential) }
}

/**
 * Who issues the credential wants another sign-in first: asked for when something of this upstream is called, and not for
 * what all of them are asked together.
 */
function unlessChallenged(error: unknown): 'connection_required' {
  if (error instanceof Challenge) return 'connection_required'
  throw error
}

export interface Reply {
  readonly answer: Answer
  /** Undefined when the upstream does not know the method. */
  readonly result: Json | undefined
}

/**
 * Asks one upstream what the client asked the profile.
 *
 * @returns undefined when the account turned out not to be connected any more
 * @throws McpError
 */
export async function ask(deps: ProfileDeps, call: Call, line: Line, verdict: Verdict): Promise<Reply | undefined> {
  const sent = sendInSession(deps, call, line)
  const recorded = beginRecord(deps, call, verdict)
  const answer = await sent.catch(unlessChallenged)
  await recorded()
  return answer === 'connection_required' ? undefined : { answer, result: await resultOfOwn(answer, call.message.id, call.upstream) }
}
