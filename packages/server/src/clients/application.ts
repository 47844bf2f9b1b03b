import type { AuditEvent } from '../audit/event.ts'
import type { Application, Client } from './client.ts'
import type { Software } from './metadata.ts'

/** Never an https URL, so that no statement can pose as a metadata document, nor match a rule that speaks of one. */
export function softwareApplicationId({ issuer, id }: Pick<Software, 'issuer' | 'id'>): string {
  return `software:${issuer}#${encodeURIComponent(id)}`
}

export function applicationOf({ id, kind, builtIn, software }: Pick<Client, 'id' | 'kind' | 'builtIn' | 'software'>): Application {
  // Nobody configured what is built in: where applications must be approved, so must it.
  if (builtIn === true) return { id, verified: true }
  if (kind === 'pre-registered') return { id, verified: true, by: 'administrator' }
  if (kind === 'metadata-document') return { id, verified: true, by: 'host' }
  return software === undefined ? { id, verified: false } : { id: softwareApplicationId(software), verified: true, by: 'issuer' }
}

/** What every record says of the application beside its client. */
export function applicationTrace(client: Pick<Client, 'id' | 'kind' | 'builtIn' | 'software'>): Pick<AuditEvent, 'application' | 'verified'> {
  const { id, verified } = applicationOf(client)
  return { application: id, verified }
}

/** Changes when what the application is changes: what was approved, and what was pinned, is one digest. */
export function applicationDigest({ digest, software }: Pick<Client, 'digest' | 'software'>): string {
  return software?.digest ?? digest
}

/** Who vouches for an application, in a few words for a page. */
export function voucherOf({ kind, builtIn, verifiedHost, software }: Pick<Client, 'kind' | 'builtIn' | 'verifiedHost' | 'software'>): string | undefined {
  if (verifiedHost !== undefined) return `verified: ${verifiedHost}`
  if (kind === 'pre-registered') return builtIn === true ? 'part of this gateway' : 'registered by your administrator'
  return software === undefined ? undefined : `verified by ${URL.canParse(software.issuer) ? new URL(software.issuer).host : software.issuer}`
}
