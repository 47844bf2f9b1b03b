import type { Profile } from '../../upstreams/upstream.ts'
import { SERVER_INFO_KEY, type Revision } from '../revisions.ts'
import { missingIn, type Outcome } from './each.ts'

type Json = Readonly<Record<string, unknown>>

/** Where a result of the gateway's own says that a part of it is missing, and why. */
const UNAVAILABLE = 'lanyard/unavailable'

/** Who answers for a profile. */
export function serverInfoOf({ name }: Pick<Profile, 'name'>): Json {
  return { name: 'lanyard', title: name, version: '1' }
}

/** The `_meta` of an answer that several upstreams made: nothing of theirs is in it (H13). */
export function ownMeta({ era }: Revision, profile: Pick<Profile, 'name'>, outcomes: readonly Outcome<unknown>[]): { readonly _meta?: Json } {
  const missing = missingIn(outcomes)
  // RS-25: the modern revision names the server in every result.
  const meta = { ...(era === 'modern' ? { [SERVER_INFO_KEY]: serverInfoOf(profile) } : {}), ...(missing.length === 0 ? {} : { [UNAVAILABLE]: missing }) }
  return Object.keys(meta).length === 0 ? {} : { _meta: meta }
}
