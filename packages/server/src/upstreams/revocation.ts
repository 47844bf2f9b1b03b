import type { Sealer } from '../keys/seal.ts'
import { newId } from '../oauth/secret.ts'
import type { OAuthCredential } from '../vault/credential.ts'
import type { ConnectionKey, PendingRevocation } from './connection-store.ts'

const row = (id: string): readonly string[] => ['pending_revocations', id, 'credential']

/** Seals a credential for the queue of what must be revoked at its provider. */
export function pendingRevocation(sealer: Sealer, { userId, upstream }: ConnectionKey, credential: OAuthCredential): PendingRevocation {
  const id = newId('rev')
  return { id, userId, upstream, credential: sealer.seal(JSON.stringify(credential), row(id)), attempts: 0 }
}

export function credentialOf(sealer: Sealer, { id, credential }: PendingRevocation): OAuthCredential {
  return JSON.parse(sealer.open(credential, row(id))) as OAuthCredential
}
