import type { Client } from './client.ts'

/**
 * An AI application as a person sees it. All registrations of a client that somebody vouches for are one: the
 * administrator (pre-registration), its host (metadata document) or a trusted issuer (software statement). Of any other,
 * each registration stands for itself: what it says of itself makes it nobody.
 */
export interface Application {
  /** What rules and approvals name it by. */
  readonly id: string
  readonly verified: boolean
}

/** What a trusted issuer stated of the software that a client runs (RFC 7591 §2.3). */
export interface Software {
  readonly issuer: string
  readonly id: string
  /** Of what was stated alone: equal for all registrations by one statement, whatever keys each has. */
  readonly digest: string
  readonly statement: string
}

/** Never an https URL, so that no statement can pose as a metadata document, nor match a rule that speaks of one. */
export function softwareApplicationId({ issuer, id }: Pick<Software, 'issuer' | 'id'>): string {
  return `software:${issuer}#${encodeURIComponent(id)}`
}

export function applicationOf({ id, kind, software }: Pick<Client, 'id' | 'kind' | 'software'>): Application {
  if (kind !== 'dynamic') return { id, verified: true }
  return software === undefined ? { id, verified: false } : { id: softwareApplicationId(software), verified: true }
}

/** Changes when what the application is changes: what was approved, and what was pinned, is one digest. */
export function applicationDigest({ digest, software }: Pick<Client, 'digest' | 'software'>): string {
  return software?.digest ?? digest
}

/** Who vouches for an application, in a few words for a page. */
export function voucherOf({ kind, verifiedHost, software }: Pick<Client, 'kind' | 'verifiedHost' | 'software'>): string | undefined {
  if (verifiedHost !== undefined) return `verified: ${verifiedHost}`
  if (kind === 'pre-registered') return 'registered by your administrator'
  return software === undefined ? undefined : `verified by ${URL.canParse(software.issuer) ? new URL(software.issuer).host : software.issuer}`
}
