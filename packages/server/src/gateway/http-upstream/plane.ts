// Owns HTTP APIs behind the gateway: `/http/{upstream}/...` is a protected resource of its own, and what is below it goes
// to the API with the connector's credential. It knows no API's meaning; openapi/ makes tools of one.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ClientAddress } from '../../http/address.ts'
import { StoreUnavailable } from '../../http/errors.ts'
import { newReference } from '../../http/router.ts'
import type { Profile, Profiles } from '../../upstreams/upstream.ts'
import { issuedToken, type Authenticate } from '../authenticate.ts'
import type { Contact } from '../call.ts'
import { Challenge, sendChallenge } from '../challenge.ts'
import { elevate, type ElevateDeps } from '../elevate.ts'
import { McpError } from '../error.ts'
import { Stopped } from '../exchange.ts'
import { stopping, type OpenCall, type OpenCalls } from '../open-calls.ts'
import { BodyRefused } from './body.ts'
import { callApi, wantedOf, type ApiCallDeps } from './call.ts'
import { checkCallerOrigin, METHODS } from './origin.ts'
import { readTarget } from '../../http/api-path.ts'
import { CallProblem, sendProblem } from './problem.ts'

export interface HttpPlaneDeps extends ApiCallDeps, ElevateDeps {
  readonly profiles: Pick<Profiles, 'httpById'>
  readonly clientAddress: ClientAddress
  readonly servesHost: (host: string | undefined) => boolean
  readonly origins: ReadonlySet<string>
  readonly authenticate: Authenticate
  readonly open: OpenCalls
  readonly log: (line: Readonly<Record<string, unknown>>) => void
  readonly now: () => number
}

/** A call may take this long in all. */
const MAX_CALL_MS = 3600_000

/** What is known of a request when it fails. */
interface Progress {
  profile?: Profile
  open?: OpenCall
}

/** Answers `/http/{upstream}` and everything below it. */
export async function answerHttp(plane: HttpPlaneDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const progress: Progress = {}
  try {
    response.setHeader('x-content-type-options', 'nosniff')
    if (!plane.servesHost(request.headers.host)) throw new CallProblem(421, 'this host name is not served here')
    if (checkCallerOrigin(plane.origins, request, response) === 'answered') return
    const target = readTarget(request.url ?? '/')
    const profile = target === undefined ? undefined : plane.profiles.httpById(target.upstream)
    const [upstream] = profile?.upstreams ?? []
    if (target === undefined || profile === undefined || upstream?.http === undefined) throw new CallProblem(404, 'There is no HTTP API at this address')
    progress.profile = profile
    if (!METHODS.includes(request.method ?? '')) throw new CallProblem(405, 'Method not allowed', { headers: { allow: METHODS.join(', ') } })
    const forwarded = request.headers['x-forwarded-for']
    const address = plane.clientAddress(request.socket.remoteAddress, Array.isArray(forwarded) ? forwarded.join(',') : forwarded)
    // RS-6, RS-14: every request, before anything of its body is read.
    const caller = await plane.authenticate(request, profile, address)
    const open = plane.open.open({ issued: issuedToken(caller), endsAt: plane.now() + MAX_CALL_MS })
    progress.open = open
    // A client that goes away takes its call along, also one that went while its token was checked.
    if (request.socket.destroyed) plane.open.end(open, 'gone')
    response.once('close', () => {
      if (!response.writableFinished) plane.open.end(open, 'gone')
    })
    const contact: Contact = { caller, profile, upstream, headers: request.headers, response, open, address }
    const { http } = upstream
    const again = (asking: Contact): Promise<void> => callApi(plane, request, asking, target, http)
    await again(contact).catch((error: unknown) => elevate(plane, contact, { ...wantedOf(request, target, contact), again }, error))
  } catch (error) {
    tell(plane, response, error, progress)
  } finally {
    if (progress.open !== undefined) plane.open.done(progress.open)
  }
}

/** Every error of a request, in the form of RFC 9457. */
function tell(plane: HttpPlaneDeps, response: ServerResponse, error: unknown, { profile, open }: Progress): void {
  // Half an answer must not look like a whole one.
  if (response.headersSent || response.destroyed) response.destroy()
  else if (error instanceof Challenge && profile !== undefined) sendChallenge(response, error, plane.issuer, profile)
  else if (error instanceof Stopped && profile !== undefined && (open?.ended === 'revoked' || open?.ended === 'expired')) {
    sendChallenge(response, new Challenge('invalid_token', 'the access token is invalid, expired or revoked'), plane.issuer, profile)
  } else sendProblem(response, problemOf(plane, error))
}

function problemOf(plane: HttpPlaneDeps, error: unknown): CallProblem {
  if (error instanceof CallProblem) return error
  if (error instanceof BodyRefused) return new CallProblem(error.status, error.message)
  if (error instanceof McpError) return new CallProblem(error.status, error.message, { headers: error.headers })
  if (error instanceof Stopped) return problemOf(plane, stopping())
  if (error instanceof StoreUnavailable) {
    plane.log({ level: 'error', route: '/http', error: `the store: ${error.code}` })
    // A call runs while it is being recorded.
    return new CallProblem(503, 'the gateway cannot record this at the moment; what was asked for may have been done', { headers: { 'retry-after': '5' } })
  }
  const reference = newReference()
  plane.log({ level: 'error', reference, route: '/http', error: error instanceof Error ? error.stack : 'not an error' })
  return new CallProblem(500, `Something went wrong in the gateway; the reference is ${reference}`)
}
