// Okta's authorization endpoint and its sign-in page.
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { seconds, type Okta, type Respond, type Server } from './state.ts'

const MFA = /^urn:okta:loa:2fa:any$/
const MAX_GROUPS = 100

export const authorizationPage: Respond = (state, server, { query }, response) => {
  const client = state.clients.get(query.get('client_id') ?? '')
  if (client?.redirectUris.test(query.get('redirect_uri') ?? '') !== true) return page(response, 400, "<p>400 Bad Request: The 'redirect_uri' parameter must be a Login redirect URI in the client app settings.</p>")
  const wrong = problem(server, query, client.secret === undefined)
  if (wrong !== undefined) return back(response, query, wrong)
  const buttons = [...state.people.keys()].map((login) => `<button name="login" value="${login}">${login}</button>`)
  page(response, 200, `<form method="post" action="${server.base}/sign-in"><input type="hidden" name="request" value="${escaped(query.toString())}">${buttons.join('')}</form>`)
}

function problem(server: Server, query: URLSearchParams, isPublic: boolean): Readonly<Record<string, string>> | undefined {
  if (query.get('response_type') !== 'code') return { error: 'unsupported_response_type', error_description: 'The response type is not supported by the authorization server.' }
  if ((query.get('state') ?? '') === '') return { error: 'invalid_request', error_description: 'The authentication request has an invalid \'state\' parameter.' }
  if (isPublic && query.get('code_challenge_method') !== 'S256') return { error: 'invalid_request', error_description: 'PKCE code challenge is required when the token endpoint authentication method is \'NONE\'.' }
  const scopes = (query.get('scope') ?? '').split(' ').filter((scope) => scope !== '')
  if (scopes.length === 0) return { error: 'invalid_scope', error_description: 'One or more scopes are not configured for the authorization server resource.' }
  // A scope that is not the server's fails as a whole.
  if (!scopes.every((scope) => server.scopes.has(scope))) return { error: 'invalid_scope', error_description: 'One or more scopes are not configured for the authorization server resource.' }
  if (query.get('prompt') === 'none') return { error: 'login_required', error_description: 'The client specified not to prompt, but the user is not logged in.' }
  return undefined
}

export const signInPage: Respond = (state, server, { form }, response) => {
  const asked = new URLSearchParams(form.get('request') ?? '')
  const person = state.people.get(form.get('login') ?? '')
  const client = state.clients.get(asked.get('client_id') ?? '')
  if (person === undefined || client === undefined || problem(server, asked, client.secret === undefined) !== undefined) return page(response, 400, '<p>400 Bad Request</p>')
  if (!person.active) return page(response, 403, '<p>Unable to sign in</p>')
  if (!person.assigned) return back(response, asked, { error: 'access_denied', error_description: 'User is not assigned to the client application.' })
  if (groupsOf(state, person.groups).length > MAX_GROUPS) return back(response, asked, { error: 'server_error', error_description: 'The groups claim has too many matching groups.' })
  const strong = asked.get('acr_values')?.split(' ').find((value) => MFA.test(value))
  const code = randomBytes(32).toString('base64url')
  state.codes.set(code, {
    asked,
    server,
    person,
    clientId: asked.get('client_id') ?? '',
    scopes: (asked.get('scope') ?? '').split(' '),
    authTime: seconds(state),
    amr: strong === undefined ? ['pwd'] : ['mfa', 'otp', 'pwd'],
    ...(strong === undefined ? {} : { acr: strong }),
  })
  // RFC 9207: Okta says nothing of it in its metadata, and sends no `iss`.
  back(response, asked, { code })
}

export function groupsOf({ groupsFilter }: Okta, groups: readonly string[]): readonly string[] {
  return groupsFilter === undefined ? [] : groups.filter((group) => groupsFilter.test(group))
}

function back(response: ServerResponse, asked: URLSearchParams, answer: Readonly<Record<string, string>>): void {
  const url = new URL(asked.get('redirect_uri') ?? '')
  url.search = new URLSearchParams({ ...answer, state: asked.get('state') ?? '' }).toString()
  response.writeHead(302, { location: url.href }).end()
}

function page(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'text/html' }).end(`<!doctype html><title>Okta</title>${body}`)
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;')
}
