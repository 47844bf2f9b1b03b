// What an ID-JAG must say, once its signature is known to be good (draft-ietf-oauth-identity-assertion-authz-grant §3,
// §4.4.1; MCP Enterprise-Managed Authorization §7). Pure: no clock, no store, no key.
import * as z from 'zod'
import type { Actor } from '../../authorize/authorization.ts'
import type { Authentication } from '../../policy/rule.ts'
import { readActor } from '../exchange/actor.ts'
import { refusedAssertion } from '../grants/jwt-bearer.ts'

/** The type in the header (§3): what keeps every other JWT of the same issuer from being taken for one. */
export const ID_JAG_TYPE = 'oauth-id-jag+jwt'
export const ID_JAG_TYPES: readonly string[] = [ID_JAG_TYPE, `application/${ID_JAG_TYPE}`]
/** Its identifier among the profiles that are advertised (§7.2). */
export const ID_JAG_PROFILE = 'urn:ietf:params:oauth:grant-profile:id-jag'

/** Seconds that the clocks of both may be apart. */
export const SKEW_S = 60
/** Whatever its `exp` says: what was used is remembered until then. */
const MAX_LIFETIME_S = 3600
const MAX_TEXT = 1024

/** Without what no database takes, and no name or identifier holds. */
const text = z.string().min(1).max(MAX_TEXT).refine((value) => value.isWellFormed() && !/\p{Cc}/u.test(value))
const seconds = z.number().min(0)

const shape = z.object({
  iss: text,
  sub: text,
  aud: z.unknown().optional(),
  client_id: text,
  jti: text,
  exp: seconds,
  iat: seconds,
  nbf: seconds.optional(),
  resource: z.union([text, z.array(text).min(1).max(20)]).optional(),
  scope: z.string().max(4096).optional(),
  tenant: z.string().optional(),
  aud_tenant: z.string().optional(),
  auth_time: z.number().optional(),
  acr: text.optional(),
  amr: z.array(text).max(20).optional(),
  email: text.optional(),
  name: text.optional(),
  act: z.unknown().optional(),
  cnf: z.unknown().optional(),
  authorization_details: z.unknown().optional(),
})

/** What an ID-JAG proves; times in seconds since the epoch. */
export interface IdJag {
  readonly issuer: string
  readonly subject: string
  readonly jti: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly resources: readonly string[]
  /** What the identity provider granted; when absent, it left the scope to this authorization server. */
  readonly scope?: string
  readonly authentication: Authentication
  readonly actor?: Actor
  readonly email?: string
  readonly name?: string
}

export interface IdJagRules {
  /** The issuer of this authorization server. */
  readonly audience: string
  readonly clientId: string
  /** Of an issuer with several tenants, the one that is trusted; of any other, none. */
  readonly tenant?: string
  /** What the issuer calls this authorization server's tenant, when it does. */
  readonly audienceTenant?: string
  /** The thumbprint of the key that the request proved. */
  readonly jkt?: string
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** @throws OAuthError `invalid_grant`, with the claim that is wrong for the audit trail alone */
export function checkIdJag(payload: unknown, rules: IdJagRules): IdJag {
  const parsed = shape.safeParse(payload)
  if (!parsed.success) throw refusedAssertion(`id-jag: ${String(parsed.error.issues[0]?.path[0] ?? 'claims')} is missing or malformed`)
  const claims = parsed.data
  // §4.4.1: this authorization server and nobody else, as a string or as the only element; no slash more or less.
  const audience: unknown = Array.isArray(claims.aud) && claims.aud.length === 1 ? claims.aud[0] : claims.aud
  if (audience !== rules.audience) throw refusedAssertion('id-jag: aud is not this issuer')
  // §4.4.1: made for the client that presents it.
  if (claims.client_id !== rules.clientId) throw refusedAssertion('id-jag: client_id is of another client')
  if (claims.tenant !== rules.tenant) throw refusedAssertion('id-jag: tenant is another')
  if (claims.aud_tenant !== rules.audienceTenant) throw refusedAssertion('id-jag: aud_tenant is another')
  checkTimes(claims, rules.now)
  // RFC 9396 §5: what is not understood is refused, never granted in part.
  if (claims.authorization_details !== undefined) throw refusedAssertion('id-jag: authorization_details are not supported')
  checkConfirmation(claims.cnf, rules.jkt)
  const { iss: issuer, sub: subject, jti, iat: issuedAt, exp: expiresAt, resource = [], scope, email, name } = claims
  const chain = claims.act === undefined ? undefined : readActor(claims.act, issuer)
  if (chain === 'malformed') throw refusedAssertion('id-jag: act is malformed or too deep')
  return {
    issuer,
    subject,
    jti,
    // RFC 7519 §2: with a fraction or without; what is stored has none.
    issuedAt: Math.floor(issuedAt),
    expiresAt: Math.ceil(expiresAt),
    resources: [resource].flat(),
    authentication: authenticationOf(claims, issuedAt),
    ...(scope === undefined ? {} : { scope }),
    ...(chain === undefined ? {} : { actor: chain }),
    ...(email === undefined ? {} : { email }),
    ...(name === undefined ? {} : { name }),
  }
}

/** RFC 7523 §3: unexpired, and not of the future; an hour at most, as each is good once. */
function checkTimes({ exp, iat, nbf = iat }: z.output<typeof shape>, now: number): void {
  const at = now / 1000
  if (at >= exp + SKEW_S) throw refusedAssertion('id-jag: exp has passed')
  if (iat > at + SKEW_S || nbf > at + SKEW_S) throw refusedAssertion('id-jag: iat or nbf lies ahead')
  if (exp - iat > MAX_LIFETIME_S) throw refusedAssertion('id-jag: it lives too long')
}

/** §7.5.1: a key that it is bound to must be proven by the request; RFC 7800 §3.1: any other confirmation confirms nothing. */
function checkConfirmation(cnf: unknown, jkt: string | undefined): void {
  if (cnf === undefined) return
  const bound = z.strictObject({ jkt: text }).safeParse(cnf)
  if (!bound.success) throw refusedAssertion('id-jag: cnf is none that is known')
  if (bound.data.jkt !== jkt) throw refusedAssertion('id-jag: the key of cnf was not proven')
}

/** A time of 0, as some identity providers send it, or one that lies ahead, says nothing of the sign-in. */
function authenticationOf({ auth_time: time, acr, amr }: z.output<typeof shape>, issuedAt: number): Authentication {
  return {
    ...(time === undefined || time <= 0 || time > issuedAt + SKEW_S ? {} : { authTime: Math.floor(time) }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr }),
  }
}
