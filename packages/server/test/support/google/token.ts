// oauth2.googleapis.com: codes, refresh tokens and the JWT grant of service accounts.
import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { compactVerify, createLocalJWKSet, jwtVerify, SignJWT } from 'jose'
import { CLIENT_SECRET, json, signedBy, type Access, type Google, type Grant, type Person, type Respond, type Seen, type ServiceAccount } from './state.ts'

const LIFETIME_S = 3599
const MAX_REFRESH_TOKENS = 100
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
/** What stands for this token endpoint in assertions: the library writes the real one. */
const REAL_ENDPOINT = 'https://oauth2.googleapis.com/token'

function refuse(response: ServerResponse, status: number, error: string, description: string): void {
  json(response, status, { error, error_description: description })
}

export const token: Respond = async (state, seen, response) => {
  const grantType = seen.form.get('grant_type')
  if (grantType === JWT_BEARER) return serviceAccountToken(state, seen, response)
  const clientId = authenticated(state, seen)
  if (clientId === undefined) return refuse(response, 401, 'invalid_client', 'The OAuth client was not found.')
  if (grantType === 'authorization_code') return redeem(state, seen, response, clientId)
  if (grantType === 'refresh_token') return refresh(state, seen, response, clientId)
  refuse(response, 400, 'unsupported_grant_type', `Invalid grant_type: ${grantType ?? ''}`)
}

function authenticated(state: Google, { form, headers }: Seen): string | undefined {
  const [basicId, basicSecret] = Buffer.from((headers.authorization ?? '').replace(/^Basic /i, ''), 'base64').toString().split(':').map(decodeURIComponent)
  const id = form.get('client_id') ?? basicId ?? ''
  const secret = form.get('client_secret') ?? basicSecret ?? ''
  return state.clients.get(id)?.secret === secret && secret.length >= CLIENT_SECRET.length - 8 ? id : undefined
}

async function redeem(state: Google, { form }: Seen, response: ServerResponse, clientId: string): Promise<void> {
  const code = state.codes.get(form.get('code') ?? '')
  state.codes.delete(form.get('code') ?? '')
  if (code === undefined || code.clientId !== clientId) return refuse(response, 400, 'invalid_grant', 'Malformed auth code.')
  if (code.asked.get('redirect_uri') !== form.get('redirect_uri')) return refuse(response, 400, 'redirect_uri_mismatch', 'Bad Request')
  const verifier = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url')
  if (code.asked.get('code_challenge') !== null && code.asked.get('code_challenge') !== verifier) return refuse(response, 400, 'invalid_grant', 'Invalid code verifier.')
  const grant: Grant = { person: code.person, clientId, scopes: code.scopes }
  const refreshToken = code.offline ? newRefreshToken(state, grant) : undefined
  json(response, 200, { ...(await tokensFor(state, grant, code.asked)), ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }) })
}

/** A hundred for one person and client; the oldest dies without a word. */
function newRefreshToken(state: Google, grant: Grant): string {
  const same = [...state.refreshTokens].filter(([, { person, clientId }]) => person.sub === grant.person.sub && clientId === grant.clientId)
  if (same.length >= MAX_REFRESH_TOKENS) state.refreshTokens.delete(same[0]?.[0] ?? '')
  const made = `1//0${randomBytes(32).toString('base64url')}`
  state.refreshTokens.set(made, grant)
  return made
}

async function refresh(state: Google, { form }: Seen, response: ServerResponse, clientId: string): Promise<void> {
  const grant = state.refreshTokens.get(form.get('refresh_token') ?? '')
  if (grant === undefined || grant.clientId !== clientId) return refuse(response, 400, 'invalid_grant', 'Token has been expired or revoked.')
  if (grant.person.suspended === true) return refuse(response, 400, 'invalid_grant', 'Account has been deleted')
  json(response, 200, await tokensFor(state, grant))
}

async function tokensFor(state: Google, grant: Grant, asked?: URLSearchParams): Promise<Readonly<Record<string, unknown>>> {
  const { person, clientId, scopes } = grant
  const accessToken = newAccess(state, { sub: person.sub, email: person.email, clientId, scopes, expiresAt: seconds(state) + LIFETIME_S, grant })
  const body = { access_token: accessToken, expires_in: LIFETIME_S, scope: scopes.join(' '), token_type: 'Bearer' }
  return scopes.includes('openid') ? { ...body, id_token: await idToken(state, person, { clientId, accessToken, asked, scopes }) } : body
}

function idToken(state: Google, person: Person, { clientId, accessToken, asked, scopes }: { clientId: string; accessToken: string; asked: URLSearchParams | undefined; scopes: readonly string[] }): Promise<string> {
  const nonce = asked?.get('nonce') ?? null
  const asksAge = state.sessionAge && asked?.get('claims')?.includes('"auth_time"') === true
  const claims = {
    iss: state.bareIssuer ? new URL(state.origin).host : state.origin,
    azp: clientId,
    aud: clientId,
    sub: person.sub,
    ...(person.hd === undefined ? {} : { hd: person.hd }),
    ...(scopes.some((scope) => scope.endsWith('userinfo.email')) ? { email: person.email, email_verified: person.emailVerified } : {}),
    at_hash: createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url'),
    ...(nonce === null ? {} : { nonce }),
    ...(asksAge ? { auth_time: seconds(state) } : {}),
    ...(scopes.some((scope) => scope.endsWith('userinfo.profile')) ? { name: person.name, given_name: person.name } : {}),
    iat: seconds(state),
    exp: seconds(state) + 3600,
  }
  return signedBy(new SignJWT(claims), state.key)
}

export function newAccess(state: Google, access: Access): string {
  const made = `ya29.${randomBytes(32).toString('base64url')}`
  state.access.set(made, access)
  return made
}

/** The access token of a request, while it lives and nobody revoked it. */
export function accessOf(state: Google, { headers }: Pick<Seen, 'headers'>): Access | undefined {
  const access = state.access.get((headers.authorization ?? '').replace(/^Bearer /i, ''))
  return access === undefined || access.expiresAt <= seconds(state) ? undefined : access
}

export function seconds(state: Google): number {
  return Math.floor(state.now() / 1000)
}

/** Revoking any token of a grant ends all of it. */
export const revoke: Respond = (state, { form, query }, response) => {
  const given = form.get('token') ?? query.get('token') ?? ''
  const grant = state.refreshTokens.get(given) ?? state.access.get(given)?.grant
  if (grant === undefined) return refuse(response, 400, 'invalid_token', 'Token expired or revoked')
  const isSame = (other: Grant | undefined): boolean => other?.person.sub === grant.person.sub && other.clientId === grant.clientId
  for (const [made, other] of state.refreshTokens) if (isSame(other)) state.refreshTokens.delete(made)
  for (const [made, access] of state.access) if (isSame(access.grant)) state.access.delete(made)
  state.grants.delete(`${grant.person.sub} ${grant.clientId}`)
  json(response, 200, {})
}

export const tokenInfo: Respond = (state, { query, headers }, response) => {
  const access = accessOf(state, { headers: { authorization: headers.authorization ?? `Bearer ${query.get('access_token') ?? ''}` } })
  if (access === undefined) return json(response, 400, { error: 'invalid_token', error_description: 'Invalid Value' })
  json(response, 200, { azp: access.clientId, aud: access.clientId, sub: access.sub, scope: access.scopes.join(' '), exp: String(access.expiresAt), expires_in: String(access.expiresAt - seconds(state)), email: access.email, email_verified: 'true', access_type: 'offline' })
}

/** sts.googleapis.com: a token of somebody else's, for one of a principal of the pool. */
export const federatedToken: Respond = async (state, { form }, response) => {
  const audience = form.get('audience') ?? ''
  const provider = /^\/\/iam\.googleapis\.com\/(projects\/\d+\/locations\/global\/workloadIdentityPools\/[\w-]+\/providers\/[\w-]+)$/.exec(audience)?.[1] ?? ''
  const pool = state.pools.get(provider)
  if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:token-exchange' || form.get('requested_token_type') !== 'urn:ietf:params:oauth:token-type:access_token') return refuse(response, 400, 'invalid_request', 'Invalid grant type')
  if (form.get('subject_token_type') !== 'urn:ietf:params:oauth:token-type:jwt' || pool === undefined) return refuse(response, 400, 'invalid_target', 'The target service indicated by the "audience" parameters is invalid.')
  const options = { issuer: pool.issuer, audience: [`https:${audience}`, audience], algorithms: ['RS256', 'ES256'], currentDate: new Date(state.now()), requiredClaims: ['iat', 'exp', 'sub'] }
  const checked = await jwtVerify(form.get('subject_token') ?? '', createLocalJWKSet({ keys: [...pool.keys] }), options).catch(() => undefined)
  if (checked === undefined) return refuse(response, 400, 'invalid_grant', 'The audience in ID Token does not match the expected audience, or its signature is invalid.')
  const principal = `principal://iam.googleapis.com/${provider.replace(/\/providers\/.*$/, '')}/subject/${checked.payload.sub ?? ''}`
  const accessToken = newAccess(state, { sub: principal, email: principal, clientId: principal, scopes: (form.get('scope') ?? '').split(' '), expiresAt: seconds(state) + 3600 })
  json(response, 200, { access_token: accessToken, issued_token_type: 'urn:ietf:params:oauth:token-type:access_token', token_type: 'Bearer', expires_in: 3600 })
}

async function serviceAccountToken(state: Google, { form }: Seen, response: ServerResponse): Promise<void> {
  const assertion = form.get('assertion') ?? ''
  const claims = claimsOf(assertion)
  const account = state.serviceAccounts.get(text(claims['iss']))
  if (account === undefined) return refuse(response, 400, 'invalid_grant', 'Invalid grant: account not found')
  if (!(await isSignedBy(account, assertion))) return refuse(response, 400, 'invalid_grant', 'Invalid JWT Signature.')
  if (![`${state.origin}/token`, REAL_ENDPOINT].includes(text(claims['aud']))) return refuse(response, 400, 'invalid_grant', 'Invalid JWT: Failed audience check. The right audience is https://oauth2.googleapis.com/token')
  const [iat, exp, now] = [Number(claims['iat']), Number(claims['exp']), seconds(state)]
  const isTimely = Number.isInteger(iat) && Number.isInteger(exp) && exp - iat <= 3600 && iat <= now + 300 && exp > now
  if (!isTimely) return refuse(response, 400, 'invalid_grant', 'Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.')
  const scopes = text(claims['scope']).split(' ').filter((scope) => scope !== '')
  if (scopes.length === 0) return refuse(response, 400, 'invalid_scope', 'Invalid OAuth scope or ID token audience provided.')
  const expiresAt = seconds(state) + LIFETIME_S
  const done = (access: Access): void => json(response, 200, { access_token: newAccess(state, access), expires_in: LIFETIME_S, token_type: 'Bearer' })
  if (claims['sub'] === undefined) return done({ sub: account.clientId, email: account.email, clientId: account.clientId, scopes, expiresAt })
  const person = [...state.people.values()].find(({ email }) => email === claims['sub'])
  // A domain lets the service account act for its own users alone.
  if (person?.hd === undefined) return refuse(response, 400, 'invalid_grant', 'Invalid email or User ID')
  if (person.suspended === true) return refuse(response, 400, 'invalid_grant', 'Account disabled')
  // One scope too many fails as a whole.
  if (!scopes.every((scope) => account.delegated.has(scope))) return refuse(response, 401, 'unauthorized_client', 'Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.')
  done({ sub: person.sub, email: person.email, clientId: account.clientId, scopes, expiresAt, by: account.email })
}

function claimsOf(assertion: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, unknown>
  } catch {
    return {}
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** By the key that the header names, or by any of the account's where it names none. */
async function isSignedBy({ keys }: ServiceAccount, assertion: string): Promise<boolean> {
  for (const { jwk } of [keys.file, keys.system]) {
    try {
      const { protectedHeader } = await compactVerify(assertion, jwk, { algorithms: ['RS256'] })
      return protectedHeader.kid === undefined || protectedHeader.kid === jwk.kid
    } catch {
      continue
    }
  }
  return false
}
