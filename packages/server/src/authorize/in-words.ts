import { plain } from '../http/page.ts'
import { EVERYTHING, type Profile } from '../upstreams/upstream.ts'

/** What somebody is allowed to do with a profile, behind "to". */
export function useOf(profile: Pick<Profile, 'id' | 'name' | 'scopes'>): string {
  return profile.scopes?.includes('admin') === true ? 'administer this gateway' : `use ${nameOf(profile)}`
}

/** A profile within a sentence. */
export function nameOf({ id, name }: Pick<Profile, 'id' | 'name'>): string {
  return id === EVERYTHING ? 'all your tools' : plain(name, 60)
}
