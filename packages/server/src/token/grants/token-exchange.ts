import type { Params } from '../../http/params.ts'
import { OAuthError } from '../../oauth/error.ts'
import { hash } from '../../oauth/secret.ts'
import { exchangeSubject, refused, type ExchangeSubject, type SubjectOptions } from '../exchange/subject.ts'
import { isRefreshToken } from '../issue.ts'
import type { Granted, GrantRequest, GrantType } from './grant.ts'
import { TOKEN_TYPE } from './token-type.ts'

/** The token exchange grant (RFC 8693). */
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

/** Something that tokens are exchanged for. */
export interface ExchangeTarget {
  /** What it issues for authorization servers elsewhere, as the metadata names it (`identity_chaining_requested_token_types_supported`). */
  readonly tokenType?: string
  /** Whether the request asks for it, by `requested_token_type`, `resource` and `audience`. */
  accepts(params: Params): boolean
  /** What may be issued for the subject. @throws OAuthError */
  authorize(request: GrantRequest, subject: ExchangeSubject): Promise<Granted>
}

export interface ExchangeOptions extends SubjectOptions {
  readonly targets: readonly ExchangeTarget[]
}

/** The token exchange grant: the subject is verified, then the target that the request names decides. */
export function tokenExchange({ targets, ...options }: ExchangeOptions): GrantType {
  return {
    type: TOKEN_EXCHANGE,
    presented: (params) => hash(params.require('subject_token')),
    async authorize(request) {
      const { client, params } = request
      // RFC 8693 §2.1, §5: who may exchange is decided by client, so that each must prove itself.
      if (client.tokenEndpointAuthMethods.includes('none')) throw new OAuthError('unauthorized_client', 'token exchange is for clients that authenticate', { reason: 'token exchange of a public client' })
      const isOwnRefreshToken = params.require('subject_token_type') === TOKEN_TYPE.refresh && isRefreshToken(params.require('subject_token'))
      const target = targets.find((candidate) => candidate.accepts(params))
      // RFC 8693 §2.2.2: "If the authorization server is unwilling or unable to issue a token for any target service …".
      if (target === undefined) throw new OAuthError('invalid_target', 'nothing of this kind can be had here', { reason: 'token exchange: no such target' })
      // ID-JAG §4.3: for the next assertion. Whoever wants an access token by it refreshes, so that it is used once.
      if (isOwnRefreshToken && target.tokenType !== TOKEN_TYPE.idJag) throw refused('a refresh token of Lanyard is exchanged for assertions alone')
      const subject = await exchangeSubject(options, request)
      return target.authorize(request, subject)
    },
  }
}
