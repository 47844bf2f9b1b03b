import type { AuditEvent } from '../audit/event.ts'
import { newId } from '../oauth/secret.ts'
import type { IdentityStore, SubjectKey, VouchedFor } from './identity-store.ts'
import type { User } from './user.ts'

/** Whose address counts: that of the people of this identity provider, where an administrator said so. */
export interface EmailLink {
  readonly provider: string
  readonly email: string
  readonly tenant?: string
}

/** Finds people by what somebody trusted says of them. */
export interface Recognized {
  /**
   * Finds the user of (provider, issuer, subject), or makes them: without a session, and without tokens of the provider.
   * @param link first, whoever of another provider has this address: remembered, so that it is asked once
   */
  recognize(person: VouchedFor, link?: EmailLink): Promise<User>
}

export function recognition({ store, now }: { readonly store: Pick<IdentityStore, 'recognize' | 'findLinked' | 'linkByEmail'>; readonly now: () => number }): Recognized {
  const linked = async ({ issuer, subject }: VouchedFor, { provider, email, tenant }: EmailLink): Promise<User | undefined> => {
    const key: SubjectKey = { issuer, subject, ...(tenant === undefined ? {} : { tenant }) }
    const found = await store.findLinked(key)
    if (found !== undefined) return found
    const event = (userId: string): readonly AuditEvent[] => [{ action: 'subject.linked', outcome: 'success', subject: userId, reason: 'by a verified address', detail: { issuer, subject_there: subject, provider } }]
    return store.linkByEmail(key, { provider, email, now: now() }, event)
  }
  return {
    async recognize(person, link) {
      const known = link === undefined ? undefined : await linked(person, link)
      return known ?? store.recognize({ person, newUserId: newId('usr'), now: now() })
    },
  }
}
