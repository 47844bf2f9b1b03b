import type { AuditAction, Recorder } from '../audit/event.ts'
import { applicationTrace } from '../clients/application.ts'
import type { Client, ClientAuthentication } from '../clients/client.ts'
import { addressBucket } from '../http/address.ts'
import { Params } from '../http/params.ts'
import { requireRate, type RateLimit } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { OAuthError } from '../oauth/error.ts'

export interface ClientEndpointDeps {
  readonly authentication: ClientAuthentication
  readonly audit: Recorder
  /** Per network. */
  readonly flood: RateLimit
}

/** What a client that proved itself is answered. */
export type AnswerClient = (client: Client, params: Params, request: Request, context: RequestContext) => Promise<Response>

/** An endpoint that clients ask before anybody's browser comes: they authenticate as at the token endpoint, and what they are refused is recorded as `refused`. */
export function clientEndpoint({ authentication, audit, flood }: ClientEndpointDeps, path: string, refused: AuditAction, answer: AnswerClient): Route {
  return {
    method: 'POST',
    path,
    access: 'client',
    errors: 'oauth',
    cors: true,
    async respond(request, context) {
      requireRate(flood, addressBucket(context.address))
      let client: Client | undefined
      try {
        const params = await Params.fromForm(request)
        client = await authentication.authenticate({ authorization: request.headers.get('authorization') ?? undefined, params, address: context.address })
        return await answer(client, params, request, context)
      } catch (error) {
        if (error instanceof OAuthError && client !== undefined && error.code !== 'too_many_requests') {
          await audit.record({ action: refused, outcome: 'failure', clientId: client.id, ...applicationTrace(client), reason: `${error.code}: ${error.reason}`, reference: context.reference, address: context.address })
        }
        throw error
      }
    },
  }
}
