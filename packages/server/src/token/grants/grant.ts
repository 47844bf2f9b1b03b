import type { RequestContext } from '../../http/route.ts'
import type { Params } from '../../http/params.ts'
import type { AuditEvent } from '../../audit/event.ts'
import type { Authorization } from '../../authorize/authorization.ts'
import { applicationTrace } from '../../clients/application.ts'
import type { Client } from '../../clients/client.ts'
import type { Issuer } from '../issue.ts'

/** A grant type of the token endpoint: it turns what the client presents into what a token may be issued for, and no more. */
export interface GrantType {
  /** The value of `grant_type`. */
  readonly type: string
  /** Names what the request presents, without reading the store: requests that present the same share one rate limit. */
  presented(params: Params): string
  /** @throws OAuthError when the request does not prove a grant of this client. */
  authorize(request: GrantRequest): Promise<Granted>
}

export interface GrantRequest {
  readonly client: Client
  readonly params: Params
  readonly context: RequestContext
  /** The thumbprint of the key that the request proved (RFC 9449 §5): what is issued is bound to it. */
  readonly jkt?: string
  /** Tells members that the answer has besides, whatever becomes of the request. */
  readonly tell: (members: Readonly<Record<string, string>>) => void
}

/** What a grant type proved; the endpoint asks policy and the user's state before it calls `issue`. */
export interface Granted {
  readonly authorization: Authorization
  /** What this token is asked for: all that was granted, or less. */
  readonly scope: readonly string[]
  /** Seconds since the epoch. */
  readonly grantedAt: number
  /** Whether the identity provider is asked if the user may still go on. */
  readonly recheck: boolean
  /** Whether it is for a resource of somebody else, whose authorization server decides what the person may do there. */
  readonly isElsewhere?: true
  /** What a client is told of a resource or scope that the person may not have: `invalid_grant` when absent, for a grant that had it. */
  readonly refusals?: { readonly resource: 'invalid_target'; readonly scope: 'invalid_scope' }
  /**
   * Mints and writes, in one transaction with the events.
   *
   * @returns what the client gets: of requests that present the same at once, one mints and all others get the same, or an error.
   * @throws OAuthError
   */
  issue(issuer: Issuer, hold: Hold): Promise<Issued>
}

/** What of a scope the person may hold now: a token says no more. */
export type Hold = (scope: readonly string[]) => readonly string[]

export interface Issued {
  readonly accessToken: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
  readonly scope: readonly string[]
  readonly refreshToken?: string
  /** `Bearer` when absent. */
  readonly tokenType?: 'Bearer' | 'DPoP' | 'N_A'
  /** What was issued, for a token exchange (RFC 8693 §2.2.1). */
  readonly issuedTokenType?: string
}

/** The members that all events of one token request share. */
export function trace({ client, context }: GrantRequest, authorization: Authorization): Pick<AuditEvent, 'subject' | 'clientId' | 'application' | 'verified' | 'grantId' | 'resource' | 'reference' | 'address'> {
  return {
    subject: authorization.userId,
    clientId: client.id,
    ...applicationTrace(client),
    grantId: authorization.id,
    resource: authorization.resource,
    reference: context.reference,
    address: context.address,
  }
}

