import { hash as digest, timingSafeEqual } from 'node:crypto'
import { random } from './random.ts'

declare const hashed: unique symbol
declare const sealed: unique symbol

/** The SHA-256 of a high-entropy secret, base64url: the only form of a token, code or client secret that a store accepts. */
export type Hashed = string & { readonly [hashed]: true }

/** A secret encrypted by `keys/` with the row it belongs to as additional data. */
export type Sealed = string & { readonly [sealed]: true }

/** Makes an unguessable secret of 256 bits behind a prefix that scanners of leaked secrets can look for. */
export function newSecret(prefix: 'lyd_ac' | 'lyd_dc' | 'lyd_par' | 'lyd_rt' | 'lyd_cs' | 'lyd_rat' | 'lyd_ses' | 'lyd_flow' | 'lyd_st'): string {
  return `${prefix}_${random(32).toString('base64url')}`
}

/** Makes an identifier that is not a secret: sortable by nothing, 128 bits. */
export function newId(prefix: string): string {
  return `${prefix}_${random(16).toString('base64url')}`
}

/** Whether this can have come from `newId`: what cannot is not worth a look into the store. */
export function isId(prefix: string, value: string): boolean {
  return value.startsWith(`${prefix}_`) && /^[A-Za-z0-9_-]{22}$/.test(value.slice(prefix.length + 1))
}

export function hash(secret: string): Hashed {
  return digest('sha256', secret, 'base64url') as Hashed
}

/** Compares two hashes in constant time. */
export function equalHashes(a: Hashed, b: Hashed): boolean {
  const left = Buffer.from(a)
  const right = Buffer.from(b)
  return left.length === right.length && timingSafeEqual(left, right)
}
