import type { AuditEvent } from '../audit/event.ts'
import type { Sealed } from '../oauth/secret.ts'

/** `next` is published and not yet used, `active` signs, `retired` only verifies, `revoked` does neither. */
export type KeyState = 'next' | 'active' | 'retired' | 'revoked'

export interface KeyRecord {
  readonly kid: string
  readonly algorithm: string
  readonly state: KeyState
  /** A public JWK, as JSON. */
  readonly publicJwk: string
  readonly privateJwk: Sealed
  /** Milliseconds since the epoch: when the key entered its present state. */
  readonly since: number
}

export interface KeyStore {
  /** What they sign: each is sealed for that, and never signs anything else. */
  readonly kind: string
  all(): Promise<readonly KeyRecord[]>
  /** Adds the keys when there is none yet: of two nodes that start at once, one adds. */
  addFirst(keys: readonly KeyRecord[], events: readonly AuditEvent[]): Promise<boolean>
  /** Makes `next` active, retires `active`, adds a new `next`; false when another node was faster. */
  rotate(change: { readonly activeKid: string; readonly nextKid: string; readonly added: KeyRecord; readonly at: number }, events: readonly AuditEvent[]): Promise<boolean>
  /**
   * Ends a key at once on all nodes; false when there is no such key, or it was revoked before. In the same transaction
   * a revoked active key is replaced by the next one, and a next key that is gone by `added`: there is always one of each.
   */
  revoke(change: { readonly kid: string; readonly added: KeyRecord; readonly at: number }, events: (effect: RevocationEffect) => readonly AuditEvent[]): Promise<boolean>
  /** Forgets retired and revoked keys since before `before`. */
  forgetRetired(before: number): Promise<void>
}

/** What a revocation changed besides: the key that signs from now on, and the one that is published for later. */
export interface RevocationEffect {
  readonly activated?: string
  readonly added?: string
}
