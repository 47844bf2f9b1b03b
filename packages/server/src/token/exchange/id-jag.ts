// The other end of an ID-JAG: for identity providers that issue none, Lanyard does, by token exchange
// (draft-ietf-oauth-identity-assertion-authz-grant §4.3), for authorization servers elsewhere that trust it.
import type { AuditEvent, Recorder } from '../../audit/event.ts'
import type { Authorization } from '../../authorize/authorization.ts'
import { OAuthError } from '../../oauth/error.ts'
import { canonicalResource, type Resource } from '../../oauth/resource.ts'
import { formatScope, parseScope, scopeIncludes } from '../../oauth/scope.ts'
import { newId } from '../../oauth/secret.ts'
import type { MintIdJag } from '../assertions/mint.ts'
import { trace, type Granted, type GrantRequest, type Issued } from '../grants/grant.ts'
import type { ExchangeTarget } from '../grants/token-exchange.ts'
import { TOKEN_TYPE } from '../grants/token-type.ts'
import { refusedTarget } from './own-resource.ts'
import type { ExchangeRule } from './rules.ts'
import type { ExchangeSubject } from './subject.ts'

/** An authorization server elsewhere that takes Lanyard's word, as an administrator approved it. */
export interface IdJagAudience {
  /** Its issuer, as it stands in its metadata. */
  readonly issuer: string
  /** The resources that it is the authorization server of, as their metadata has them. */
  readonly resources: readonly string[]
  /** What may be asked for there; whatever it knows when absent. */
  readonly scopes?: readonly string[]
  /** By the identifier that a client has here, the one that it has there (§5). */
  readonly clients: ReadonlyMap<string, string>
  /** Whose members may reach it; everybody when absent. */
  readonly groups?: readonly string[]
  /** What it calls our tenant there (`aud_tenant`). */
  readonly tenant?: string
}

export interface IdJagIssuerOptions {
  readonly issuer: string
  readonly audiences: readonly IdJagAudience[]
  readonly mint: MintIdJag
  readonly recorder: Recorder
  readonly now: () => number
}

export function idJagIssuer(options: IdJagIssuerOptions): ExchangeTarget {
  return {
    tokenType: TOKEN_TYPE.idJag,
    accepts: (params) => params.get('requested_token_type') === TOKEN_TYPE.idJag,
    async authorize(request, subject) {
      // §1, §3: it vouches for a sign-in, and is taken for a person's wherever it is taken.
      if (subject.user.kind === 'machine') throw refusedTarget('the subject is no person')
      const { audience, rules } = audienceOf(options, request, subject)
      const clientId = audience.clients.get(request.client.id)
      if (clientId === undefined) throw refusedTarget('the client is not one of the audience')
      // §4.3.2: an assertion of somebody else's sign-in is nobody's to present.
      if (subject.grantId !== undefined && subject.clientId !== request.client.id) throw refusedTarget('the subject token was issued to another client')
      if (audience.groups?.some((group) => subject.user.groups.includes(group)) === false) throw refusedTarget('the person is in none of the groups of the audience')
      const resource = resourceOf(request, audience)
      const scope = scopeOf(request, audience, rules)
      return grant(options, request, subject, { audience, rules, clientId, resource, scope })
    },
  }
}

/** §4.3: exactly one, which the administrator approved, and which a rule lets this client exchange for. */
function audienceOf({ audiences, issuer }: IdJagIssuerOptions, { params }: GrantRequest, subject: ExchangeSubject): Pick<Target, 'audience' | 'rules'> {
  const [name, ...others] = params.all('audience')
  const found = others.length > 0 ? undefined : audiences.find((audience) => audience.issuer === name)
  // §7.3: none for ourselves, which would widen what a token is for.
  if (found === undefined || found.issuer === issuer) throw refusedTarget('the audience is not one that an administrator approved')
  const rules = subject.rules.filter(({ isTarget }) => isTarget(canonicalResource(found.issuer) ?? found.issuer))
  if (rules.length === 0) throw refusedTarget('no rule of the administrator names the audience')
  return { audience: found, rules: rules.map(({ rule }) => rule) }
}

/** RFC 8707 §2, EMA §4: one of the audience's; who names none means the only one there is. */
function resourceOf({ params }: GrantRequest, { resources }: IdJagAudience): Named {
  const known = resources.flatMap((value): readonly Named[] => {
    const resource = canonicalResource(value)
    return resource === undefined ? [] : [{ value, resource }]
  })
  const asked = new Set(params.all('resource').map((value) => canonicalResource(value)))
  const [wanted] = asked
  const found = asked.size === 0 && known.length === 1 ? known[0] : known.find(({ resource }) => resource === wanted)
  if (asked.size > 1 || found === undefined) throw refusedTarget('the resource is not one of the audience')
  return found
}

/** §4.3.2: what is asked for, within what the administrator allows for the audience and by a rule; a part of it may be less. */
function scopeOf({ params }: GrantRequest, { scopes }: IdJagAudience, rules: readonly ExchangeRule[]): readonly string[] {
  const asked = parseScope(params.get('scope') ?? '')
  if (asked === undefined) throw new OAuthError('invalid_scope', 'the scope is malformed')
  const ruled = rules.some((rule) => rule.scopes === undefined) ? undefined : [...new Set(rules.flatMap((rule) => rule.scopes ?? []))]
  const most = scopes ?? ruled
  if (most === undefined) return asked
  const scope = (asked.length === 0 ? most : asked).filter((each) => scopes?.includes(each) !== false && (ruled === undefined || scopeIncludes(ruled, each)))
  if (scope.length === 0) throw new OAuthError('invalid_scope', 'nothing of the scope may be had for this audience', { reason: 'id-jag: scope' })
  return scope
}

/** A resource, and how its own metadata writes it: a slash more or less is another one there. */
interface Named {
  readonly value: string
  readonly resource: Resource
}

interface Target {
  readonly audience: IdJagAudience
  /** Those that name it. */
  readonly rules: readonly ExchangeRule[]
  readonly clientId: string
  readonly resource: Named
  readonly scope: readonly string[]
}

function grant({ mint, recorder, now }: IdJagIssuerOptions, request: GrantRequest, subject: ExchangeSubject, { audience, rules, clientId, resource, scope }: Target): Granted {
  const { user, authentication, actor, expiresAt, kind, grantId } = subject
  const { jkt } = request
  // Nothing is kept of it: it ends by itself, within minutes, and the authorization server elsewhere decides anew.
  const authorization: Authorization = { id: newId('grt'), userId: user.id, clientId: request.client.id, resource: resource.resource, scope, ...authentication, ...(actor === undefined ? {} : { actor }) }
  return {
    authorization,
    scope,
    grantedAt: Math.floor(now() / 1000),
    recheck: false,
    isElsewhere: true,
    refusals: { resource: 'invalid_target', scope: 'invalid_scope' },
    async issue() {
      const { issuer: there, tenant } = audience
      const made = mint({ user, audience: there, clientId, resource: resource.value, scope, authentication, expiresAt, ...(tenant && { tenant }), ...(actor && { actor }), ...(jkt && { jkt }) })
      const detail = { jti: made.jti, scope: formatScope(scope), audience: there, client_there: clientId, subject_kind: kind, exchange_rule: rules.map(({ id }) => id), ...(actor && { actor: actor.sub }) }
      const event: AuditEvent = { action: 'assertion.issued', outcome: 'success', ...trace(request, authorization), ...(grantId && { grantId }), detail }
      await recorder.record(event)
      const issued: Issued = { accessToken: made.assertion, expiresAt: made.expiresAt, scope, tokenType: 'N_A', issuedTokenType: TOKEN_TYPE.idJag }
      return issued
    },
  }
}
