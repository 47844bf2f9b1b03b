// Token exchange at the org's authorization server: cross app access (ID-JAG), and tokens of third parties that Okta keeps.
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { jwtVerify } from 'jose'
import { json, refuse, seconds, sign, type CrossApp, type Okta, type Person, type Seen, type Server } from './state.ts'
import type { Party } from './token.ts'

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag'
export const STS = 'urn:okta:params:oauth:token-type:oauth-sts'
const TYPE = 'urn:ietf:params:oauth:token-type:'
const LIFETIME_S = 300

export async function exchange(state: Okta, server: Server, { form }: Seen, response: ServerResponse, { id, client }: Party): Promise<void> {
  // Only the org's own server knows it, and only a client that proves itself may use it.
  if (server.id !== 'org') return refuse(response, 400, 'unsupported_grant_type', 'The authorization grant type is not supported by the authorization server.')
  if (client.secret === undefined && client.jwk === undefined) return refuse(response, 401, 'invalid_client', 'A client that proves itself is needed.')
  const person = await subjectOf(state, server, form, id)
  if (person === undefined) return refuse(response, 400, 'invalid_grant', "The 'subject_token' is invalid.")
  if (form.get('requested_token_type') === STS) return thirdParty(state, form, response, person)
  if (form.get('requested_token_type') !== ID_JAG) return refuse(response, 400, 'invalid_request', "The 'requested_token_type' is not supported.")
  const connection = state.crossApps.find(({ audience, clientId }) => audience === form.get('audience') && clientId === id)
  if (connection === undefined) return refuse(response, 400, 'invalid_target', 'The audience is not a connection of this client.')
  const resource = form.get('resource')
  if (resource !== null && !connection.resources.includes(resource)) return refuse(response, 400, 'invalid_target', 'The resource is not one of the connection.')
  const asked = (form.get('scope') ?? '').split(' ').filter((scope) => scope !== '')
  if (!asked.every((scope) => connection.scopes.includes(scope))) return refuse(response, 400, 'invalid_scope', 'One or more scopes are not allowed for the connection.')
  const idJag = await newIdJag(state, server, { connection, person, resource, scope: asked.join(' '), agent: client.agent ?? id })
  json(response, 200, { token_type: state.idJagTokenType, expires_in: LIFETIME_S, access_token: idJag, issued_token_type: ID_JAG, ...(asked.length === 0 ? {} : { scope: asked.join(' ') }) })
}

interface Assertion {
  readonly connection: CrossApp
  readonly person: Person
  readonly resource: string | null
  readonly scope: string
  readonly agent: string
}

/** @param claims over those of Okta, for assertions that it would never make */
export function newIdJag(state: Okta, server: Server, { connection, person, resource, scope, agent }: Assertion, claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const now = seconds(state)
  const own = {
    jti: `IDAAG.${randomBytes(16).toString('base64url')}`,
    iss: server.issuer,
    aud: connection.audience,
    sub: person.id,
    email: person.email,
    client_id: connection.clientIdThere,
    ...(scope === '' ? {} : { scope }),
    ...(resource === null ? {} : { resource }),
    ...(connection.audTenant === undefined ? {} : { aud_tenant: connection.audTenant }),
    sub_profile: 'user',
    act: { sub: agent, sub_profile: 'ai_agent' },
    auth_time: now,
    amr: ['pwd'],
    iat: now,
    exp: now + LIFETIME_S,
  }
  return sign({ ...own, ...claims }, server.key, { typ: 'oauth-id-jag+jwt' })
}

/** The person of the subject token, when it was issued to this client. */
async function subjectOf(state: Okta, server: Server, form: URLSearchParams, clientId: string): Promise<Person | undefined> {
  const given = form.get('subject_token') ?? ''
  const type = form.get('subject_token_type')
  if (type === `${TYPE}id_token`) {
    const checked = await jwtVerify(given, server.key.jwk, { issuer: server.issuer, audience: clientId, currentDate: new Date(state.now()) }).catch(() => undefined)
    return alive([...state.people.values()].find(({ id }) => id === checked?.payload.sub))
  }
  const session = type === `${TYPE}access_token` ? state.access.get(given) : type === `${TYPE}refresh_token` ? state.refreshTokens.get(given) : undefined
  return session?.clientId === clientId && session.server === server ? alive(session.person) : undefined
}

function alive(person: Person | undefined): Person | undefined {
  return person?.active === true && person.assigned ? person : undefined
}

function thirdParty(state: Okta, form: URLSearchParams, response: ServerResponse, person: Person): void {
  const resource = form.get('resource') ?? ''
  const kept = state.vaulted.get(`${resource} ${person.id}`)
  if (kept === undefined) return json(response, 400, { error: 'interaction_required', error_description: 'User interaction is required.', interaction_uri: `${state.origin}/oauth2/v1/sts/interact?dataHandle=${randomBytes(8).toString('hex')}` })
  json(response, 200, { issued_token_type: STS, access_token: kept, token_type: 'Bearer', expires_in: 3600, scope: form.get('scope') ?? '' })
}
