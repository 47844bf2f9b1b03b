import { hash as digest } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Change, ChangeFeed, Cutoffs, IssuedToken } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import { addressBucket } from '../http/address.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import { AccessTokenError, type AccessTokenRefusal } from '../token/access-token.ts'
import { DpopError } from '../token/dpop.ts'
import { presentedToken, requirePossession, type PresentedToken, type ProofRules } from '../token/possession.ts'
import type { AccessTokenVerifier, Caller } from '../token/verify.ts'
import type { Profile } from '../upstreams/upstream.ts'
import { Challenge, ProofChallenge } from './challenge.ts'
import { McpError } from './error.ts'

export interface AuthenticationDeps {
  readonly issuer: string
  readonly verifier: AccessTokenVerifier
  readonly proof: ProofRules
  readonly cutoffs: Cutoffs
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly audit: Recorder
  /** Counts refused tokens by network: good ones are never counted. */
  readonly flood: RateLimit
  readonly now: () => number
}

/** Finds out who calls. @throws Challenge when a token is missing or refused, McpError while this node cannot know. */
export type Authenticate = (request: IncomingMessage, profile: Profile, address: string, target?: Target) => Promise<Caller>

/** What a request is for, where it is not the one that came here: its method, and its address as the client knows it. */
export interface Target {
  readonly method: string
  readonly url: string
}

interface Known {
  readonly caller: Caller
  readonly issued: IssuedToken
}

const MAX_CACHED = 50_000

/** G06: what to do, for a client that took a token of the identity provider for one of this server's. */
const DESCRIPTIONS: Partial<Record<AccessTokenRefusal, string>> = {
  foreign: 'a token of the identity provider is not accepted here: get one from the authorization server that resource_metadata names',
  provider: 'the token of the identity provider is invalid, expired, or not for this server: see the authorization server that resource_metadata names',
}

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
export function authentication(deps: AuthenticationDeps): Authenticate {
  const { cutoffs, proof, now } = deps
  const known = knownCallers(deps.feed)
  return async (request, profile, address, target) => {
    const token = readToken(request)
    const key = digest('sha256', token.value, 'base64')
    // A node that has not heard of revocations for a while answers nobody.
    if (!cutoffs.fresh) throw new McpError('unavailable', 'this node cannot tell what was revoked; try again in a moment', { status: 503, headers: { 'retry-after': '2' } })
    const found = known.get(key)
    const good = found !== undefined && found.caller.resource === profile.resource && found.caller.expiresAt * 1000 > now() && !cutoffs.isCut(found.issued)
    if (good && found.caller.jkt === undefined && token.scheme === 'Bearer' && !proof.required) return found.caller
    try {
      const caller = good ? found.caller : await known.read(key, () => deps.verifier.verify(token.value, profile.resource))
      const { method, url } = target ?? { method: request.method ?? '', url: `${deps.issuer}${request.url}` }
      await requirePossession(proof, caller, { token, proof: header(request.headers['dpop']), method, url })
      return caller
    } catch (error) {
      throw await refused(deps, error, profile, address)
    }
  }
}

interface KnownCallers {
  get(key: string): Known | undefined
  /** Asks who presents the token, and remembers it. */
  read(key: string, ask: () => Promise<Caller>): Promise<Caller>
}

function knownCallers(feed: AuthenticationDeps['feed']): KnownCallers {
  const callers = new Map<string, Known>()
  let changes = 0
  feed.subscribe((change) => {
    const isAbout = OUTDATED[change.kind]
    if (isAbout === undefined) return
    changes += 1
    for (const [key, { caller }] of callers) if (isAbout(caller) === change.key) callers.delete(key)
  })
  return {
    get: (key) => callers.get(key),
    async read(key, ask) {
      callers.delete(key)
      const before = changes
      const caller = await ask()
      // Who changed while they were read may have been read as they were.
      if (changes === before) callers.set(key, { caller, issued: issuedToken(caller) })
      const [oldest] = callers.keys()
      if (callers.size > MAX_CACHED && oldest !== undefined) callers.delete(oldest)
      return caller
    },
  }
}

/** RS-11, RFC 6750 §2.1: the header alone; a token in the query is not looked at. */
function readToken(request: IncomingMessage): PresentedToken {
  const authorization = request.headers.authorization
  if (authorization === undefined) throw new Challenge(undefined, 'an access token is needed')
  const token = presentedToken(authorization)
  if (token === undefined) throw new Challenge('invalid_token', 'the Authorization header holds no access token')
  return token
}

async function refused({ audit, flood }: AuthenticationDeps, error: unknown, { resource }: Profile, address: string): Promise<Error> {
  // H17: what cannot be checked is not accepted, and not said to be wrong either.
  if (!(error instanceof AccessTokenError || error instanceof DpopError)) return new McpError('unavailable', 'access tokens cannot be checked at the moment; try again', { status: 503, headers: { 'retry-after': '5' }, cause: error })
  // RFC 9449 §9: not wrong, only without the nonce that this answer brings.
  const isNews = !(error instanceof DpopError && error.code === 'use_dpop_nonce')
  // A flood is refused like anything else, but it does not write the audit trail full.
  if (isNews && flood(addressBucket(address)).allowed) await audit.record({ action: 'token.refused', outcome: 'failure', reason: error instanceof AccessTokenError && error.detail !== undefined ? `${error.reason}: ${error.detail}` : error.reason, resource, address })
  // RFC 6750 §3.1: one code, whatever is wrong with the token.
  return error instanceof DpopError ? new ProofChallenge(error) : new Challenge('invalid_token', DESCRIPTIONS[error.reason] ?? 'the access token is invalid, expired or revoked')
}

function header(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value
}

/** What a revocation is compared with. */
export function issuedToken({ user, clientId, grantId, kid, issuedAt, parents }: Caller): IssuedToken {
  return { userId: user.id, clientId, grantId, kid, issuedAt, ...(parents === undefined ? {} : { parents }) }
}
