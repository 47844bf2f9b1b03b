// Whose token is exchanged, and who acts for them: everything is verified here before any target is asked.
import type { Cutoffs } from '../../audit/change.ts'
import type { Actor } from '../../authorize/authorization.ts'
import { authenticationOf } from '../../identity/authentication.ts'
import type { PresentedTokens } from '../../identity/presented.ts'
import { LoginRefused, ProviderUnavailable, type PresentedClaims } from '../../identity/providers/provider.ts'
import type { User } from '../../identity/user.ts'
import { OAuthError } from '../../oauth/error.ts'
import { canonicalResource } from '../../oauth/resource.ts'
import type { Authentication } from '../../policy/rule.ts'
import { AccessTokenError } from '../access-token.ts'
import type { GrantRequest } from '../grants/grant.ts'
import { TOKEN_TYPE } from '../grants/token-type.ts'
import { isRefreshToken } from '../issue.ts'
import type { AccessTokenVerifier, Caller } from '../verify.ts'
import { actsFor, mayAct, readActor } from './actor.ts'
import { usableRefreshToken, type OwnRefreshTokenOptions, type UsableRefreshToken } from './own-refresh-token.ts'
import { audienceOf } from './own-token.ts'
import type { CompiledExchangeRule, ExchangeRules, SubjectKind } from './rules.ts'

/** A verified subject token, and who may have it exchanged. */
export interface ExchangeSubject {
  readonly user: User
  readonly authentication: Authentication
  /** Whom it was issued to: a client of Lanyard, or one of the identity provider. */
  readonly clientId?: string
  /** The grant of an access token of Lanyard. */
  readonly grantId?: string
  /** The grants that what comes of it ends with, the nearest first. */
  readonly parents?: readonly string[]
  /** What comes of it has no more; absent of somebody else's token that says nothing of Lanyard's scopes. */
  readonly scope?: readonly string[]
  /** Seconds since the epoch: nothing that comes of it outlives it. */
  readonly expiresAt: number
  /** The chain of what comes of it, with whoever acts now outermost. */
  readonly actor?: Actor
  /** The rules that let this client present this token. */
  readonly rules: readonly CompiledExchangeRule[]
  /** For the audit trail: the kind of token, and of whom. */
  readonly kind: string
}

export interface SubjectOptions extends OwnRefreshTokenOptions {
  readonly issuer: string
  readonly rules: ExchangeRules
  readonly verifier: AccessTokenVerifier
  readonly presented: PresentedTokens
  readonly cutoffs: Pick<Cutoffs, 'isCut'>
  /** Whether the client stands for the resource: what is presented there, it may exchange. */
  readonly standsFor: (clientId: string, resource: string) => boolean
}

/** A chain of grants of any length would be asked for with every call. */
const MAX_PARENTS = 8
const MAX_REFRESH_TOKEN = 8192
/** What a token exchange may name as a kind of subject token. */
const KINDS: Readonly<Record<string, SubjectKind>> = { [TOKEN_TYPE.access]: 'access_token', [TOKEN_TYPE.id]: 'id_token', [TOKEN_TYPE.refresh]: 'refresh_token' }

/** @throws OAuthError `invalid_request` for every token that is not to be exchanged by this client (RFC 8693 §2.2.2) */
export async function exchangeSubject(options: SubjectOptions, request: GrantRequest): Promise<ExchangeSubject> {
  const { params, client } = request
  const token = params.require('subject_token')
  const kind = KINDS[params.require('subject_token_type')]
  if (kind === undefined) throw refused('this subject_token_type is not supported')
  const rules = options.rules(client.id)
  if (rules.length === 0) throw refused('no rule of the administrator lets this client exchange tokens')
  return withActor(options, request, await subjectOf(options, request, { token, kind, rules }))
}

interface Presented {
  readonly token: string
  readonly kind: SubjectKind
  readonly rules: readonly CompiledExchangeRule[]
}

/** What is known of a subject before it is asked who acts. */
type Subject = ExchangeSubject & { readonly mayAct?: unknown }

function subjectOf(options: SubjectOptions, request: GrantRequest, presented: Presented): Promise<Subject> {
  const { token, kind, rules } = presented
  if (kind === 'refresh_token' && isRefreshToken(token)) return ownRefreshToken(options, request, { token, rules })
  const isOwn = kind !== 'refresh_token' && options.presented.providerOf(token) === undefined
  return isOwn ? ownSubject(options, request, presented) : foreignSubject(options, request, presented)
}

async function ownSubject(options: SubjectOptions, { client, jkt }: GrantRequest, { token, kind, rules }: Presented): Promise<Subject> {
  if (kind !== 'access_token') throw refused('Lanyard issues no ID tokens')
  const caller = await verified(options, token)
  const { user, clientId, grantId, parents = [], resource, scope, expiresAt, authentication, actor } = caller
  const own = clientId === client.id
  const fitting = rules.filter(({ rule, isIssuedTo }) => rule.identityProvider === undefined && (own || options.standsFor(client.id, resource) || isIssuedTo?.(clientId) === true))
  // RFC 8693 §2.1: not everybody who holds a token may have it exchanged.
  if (fitting.length === 0) throw refused('the subject token was issued to another client, and no rule lets this one exchange it')
  // RFC 9449 §7.2: without its key, a bound token is worth nothing; whoever it was presented to has seen the key proven.
  if (caller.jkt !== undefined && caller.jkt !== jkt && !options.standsFor(client.id, resource)) throw refused('the subject token is bound to a key that was not proven')
  if (parents.length >= MAX_PARENTS) throw refused('the subject token came of too many exchanges')
  const chain = own ? actor : actsFor({ sub: client.id, iss: options.issuer }, actor)
  if (!own && chain === undefined) throw refused('too many act for one another')
  return { user, authentication, clientId, grantId, parents: [grantId, ...parents], scope, expiresAt, rules: fitting, kind: 'lanyard access_token', ...(chain === undefined ? {} : { actor: chain }) }
}

async function ownRefreshToken(options: SubjectOptions, request: GrantRequest, { token, rules }: Pick<Presented, 'token' | 'rules'>): Promise<Subject> {
  const { record, user } = await usable(options, request, token)
  const { authorization, expiresAt } = record
  const { clientId, id: grantId, actor } = authorization
  // Its client could refresh and have the access token exchanged: the same rules let it do either.
  const fitting = rules.filter(({ rule }) => rule.identityProvider === undefined)
  if (fitting.length === 0) throw refused('no rule lets this client exchange tokens of Lanyard')
  return { user, authentication: authenticationOf(authorization), clientId, grantId, expiresAt: Math.min(expiresAt, authorization.expiresAt ?? Infinity), rules: fitting, kind: 'lanyard refresh_token', ...(actor === undefined ? {} : { actor }) }
}

async function usable(options: SubjectOptions, request: GrantRequest, token: string): Promise<UsableRefreshToken> {
  try {
    return await usableRefreshToken(options, request, token)
  } catch (error) {
    if (error instanceof OAuthError && error.code === 'invalid_grant') throw refused(error.reason ?? 'refresh token')
    throw error
  }
}

async function foreignSubject(options: SubjectOptions, request: GrantRequest, { token, kind, rules }: Presented): Promise<Subject> {
  const claims = await presentedOf(options, request, { token, kind, rules })
  const fitting = rules.filter((each) => fits(each, kind, claims))
  if (fitting.length === 0) throw refused('the subject token is not one of those that this client may exchange')
  if (claims.cnf !== undefined) throw refused('the subject token is bound to a key of somebody else')
  const actor = claims.act === undefined ? undefined : readActor(claims.act, claims.issuer)
  if (actor === 'malformed') throw refused('act of the subject token is malformed, or too deep')
  const user = await ofProvider(() => options.presented.person(claims, token))
  if (user.disabled) throw refused('the person is disabled')
  // What is older than the end of all that the person had is part of what ended.
  if (options.cutoffs.isCut({ userId: user.id, clientId: request.client.id, grantId: '', kid: '', issuedAt: provenAt(claims, kind) })) throw refused('the subject token was issued before the access of the person was ended')
  return {
    user,
    authentication: authenticationOf(claims),
    expiresAt: claims.expiresAt,
    rules: fitting,
    kind: `${claims.provider} ${kind}`,
    ...(claims.clientId === undefined ? {} : { clientId: claims.clientId }),
    ...(claims.scope === undefined ? {} : { scope: claims.scope }),
    ...(actor === undefined ? {} : { actor }),
    ...(claims.mayAct === undefined ? {} : { mayAct: claims.mayAct }),
  }
}

/** A refresh brings a new token of an old sign-in: the sign-in is what counts, where its time is known. */
function provenAt({ issuedAt, authTime = issuedAt }: PresentedClaims, kind: SubjectKind): number {
  return kind === 'refresh_token' ? Math.min(issuedAt, authTime) : issuedAt
}

/** RFC 8693 §2.1, OpenID Connect Core §3.1.3.7: made for somebody whom the administrator listed for this client. */
function fits({ rule, isIssuedTo }: CompiledExchangeRule, kind: SubjectKind, { provider, audiences, clientId }: PresentedClaims): boolean {
  const { identityProvider, tokenTypes = [], audiences: allowed = [] } = rule
  if (identityProvider !== provider || !tokenTypes.includes(kind)) return false
  if (audiences.length === 0 || !audiences.every((audience) => allowed.includes(audience))) return false
  // OpenID Connect Core §2: an ID token is for the client that it was issued to; `azp` names that of several.
  if (kind !== 'access_token' && clientId !== undefined && !audiences.includes(clientId)) return false
  return isIssuedTo === undefined || (clientId !== undefined && isIssuedTo(clientId))
}

/** RFC 8693 §1.1, §4.1: who acts is whom the actor token proves, or the client; nobody is taken from a parameter. */
async function withActor(options: SubjectOptions, request: GrantRequest, { mayAct: permitted, ...subject }: Subject): Promise<ExchangeSubject> {
  const { params, client } = request
  const [token, type] = [params.get('actor_token'), params.get('actor_token_type')]
  // RFC 8693 §2.1: "REQUIRED when the actor_token parameter is present in the request but MUST NOT be included otherwise."
  if ((token === undefined) !== (type === undefined)) throw refused('actor_token and actor_token_type belong together')
  const actor = token === undefined ? undefined : await actorOf(options, request, token, type)
  if (permitted !== undefined && !mayAct(permitted, { names: actor === undefined ? [client.id] : [actor.user.id, client.id], issuers: [options.issuer] })) throw refused('may_act of the subject token names somebody else')
  if (actor === undefined) return subject
  const rules = subject.rules.filter(({ isActor }) => isActor(actor.user.id))
  if (rules.length === 0) throw refused('no rule of the administrator lets this actor act for others')
  // In the client's place, where it had put itself.
  const before = subject.actor?.sub === client.id && subject.actor.iss === options.issuer ? subject.actor.act : subject.actor
  const chain = actsFor({ sub: actor.user.id, iss: options.issuer }, before)
  if (chain === undefined) throw refused('too many act for one another')
  const parents = [...(subject.parents ?? []), actor.grantId, ...(actor.parents ?? [])]
  if (parents.length > MAX_PARENTS) throw refused('the tokens came of too many exchanges')
  // It ends with whichever of both ends first.
  return { ...subject, rules, actor: chain, parents: [...new Set(parents)], expiresAt: Math.min(subject.expiresAt, actor.expiresAt) }
}

async function actorOf(options: SubjectOptions, { client, jkt }: GrantRequest, token: string, type: string | undefined): Promise<Caller> {
  if (type !== TOKEN_TYPE.access) throw refused('this actor_token_type is not supported')
  const actor = await verified(options, token)
  if (actor.clientId !== client.id) throw refused('the actor token was issued to another client')
  if (actor.jkt !== undefined && actor.jkt !== jkt) throw refused('the actor token is bound to a key that was not proven')
  return actor
}

async function verified({ verifier }: SubjectOptions, token: string): Promise<Caller> {
  const audience = canonicalResource(audienceOf(token) ?? '')
  try {
    if (audience === undefined) throw new AccessTokenError('audience')
    return await verifier.verify(token, audience)
  } catch (error) {
    if (error instanceof AccessTokenError) throw refused(`an access token is refused: ${error.reason}`)
    throw error
  }
}

function presentedOf({ presented }: SubjectOptions, { tell }: GrantRequest, { token, kind, rules }: Presented): Promise<PresentedClaims> {
  return ofProvider(async () => {
    if (kind !== 'refresh_token') return presented.verify(token, kind)
    if (token.length > MAX_REFRESH_TOKEN) throw refused('it is no refresh token of an identity provider')
    // It says of nobody that it is theirs: whom it is presented to, the rules alone tell.
    const [provider, ...others] = new Set(rules.flatMap(({ rule }) => (rule.tokenTypes?.includes(kind) === true && rule.identityProvider !== undefined ? [rule.identityProvider] : [])))
    if (provider === undefined || others.length > 0) throw refused('no rule, or more than one identity provider, for refresh tokens')
    // The client had its refresh token redeemed: it gets what is good in its place, or it would have none (RFC 6749 §5.1 lets it overlook members).
    return presented.redeem(provider, token, (successor) => tell({ subject_token: successor, subject_token_type: TOKEN_TYPE.refresh }))
  })
}

async function ofProvider<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof LoginRefused) throw refused(`the subject token is refused: ${error.reason}`)
    // Nothing is wrong with the token: the client may come again with it.
    if (error instanceof ProviderUnavailable) throw new OAuthError('temporarily_unavailable', 'the identity provider does not answer; try again', { reason: error.message, retryAfter: 5 })
    throw error
  }
}

/** RFC 8693 §2.2.2: one code and one text for whatever is wrong with a token; the audit trail has the reason. */
export function refused(reason: string): OAuthError {
  return new OAuthError('invalid_request', 'a token of the request is invalid, expired, revoked, or not one that this client may exchange', { reason: `token exchange: ${reason}` })
}
