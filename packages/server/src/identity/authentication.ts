import type { Authentication } from '../policy/rule.ts'

/** How somebody signed in, alone of all that is known of a sign-in, a session or a grant. */
export function authenticationOf({ authTime, acr, amr, claims }: Authentication): Authentication {
  return {
    ...(authTime === undefined ? {} : { authTime }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr }),
    ...(claims === undefined ? {} : { claims }),
  }
}
