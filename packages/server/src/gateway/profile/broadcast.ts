import type { Upstream } from '../../upstreams/upstream.ts'
import type { Asked } from '../call.ts'
import { outgoingMessage, drain, sendWithCredential } from '../upstream-call.ts'
import { lineTo } from './ask.ts'
import type { ProfileDeps } from './deps.ts'
import { each, parts } from './each.ts'

/**
 * Tells a session's upstreams what its client said to all: notifications, the log level. Whose request a client cancels is
 * known to whoever works on it; to the others it says nothing (`notifications/cancelled` of an unknown request is ignored).
 */
export async function broadcast(deps: ProfileDeps, asked: Asked, upstreams: readonly Upstream[]): Promise<void> {
  const { session, message } = asked
  // RS-23: without a session there is nobody who would know what it is about.
  if (session === undefined) return
  const told = message.kind === 'notification' ? await deps.lateSessions.begun(session, upstreams) : upstreams
  await each(deps, asked, parts(asked, told), async (call) => {
    const line = await lineTo(deps, call)
    if (line === undefined) return
    const answer = await sendWithCredential(deps, line.connector, call, line.credential, outgoingMessage(call, line.session))
    if (answer !== 'connection_required') await drain(answer)
  })
}
