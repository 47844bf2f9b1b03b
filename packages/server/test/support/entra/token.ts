// The token endpoint: codes, refresh tokens, on-behalf-of and apps for themselves; conditional access stands in the way
// of each.
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { compactVerify, importJWK } from 'jose'
import { authenticated } from './client.ts'
import { CONSUMERS, Failure, GRAPH, json, jwt, pairwise, seconds, wanted, type App, type Entra, type Grant, type Respond } from './state.ts'

const OIDC = new Set(['openid', 'profile', 'email', 'offline_access'])
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const LIFETIME_S = 4000
const CAPABLE_LIFETIME_S = 86_000

export const token: Respond = async (entra, { form, path }, response) => {
  try {
    json(response, 200, await answer(entra, form, path))
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    json(response, error.status, error.body)
  }
}

async function answer(entra: Entra, form: URLSearchParams, path: string): Promise<Record<string, unknown>> {
  const tenant = path.split('/')[1] ?? ''
  const app = await authenticated(entra, form, path)
  if (form.has('resource')) throw new Failure('invalid_target', 9010010, "The resource parameter provided in the request doesn't match with the requested scopes.")
  switch (form.get('grant_type') ?? '') {
    case 'authorization_code':
      return byCode(entra, app, form)
    case 'refresh_token':
      return byRefreshToken(entra, app, form, tenant)
    case 'client_credentials':
      return forItself(entra, app, form, tenant)
    case JWT_BEARER:
      return onBehalfOf(entra, app, form, tenant)
    default:
      throw new Failure('unsupported_grant_type', 70003, 'The app requested an unsupported grant type.')
  }
}

function byCode(entra: Entra, app: App, form: URLSearchParams): Promise<Record<string, unknown>> {
  const code = form.get('code') ?? ''
  const known = entra.codes.get(code)
  entra.codes.delete(code)
  const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url')
  if (known === undefined || known.grant.clientId !== app.clientId) throw new Failure('invalid_grant', 54005, 'OAuth2 Authorization code was already redeemed.')
  if (known.asked.get('redirect_uri') !== form.get('redirect_uri')) throw new Failure('invalid_grant', 50011, 'The redirect URI does not match.')
  if (known.asked.get('code_challenge') !== challenge) throw new Failure('invalid_grant', 501481, 'The Code_Verifier does not match the code_challenge supplied in the authorization request.')
  const claims = form.get('claims') ?? known.asked.get('claims')
  return issue(entra, app, known.grant, { scope: form.get('scope') ?? known.asked.get('scope') ?? '', claims, nonce: known.asked.get('nonce'), info: form.get('client_info') })
}

function byRefreshToken(entra: Entra, app: App, form: URLSearchParams, tenant: string): Promise<Record<string, unknown>> {
  const grant = entra.refreshTokens.get(form.get('refresh_token') ?? '')
  if (grant === undefined || grant.clientId !== app.clientId) throw new Failure('invalid_grant', 9002313, 'Invalid request. Request is malformed or invalid.')
  if (tenant !== grant.tid && tenant !== 'common' && tenant !== 'organizations') throw new Failure('invalid_grant', 700005, 'Provided Authorization Code is intended to use against other tenant.')
  alive(entra, grant)
  return issue(entra, app, grant, { scope: form.get('scope') ?? 'openid profile offline_access', claims: form.get('claims'), nonce: null, info: form.get('client_info') })
}

function alive(entra: Entra, { person, at }: Grant): void {
  if (!person.enabled) throw new Failure('invalid_grant', 50057, 'The user account is disabled.')
  if (person.revokedAt !== undefined && at <= person.revokedAt) throw new Failure('invalid_grant', 50173, 'The provided grant has expired due to it being revoked, a fresh auth token is needed.')
  if (seconds(entra) - at > 90 * 86_400) throw new Failure('invalid_grant', 700082, 'The refresh token has expired due to inactivity.')
}

async function onBehalfOf(entra: Entra, app: App, form: URLSearchParams, tenant: string): Promise<Record<string, unknown>> {
  if (form.get('requested_token_use') !== 'on_behalf_of') throw new Failure('invalid_request', 900144, "The request body must contain the following parameter: 'requested_token_use'.")
  const assertion = form.get('assertion') ?? ''
  const access = entra.access.get(assertion)
  // A token for Graph is signed so that nobody else can verify it.
  const isSigned = await importJWK(entra.key.jwk, 'RS256').then((key) => compactVerify(assertion, key)).then(() => true, () => false)
  if (!isSigned || access === undefined) throw new Failure('invalid_grant', 50013, 'Assertion failed signature validation.')
  if (access.resource !== app.clientId) throw new Failure('invalid_grant', 500131, 'Assertion audience does not match the Client app presenting the assertion.')
  if (access.grant === undefined) throw new Failure('invalid_grant', 7000114, 'Application is not allowed to make application on-behalf-of calls.')
  if (access.expiresAt < seconds(entra)) throw new Failure('invalid_grant', 500133, 'Assertion is not within its valid time range.')
  if (access.tid !== tenant) throw new Failure('invalid_grant', 50020, 'User account does not exist in tenant.')
  alive(entra, access.grant)
  return issue(entra, app, { ...access.grant, clientId: app.clientId }, { scope: form.get('scope') ?? '', claims: form.get('claims'), nonce: null, info: form.get('client_info') })
}

async function forItself(entra: Entra, app: App, form: URLSearchParams, tid: string): Promise<Record<string, unknown>> {
  const scope = form.get('scope') ?? ''
  if (!scope.endsWith('/.default')) throw new Failure('invalid_scope', 1002012, 'The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.')
  const { resource } = resourceOf(entra, [scope])
  const issuedAt = seconds(entra)
  const isOlder = entra.apps.get(resource)?.tokenVersion === 1
  // Its object in the tenant, which is no person; that it is an app, `idtyp` says where the resource asked for that claim, as Graph does.
  const oid = app.clientId.replace(/^.{4}/, 'feed')
  const claims = {
    aud: isOlder ? `api://${resource}` : resource,
    iss: isOlder ? `${entra.origin}/${tid}/` : `${entra.origin}/${tid}/v2.0`,
    ...(isOlder ? { appid: app.clientId, appidacr: '1', ver: '1.0' } : { azp: app.clientId, azpacr: '1', ver: '2.0' }),
    ...(resource === GRAPH ? { idtyp: 'app' } : {}),
    roles: [...app.permissions],
    oid,
    sub: oid,
    tid,
    iat: issuedAt,
    nbf: issuedAt,
    exp: issuedAt + LIFETIME_S,
    uti: randomUUID(),
  }
  const accessToken = await jwt(claims, entra.key, resource === GRAPH ? { nonce: randomUUID() } : {})
  entra.access.set(accessToken, { resource, scopes: [], roles: [...app.permissions], tid, issuedAt, expiresAt: issuedAt + LIFETIME_S, contexts: [], capable: false })
  return { token_type: 'Bearer', expires_in: LIFETIME_S - 1, ext_expires_in: LIFETIME_S - 1, access_token: accessToken }
}

interface Wanted {
  readonly scope: string
  readonly claims: string | null
  readonly nonce: string | null
  readonly info: string | null
}

async function issue(entra: Entra, app: App, grant: Grant, { scope, claims: given, nonce, info }: Wanted): Promise<Record<string, unknown>> {
  const scopes = scope.split(' ').filter((each) => each !== '')
  const { resource, names } = resourceOf(entra, scopes)
  const claims = wanted(given)
  consented(app, resource, names)
  if (entra.apps.get(resource)?.assigned?.has(grant.person.oid) === false) throw new Failure('invalid_grant', 50105, 'Your administrator has configured the application to block users unless they are specifically granted access.')
  evaluate(entra, grant, resource, claims)
  const [issuedAt, lifetime] = [seconds(entra), claims.capable ? CAPABLE_LIFETIME_S : LIFETIME_S]
  const accessToken = await accessTokenFor(entra, app, grant, { resource, names, issuedAt, lifetime, capable: claims.capable, contexts: [...grant.contexts] })
  const refreshToken = `1.A${randomBytes(64).toString('base64url')}`
  // Those of before stay good.
  if (scopes.includes('offline_access') || nonce === null) entra.refreshTokens.set(refreshToken, grant)
  return {
    token_type: 'Bearer',
    scope: [...names.map((name) => `${resource === GRAPH ? '' : `${resource}/`}${name}`), ...scopes.filter((each) => OIDC.has(each) && each !== 'offline_access')].join(' '),
    expires_in: lifetime - 1,
    ext_expires_in: lifetime - 1,
    access_token: accessToken,
    ...(entra.refreshTokens.has(refreshToken) ? { refresh_token: refreshToken } : {}),
    ...(scopes.includes('openid') ? { id_token: await idTokenFor(entra, app, grant, scopes, nonce) } : {}),
    ...(info === '1' ? { client_info: Buffer.from(JSON.stringify({ uid: grant.person.oid, utid: grant.tid })).toString('base64url') } : {}),
  }
}

/** Scopes of one resource; those of OpenID Connect alone are Graph's. */
export function resourceOf(entra: Entra, scopes: readonly string[]): { resource: string; names: readonly string[] } {
  const own = scopes.filter((scope) => scope !== '' && !OIDC.has(scope)).map((scope) => ({ address: scope.includes('/') ? scope.slice(0, scope.lastIndexOf('/')) : GRAPH, name: scope.slice(scope.lastIndexOf('/') + 1) }))
  const resources = new Set(own.map(({ address }) => (address === entra.origin || address === GRAPH ? GRAPH : address.replace(/^api:\/\//, ''))))
  if (resources.size > 1) throw new Failure('invalid_request', 28000, 'Provided value for the input parameter scope is not valid because it contains more than one resource.')
  const [resource = GRAPH] = resources
  if (resource !== GRAPH && !entra.apps.has(resource)) throw new Failure('invalid_resource', 500011, 'The resource principal was not found in the tenant.')
  return { resource, names: own.map(({ name }) => name) }
}

function consented(app: App, resource: string, names: readonly string[]): void {
  if (names.includes('.default') || resource === app.clientId) return
  const missing = names.find((name) => !app.consented.has(`${resource}/${name}`))
  if (missing !== undefined) throw new Failure('invalid_grant', 65001, 'The user or administrator has not consented to use the application.', { suberror: 'consent_required' })
}

/** Conditional access, and what `claims` asks for: the sign-in proved it, or the person is needed. */
function evaluate(entra: Entra, grant: Grant, resource: string, { contexts, notBefore }: ReturnType<typeof wanted>): void {
  const policy = entra.policies.get(resource)
  const missing = [...(policy === undefined ? [] : [policy.context]), ...contexts].find((context) => !grant.contexts.has(context))
  const isPolicy = missing !== undefined && missing === policy?.context && policy.isPolicy === true
  const claims = isPolicy ? { capolids: { essential: true, values: [missing] } } : missing !== undefined ? { acrs: { essential: true, value: missing } } : grant.at < notBefore ? { nbf: { essential: true, value: String(notBefore) } } : undefined
  if (claims === undefined) return
  const code = policy?.code ?? 50076
  throw new Failure('interaction_required', code, 'Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource.', { suberror: 'basic_action', claims: JSON.stringify({ access_token: claims }) })
}

interface Issuing {
  readonly resource: string
  readonly names: readonly string[]
  readonly issuedAt: number
  readonly lifetime: number
  readonly capable: boolean
  readonly contexts: readonly string[]
}

async function accessTokenFor(entra: Entra, app: App, grant: Grant, { resource, names, issuedAt, lifetime, capable, contexts }: Issuing): Promise<string> {
  const { person, tid } = grant
  const target = entra.apps.get(resource)
  const scopes = names.includes('.default') ? [...app.consented].filter((each) => each.startsWith(`${resource}/`)).map((each) => each.slice(resource.length + 1)).concat(resource === app.clientId ? ['access'] : []) : names
  const isOlder = target?.tokenVersion === 1
  const claims = {
    aud: resource === GRAPH ? GRAPH : isOlder ? `api://${resource}` : resource,
    iss: isOlder ? `${entra.origin}/${tid}/` : `${entra.origin}/${tid}/v2.0`,
    ...(isOlder ? { appid: app.clientId, appidacr: '1', ver: '1.0', unique_name: person.upn } : { azp: app.clientId, azpacr: '1', ver: '2.0', preferred_username: person.upn }),
    oid: person.oid,
    tid,
    sub: pairwise(resource, person.oid),
    name: person.name,
    scp: scopes.join(' '),
    ...(person.roles.length > 0 ? { roles: person.roles } : {}),
    ...(contexts.length > 0 ? { acrs: contexts } : {}),
    ...(capable ? { xms_cc: ['cp1'] } : {}),
    // As the app registration that it is for says.
    ...(target === undefined ? {} : groupsOf(entra, target, person.groups, person.oid)),
    iat: issuedAt,
    nbf: issuedAt,
    exp: issuedAt + lifetime,
    uti: randomUUID(),
  }
  const signed = await jwt(claims, entra.key, resource === GRAPH ? { nonce: randomBytes(16).toString('base64url') } : {})
  // What Graph gets is signed over something else than what is sent.
  const made = resource === GRAPH ? `${signed.slice(0, -20)}${randomBytes(15).toString('base64url')}` : signed
  entra.access.set(made, { resource, scopes, roles: [], grant, tid, issuedAt, expiresAt: issuedAt + lifetime, contexts, capable })
  return made
}

async function idTokenFor(entra: Entra, app: App, { person, tid, at, contexts }: Grant, scopes: readonly string[], nonce: string | null): Promise<string> {
  const iat = seconds(entra)
  const claims: Record<string, unknown> = {
    aud: app.clientId,
    iss: `${entra.origin}/${tid}/v2.0`,
    iat,
    nbf: iat,
    exp: iat + 3900,
    ...(person.idp === undefined ? {} : { idp: person.idp }),
    name: person.name,
    ...(nonce === null ? {} : { nonce }),
    ...(scopes.includes('profile') ? { oid: person.oid, preferred_username: person.upn } : {}),
    ...(scopes.includes('email') && person.email !== undefined ? { email: person.email } : {}),
    rh: '1.AX0A',
    sub: pairwise(app.clientId, person.oid),
    tid,
    uti: randomUUID(),
    ver: '2.0',
    auth_time: at,
    ...(contexts.size > 0 ? { acrs: [...contexts] } : {}),
    ...(person.roles.length > 0 ? { roles: person.roles } : {}),
    ...groupsOf(entra, app, person.groups, person.oid),
  }
  return jwt(entra.idToken(claims), tid === CONSUMERS ? entra.consumerKey : entra.signer)
}

const MAX_GROUPS = 200

function groupsOf(_entra: Entra, { groupClaims }: App, groups: readonly string[], oid: string): Record<string, unknown> {
  if (!groupClaims || groups.length === 0) return {}
  if (groups.length <= MAX_GROUPS) return { groups }
  return { _claim_names: { groups: 'src1' }, _claim_sources: { src1: { endpoint: `https://graph.windows.net/11111111/users/${oid}/getMemberObjects` } } }
}

export function tokenOf(entra: Entra, authorization: string | undefined): string | undefined {
  const given = /^Bearer (.+)$/.exec(authorization ?? '')?.[1]
  return given !== undefined && entra.access.has(given) ? given : undefined
}

