// Wires the accounts that people have at upstreams.
import { inBackground } from '../http/background.ts'
import { knownUsers } from '../identity/known-users.ts'
import { connectionRoutes, connections } from '../upstreams/connection-routes.ts'
import { connectors } from '../upstreams/connectors/index.ts'
import { oauthConnector } from '../upstreams/connectors/oauth/connector.ts'
import { revoker } from '../upstreams/revoker.ts'
import { vault } from '../vault/credential.ts'
import { ownAssertions } from './assertions.ts'
import type { Ground } from './ground.ts'
import type { People } from './people.ts'

export type Accounts = ReturnType<typeof upstreamRoom>

export function upstreamRoom(ground: Ground, { sessions, login, providers, providerTokens }: People) {
  const { issuer, upstreams, connectionStore: store, federation, sealer, state, outbound, audit, policy: rules, now } = ground
  const safe = vault(sealer)
  const oauth = oauthConnector({ issuer, outbound, sealer, vault: safe, store, audit, feed: ground.store.feed, now })
  const sign = ownAssertions(ground)
  const connector = connectors(oauth, { issuer, outbound, sealer, vault: safe, store, feed: ground.store.feed, audit, users: knownUsers(ground.findUser, ground.store.feed), providers, providerTokens, own: { issuer, sign: (claims, type) => ground.keys.sign(claims, type) }, ...(federation && { federation }), ...(sign && { ownAssertion: sign }), now })
  const revokeDue = revoker({ store, upstreams, oauth, now })
  const deps = {
    issuer,
    upstreams,
    connector,
    store,
    vault: safe,
    sealer,
    state,
    sessions,
    signIn: login,
    audit,
    mayConnect: (user: { readonly id: string; readonly groups: readonly string[] }, upstream: { readonly id: string }) =>
      rules.mayConnect({ subject: user.id, groups: user.groups, upstream: upstream.id }),
    revocationDue: () => inBackground(ground, 'revocation at a provider', revokeDue),
    now,
  }
  return { connector, connections: connections(deps), routes: connectionRoutes(deps), revokeDue }
}
