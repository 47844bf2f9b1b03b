// Microsoft Graph, as far as the gateway and its tests ask it: it evaluates each token anew.
import { randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { tokenOf } from './token.ts'
import { GRAPH, json, seconds, type Access, type Entra, type Respond } from './state.ts'

export const graph: Respond = (entra, seen, response) => {
  if (entra.throttled) return error(response, 429, 'TooManyRequests', 'Please retry again later.', { 'retry-after': '2' })
  const access = entra.access.get(tokenOf(entra, seen.headers.authorization) ?? '')
  if (access?.resource !== GRAPH || access.expiresAt < seconds(entra)) return unauthorized(response, 'InvalidAuthenticationToken', 'Access token validation failure. Invalid audience.')
  const challenge = challengeOf(entra, access, seen.path)
  if (challenge !== undefined) return unauthorized(response, 'TokenIssuedBeforeRevocationTimestamp', 'Continuous access evaluation resulted in claims challenge', challenge)
  const respond = ROUTES.find(([pattern]) => pattern.test(`${seen.method} ${seen.path}`))?.[1]
  if (respond === undefined) return error(response, 404, 'Request_ResourceNotFound', 'Resource does not exist.')
  respond(entra, access, seen.path, response)
}

function challengeOf({ guarded, evaluated }: Entra, { grant, contexts, issuedAt }: Access, path: string): object | undefined {
  const context = guarded.get(path)
  if (context !== undefined && !contexts.includes(context)) return { access_token: { acrs: { essential: true, value: context } } }
  const since = evaluated.get(grant?.person.oid ?? '')
  return since !== undefined && issuedAt < since ? { access_token: { nbf: { essential: true, value: String(since) } } } : undefined
}

type Route = (entra: Entra, access: Access, path: string, response: ServerResponse) => void

const ROUTES: readonly (readonly [RegExp, Route])[] = [
  [/^GET \/v1\.0\/me$/, (entra, access, _path, response) => ofPerson(access, response, 'User.Read', ({ oid, upn, name, email }) => ({ '@odata.context': `${entra.origin}/v1.0/$metadata#users/$entity`, id: oid, displayName: name, userPrincipalName: upn, mail: email ?? null }))],
  [/^GET \/v1\.0\/me\/messages$/, (entra, access, _path, response) => ofPerson(access, response, 'Mail.Read', ({ upn }) => ({ '@odata.nextLink': `${entra.origin}/v1.0/me/messages?$skip=10`, value: [{ id: 'AAMk1', subject: `For ${upn}` }] }))],
  [/^POST \/v1\.0\/me\/getMemberObjects$/, (_entra, access, _path, response) => ofPerson(access, response, 'User.Read', ({ groups }) => ({ value: groups }))],
  [/^POST \/v1\.0\/users\/[0-9a-f-]+\/getMemberObjects$/, memberObjects],
]

function ofPerson({ grant, scopes }: Access, response: ServerResponse, scope: string, answer: (person: NonNullable<Access['grant']>['person']) => object): void {
  if (grant === undefined) return error(response, 400, 'BadRequest', '/me request is only valid with delegated authentication flow.')
  if (!scopes.includes(scope)) return error(response, 403, 'ErrorAccessDenied', 'Access is denied. Check credentials and try again.')
  json(response, 200, answer(grant.person))
}

function memberObjects({ tenants }: Entra, { roles, tid }: Access, path: string, response: ServerResponse): void {
  if (!roles.includes('GroupMember.Read.All') || !roles.includes('User.ReadBasic.All')) return error(response, 403, 'Authorization_RequestDenied', 'Insufficient privileges to complete the operation.')
  const person = [...(tenants.get(tid)?.values() ?? [])].find(({ oid }) => path.includes(oid))
  if (person === undefined) return error(response, 404, 'Request_ResourceNotFound', 'Resource does not exist.')
  json(response, 200, { value: person.groups })
}

function error(response: ServerResponse, status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}): void {
  json(response, status, { error: { code, message, innerError: { date: '2026-11-25T12:00:00', 'request-id': randomUUID(), 'client-request-id': randomUUID() } } }, headers)
}

/** The claims stand in the header in base64. */
function unauthorized(response: ServerResponse, code: string, message: string, claims?: object): void {
  const challenge = 'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"'
  const more = claims === undefined ? '' : `, errorDescription="${message}", error="insufficient_claims", claims="${Buffer.from(JSON.stringify(claims)).toString('base64')}"`
  error(response, 401, code, message, { 'www-authenticate': `${challenge}${more}` })
}
