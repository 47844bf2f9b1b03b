// Owns the MCP data plane: who calls, what they may do, and the way of one message to its upstream and back. It issues
// nothing, signs nobody in, and knows no protocol revision by itself (revisions.ts does).
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Approvals } from '../approval/approvals.ts'
import type { ChangeFeed, Cutoffs } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import type { ClientAddress } from '../http/address.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import { StoreUnavailable } from '../http/errors.ts'
import type { Route } from '../http/route.ts'
import { hostCheck, newReference } from '../http/router.ts'
import type { StateSealer } from '../keys/seal.ts'
import type { Notices } from '../notices/notice.ts'
import type { ExternalPolicy } from '../policy/external.ts'
import type { Policy } from '../policy/policy.ts'
import type { ProofRules } from '../token/possession.ts'
import type { AccessTokenVerifier } from '../token/verify.ts'
import type { Connections } from '../upstreams/connections.ts'
import type { Connectors } from '../upstreams/connectors/index.ts'
import { isFor } from '../upstreams/profile.ts'
import type { ProtectedServers } from '../upstreams/protected-servers.ts'
import { EVERYTHING, type Profile, type Profiles } from '../upstreams/upstream.ts'
import { bridge } from './bridge/bridge.ts'
import type { BridgeStore } from './bridge/bridge-store.ts'
import type { Elevation } from './elevate.ts'
import { authentication, issuedToken, type Authenticate } from './authenticate.ts'
import type { Visit } from './call.ts'
import { callPolicy } from './call-policy.ts'
import { catalogue } from './catalogue.ts'
import { Challenge, sendChallenge } from './challenge.ts'
import { McpError } from './error.ts'
import { Stopped } from './exchange.ts'
import { forward } from './forward.ts'
import { answerForwardAuth, isForwardAuth } from './forward-auth.ts'
import { answerHttp } from './http-upstream/plane.ts'
import { lateSessions } from './late-session.ts'
import type { LateSessionStore } from './late-session-store.ts'
import type { ApiCatalogue } from './openapi/catalogue.ts'
import { withApiServers } from './openapi/server.ts'
import { post, type PostDeps } from './post.ts'
import { openCalls, stopping, type OpenCall, type OpenCalls } from './open-calls.ts'
import { checkOrigin } from './origin.ts'
import type { PinStore } from './pin-store.ts'
import { pinning } from './pinning.ts'
import { keptLists } from './profile/kept-lists.ts'
import { resourceMetadataRoutes } from './resource-metadata.ts'
import { sharedListening } from './shared-listening.ts'
import { sessions } from './session.ts'
import { taskNames } from './tasks/names.ts'
import type { TaskStore } from './tasks/task-store.ts'
import { endSession, streamSession } from './session-requests.ts'
import { toolAccess } from './tools.ts'

export interface GatewayDeps {
  readonly issuer: string
  /** Further `Host` values to answer to. */
  readonly hosts: readonly string[]
  /** Origins of browser applications that may call, besides the issuer itself. */
  readonly allowedOrigins: readonly string[]
  readonly clientAddress: ClientAddress
  /** Servers behind reverse proxies that ask about each request. */
  readonly protectedServers?: ProtectedServers
  /** Whether the other end of a connection is a proxy whose word is believed. */
  readonly isProxy?: (socketAddress: string | undefined) => boolean
  /** What proxies prove themselves with, besides their address. */
  readonly proxyKey?: string | undefined
  readonly profiles: Profiles
  readonly connector: Connectors
  readonly connections: Pick<Connections, 'connectUrl'>
  readonly verifier: AccessTokenVerifier
  readonly proof: ProofRules
  readonly policy: Pick<Policy, 'decide' | 'mayReach' | 'restriction'> & Partial<Pick<Policy, 'asksAnnotations' | 'decideAll'>>
  readonly approvals: Pick<Approvals, 'call'>
  /** A decision point of somebody else, asked after our own rules. */
  readonly external?: ExternalPolicy
  readonly cutoffs: Cutoffs
  readonly feed: ChangeFeed
  readonly pins: Pick<PinStore, 'states' | 'see'>
  /** How administrators hear of tools that changed. */
  readonly notices?: Pick<Notices, 'compose'>
  readonly bridgeStore: BridgeStore
  readonly lateSessionStore: LateSessionStore
  readonly taskStore: TaskStore
  readonly state: StateSealer
  /** The tools that HTTP APIs' documents make; absent where there are none. */
  readonly apis?: ApiCatalogue
  /** Where calls are sent through: `Outbound.streams`. */
  readonly streams: Dispatcher
  readonly audit: Recorder
  /** How people prove more than their token stands for; where it is absent, clients are challenged and that is all. */
  readonly elevation?: Elevation
  /** A guard against floods of refused tokens from one network. */
  readonly flood: RateLimit
  /** Told of what is a bug: never of request data. */
  readonly log: (line: Readonly<Record<string, unknown>>) => void
  readonly now: () => number
}

export interface Gateway {
  /** Answers `/mcp` and `/mcp/{profile}`, and nothing below them; `/http/{upstream}` and everything below it; the questions of proxies at `/forward-auth`. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>
  /** The metadata of the protected resources (RFC 9728). */
  readonly routes: readonly Route[]
  /** Ends open streams, and lets calls end by themselves. */
  close(): void
}

interface Plane extends PostDeps {
  readonly issuer: string
  readonly profiles: Profiles
  readonly clientAddress: ClientAddress
  readonly servesHost: (host: string | undefined) => boolean
  readonly origins: ReadonlySet<string>
  readonly authenticate: Authenticate
  readonly open: OpenCalls
  readonly log: GatewayDeps['log']
}

/** A call may take this long in all. */
const MAX_CALL_MS = 3600_000

export function gateway(deps: GatewayDeps): Gateway {
  const known = catalogue(deps.now)
  const kept = keptLists(deps.now)
  const policy = callPolicy(deps.policy, known, deps.now)
  const straight = sharedListening(forward(deps.streams))
  const open = openCalls(deps)
  const between = bridge({ ...deps, open })
  const sending = { bridge: between, forward: deps.apis === undefined ? straight : withApiServers({ forward: straight, apis: deps.apis, policy, approvals: deps.approvals }), catalogue: known, pinning: pinning({ ...deps, store: deps.pins }) }
  deps.feed.subscribe(({ kind, key }) => {
    if (kind !== 'pin') return
    sending.catalogue.forget(key)
    kept.forget(key)
  })
  const plane: Plane = {
    ...deps,
    ...sending,
    policy,
    servesHost: hostCheck(deps),
    origins: new Set([new URL(deps.issuer).origin, ...deps.allowedOrigins.map((origin) => new URL(origin).origin)]),
    authenticate: authentication(deps),
    sessions: sessions(deps.state, deps.now),
    tasks: taskNames(deps),
    toolAccess: toolAccess(sending),
    lateSessions: lateSessions({ ...sending, store: deps.lateSessionStore, state: deps.state, now: deps.now }),
    kept,
    open,
  }
  return {
    handle(request, response) {
      if (isForwardAuth(request.url)) return answerForwardAuth({ ...deps, ...plane }, request, response)
      return (request.url ?? '').startsWith('/http/') ? answerHttp(plane, request, response) : handle(plane, request, response)
    },
    routes: resourceMetadataRoutes({ ...deps, boundTokensOnly: deps.proof.required }),
    close() {
      plane.open.close()
      between.close()
    },
  }
}

/** What is known of a request when it fails. */
interface Progress {
  profile?: Profile
  open?: OpenCall
  /** The identifier of the JSON-RPC request, once it was read. */
  id: string | number | null
}

async function handle(plane: Plane, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const progress: Progress = { id: null }
  try {
    if (!plane.servesHost(request.headers.host)) throw new McpError('invalid_request', 'this host name is not served here', { status: 421 })
    if (checkOrigin(plane.origins, request, response) === 'answered') return
    const profile = findProfile(plane.profiles, request.url ?? '/')
    progress.profile = profile
    if (!METHODS.has(request.method ?? '')) throw notAllowed()
    const address = plane.clientAddress(request.socket.remoteAddress, headerText(request.headers['x-forwarded-for']))
    // RS-6, RS-14: every request, before anything of its body is read.
    const caller = await plane.authenticate(request, profile, address)
    if (!isFor(profile, caller.user)) throw nothingHere()
    const open = plane.open.open({ issued: issuedToken(caller), endsAt: plane.now() + MAX_CALL_MS })
    progress.open = open
    // RS-29: a client that goes away takes its call along, also one that went while its token was checked.
    if (request.socket.destroyed) plane.open.end(open, 'gone')
    // Streams live on when this function is over: what is open is done with when its response is.
    response.once('close', () => {
      if (response.writableFinished) plane.open.done(open)
      else plane.open.end(open, 'gone')
    })
    const visit: Visit = { caller, profile, headers: request.headers, response, open, address }
    if (request.method === 'POST') await post(plane, request, visit, (id) => (progress.id = id))
    else if (request.method === 'GET') await streamSession(plane, visit)
    else await endSession(plane, visit)
  } catch (error) {
    tell(plane, response, error, progress)
  }
}

const METHODS = new Set(['POST', 'GET', 'DELETE'])

function notAllowed(): McpError {
  return new McpError('invalid_request', 'Method not allowed', { status: 405, headers: { allow: 'POST, GET, DELETE' } })
}

/** The whole path, byte for byte: no decoding, no other spelling of a name (H18). */
function findProfile(profiles: Profiles, target: string): Profile {
  const path = /^\/mcp(?:\/([a-z0-9-]+))?(?:\?|$)/.exec(target)
  const id = path === null || path[1] === EVERYTHING ? undefined : (path[1] ?? EVERYTHING)
  const profile = id === undefined ? undefined : profiles.byId(id)
  if (profile === undefined) throw nothingHere()
  return profile
}

/** One answer, whether nothing is there or it is there for others alone. */
function nothingHere(): McpError {
  return new McpError('invalid_request', 'There is no MCP server at this address', { status: 404 })
}

function headerText(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value
}

/** Every error of a request, in the form that its reader understands. */
function tell(plane: Plane, response: ServerResponse, error: unknown, progress: Progress): void {
  const { profile, open, id } = progress
  if (response.headersSent || response.destroyed) {
    // Half an answer must not look like a whole one.
    response.destroy()
  } else if (error instanceof Challenge && profile !== undefined) {
    sendChallenge(response, error, plane.issuer, profile)
  } else if (error instanceof Stopped && profile !== undefined && (open?.ended === 'revoked' || open?.ended === 'expired')) {
    sendChallenge(response, new Challenge('invalid_token', 'the access token is invalid, expired or revoked'), plane.issuer, profile)
  } else if (error instanceof McpError) {
    sendError(response, error, id)
  } else if (error instanceof Stopped) {
    sendError(response, stopping(), id)
  } else if (error instanceof StoreUnavailable) {
    plane.log({ level: 'error', route: '/mcp', error: `the store: ${error.code}` })
    // A call runs while it is being recorded.
    sendError(response, new McpError('unavailable', 'the gateway cannot record this at the moment; what was asked for may have been done', { status: 503, headers: { 'retry-after': '5' } }), id)
  } else {
    const reference = newReference()
    plane.log({ level: 'error', reference, route: '/mcp', error: error instanceof Error ? error.stack : 'not an error' })
    sendError(response, new McpError('internal_error', `Something went wrong in the gateway; the reference is ${reference}`, { status: 500 }), id)
  }
}

function sendError(response: ServerResponse, error: McpError, id: Progress['id']): void {
  // JSON-RPC answers requests alone: what else went wrong, the status says.
  const status = id === null && error.status === 200 ? 400 : error.status
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...error.headers }).end(error.body(id))
}
