import { html } from 'hono/html'
import type { Client } from '../clients/client.ts'
import { PageError } from '../http/errors.ts'
import { page, referenceLine, sentence } from '../http/page.ts'
import { seeOther } from '../http/see-other.ts'
import type { OAuthError } from '../oauth/error.ts'
import { redirectClass } from '../oauth/redirect-uri.ts'
import type { PendingRequest, RedirectRequest } from './authorize-store.ts'

type Target = Pick<RedirectRequest, 'redirectUri' | 'state'>

/** What an answer may hold: a redirect URI that was registered with one of these in its query gets none of its own in. */
const ANSWER = new Set(['code', 'error', 'error_description', 'error_uri', 'state', 'iss'])

/** Sends the code to the client (RFC 6749 §4.1.2), with the issuer that it comes from (RFC 9207 §2). */
export function codeResponse(issuer: string, target: Target, code: string): Response {
  return redirect(issuer, target, { code })
}

/** Who is told of an error, and where. */
interface Told extends Target {
  readonly client: Pick<Client, 'kind'>
  /** Whether the person is signed in here. */
  readonly isSignedIn: boolean
  readonly reference: string
}

/**
 * Sends an error to the client (RFC 6749 §4.1.2.1), `iss` included (AS-7).
 *
 * RFC 9700 §4.11.2: anybody can register an application, and lead people to a site of their own by a request that is
 * wrong on purpose, or that may ask nobody anything. Whoever is not signed in here is not sent there without a word.
 */
export async function errorResponse(issuer: string, { client, isSignedIn, reference, ...target }: Told, error: OAuthError): Promise<Response> {
  const answer = redirect(issuer, target, { error: error.code === 'too_many_requests' ? 'temporarily_unavailable' : error.code, error_description: error.description })
  const mayLeave = isSignedIn || client.kind === 'pre-registered' || redirectClass(target.redirectUri) !== 'https'
  return mayLeave ? answer : leavingPage(answer.headers.get('location') ?? '', error, reference)
}

/** Shows what is wrong with a request, and where the answer to it leads: the person decides whether to go there. */
function leavingPage(location: string, error: OAuthError, reference: string): Promise<Response> {
  const { host } = new URL(location)
  return page({
    title: 'This request cannot be completed',
    status: 400,
    body: html`<h1>This request cannot be completed</h1>
      <p>${sentence(error.message)}</p>
      <p>You came here from an application that nobody here has verified. It takes its answer at <strong>${host}</strong>: go there only if you know it.</p>
      <div class="actions"><a class="button-quiet" href="${location}" rel="noreferrer">Go to ${host}</a></div>
      ${referenceLine(reference)}`,
  })
}

/** Sends the browser to a step of a pending request: 303, so that no form is posted again (RFC 9700 §4.12). */
export function stepResponse({ id }: Pick<PendingRequest, 'id'>): Response {
  return seeOther(`/authorize/${id}`)
}

/** Told to a browser that comes too late: the client has its one answer, and gets no second one. */
export function requestEnded(): PageError {
  return new PageError(400, 'This request has ended', 'It was finished before, or took too long. Go back to your application and start again from there.')
}

/** The registered URI is kept to the letter, its query too (RFC 6749 §3.1.2); only what an answer holds is replaced. */
function redirect(issuer: string, { redirectUri, state }: Target, answer: Readonly<Record<string, string>>): Response {
  const query = redirectUri.indexOf('?')
  const registered = query === -1 ? [] : redirectUri.slice(query + 1).split('&')
  const kept = registered.filter((pair) => pair !== '' && !ANSWER.has([...new URLSearchParams(pair).keys()][0] ?? ''))
  const added = new URLSearchParams({ ...answer, ...(state === undefined ? {} : { state }), iss: issuer })
  return seeOther(`${query === -1 ? redirectUri : redirectUri.slice(0, query)}?${[...kept, added.toString()].join('&')}`)
}
