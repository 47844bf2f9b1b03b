// Who uses the JSON API: a browser's session, and a program with an access token for it.
import { browser, type Browser } from './browser.ts'
import { SCRIPT } from './gateway.ts'
import { registeredRequest } from './web-client.ts'
import { VERIFIER } from './authorize-house.ts'

const [REDIRECT] = SCRIPT.redirectUris

export interface Sent {
  readonly method?: string
  /** Sent as JSON. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface Answered {
  readonly status: number
  readonly headers: Headers
  readonly body: Readonly<Record<string, unknown>>
  readonly text: string
}

export type Ask = (path: string, sent?: Sent) => Promise<Answered>

/** Signs a person in by browser. */
export async function signedIn(issuer: string, person: string): Promise<Browser> {
  const own = browser({ stop: (url) => url.startsWith(REDIRECT) })
  await own.approve(`${issuer}/login?return_to=/`, { person })
  return own
}

export function cookiesOf(person: Browser): { readonly cookie: string } {
  return { cookie: [...person.cookies('127.0.0.1')].map(([name, value]) => `${name}=${value}`).join('; ') }
}

/** Asks as the dashboard does: from the gateway's own pages, with the session's cookie. */
export async function asPerson(issuer: string, person: string): Promise<Ask> {
  const own = await signedIn(issuer, person)
  return (path, sent = {}) => ask(issuer, path, { ...sent, headers: { ...cookiesOf(own), origin: issuer, 'sec-fetch-site': 'same-origin', ...sent.headers } })
}

/** Asks as a program does, with an access token. */
export function withToken(issuer: string, token: string): Ask {
  return (path, sent = {}) => ask(issuer, path, { ...sent, headers: { authorization: `Bearer ${token}`, ...sent.headers } })
}

export async function ask(issuer: string, path: string, { method = 'GET', body, headers = {} }: Sent = {}): Promise<Answered> {
  const response = await fetch(`${issuer}${path}`, {
    method,
    redirect: 'manual',
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = /[/+]json/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, headers: response.headers, text, body: isJson ? (JSON.parse(text) as Record<string, unknown>) : {} }
}

/** The token of a person who is allowed to have one. */
export async function tokenOf(issuer: string, person: string, resource: string, scope?: string, connect = true): Promise<string> {
  const { token, error } = await tokenFor(issuer, person, resource, scope, connect)
  if (token === undefined) throw new Error(`${person} got no token: ${error}`)
  return token
}

/**
 * Lets a person approve a program for a resource: one that the administrator configured for the JSON API, else one that
 * registers itself. @returns its access token, or what the browser was told instead
 */
export async function tokenFor(issuer: string, person: string, resource: string, scope?: string, connect = true, registers = !resource.endsWith('/api')): Promise<{ readonly token?: string; readonly error?: string }> {
  const url = new URL(await registeredRequest(issuer, REDIRECT, 'Script', { resource, scope: scope ?? '' }))
  if (!registers) url.searchParams.set('client_id', SCRIPT.id)
  const page = await browser({ stop: (address) => address.startsWith(REDIRECT) }).approve(url.href, { person, connect })
  const answer = new URL(page.url).searchParams
  const code = answer.get('code')
  if (code === null) return { error: answer.get('error') ?? page.text }
  const form = new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: REDIRECT, client_id: url.searchParams.get('client_id') ?? '', code_verifier: VERIFIER, resource })
  const response = await fetch(`${issuer}/token`, { method: 'POST', body: form })
  const body = (await response.json()) as { access_token?: string; error?: string }
  return body.access_token === undefined ? { error: body.error ?? '' } : { token: body.access_token }
}
