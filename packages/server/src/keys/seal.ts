import type { Sealed } from '../oauth/secret.ts'

/**
 * Envelope encryption: each value under a data key of its own, wrapped by a versioned key-encryption key, bound to the
 * row that it belongs to.
 */
export interface Sealer {
  /** @param row names table, key and column of the row, as additional data: the value opens in that place alone. */
  seal(plaintext: string, row: readonly string[]): Sealed
  /** @throws Error when the value is not of this row, was changed, or its key is unknown. */
  open(sealed: Sealed, row: readonly string[]): string
}
