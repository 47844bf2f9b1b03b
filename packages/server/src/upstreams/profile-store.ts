import type { AuditEvent } from '../audit/event.ts'
import type { Resource } from '../oauth/resource.ts'
import type { ProfileSettings } from './profiles.ts'

/** A profile that a person made for themselves, or that an administrator publishes. */
export interface StoredProfile extends ProfileSettings {
  /** Rises with each change. */
  readonly version: number
}

export interface ProfileStore {
  all(): Promise<readonly StoredProfile[]>
  find(id: string): Promise<StoredProfile | undefined>
  /** Adds a profile of version 1. @returns `taken` when the name is, `full` when its owner has as many as they may have */
  add(profile: ProfileSettings, maxOwn: number, now: number, ...events: readonly AuditEvent[]): Promise<'added' | 'taken' | 'full'>
  /**
   * Puts the profile in the place of its own version, which rises; false when that is not the version that is stored, or
   * its owner is another one. What was granted for a resource that grew ends with it, on all nodes.
   */
  change(profile: StoredProfile, grown: Resource | undefined, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Removes a profile with everything that was granted and approved for it; false when it is not there, or not this owner's. */
  remove(profile: Pick<ProfileSettings, 'id' | 'owner'>, resource: Resource, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
}
