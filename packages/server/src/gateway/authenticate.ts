import { hash as digest } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Change, ChangeFeed, Cutoffs, IssuedToken } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import { addressBucket } from '../http/address.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import { AccessTokenError } from '../token/access-token.ts'
import type { AccessTokenVerifier, Caller } from '../token/verify.ts'
import type { Profile } from '../upstreams/upstream.ts'
import { Challenge } from './challenge.ts'
import { McpError } from './error.ts'

export interface AuthenticationDeps {
  readonly verifier: AccessTokenVerifier
  readonly cutoffs: Cutoffs
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly audit: Recorder
  /** Counts refused tokens by network: good ones are never counted. */
  readonly flood: RateLimit
  readonly now: () => number
}

/** Finds out who calls. @throws Challenge when a token is missing or refused, McpError while this node cannot know. */
export type Authenticate = (request: IncomingMessage, profile: Profile, address: string) => Promise<Caller>

interface Known {
  readonly caller: Caller
  readonly issued: IssuedToken
}

const MAX_CACHED = 50_000

/** What a change says something new of, by its key. */
const OUTDATED: Readonly<Partial<Record<Change['kind'], (caller: Caller) => string>>> = {
  user: ({ user }) => user.id,
  subject: ({ user }) => user.id,
  registration: ({ clientId }) => clientId,
  authentication: ({ grantId }) => grantId,
  application: ({ standing }) => standing.application.id,
}

/**
 * Verifies each token once and remembers its caller by the token's hash: later calls cost one hash and two look-ups.
 * What was revoked is asked every time, and a changed user is read again.
 */
export function authentication({ verifier, cutoffs, feed, audit, flood, now }: AuthenticationDeps): Authenticate {
  const callers = new Map<string, Known>()
  let changes = 0
  feed.subscribe((change) => {
    const isAbout = OUTDATED[change.kind]
    if (isAbout === undefined) return
    changes += 1
    for (const [key, { caller }] of callers) if (isAbout(caller) === change.key) callers.delete(key)
  })
  return async (request, profile, address) => {
    const token = bearerToken(request)
    const key = digest('sha256', token, 'base64')
    const known = callers.get(key)
    // A node that has not heard of revocations for a while answers nobody.
    if (!cutoffs.fresh) throw new McpError('unavailable', 'this node cannot tell what was revoked; try again in a moment', { status: 503, headers: { 'retry-after': '2' } })
    if (known !== undefined && known.caller.resource === profile.resource && known.caller.expiresAt * 1000 > now() && !cutoffs.isCut(known.issued)) return known.caller
    callers.delete(key)
    const before = changes
    try {
      const caller = await verifier.verify(token, profile.resource)
      // Who changed while they were read may have been read as they were.
      if (changes === before) callers.set(key, { caller, issued: issuedToken(caller) })
      const [oldest] = callers.keys()
      if (callers.size > MAX_CACHED && oldest !== undefined) callers.delete(oldest)
      return caller
    } catch (error) {
      // H17: what cannot be checked is not accepted, and not said to be wrong either.
      if (!(error instanceof AccessTokenError)) throw new McpError('unavailable', 'access tokens cannot be checked at the moment; try again', { status: 503, headers: { 'retry-after': '5' }, cause: error })
      // A flood is refused like anything else, but it does not write the audit trail full.
      if (flood(addressBucket(address)).allowed) await audit.record({ action: 'token.refused', outcome: 'failure', reason: error.reason, resource: profile.resource, address })
      // RFC 6750 §3.1: one code, whatever is wrong with it.
      throw new Challenge('invalid_token', 'the access token is invalid, expired or revoked')
    }
  }
}

/** RS-11, RFC 6750 §2.1: the header alone; a token in the query is not looked at. */
function bearerToken(request: IncomingMessage): string {
  const header = request.headers.authorization
  if (header === undefined) throw new Challenge(undefined, 'an access token is needed')
  const token = /^Bearer +([A-Za-z0-9\-._~+/]+=*)$/i.exec(header)?.[1]
  if (token === undefined) throw new Challenge('invalid_token', 'the Authorization header holds no bearer token')
  return token
}

/** What a revocation is compared with. */
export function issuedToken({ user, clientId, grantId, kid, issuedAt, parents }: Caller): IssuedToken {
  return { userId: user.id, clientId, grantId, kid, issuedAt, ...(parents === undefined ? {} : { parents }) }
}
