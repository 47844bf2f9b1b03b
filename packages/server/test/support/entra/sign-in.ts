// The authorization endpoint and its sign-in page.
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { resourceOf } from './token.ts'
import { seconds, TENANT, wanted, type Entra, type Grant, type Person, type Respond } from './state.ts'

export const authorizationPage: Respond = (entra, { query, path }, response) => {
  const app = entra.apps.get(query.get('client_id') ?? '')
  if (app === undefined) return page(response, 400, '<p>AADSTS700016: Application was not found in the directory.</p>')
  if (!app.redirectUris.test(query.get('redirect_uri') ?? '')) return page(response, 400, '<p>AADSTS50011: The redirect URI specified in the request does not match the redirect URIs configured for the application.</p>')
  if (query.has('resource')) return back(response, query, { error: 'invalid_target', error_description: "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes." })
  if (!(query.get('scope') ?? '').split(' ').includes('openid') || query.get('response_type') !== 'code') return back(response, query, { error: 'invalid_request', error_description: 'AADSTS900144: The request body must contain the following parameter.' })
  if (query.get('prompt') === 'none') return back(response, query, { error: 'login_required', error_description: 'AADSTS50058: A silent sign-in request was sent but no user is signed in.' })
  const tenant = path.split('/')[1] ?? ''
  const buttons = [...entra.tenants]
    .filter(([tid]) => tenant === tid || tenant === 'common' || (tenant === 'organizations' && tid !== CONSUMER_TENANT))
    .flatMap(([tid, people]) => [...people.keys()].map((name) => (tid === TENANT ? name : `${tid} ${name}`)))
    .map((value) => `<button name="login" value="${value}">${value}</button>`)
  page(response, 200, `<form method="post" action="${entra.origin}/${tenant}/login"><input type="hidden" name="request" value="${escaped(query.toString())}">${buttons.join('')}</form>`)
}

const CONSUMER_TENANT = '9188040d-6c67-4c5b-b112-36a304b66dad'

export const signInPage: Respond = (entra, { form }, response) => {
  const asked = new URLSearchParams(form.get('request') ?? '')
  const [login = '', tid = TENANT] = (form.get('login') ?? '').split(' ').toReversed()
  const person = entra.tenants.get(tid)?.get(login)
  if (person === undefined) return page(response, 400, '<p>AADSTS50034: The user account does not exist in the directory.</p>')
  if (!person.enabled) return page(response, 403, '<p>AADSTS50057: The user account is disabled.</p>')
  if (!person.assigned) return back(response, asked, { error: 'access_denied', error_description: 'AADSTS50105: The signed in user is not assigned to a role for the application.' })
  // Who is there satisfies at once what policy wants of the resource that the sign-in is for.
  const policy = entra.policies.get(resourceOf(entra, (asked.get('scope') ?? '').split(' ')).resource)
  const contexts = [...wanted(asked.get('claims')).contexts, ...(policy === undefined ? [] : [policy.context])]
  const missing = contexts.find((context) => entra.satisfiable?.has(context) === false)
  if (missing !== undefined) return back(response, asked, { error: 'access_denied', error_description: 'AADSTS53003: Access has been blocked by Conditional Access policies.' })
  back(response, asked, { code: codeFor(entra, asked, { person, tid, contexts }) })
}

function codeFor(entra: Entra, asked: URLSearchParams, { person, tid, contexts }: { person: Person; tid: string; contexts: readonly string[] }): string {
  const grant: Grant = { clientId: asked.get('client_id') ?? '', person, tid, at: seconds(entra), contexts: new Set(contexts) }
  const code = `1.A${randomBytes(48).toString('base64url')}`
  entra.codes.set(code, { asked, grant })
  return code
}

function back(response: ServerResponse, asked: URLSearchParams, answer: Readonly<Record<string, string>>): void {
  const url = new URL(asked.get('redirect_uri') ?? '')
  url.search = new URLSearchParams({ ...answer, state: asked.get('state') ?? '', session_state: 'e7d1' }).toString()
  response.writeHead(302, { location: url.href }).end()
}

function page(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'text/html' }).end(`<!doctype html><title>Sign in to your account</title>${body}`)
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;')
}
