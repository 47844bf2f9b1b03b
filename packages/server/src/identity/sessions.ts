import type { Cookies } from '../http/cookies.ts'
import { hash } from '../oauth/secret.ts'
import type { IdentityStore } from './identity-store.ts'
import type { Sessions } from './sign-in.ts'

export interface SessionDeps {
  readonly cookies: Cookies
  readonly store: IdentityStore
  /** The configured identity providers: a session of one that was removed is none any more. */
  readonly providers: ReadonlyMap<string, unknown>
  readonly idleMs: number
  readonly now: () => number
}

/** Finds the signed-in user of a request: the store is asked each time, so an ended session ends on every node at once. */
export function sessions({ cookies, store, providers, idleMs, now }: SessionDeps): Sessions {
  return {
    async current(request) {
      const secret = cookies.read(request, 'session')
      if (secret === undefined) return undefined
      const session = await store.useSession(hash(secret), now(), idleMs)
      if (session === undefined || !providers.has(session.provider)) return undefined
      const user = await store.findUser(session.userId)
      return user === undefined || user.disabled ? undefined : { session, user, secret }
    },
  }
}
