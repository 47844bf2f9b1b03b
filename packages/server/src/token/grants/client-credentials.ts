import { OAuthError } from '../../oauth/error.ts'
import type { GrantType } from './grant.ts'
import { machineGrant, type MachineGrantOptions } from './machine.ts'

/** The client credentials grant (RFC 6749 §4.4): the client stands for itself. */
export function clientCredentials(options: MachineGrantOptions): GrantType {
  return {
    type: 'client_credentials',
    presented: (params) => `resource ${(params.get('resource') ?? '').slice(0, 256)}`,
    async authorize(request) {
      // RFC 6749 §4.4: "The client credentials grant type MUST only be used by confidential clients."
      if (request.client.tokenEndpointAuthMethods.includes('none')) throw new OAuthError('unauthorized_client', 'client_credentials is for clients that authenticate', { reason: 'client credentials of a public client' })
      return machineGrant(options, request)
    },
  }
}
