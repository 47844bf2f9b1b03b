// Google's APIs behind an access token: userinfo, Directory, Gmail, IAM Credentials, and the machine's metadata server.
import { createSign, KeyObject } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { SignJWT, type JWTPayload } from 'jose'
import { CLOUD_SCOPE, GMAIL_SCOPE, GROUPS_SCOPE, json, signedBy, type Access, type Google, type Respond, type Seen, type ServiceAccount } from './state.ts'
import { accessOf, newAccess, seconds } from './token.ts'

const MAX_PAGE = 200

function refuse(response: ServerResponse, code: number, message: string, status: string, reason: string): void {
  const challenge = code === 401 ? 'error="invalid_token"' : reason === 'insufficientPermissions' ? `error="insufficient_scope", scope="https://mail.google.com/ ${GMAIL_SCOPE}"` : undefined
  const headers: Readonly<Record<string, string>> = challenge === undefined ? {} : { 'www-authenticate': `Bearer realm="https://accounts.google.com/", ${challenge}` }
  json(response, code, { error: { code, message, errors: [{ message, domain: 'global', reason }], status } }, headers)
}

/** @returns what the request may do, or undefined when it was answered with an error */
function permitted(state: Google, seen: Seen, response: ServerResponse, scope: string): Access | undefined {
  const access = accessOf(state, seen)
  if (access === undefined) refuse(response, 401, 'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.', 'UNAUTHENTICATED', 'authError')
  else if (!access.scopes.includes(scope)) refuse(response, 403, 'Request had insufficient authentication scopes.', 'PERMISSION_DENIED', 'insufficientPermissions')
  else return access
  return undefined
}

export const userinfo: Respond = (state, seen, response) => {
  const access = accessOf(state, seen)
  const person = access?.grant?.person
  if (person === undefined) return json(response, 401, { error: 'invalid_request', error_description: 'Invalid Credentials' })
  json(response, 200, { sub: person.sub, name: person.name, email: person.email, email_verified: person.emailVerified, ...(person.hd === undefined ? {} : { hd: person.hd }) })
}

/** `directory.groups.list` with `userKey`: the groups that a person is directly in. */
export const directoryGroups: Respond = (state, seen, response) => {
  const access = permitted(state, seen, response, GROUPS_SCOPE)
  if (access === undefined) return
  const mayRead = state.administrators.has(access.email) || state.serviceAccounts.get(access.email)?.groupsReader === true
  if (!mayRead) return refuse(response, 403, 'Not Authorized to access this resource/api', 'PERMISSION_DENIED', 'forbidden')
  const key = seen.query.get('userKey') ?? ''
  const person = [...state.people.values()].find(({ email, sub, hd }) => hd !== undefined && (email === key || sub === key))
  if (person === undefined) return refuse(response, 404, 'Resource Not Found: userKey', 'NOT_FOUND', 'notFound')
  const size = Math.min(Number(seen.query.get('maxResults') ?? MAX_PAGE), state.pageSize, MAX_PAGE)
  const from = Number(Buffer.from(seen.query.get('pageToken') ?? '', 'base64url').toString() || 0)
  const groups = person.groups.slice(from, from + size).map(({ email, name }) => ({ kind: 'admin#directory#group', id: `id-${email}`, etag: '"e"', email, name, directMembersCount: '3', description: '', adminCreated: true }))
  const next = from + size < person.groups.length ? { nextPageToken: Buffer.from(String(from + size)).toString('base64url') } : {}
  // No groups: no member of that name.
  json(response, 200, { kind: 'admin#directory#groups', etag: '"e"', ...(groups.length === 0 ? {} : { groups }), ...next })
}

/** `users.getProfile`: of `me`, or of the same person by their address; of anybody else, nothing. */
export const gmailProfile: Respond = (state, seen, response) => {
  const access = permitted(state, seen, response, GMAIL_SCOPE)
  if (access === undefined) return
  const [, user = ''] = GMAIL_PROFILE.exec(seen.path) ?? []
  if (user !== 'me' && decodeURIComponent(user) !== access.email) return refuse(response, 403, `Delegation denied for ${access.email}`, 'PERMISSION_DENIED', 'forbidden')
  json(response, 200, { emailAddress: access.email, messagesTotal: 3, threadsTotal: 2, historyId: '1' })
}

export const GMAIL_PROFILE = /^\/gmail\/v1\/users\/([^/]+)\/profile$/

/** The service account of the machine itself, as the metadata server of a Google machine gives it out. */
export const metadataToken: Respond = (state, { headers }, response) => {
  const email = state.machine
  if (headers['metadata-flavor'] !== 'Google' || email === undefined) return json(response, email === undefined ? 404 : 403, { error: 'Missing Metadata-Flavor:Google header' })
  const access = newAccess(state, { sub: email, email, clientId: email, scopes: [CLOUD_SCOPE], expiresAt: seconds(state) + 3599 })
  json(response, 200, { access_token: access, expires_in: 3599, token_type: 'Bearer' }, { 'metadata-flavor': 'Google' })
}

function signer(state: Google, seen: Seen, response: ServerResponse, email: string, permission: string): ServiceAccount | undefined {
  const access = permitted(state, seen, response, CLOUD_SCOPE)
  if (access === undefined) return undefined
  const account = state.serviceAccounts.get(email)
  if (account?.tokenCreators.has(access.email) === true) return account
  refuse(response, 403, `Permission 'iam.serviceAccounts.${permission}' denied on resource (or it may not exist).`, 'PERMISSION_DENIED', 'forbidden')
  return undefined
}

type RespondFor = (state: Google, seen: Seen, response: ServerResponse, email: string) => void | Promise<void>

export const signJwt: RespondFor = async (state, seen, response, email) => {
  const account = signer(state, seen, response, email, 'signJwt')
  if (account === undefined) return
  const { payload } = JSON.parse(seen.body) as { payload?: unknown }
  if (typeof payload !== 'string') return refuse(response, 400, 'Invalid value at payload', 'INVALID_ARGUMENT', 'badRequest')
  json(response, 200, { keyId: account.keys.system.kid, signedJwt: await signedBy(new SignJWT(JSON.parse(payload) as JWTPayload), account.keys.system) })
}

export const signBlob: RespondFor = (state, seen, response, email) => {
  const account = signer(state, seen, response, email, 'signBlob')
  if (account === undefined) return
  const { payload } = JSON.parse(seen.body) as { payload: string }
  const signature = createSign('RSA-SHA256').update(Buffer.from(payload, 'base64')).sign(KeyObject.from(account.keys.system.key))
  json(response, 200, { keyId: account.keys.system.kid, signedBlob: signature.toString('base64') })
}

export const generateAccessToken: RespondFor = (state, seen, response, email) => {
  const account = signer(state, seen, response, email, 'getAccessToken')
  if (account === undefined) return
  const { scope } = JSON.parse(seen.body) as { scope: string[] }
  const expiresAt = seconds(state) + 3600
  const accessToken = newAccess(state, { sub: account.clientId, email, clientId: account.clientId, scopes: scope, expiresAt })
  json(response, 200, { accessToken, expireTime: new Date(expiresAt * 1000).toISOString() })
}
