// Owns rotation: every refresh token has one successor. Who repeats the request soon (a lost answer, several processes
// with one token) gets the same answer; who repeats it later, or as another client, ends the grant.
import type { AuditEvent, Recorder } from '../../audit/event.ts'
import type { Sealer } from '../../keys/seal.ts'
import { OAuthError } from '../../oauth/error.ts'
import { formatScope } from '../../oauth/scope.ts'
import { hash, type Hashed } from '../../oauth/secret.ts'
import type { Authorization } from '../../authorize/authorization.ts'
import type { StepUpStore } from '../../authorize/step-up-store.ts'
import { hashFamily, type Issuer } from '../issue.ts'
import { narrowScope, requireResource } from '../narrow.ts'
import type { RefreshTokenRecord, TokenStore, UsedRefreshToken } from '../token-store.ts'
import { trace, type GrantRequest, type GrantType, type Issued } from './grant.ts'

/** Seconds during which a repeated request gets the same answer. */
export const REPLAY_WINDOW = 60

export interface RefreshGrantOptions {
  readonly store: TokenStore
  readonly stepUps: Pick<StepUpStore, 'refuseRefresh'>
  readonly sealer: Sealer
  readonly recorder: Recorder
  readonly now: () => number
}

/** Milliseconds after a challenge during which a refresh is the client's answer to it. */
const ANSWER_MS = 60_000

/** The refresh token grant (RFC 6749 §6) with rotation (RFC 9700 §4.14.2). */
export function refreshToken(options: RefreshGrantOptions): GrantType {
  return {
    type: 'refresh_token',
    presented: (params) => hashFamily(params.require('refresh_token')),
    async authorize(request) {
      const token = request.params.require('refresh_token')
      const record = await requireRefreshToken(options, request, token)
      const { authorization } = record
      requireResource(request.params, authorization.resource)
      const scope = narrowScope(request.params.get('scope'), authorization.scope)
      if (record.used !== undefined) requireSameRequest(request, record, scope, record.used)
      else if (record.isAsked === true) await requireSuitable(options, authorization.id)
      return { authorization, scope, grantedAt: record.createdAt, recheck: true, issue: (issuer, hold) => rotate(options, request, { token, record, scope, held: hold(scope) }, issuer) }
    },
  }
}

export type RefreshTokenStore = Pick<TokenStore, 'findRefreshToken' | 'findFamily' | 'revokeGrant'>

/** What reading a refresh token needs. */
interface Reading {
  readonly store: RefreshTokenStore
  readonly now: () => number
}

/** Finds a token that is the client's, alive, and not used longer ago than an answer may be repeated. @throws OAuthError */
export async function requireRefreshToken(options: Reading, request: GrantRequest, token: string): Promise<RefreshTokenRecord> {
  const record = await find(options, request, token)
  await requireKey(options, request, record)
  // Reuse comes first: no other mistake in the request may keep it from being noticed.
  if (record.used !== undefined) await requireRecent(options, request, record, record.used)
  else if (seconds(options) >= record.expiresAt) throw refused('refresh token expired')
  return record
}

/** RFC 9449 §5: whoever has the token of a public client and not its key has stolen it; a used one, twice. */
async function requireKey(options: Reading, request: GrantRequest, { authorization, used }: RefreshTokenRecord): Promise<void> {
  if (authorization.jkt === undefined || authorization.jkt === request.jkt) return
  if (used !== undefined) throw await reused(options, request, authorization, 'refresh token used again without its key')
  throw refused('refresh token without the key that it is bound to')
}

interface Presented {
  readonly token: string
  readonly record: RefreshTokenRecord
  /** What is asked for, and what of it the token is issued for. */
  readonly scope: readonly string[]
  readonly held: readonly string[]
}

async function find(options: Reading, request: GrantRequest, token: string): Promise<RefreshTokenRecord> {
  const record = await options.store.findRefreshToken(hash(token))
  if (record === undefined) {
    // Its row is gone, yet it shares the secret part of a living family: a token that was used long ago.
    const family = await options.store.findFamily(hashFamily(token))
    if (family === undefined) throw refused('unknown refresh token')
    throw await reused(options, request, family.authorization, 'an old refresh token was used again')
  }
  // RFC 6749 §10.4: bound to the client. That another one has it means that it leaked.
  if (record.authorization.clientId !== request.client.id) throw await reused(options, request, record.authorization, 'refresh token of another client')
  return record
}

/**
 * Many clients answer every challenge by a refresh, and a refresh gives neither another sign-in (RFC 9470 §5) nor a wider
 * scope (RFC 6749 §6). Told once that it is of no use, they ask the person instead; the refresh token stays good.
 */
async function requireSuitable({ stepUps, now }: RefreshGrantOptions, grantId: string): Promise<void> {
  if (await stepUps.refuseRefresh(grantId, now() - ANSWER_MS, now())) {
    throw new OAuthError('invalid_grant', 'what was asked for needs another authorization, not a refresh', { reason: 'refreshed in answer to a challenge' })
  }
}

async function rotate(options: RefreshGrantOptions, request: GrantRequest, presented: Presented, issuer: Issuer): Promise<Issued> {
  const { record, scope } = presented
  if (record.used !== undefined) return repeat(options, request, record, record.used)
  const { issued, access, refresh } = mint(issuer, presented)
  const used: UsedRefreshToken = {
    at: seconds(options),
    requestDigest: digest(request, record.authorization, scope),
    successor: options.sealer.seal(JSON.stringify(issued), row(record.hash)),
  }
  const detail = { jti: access.jti, scope: formatScope(issued.scope), generation: refresh.record.generation }
  const event: AuditEvent = { action: 'token.refreshed', outcome: 'success', ...trace(request, record.authorization), detail }
  if (await options.store.rotate({ hash: record.hash, used, successor: refresh.record }, [event])) return issued
  // Another caller was faster, on this node or another one: its answer is the answer.
  const current = await options.store.findRefreshToken(record.hash)
  if (current?.used === undefined) throw refused('grant revoked')
  requireSameRequest(request, current, scope, current.used)
  return repeat(options, request, current, current.used)
}

function mint(issuer: Issuer, { token, record, held: scope }: Presented) {
  const { authorization, createdAt: grantedAt, generation } = record
  const access = issuer.accessToken({ authorization, scope, grantedAt })
  // RFC 6749 §6: the new refresh token's scope is that of the old one, however little this access token asks for.
  const refresh = issuer.refreshToken({ grantId: authorization.id, grantedAt, predecessor: { token, generation } })
  const issued: Issued = { accessToken: access.token, expiresAt: access.expiresAt, scope, refreshToken: refresh.token }
  return { issued, access, refresh }
}

/** RFC 9700 §4.14.2: a used refresh token ends the family, unless it is repeated within the window. */
async function requireRecent(options: Reading, request: GrantRequest, record: RefreshTokenRecord, used: UsedRefreshToken): Promise<void> {
  // Nodes' clocks differ: a use that seems to lie ahead is as recent as one that lies as far behind.
  if (Math.abs(seconds(options) - used.at) > REPLAY_WINDOW) throw await reused(options, request, record.authorization, 'refresh token used again')
}

/** The stored answer is for one scope: another one gets no answer, and proves no theft. */
function requireSameRequest(request: GrantRequest, record: RefreshTokenRecord, scope: readonly string[], used: UsedRefreshToken): void {
  if (digest(request, record.authorization, scope) !== used.requestDigest) throw refused('refresh token repeated with another scope')
}

async function repeat(options: RefreshGrantOptions, request: GrantRequest, record: RefreshTokenRecord, used: UsedRefreshToken): Promise<Issued> {
  const issued = JSON.parse(options.sealer.open(used.successor, row(record.hash))) as Issued
  await options.recorder.record({ action: 'token.replayed', outcome: 'success', ...trace(request, record.authorization), detail: { generation: record.generation + 1 } })
  return issued
}

/** Ends the grant: one of two holds a stolen token, and nobody can tell which. */
async function reused(options: Reading, request: GrantRequest, authorization: Authorization, reason: string): Promise<OAuthError> {
  const detail = { presented_by: request.client.id }
  const event: AuditEvent = { action: 'token.reuse_detected', outcome: 'failure', reason, ...trace(request, authorization), clientId: authorization.clientId, detail }
  await options.store.revokeGrant(authorization.id, seconds(options), [event])
  return refused(reason)
}

function digest({ client, jkt }: GrantRequest, authorization: Authorization, scope: readonly string[]): Hashed {
  return hash(JSON.stringify([client.id, authorization.resource, scope, ...(jkt === undefined ? [] : [jkt])]))
}

function row(hashed: Hashed): readonly string[] {
  return ['refresh_tokens', hashed, 'successor']
}

function seconds({ now }: Reading): number {
  return Math.floor(now() / 1000)
}

/** RFC 6749 §5.2: one answer for all that can be wrong with a refresh token; clients sign in again on it. */
function refused(reason: string): OAuthError {
  return new OAuthError('invalid_grant', 'the refresh token is invalid, expired or revoked', { reason })
}
