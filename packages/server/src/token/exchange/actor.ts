import * as z from 'zod'
import type { Actor } from '../../authorize/authorization.ts'

/** How many act for one another at most: a chain of any length would be a token of any length, and nobody's to answer for. */
export const MAX_ACTORS = 4

const text = z.string().min(1).max(512)
const shape = z.object({ sub: text, iss: text.optional(), sub_profile: text.optional(), act: z.unknown().optional() })

/**
 * Reads the `act` of a verified token of somebody else (RFC 8693 §4.1): identity alone, whatever else stands there. Whoever
 * is named without an issuer is known to that of the token.
 *
 * @returns `'malformed'` for what is none, or too deep
 */
export function readActor(value: unknown, issuer: string, depth = 1): Actor | 'malformed' {
  const parsed = shape.safeParse(value)
  if (!parsed.success || depth > MAX_ACTORS) return 'malformed'
  const { sub, iss = issuer, sub_profile: profile, act } = parsed.data
  const next = act === undefined ? undefined : readActor(act, issuer, depth + 1)
  if (next === 'malformed') return next
  return { sub, iss, ...(profile === undefined ? {} : { sub_profile: profile }), ...(next === undefined ? {} : { act: next }) }
}

/** RFC 8693 §4.1: the one who acts now is outermost, and those before stay as they were. @returns undefined when the chain is too long */
export function actsFor(actor: Omit<Actor, 'act'>, before: Actor | undefined): Actor | undefined {
  return depthOf(before) >= MAX_ACTORS ? undefined : { ...actor, ...(before === undefined ? {} : { act: before }) }
}

function depthOf(actor: Actor | undefined): number {
  return actor === undefined ? 0 : 1 + depthOf(actor.act)
}

const permitted = z.object({ sub: text.optional(), iss: text.optional(), client_id: text.optional() })

/** RFC 8693 §4.4: whom a token names as the one who may act is the only one who may; what is not understood names nobody. */
export function mayAct(value: unknown, party: { readonly names: readonly string[]; readonly issuers: readonly string[] }): boolean {
  const parsed = permitted.safeParse(value)
  if (!parsed.success) return false
  const { sub, iss, client_id: client } = parsed.data
  if (sub === undefined && client === undefined) return false
  const isNamed = [sub, client].every((name) => name === undefined || party.names.includes(name))
  return isNamed && (iss === undefined || party.issuers.includes(iss))
}
