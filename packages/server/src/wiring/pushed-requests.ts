// Wires requests that clients push before they send the browser.
import { pushEndpoint } from '../authorize/par.ts'
import type { PushedRequestStore } from '../authorize/par-store.ts'
import type { Route } from '../http/route.ts'
import { pushedRequestStore } from '../store/pushed-requests.ts'
import { provenKey } from '../token/possession.ts'
import type { Applications } from './applications.ts'
import type { Ground } from './ground.ts'

export interface PushRoom {
  readonly route: Route
  readonly taking: { readonly pushed: PushedRequestStore; readonly requirePushed: boolean }
}

export function pushRoom({ config, issuer, store, profiles, proof, audit, limits, now }: Ground, { authentication }: Applications): PushRoom {
  const pushed = pushedRequestStore(store)
  const route = pushEndpoint({ authentication, profiles, pushed, provenKey: (client, given) => provenKey(proof, client, given, `${issuer}/par`), audit, flood: limits.floods, now })
  return { route, taking: { pushed, requirePushed: config.requirePushedAuthorizationRequests } }
}
