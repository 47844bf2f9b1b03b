// Owns requests that clients push before they send the browser (RFC 9126): checked as those that come with a browser, and
// good for one of them.
import { applicationTrace } from '../clients/application.ts'
import type { Client } from '../clients/client.ts'
import { clientEndpoint, type AskingClient, type ClientEndpointDeps } from '../clients/client-endpoint.ts'
import { PageError } from '../http/errors.ts'
import { Params } from '../http/params.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import type { Route } from '../http/route.ts'
import { OAuthError } from '../oauth/error.ts'
import { hash, newSecret } from '../oauth/secret.ts'
import type { Profiles } from '../upstreams/upstream.ts'
import type { PushedRequestStore } from './par-store.ts'
import { checkRequest, redirectUriOf } from './validate.ts'

/** RFC 9126 §2.2: what a `request_uri` of ours begins with; what begins otherwise names a document of somebody else. */
const PREFIX = 'urn:ietf:params:oauth:request_uri:'
const LIFETIME_SECONDS = 60
/** How the client proved itself is no part of its request, and a secret is not kept. */
const CREDENTIALS = new Set(['client_secret', 'client_assertion', 'client_assertion_type'])

export interface PushDeps extends ClientEndpointDeps {
  readonly profiles: Profiles
  readonly pushed: Pick<PushedRequestStore, 'push'>
  /** The thumbprint of the key that the request proves, if it does (RFC 9449 §10.1). */
  readonly provenKey: (client: Client, proof: string) => Promise<string | undefined>
  /** Per network, which all users of a hosted client share: they cannot be told apart before the browser comes. */
  readonly flood: RateLimit
  readonly now: () => number
}

/** The pushed authorization request endpoint (RFC 9126 §2). */
export function pushEndpoint(deps: PushDeps): Route {
  return clientEndpoint(deps, { path: '/par', refused: 'authorization.refused' }, (asking) => push(deps, asking))
}

async function push(deps: PushDeps, { client, params, request, context }: AskingClient): Promise<Response> {
  // RFC 9126 §2.1: "The request_uri authorization request parameter MUST NOT be provided".
  if (params.get('request_uri') !== undefined) throw new OAuthError('invalid_request', 'request_uri cannot be pushed')
  const redirectUri = redirectUriOf(params, client)
  if (typeof redirectUri !== 'string') throw new OAuthError('invalid_request', redirectUri.reason)
  const { resource, scope, dpopJkt } = checkRequest(params, { client, redirectUri }, deps.profiles)
  const proof = request.headers.get('dpop')
  const jkt = proof === null ? dpopJkt : await deps.provenKey(client, proof)
  // RFC 9449 §10.1: both may be there, and then they are of one key.
  if (dpopJkt !== undefined && dpopJkt !== jkt) throw new OAuthError('invalid_dpop_proof', 'dpop_jkt is of another key than the proof')
  const kept = params.entries().filter(([name]) => !CREDENTIALS.has(name) && name !== 'client_id' && name !== 'dpop_jkt')
  const handle = newSecret('lyd_par')
  const { reference, address } = context
  await deps.pushed.push(
    { hash: hash(handle), clientId: client.id, params: [['client_id', client.id], ...kept, ...(jkt === undefined ? [] : [['dpop_jkt', jkt] as const])], expiresAt: deps.now() + LIFETIME_SECONDS * 1000 },
    { action: 'authorization.pushed', outcome: 'success', clientId: client.id, ...applicationTrace(client), resource, reference, address, detail: { scope } },
  )
  return Response.json({ request_uri: `${PREFIX}${handle}`, expires_in: LIFETIME_SECONDS }, { status: 201, headers: { 'cache-control': 'no-store', pragma: 'no-cache' } })
}

export interface TakeDeps {
  readonly pushed: Pick<PushedRequestStore, 'take'>
  readonly now: () => number
}

/** Whether the request is one that was pushed. Any other `request_uri` is refused where request objects are (A16). */
export function isPushed(params: Params): boolean {
  return params.get('request_uri')?.startsWith(PREFIX) === true
}

/**
 * What the client pushed (RFC 9126 §4), once. What comes beside it with the browser must say the same: nothing is left out
 * in silence, and nothing that the browser says takes the place of what the client said.
 *
 * @throws PageError
 */
export async function takePushed({ pushed, now }: TakeDeps, params: Params): Promise<Params> {
  const clientId = params.get('client_id')
  const handle = params.get('request_uri')?.slice(PREFIX.length) ?? ''
  const taken = clientId === undefined ? undefined : await pushed.take(hash(handle), clientId, now())
  // RFC 9126 §7.3: used, over, of another client, of nobody.
  if (taken === undefined) throw cannotGoOn('This request was used before, or is older than a minute.', 'request_uri is not good')
  const request = Params.from(new URLSearchParams(taken.map(([name, value]) => [name, value])))
  const differs = params.entries().find(([name, value]) => name !== 'request_uri' && !request.all(name).includes(value))
  if (differs !== undefined) throw cannotGoOn('The application says something else now than it said before.', `beside request_uri: ${differs[0].slice(0, 40)}`)
  return request
}

function cannotGoOn(message: string, reason: string): PageError {
  return new PageError(400, 'This request cannot be completed', `${message} Go back to your application and start again.`, { reason })
}
