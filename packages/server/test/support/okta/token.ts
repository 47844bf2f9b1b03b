// Okta's token endpoint and what belongs to it: codes, refresh tokens that rotate with a grace period, keys, userinfo.
import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { jwtVerify } from 'jose'
import { exchange, TOKEN_EXCHANGE } from './exchange.ts'
import { groupsOf } from './sign-in.ts'
import { json, refuse, seconds, sign, type Client, type Okta, type RefreshToken, type Respond, type Seen, type Server, type Session } from './state.ts'

const LIFETIME_S = 3600

export const token: Respond = async (state, server, seen, response) => {
  const client = await authenticated(state, server, seen)
  if (client === undefined) return refuse(response, 401, 'invalid_client', "Invalid value for 'client_id' parameter.")
  const grants: Readonly<Record<string, () => Promise<void>>> = {
    authorization_code: () => redeem(state, server, seen, response, client),
    refresh_token: () => refresh(state, server, seen, response, client),
    [TOKEN_EXCHANGE]: () => exchange(state, server, seen, response, client),
  }
  const grant = grants[seen.form.get('grant_type') ?? '']
  if (grant === undefined) return refuse(response, 400, 'unsupported_grant_type', 'The authorization grant type is not supported by the authorization server.')
  return grant()
}

export interface Party {
  readonly id: string
  readonly client: Client
}

async function authenticated({ clients, now }: Okta, server: Server, { form, headers }: Seen): Promise<Party | undefined> {
  const [basicId, basicSecret] = /^Basic /i.test(headers.authorization ?? '') ? Buffer.from((headers.authorization ?? '').slice(6), 'base64').toString().split(':').map(decodeURIComponent) : []
  const assertion = form.get('client_assertion')
  const id = form.get('client_id') ?? basicId ?? (assertion === null ? '' : String(JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8')).sub))
  const client = clients.get(id)
  if (client === undefined) return undefined
  if (assertion !== null && client.jwk !== undefined) {
    const checked = await jwtVerify(assertion, client.jwk, { issuer: id, subject: id, audience: `${server.base}/token`, currentDate: new Date(now()) }).catch(() => undefined)
    return checked === undefined ? undefined : { id, client }
  }
  const secret = form.get('client_secret') ?? basicSecret
  return secret === client.secret && (client.secret !== undefined || client.jwk === undefined) ? { id, client } : undefined
}

async function redeem(state: Okta, server: Server, { form }: Seen, response: ServerResponse, { id, client }: Party): Promise<void> {
  const code = state.codes.get(form.get('code') ?? '')
  state.codes.delete(form.get('code') ?? '')
  // A code of one authorization server is worth nothing at another.
  const isSame = code?.clientId === id && code.server === server && code.asked.get('redirect_uri') === form.get('redirect_uri')
  if (code === undefined || !isSame) return refuse(response, 400, 'invalid_grant', 'The authorization code is invalid or has expired.')
  const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url')
  if (code.asked.has('code_challenge') && code.asked.get('code_challenge') !== challenge) return refuse(response, 400, 'invalid_grant', "PKCE verification failed.")
  const { asked, ...session } = code
  json(response, 200, await tokensFor(state, session, { nonce: asked.get('nonce'), rotates: client.rotates }))
}

async function refresh(state: Okta, server: Server, { form }: Seen, response: ServerResponse, { id, client }: Party): Promise<void> {
  const given = form.get('refresh_token') ?? ''
  const known = state.refreshTokens.get(given)
  const invalid = (): void => refuse(response, 400, 'invalid_grant', 'The refresh token is invalid or expired.')
  if (known === undefined || known.clientId !== id || known.server !== server) return invalid()
  if (known.replacedAt !== undefined && state.now() - known.replacedAt > state.graceSeconds * 1000) {
    // One that comes again after its grace period ends all that came of it.
    for (const [value, other] of state.refreshTokens) if (other.family === known.family) state.refreshTokens.delete(value)
    return invalid()
  }
  if (!known.person.active || !known.person.assigned) return invalid()
  const asked = form.get('scope')?.split(' ') ?? known.scopes
  if (!asked.every((scope) => known.scopes.includes(scope))) return refuse(response, 400, 'invalid_scope', 'One or more scopes are not configured for the authorization server resource.')
  if (client.rotates) known.replacedAt ??= state.now()
  json(response, 200, await tokensFor(state, { ...known, scopes: asked }, { nonce: null, rotates: client.rotates, before: given, family: known.family }))
}

interface Issue {
  readonly nonce: string | null
  readonly rotates: boolean
  readonly before?: string
  readonly family?: string
}

async function tokensFor(state: Okta, session: Session, { nonce, rotates, before, family }: Issue): Promise<Readonly<Record<string, unknown>>> {
  const accessToken = await newAccessToken(state, session)
  const idToken = session.scopes.includes('openid') ? await newIdToken(state, session, accessToken, nonce) : undefined
  const body = { token_type: 'Bearer', expires_in: LIFETIME_S, access_token: accessToken, scope: session.scopes.join(' '), ...(idToken === undefined ? {} : { id_token: idToken }) }
  if (!session.scopes.includes('offline_access')) return body
  if (before !== undefined && !rotates) return { ...body, refresh_token: before }
  const made = randomBytes(32).toString('base64url')
  const { server, clientId, person, scopes, authTime, amr, acr } = session
  const stored: RefreshToken = { server, clientId, person, scopes, authTime, amr, ...(acr === undefined ? {} : { acr }), family: family ?? made, idToken: idToken ?? '' }
  state.refreshTokens.set(made, stored)
  return { ...body, refresh_token: made }
}

/** `scp` is an array, the client is `cid`, the person `uid`, and `sub` their login. */
async function newAccessToken(state: Okta, session: Session): Promise<string> {
  const { server, person, clientId, scopes, authTime } = session
  const now = seconds(state)
  const groups = groupsOf(state, person.groups)
  const claims = { ver: 1, jti: `AT.${randomBytes(16).toString('base64url')}`, iss: server.issuer, aud: server.audience, iat: now, exp: now + LIFETIME_S, cid: clientId, uid: person.id, scp: scopes, auth_time: authTime, sub: person.login, ...(server.id === 'org' || groups.length === 0 ? {} : { groups }) }
  const made = await sign(claims, server.accessKey)
  state.access.set(made, session)
  return made
}

async function newIdToken(state: Okta, session: Session, accessToken: string, nonce: string | null): Promise<string> {
  const { server, person, clientId, scopes, authTime, amr, acr } = session
  const now = seconds(state)
  const halfHash = createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url')
  const about = state.thin ? {} : profileOf(state, session)
  const claims = { sub: person.id, ver: 1, iss: server.issuer, aud: clientId, iat: now, exp: now + LIFETIME_S, jti: `ID.${randomBytes(16).toString('base64url')}`, amr, idp: '00o1org', auth_time: authTime, at_hash: halfHash, ...(acr === undefined ? {} : { acr }), ...(nonce === null ? {} : { nonce }), ...about, ...(scopes.includes('profile') ? { preferred_username: person.login } : {}) }
  return sign(claims, server.key)
}

/** Groups come by the scope `groups` from the org's server, and by a claim of its own from a custom one. */
function profileOf(state: Okta, { server, person, scopes }: Session): Readonly<Record<string, unknown>> {
  const groups = groupsOf(state, person.groups)
  const tellsGroups = groups.length > 0 && (server.id !== 'org' || scopes.includes('groups'))
  return { ...(scopes.includes('profile') ? { name: person.name } : {}), ...(scopes.includes('email') ? { email: person.email, email_verified: true } : {}), ...(tellsGroups ? { groups } : {}) }
}

export const keys: Respond = (_state, { key }, _seen, response) => json(response, 200, { keys: [key.jwk] })

export const userinfo: Respond = (state, server, { headers }, response) => {
  const session = state.access.get((headers.authorization ?? '').replace(/^Bearer /i, ''))
  if (session === undefined || session.server !== server) return json(response, 401, {}, { 'www-authenticate': `Bearer authorization_uri="${server.base}/authorize", realm="${server.issuer}", scope="openid", error="invalid_token", error_description="The access token is invalid"` })
  json(response, 200, { sub: session.person.id, preferred_username: session.person.login, ...profileOf(state, session) })
}

export const revoke: Respond = async (state, server, seen, response) => {
  if ((await authenticated(state, server, seen)) === undefined) return refuse(response, 401, 'invalid_client', 'The client is not known.')
  const given = seen.form.get('token') ?? ''
  const family = state.refreshTokens.get(given)?.family
  for (const [value, other] of state.refreshTokens) if (other.family === family) state.refreshTokens.delete(value)
  state.access.delete(given)
  response.writeHead(200).end()
}

export const introspect: Respond = async (state, server, seen, response) => {
  if ((await authenticated(state, server, seen)) === undefined) return refuse(response, 401, 'invalid_client', 'The client is not known.')
  const session = state.access.get(seen.form.get('token') ?? '') ?? state.refreshTokens.get(seen.form.get('token') ?? '')
  if (session === undefined || session.server !== server) return json(response, 200, { active: false })
  json(response, 200, { active: true, scope: session.scopes.join(' '), client_id: session.clientId, username: session.person.login, sub: session.person.login, uid: session.person.id, iss: server.issuer, aud: server.audience, token_type: 'Bearer' })
}
