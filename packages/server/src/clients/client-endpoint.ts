import type { AuditAction, AuditEvent, Recorder } from '../audit/event.ts'
import { addressBucket } from '../http/address.ts'
import { Params } from '../http/params.ts'
import { requireRate, type RateLimit } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { OAuthError, type OAuthErrorCode } from '../oauth/error.ts'
import { applicationTrace } from './application.ts'
import type { Client, ClientAuthentication } from './client.ts'

export interface ClientEndpointDeps {
  readonly authentication: ClientAuthentication
  readonly audit: Recorder
  /** Per network: a guard before anything is read. */
  readonly flood: RateLimit
}

export interface ClientEndpoint {
  readonly path: string
  /** What a refusal is recorded as. */
  readonly refused: AuditAction
  /** Whether pages of other sites may ask: they may when absent. */
  readonly cors?: boolean
}

/** A request of a client that proved itself. */
export interface AskingClient {
  readonly client: Client
  readonly params: Params
  readonly request: Request
  readonly context: RequestContext
  /** Tells what the record of a refusal says besides. */
  readonly learn: (facts: Known) => void
}

type Known = Partial<Pick<AuditEvent, 'subject' | 'grantId' | 'resource'>>

/** Nothing was decided: whoever asks too often, while nobody has answered, or without the nonce that it is told, is not recorded. */
const UNDECIDED: ReadonlySet<OAuthErrorCode> = new Set(['too_many_requests', 'authorization_pending', 'slow_down', 'use_dpop_nonce'])

/** An endpoint that clients ask by themselves: they authenticate (who does not, is recorded there), and what they are refused is recorded once. */
export function clientEndpoint({ authentication, audit, flood }: ClientEndpointDeps, { path, refused: action, cors = true }: ClientEndpoint, answer: (asking: AskingClient) => Promise<Response>): Route {
  return {
    method: 'POST',
    path,
    access: 'client',
    errors: 'oauth',
    cors,
    async respond(request, context) {
      const { reference, address } = context
      requireRate(flood, addressBucket(address))
      const params = await Params.fromForm(request)
      const client = await authentication.authenticate({ authorization: request.headers.get('authorization') ?? undefined, params, address, reference })
      let known: Known = {}
      const learn = (facts: Known): void => {
        known = { ...known, ...facts }
      }
      try {
        return await answer({ client, params, request, context, learn })
      } catch (error) {
        if (error instanceof OAuthError && !UNDECIDED.has(error.code)) {
          await audit.record({ action, outcome: 'failure', clientId: client.id, ...applicationTrace(client), ...known, reason: error.reason, reference, address, detail: { error: error.code } })
        }
        throw error
      }
    },
  }
}
