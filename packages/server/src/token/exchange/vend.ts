// Vending: an application that an administrator chose gets the token of the person's own account at an upstream, in
// exchange for one that it holds for that person. It is the only way by which a credential of the vault leaves Lanyard, so
// that everything must say yes: the upstream, a rule of exchange, policy for all that the upstream has, and the account.
import { judge } from '../../approval/approval.ts'
import type { Approvals } from '../../approval/approvals.ts'
import type { AuditEvent, Recorder } from '../../audit/event.ts'
import type { Authorization } from '../../authorize/authorization.ts'
import { applicationOf } from '../../clients/application.ts'
import type { Params } from '../../http/params.ts'
import { OAuthError } from '../../oauth/error.ts'
import { matchRedirectUri } from '../../oauth/redirect-uri.ts'
import { canonicalResource } from '../../oauth/resource.ts'
import { parseScope, scopeAllows } from '../../oauth/scope.ts'
import { newId } from '../../oauth/secret.ts'
import type { Policy } from '../../policy/policy.ts'
import type { Connections } from '../../upstreams/connections.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type Credential } from '../../upstreams/connectors/connector.ts'
import type { Connectors } from '../../upstreams/connectors/index.ts'
import type { Profiles, Upstream } from '../../upstreams/upstream.ts'
import { notEnough } from '../assertions/sign-in-needed.ts'
import { trace, type Granted, type GrantRequest, type Hold, type Issued } from '../grants/grant.ts'
import type { ExchangeTarget } from '../grants/token-exchange.ts'
import { TOKEN_TYPE } from '../grants/token-type.ts'
import { asksAccessToken, refusedTarget, targetOf } from './own-resource.ts'
import type { ExchangeSubject } from './subject.ts'

export interface VendOptions {
  readonly upstreams: readonly Upstream[]
  readonly connector: Connectors
  readonly connections: Pick<Connections, 'connectUrl'>
  readonly profiles: Pick<Profiles, 'byId' | 'httpById'>
  readonly policy: Pick<Policy, 'decideAll'>
  readonly approvals: Pick<Approvals, 'standing' | 'used'>
  readonly recorder: Recorder
  readonly now: () => number
}

type Vending = Upstream & { readonly vending: NonNullable<Upstream['vending']> }

/** What is said to whoever reads the audit trail: one line, and no more than that. */
const PURPOSE = /^[^\p{C}\p{Zl}\p{Zp}]{1,256}$/u

export function vend(options: VendOptions): ExchangeTarget {
  const vending = new Map(options.upstreams.filter(isVending).map((upstream) => [canonicalResource(upstream.url), upstream]))
  const find = (params: Params): Vending | undefined => {
    const target = targetOf(params)
    return target === undefined ? undefined : vending.get(target)
  }
  return {
    accepts: (params) => asksAccessToken(params) && find(params) !== undefined,
    async authorize(request, subject) {
      const upstream = find(request.params)
      if (upstream === undefined) throw refusedTarget('no such upstream')
      return grant(options, request, subject, upstream)
    },
  }
}

function isVending(upstream: Upstream): upstream is Vending {
  return upstream.vending !== undefined
}

async function grant(options: VendOptions, request: GrantRequest, subject: ExchangeSubject, upstream: Vending): Promise<Granted> {
  const { client } = request
  // Whom nobody vouches for is never handed somebody's token.
  if (!applicationOf(client).verified) throw new OAuthError('unauthorized_client', 'the application is not verified', { reason: 'vend: unverified application' })
  const rules = subject.rules.filter(({ rule, isTarget }) => isTarget(canonicalResource(upstream.url) ?? upstream.url) && (rule.scopes === undefined || scopeAllows(rule.scopes, 'write', upstream.id)))
  if (rules.length === 0) throw refusedTarget('vend: no rule of the administrator names the upstream')
  // With the token the application may do whatever the account may: reading alone is not enough for that.
  if (subject.scope !== undefined && !scopeAllows(subject.scope, 'write', upstream.id)) throw tooNarrow('the subject token may not write at the upstream')
  if (subject.user.kind === 'machine') throw refusedTarget('vend: a machine has no account')
  const purpose = purposeOf(request.params, upstream)
  await requirePermission(options, request, subject, upstream)
  const profile = options.profiles.byId(upstream.id) ?? options.profiles.httpById(upstream.id)
  if (profile === undefined) throw refusedTarget('vend: the upstream has no address here')
  const scope = [`mcp.${upstream.id}.write`]
  const authorization: Authorization = { id: newId('grt'), userId: subject.user.id, clientId: client.id, resource: profile.resource, scope, ...subject.authentication, ...(subject.actor === undefined ? {} : { actor: subject.actor }) }
  const event: AuditEvent = {
    action: 'token.vended',
    outcome: 'success',
    ...trace(request, authorization),
    grantId: subject.grantId ?? authorization.id,
    upstream: upstream.id,
    detail: { subject_kind: subject.kind, exchange_rule: rules.map(({ rule }) => rule.id), ...(purpose === undefined ? {} : { purpose }), ...(subject.actor === undefined ? {} : { actor: subject.actor.sub }) },
  }
  return {
    authorization,
    scope,
    grantedAt: Math.floor(options.now() / 1000),
    recheck: false,
    refusals: { resource: 'invalid_target', scope: 'invalid_scope' },
    issue: (_issuer, hold) => issue(options, request, subject, { upstream, hold, event }),
  }
}

/** A parameter of Lanyard's own: what the application wants it for, for the audit trail. */
function purposeOf(params: Params, { vending }: Vending): string | undefined {
  const purpose = params.get('purpose')
  if (purpose === undefined && vending.purpose === 'required') throw new OAuthError('invalid_request', 'purpose is missing: say what the token is for', { reason: 'vend: no purpose' })
  if (purpose !== undefined && !PURPOSE.test(purpose)) throw new OAuthError('invalid_request', 'purpose must be one line of at most 256 characters', { reason: 'vend: purpose' })
  return purpose
}

/** What is vended passes no rule about single tools any more: policy must allow everything that the upstream has. */
async function requirePermission({ approvals, policy, now }: VendOptions, { client, context }: GrantRequest, { user, authentication }: ExchangeSubject, { id }: Upstream): Promise<void> {
  await approvals.used(client)
  const standing = await approvals.standing(client.id)
  if (judge(standing, { upstream: id, access: 'write' }, user.groups).kind !== 'approved') throw refusedTarget('vend: no administrator approved the application for the upstream')
  const decision = policy.decideAll({ subject: user.id, groups: user.groups, clientId: client.id, upstream: id, address: context.address, at: now(), authentication, application: standing.application })
  if (decision.effect === 'step-up') throw notEnough(decision.challenge ?? {})
  if (!decision.allow) throw refusedTarget(`vend: policy (${decision.rule})`)
}

interface Vend {
  readonly upstream: Vending
  readonly hold: Hold
  readonly event: AuditEvent
}

async function issue(options: VendOptions, request: GrantRequest, subject: ExchangeSubject, { upstream, hold, event }: Vend): Promise<Issued> {
  if (!scopeAllows(hold([`mcp.${upstream.id}.write`]), 'write', upstream.id)) throw tooNarrow('the person may not write at the upstream')
  const credential = await credentialOf(options, request, subject, upstream)
  const bearer = credential.possession === undefined ? /^Bearer (.+)$/i.exec(credential.headers['authorization'] ?? '')?.[1] : undefined
  // Bound to a key of Lanyard's, or none that a client could use.
  if (bearer === undefined || Object.keys(credential.headers).length !== 1) throw refusedTarget('vend: the credential is bound to Lanyard, or no bearer token')
  const scope = parseScope(credential.scope ?? '') ?? []
  const asked = parseScope(request.params.get('scope') ?? '')
  if (asked === undefined) throw new OAuthError('invalid_scope', 'the scope is malformed')
  const lacking = asked.filter((each) => !scope.includes(each))
  if (lacking.length > 0) throw interactionRequired(options, request, subject, upstream, lacking)
  const at = Math.floor(options.now() / 1000)
  const expiresAt = Math.min(at + upstream.vending.maxSeconds, subject.expiresAt, Math.floor((credential.expiresAt ?? Infinity) / 1000))
  // In the store before the token is out of hand.
  await options.recorder.record({ ...event, detail: { ...event.detail, scope: [...scope], expires_in: expiresAt - at } })
  return { accessToken: bearer, expiresAt, scope, tokenType: 'Bearer', issuedTokenType: TOKEN_TYPE.access }
}

async function credentialOf(options: VendOptions, request: GrantRequest, subject: ExchangeSubject, upstream: Vending): Promise<Exclude<Credential, 'connection_required'>> {
  const connector = options.connector(upstream)
  // A credential for everybody is nobody's own: it never leaves.
  if (!connector.perUser) throw refusedTarget('vend: the credential of the upstream is no person’s own')
  try {
    const credential = await connector.credential(subject.user.id, upstream)
    if (credential === 'connection_required') throw interactionRequired(options, request, subject, upstream)
    return credential
  } catch (error) {
    if (error instanceof UpstreamUnavailable) throw new OAuthError('temporarily_unavailable', 'the account cannot be used at the moment; try again', { reason: `vend: ${error.message}`, retryAfter: 5 })
    if (error instanceof SignInRequired) throw notEnough(error.signIn)
    if (error instanceof CredentialRefused) throw refusedTarget(`vend: ${error.reason}`)
    throw error
  }
}

/** In the shape that Okta's token service has: the person connects their account there, and the application asks again. */
function interactionRequired({ connections }: VendOptions, { client, params }: GrantRequest, { user }: ExchangeSubject, upstream: Vending, lacking?: readonly string[]): OAuthError {
  const uri = connections.connectUrl(user.id, upstream, lacking, wayBack(params, client.redirectUris))
  return new OAuthError('interaction_required', 'the person must connect their account first: open interaction_uri in their browser', { reason: lacking === undefined ? 'vend: the account is not connected' : 'vend: the account lacks a scope', members: { interaction_uri: uri } })
}

/** Where the browser goes afterwards: to the application itself, by an address that is registered for it. */
function wayBack(params: Params, registered: readonly string[]): string | undefined {
  const value = params.get('redirect_uri')
  if (value === undefined) return undefined
  const matched = matchRedirectUri(value, registered)
  if (matched === undefined) throw new OAuthError('invalid_request', 'redirect_uri is not registered for this client', { reason: 'vend: redirect_uri' })
  const url = new URL(matched)
  const state = params.get('state')
  if (state !== undefined) url.searchParams.set('state', state)
  return url.href
}

function tooNarrow(reason: string): OAuthError {
  return new OAuthError('invalid_scope', 'this needs write access at the upstream', { reason: `vend: ${reason}` })
}
