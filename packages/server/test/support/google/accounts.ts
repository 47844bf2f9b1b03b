// accounts.google.com: the chooser of accounts, and the consent page with its boxes.
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { page, SIGN_IN_SCOPES, type Google, type Person, type Respond } from './state.ts'

/** What is wrong with a request is a page: Google sends nobody back to an address that it does not know. */
function problem(state: Google, asked: URLSearchParams): string | undefined {
  const client = state.clients.get(asked.get('client_id') ?? '')
  if (client === undefined) return 'Error 401: invalid_client. The OAuth client was not found.'
  if (!client.redirectUris.test(asked.get('redirect_uri') ?? '')) return 'Error 400: redirect_uri_mismatch'
  if (asked.get('response_type') !== 'code') return 'Error 400: unsupported_response_type'
  if ((asked.get('scope') ?? '') === '') return 'Error 400: invalid_request. Missing required parameter: scope'
  // Google knows no such scope; it wants access_type=offline.
  if (asked.get('scope')?.split(' ').includes('offline_access') === true) return 'Error 400: invalid_scope. Some requested scopes were invalid. {invalid=[offline_access]}'
  if (asked.has('resource')) return "Error 400: invalid_request. Parameter not allowed for this message type: resource"
  const prompts = (asked.get('prompt') ?? '').split(' ').filter((value) => value !== '')
  const unknown = prompts.find((value) => !['none', 'consent', 'select_account'].includes(value))
  return unknown === undefined ? undefined : `Error 400: invalid_request. Invalid parameter value for prompt: Invalid prompt: ${unknown}`
}

export const authorizationPage: Respond = (state, { query }, response) => {
  const wrong = problem(state, query)
  if (wrong !== undefined) return page(response, 400, `<p>${wrong}</p>`)
  if (query.get('prompt') === 'none') return back(response, query, { error: 'interaction_required' })
  if (query.get('scope')?.split(' ').some((scope) => state.blocked.has(scope)) === true) return page(response, 400, '<p>Error 400: admin_policy_enforced</p>')
  // `hd` is a hint: whoever likes chooses another account all the same.
  const buttons = [...state.people.keys()].map((login) => `<button name="login" value="${login}">${login}</button>`)
  page(response, 200, `<form method="post" action="/signin/oauth/consent">${hidden('request', query.toString())}${buttons.join('')}</form>`)
}

export const consentPage: Respond = (state, { form }, response) => {
  const asked = new URLSearchParams(form.get('request') ?? '')
  const person = state.people.get(form.get('login') ?? '')
  if (person === undefined || problem(state, asked) !== undefined) return page(response, 400, '<p>Error 400: invalid_request</p>')
  if (person.suspended === true) return page(response, 403, '<p>Your account is disabled</p>')
  if (form.get('decision') === 'deny') return back(response, asked, { error: 'access_denied' })
  const wanted = (asked.get('scope') ?? '').split(' ').map(fullName)
  const granted = state.grants.get(grantKey(person, asked)) ?? new Set<string>()
  const isConsentNeeded = asked.get('prompt')?.split(' ').includes('consent') === true || wanted.some((scope) => !granted.has(scope))
  if (isConsentNeeded && form.get('decision') === null) {
    const boxes = wanted.filter((scope) => !SIGN_IN_SCOPES.has(scope) && !state.unticked.has(scope)).map((scope, index) => hidden(`box${index}`, scope))
    return page(response, 200, `<form method="post" action="/signin/oauth/consent">${hidden('request', asked.toString())}${hidden('login', form.get('login') ?? '')}${boxes.join('')}<button name="decision" value="approve">Continue</button><button name="decision" value="deny">Cancel</button></form>`)
  }
  const ticked = new Set([...form].filter(([name]) => name.startsWith('box')).map(([, scope]) => scope))
  const scopes = wanted.filter((scope) => SIGN_IN_SCOPES.has(scope) || (isConsentNeeded ? ticked.has(scope) : granted.has(scope)))
  state.grants.set(grantKey(person, asked), new Set([...granted, ...scopes]))
  const shared = asked.get('include_granted_scopes') === 'true' ? [...new Set([...scopes, ...granted])] : scopes
  const code = `4/0A${randomBytes(24).toString('base64url')}`
  // A refresh token comes with a consent, not with every sign-in.
  const offline = asked.get('access_type') === 'offline' && isConsentNeeded
  state.codes.set(code, { person, clientId: asked.get('client_id') ?? '', scopes: shared, asked, offline })
  back(response, asked, { code, scope: shared.join(' '), authuser: '0', ...(person.hd === undefined ? {} : { hd: person.hd }), prompt: isConsentNeeded ? 'consent' : 'none' })
}

/** The short names of sign-in scopes are told by their long ones. */
function fullName(scope: string): string {
  return scope === 'email' || scope === 'profile' ? `https://www.googleapis.com/auth/userinfo.${scope}` : scope
}

function grantKey({ sub }: Person, asked: URLSearchParams): string {
  return `${sub} ${asked.get('client_id') ?? ''}`
}

function hidden(name: string, value: string): string {
  return `<input type="hidden" name="${name}" value="${value.replaceAll('&', '&amp;').replaceAll('"', '&quot;')}">`
}

function back(response: ServerResponse, asked: URLSearchParams, answer: Readonly<Record<string, string>>): void {
  const url = new URL(asked.get('redirect_uri') ?? '')
  const state = asked.get('state')
  if (state !== null) url.searchParams.set('state', state)
  // No `iss` (RFC 9207): Google sends none.
  for (const [name, value] of Object.entries(answer)) url.searchParams.set(name, value)
  response.writeHead(302, { location: url.href }).end()
}
