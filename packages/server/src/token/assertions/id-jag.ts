// An identity provider's word that one of its users may reach a resource of ours with a client: the ID-JAG
// (draft-ietf-oauth-identity-assertion-authz-grant), which MCP calls Enterprise-Managed Authorization. It asks nobody for
// consent: the administrators of both sides did.
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose'
import type { Approvals } from '../../approval/approvals.ts'
import { NODE_SKEW_S, type Cutoffs } from '../../audit/change.ts'
import type { Authorization } from '../../authorize/authorization.ts'
import type { AssertionIssuer, IssuerKeys } from '../../clients/issuer-keys.ts'
import { finderIn } from '../../clients/remote-keys.ts'
import type { EmailLink, Recognized } from '../../identity/recognize.ts'
import type { User } from '../../identity/user.ts'
import { OAuthError } from '../../oauth/error.ts'
import { canonicalResource } from '../../oauth/resource.ts'
import { parseScope, resourceScopes, scopeIncludes } from '../../oauth/scope.ts'
import { hash, newId } from '../../oauth/secret.ts'
import { baselineOf } from '../../upstreams/profile.ts'
import type { Profile, Profiles } from '../../upstreams/upstream.ts'
import type { Granted, GrantRequest } from '../grants/grant.ts'
import { refusedAssertion, type AssertionProfile } from '../grants/jwt-bearer.ts'
import { startGrant } from '../grants/start.ts'
import type { TokenLifetimes } from '../issue.ts'
import type { TokenStore } from '../token-store.ts'
import { checkIdJag, ID_JAG_PROFILE, ID_JAG_TYPES, SKEW_S, type IdJag } from './id-jag-claims.ts'
import { requireSignIn, type SignInNeededOptions } from './sign-in-needed.ts'

/** An issuer of ID-JAGs that an administrator trusts, for one of its tenants. */
export interface TrustedIssuer extends AssertionIssuer {
  /** Whose people they are: the identity provider of the same issuer, so that whoever signs in there is the same person; else a name of its own. */
  readonly provider: string
  readonly tenant?: string
  readonly audienceTenant?: string
  readonly algorithms: readonly string[]
  /** The clients that may present them; every client when absent. */
  readonly clients?: readonly string[]
  /** The identity provider among whose people whoever it names is looked for, by a verified address. */
  readonly linkByEmail?: string
  /** Where it names the person's groups. */
  readonly groupsClaim?: string
}

export interface IdJagOptions extends SignInNeededOptions {
  readonly issuer: string
  readonly trusted: readonly TrustedIssuer[]
  readonly keys: IssuerKeys
  readonly people: Recognized
  readonly store: Pick<TokenStore, 'startGrant' | 'isUsedAssertion'>
  readonly cutoffs: Pick<Cutoffs, 'isCut'>
  readonly profiles: Pick<Profiles, 'byResource'>
  readonly lifetimes: Pick<TokenLifetimes, 'accessToken'>
  readonly approvals: Pick<Approvals, 'standing' | 'used'>
}

/** The profile of RFC 7523 for ID-JAGs: every check comes before anything is written. */
export function idJag(options: IdJagOptions): AssertionProfile {
  return {
    identifier: ID_JAG_PROFILE,
    // §4.4.1, RFC 8725 §3.11: the type alone.
    accepts: ({ typ }) => ID_JAG_TYPES.includes(typ ?? ''),
    authorize: (request, assertion) => authorize(options, request, assertion),
  }
}

async function authorize(options: IdJagOptions, request: GrantRequest, assertion: string): Promise<Granted> {
  const { client } = request
  // §7.1, §5: of a client that registered itself nobody knows who it is, and no identity provider could name it.
  if (client.kind === 'dynamic') throw new OAuthError('unauthorized_client', 'this grant is for clients that an administrator registered, or that have a metadata document', { reason: 'id-jag: a client that registered itself' })
  const trusted = trustedIssuer(options, assertion)
  try {
    return await grantFor(options, trusted, request, assertion)
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error
    // The audit trail says whose it was; the client hears no more than before.
    throw error.but({ reason: `${error.reason} (of ${trusted.issuer})`, cause: error })
  }
}

async function grantFor(options: IdJagOptions, trusted: TrustedIssuer, request: GrantRequest, assertion: string): Promise<Granted> {
  const { store, profiles, lifetimes, now } = options
  const { client } = request
  if (trusted.clients?.includes(client.id) === false) throw refusedAssertion('id-jag: the client may not present any of this issuer')
  const payload = await verify(options, trusted, assertion)
  const { tenant, audienceTenant } = trusted
  const rules = { audience: options.issuer, clientId: client.id, now: now(), ...(tenant && { tenant }), ...(audienceTenant && { audienceTenant }), ...(request.jkt && { jkt: request.jkt }) }
  const grant = checkIdJag(payload, rules)
  const profile = targetProfile(grant, request, profiles)
  const scope = grantedScope(grant, request, profile)
  // EMA §7.4.2: each is good once, on all nodes, by issuer and `jti`.
  const used = { hash: hash(JSON.stringify([grant.issuer, grant.jti])), expiresAt: grant.expiresAt + SKEW_S + NODE_SKEW_S }
  if (await store.isUsedAssertion(used.hash)) throw refusedAssertion('id-jag: jti was used before')
  const user = await person(options, trusted, grant, payload)
  await requireSignIn(options, { user, request, profile, authentication: grant.authentication })
  // Administrators see it among the applications that are used, and can approve or refuse it there.
  await options.approvals.used(client)
  const at = Math.floor(now() / 1000)
  const authorization: Authorization = {
    id: newId('grt'),
    userId: user.id,
    clientId: client.id,
    // EMA §7: the token is for the resource that the assertion names, and for no other.
    resource: profile.resource,
    scope,
    ...grant.authentication,
    // §4.4.3: no refresh token; the next assertion is the next decision of the identity provider.
    expiresAt: at + lifetimes.accessToken,
    ...(grant.actor === undefined ? {} : { actor: grant.actor }),
  }
  const detail = { assertion_issuer: grant.issuer, assertion_jti: grant.jti.slice(0, 128), ...(tenant && { tenant }) }
  return startGrant(store, request, { authorization, at, assertion: used, detail })
}

/** Whoever says that they made it, and for which tenant: decides whose keys verify it, and nothing else. */
function trustedIssuer({ trusted, issuer }: IdJagOptions, assertion: string): TrustedIssuer {
  const { iss, tenant } = decodeJwt(assertion)
  // §7.3: never one of our own, whatever is configured.
  const found = iss === issuer ? undefined : trusted.find((each) => each.issuer === iss && (each.tenant === undefined || each.tenant === tenant))
  if (found === undefined) throw refusedAssertion(`id-jag: iss, or its tenant, is not trusted here: ${String(iss).slice(0, 200)}`)
  return found
}

async function verify({ keys, now }: IdJagOptions, trusted: TrustedIssuer, assertion: string): Promise<JWTPayload> {
  const { kid } = decodeProtectedHeader(assertion)
  const keySet = await keys.find(trusted, kid)
  // Nothing is wrong with the assertion: the client may come again with it.
  if (keySet === undefined) throw new OAuthError('temporarily_unavailable', 'the keys of the issuer cannot be fetched; try again', { reason: 'assertion: no keys of its issuer', retryAfter: 5 })
  try {
    // RFC 8725 §3.1: algorithms of key pairs alone, of which an administrator may name fewer. The times are checked by `checkIdJag`.
    const options = { issuer: trusted.issuer, algorithms: [...trusted.algorithms], currentDate: new Date(now()), clockTolerance: SKEW_S }
    return (await jwtVerify(assertion, finderIn(keySet), options)).payload
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw refusedAssertion('id-jag: exp has passed')
    // The keys are the issuer's: one that is none (`DOMException`) is its fault, not ours.
    if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException) throw refusedAssertion('id-jag: signature')
    throw error
  }
}

/** EMA §7: the resource is one of ours; an assertion that names none would make a token for everything. */
function targetProfile({ resources }: IdJag, { params }: GrantRequest, profiles: IdJagOptions['profiles']): Profile {
  const named = resources.map((value) => canonicalResource(value))
  const asked = params.all('resource').map((value) => canonicalResource(value))
  // RFC 8707 §2.2: of several, the request says which.
  const wanted = new Set(asked.length === 0 ? named : asked)
  const [resource] = wanted
  if (resource === undefined || wanted.size > 1 || !named.includes(resource)) throw refusedAssertion('id-jag: resource is missing, of somebody else, or more than one')
  const profile = profiles.byResource(resource)
  // The administrators' API has scopes of its own: it is never reached by somebody else's word.
  if (profile === undefined || profile.scopes !== undefined) throw refusedAssertion('id-jag: resource is none of this authorization server')
  return profile
}

/** EMA §7: what is asked for, what the identity provider granted, and what exists here: all three. */
function grantedScope({ scope }: IdJag, { params }: GrantRequest, profile: Profile): readonly string[] {
  const known = resourceScopes(profile.upstreams.map(({ id }) => id))
  const granted = scope === undefined ? baselineOf(profile) : parseScope(scope)
  const asked = params.get('scope') === undefined ? granted : parseScope(params.get('scope') ?? '')
  if (granted === undefined || asked === undefined) throw refusedAssertion('id-jag: scope is malformed')
  const both = asked.filter((each) => known.includes(each) && scopeIncludes(granted, each))
  if (both.length === 0) throw refusedAssertion('id-jag: nothing of the scope is both asked for and granted')
  return both
}

async function person({ people, cutoffs }: IdJagOptions, trusted: TrustedIssuer, grant: IdJag, payload: JWTPayload): Promise<User> {
  const groups = trusted.groupsClaim === undefined ? undefined : payload[trusted.groupsClaim]
  const { issuer, subject, name, email } = grant
  const vouchedFor = {
    provider: trusted.provider,
    issuer,
    subject,
    ...(name === undefined ? {} : { name }),
    // An attribute: nobody becomes somebody else by an address, unless an administrator said so.
    ...(email === undefined ? {} : { email }),
    ...(Array.isArray(groups) ? { groups: groups.filter((group) => typeof group === 'string') } : {}),
    toldAt: grant.issuedAt * 1000,
  }
  const user = await people.recognize(vouchedFor, linkOf(trusted, grant, payload))
  if (user.disabled) throw refusedAssertion('id-jag: the user is disabled')
  // An assertion that is older than the end of everything that the person had is part of what ended.
  if (cutoffs.isCut({ userId: user.id, clientId: '', grantId: '', kid: '', issuedAt: grant.issuedAt })) throw refusedAssertion('id-jag: made before the access of the person was ended')
  return user
}

/** An address that the issuer itself does not vouch for finds nobody. */
function linkOf({ linkByEmail: provider, tenant }: TrustedIssuer, { email }: IdJag, payload: JWTPayload): EmailLink | undefined {
  if (provider === undefined || email === undefined || payload['email_verified'] === false) return undefined
  return { provider, email, ...(tenant === undefined ? {} : { tenant }) }
}
