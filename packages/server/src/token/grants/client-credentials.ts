import type { Approvals } from '../../approval/approvals.ts'
import type { Machines } from '../../identity/machines.ts'
import { OAuthError } from '../../oauth/error.ts'
import { newId } from '../../oauth/secret.ts'
import type { Profiles } from '../../upstreams/upstream.ts'
import type { TokenLifetimes } from '../issue.ts'
import { requestedProfile, requestedScope } from '../target.ts'
import type { TokenStore } from '../token-store.ts'
import type { GrantType } from './grant.ts'
import { startGrant } from './start.ts'

export interface ClientCredentialsOptions {
  readonly store: Pick<TokenStore, 'startGrant'>
  readonly machines: Machines
  readonly approvals: Pick<Approvals, 'used'>
  readonly profiles: Pick<Profiles, 'byResource' | 'all'>
  readonly lifetimes: Pick<TokenLifetimes, 'accessToken'>
  readonly now: () => number
}

/** The client credentials grant (RFC 6749 §4.4): the client stands for itself. */
export function clientCredentials({ store, machines, approvals, profiles, lifetimes, now }: ClientCredentialsOptions): GrantType {
  return {
    type: 'client_credentials',
    presented: (params) => `resource ${params.get('resource') ?? ''}`,
    async authorize(request) {
      const { client, params } = request
      // RFC 6749 §4.4: "The client credentials grant type MUST only be used by confidential clients."
      if (client.tokenEndpointAuthMethods.includes('none')) throw new OAuthError('unauthorized_client', 'client_credentials is for clients that authenticate', { reason: 'client credentials of a public client' })
      const machine = machines.ofClient(client.id)
      if (machine === undefined) throw new OAuthError('unauthorized_client', 'the client may not stand for itself', { reason: 'the client is no machine' })
      const profile = requestedProfile(params, profiles)
      // Administrators see it among the applications that are used, and can refuse it there.
      await approvals.used(client)
      const at = Math.floor(now() / 1000)
      // RFC 6749 §4.4.3: no refresh token, so the grant is over with its one access token.
      const authorization = { id: newId('grt'), userId: machine.id, clientId: client.id, resource: profile.resource, scope: requestedScope(params, profile), expiresAt: at + lifetimes.accessToken }
      return startGrant(store, request, { authorization, at, ...(machine.owner === undefined ? {} : { owner: machine.owner }) })
    },
  }
}
