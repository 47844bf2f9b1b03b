import { newId } from '../oauth/secret.ts'
import type { IdentityStore, VouchedFor } from './identity-store.ts'
import type { User } from './user.ts'

/** Finds people by what somebody trusted says of them. */
export interface Recognized {
  /** Finds the user of (provider, issuer, subject), or makes them: without a session, and without tokens of the provider. */
  recognize(person: VouchedFor): Promise<User>
}

export function recognition({ store, now }: { readonly store: Pick<IdentityStore, 'recognize'>; readonly now: () => number }): Recognized {
  return { recognize: (person) => store.recognize({ person, newUserId: newId('usr'), now: now() }) }
}
