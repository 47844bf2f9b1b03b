// Owns what may become of the stored profiles: people make their own of what they may use, administrators publish some
// to groups. What is declared in the configuration nobody changes here.
import type { AuditAction, AuditEvent } from '../audit/event.ts'
import { plain } from '../http/page.ts'
import type { User } from '../identity/user.ts'
import type { Policy } from '../policy/policy.ts'
import { isWithin, reachOf } from './profile.ts'
import { isFreeForAdministrators, isProfileName, newOwnName } from './profile-name.ts'
import type { ProfileStore, StoredProfile } from './profile-store.ts'
import { profileResource, type ProfileSettings } from './profiles.ts'
import type { LiveProfiles } from './stored-profiles.ts'
import { speaksMcp, type Upstream } from './upstream.ts'

/** What a person says of a profile. */
export interface ProfileDraft extends Pick<ProfileSettings, 'name' | 'upstreams'> {
  readonly tools?: ProfileSettings['tools'] | undefined
  /** Of a change: the version that it is a change of, when that is known. */
  readonly version?: number | undefined
}
/** What an administrator says of one, besides its name in the address. */
export interface PublishedDraft extends ProfileDraft {
  readonly groups?: ProfileSettings['groups'] | undefined
}

/** Who does it, for the audit trail. */
export type Doer = Required<Pick<AuditEvent, 'subject' | 'reference' | 'address'>> & Pick<AuditEvent, 'clientId'>

export interface ProfileEditing {
  /** @throws ProfileRefused, as all that follow */
  createOwn(user: User, draft: ProfileDraft, by: Doer): Promise<StoredProfile>
  changeOwn(user: User, id: string, draft: ProfileDraft, by: Doer): Promise<StoredProfile>
  removeOwn(user: User, id: string, by: Doer): Promise<void>
  publish(id: string, draft: PublishedDraft, by: Doer): Promise<StoredProfile>
  change(id: string, draft: PublishedDraft, by: Doer): Promise<StoredProfile>
  remove(id: string, by: Doer): Promise<void>
}

export interface ProfileEditDeps {
  readonly issuer: string
  readonly store: ProfileStore
  readonly live: Pick<LiveProfiles, 'settled'>
  readonly upstreams: readonly Upstream[]
  /** Those of the configuration. */
  readonly declared: readonly ProfileSettings[]
  readonly policy: Pick<Policy, 'mayConnect'>
  readonly now: () => number
}

/** Why a profile is not made, changed or removed; the message is for whoever asked. */
export class ProfileRefused extends Error {
  override readonly name = 'ProfileRefused'
  readonly code: 'invalid' | 'not_found' | 'taken' | 'full' | 'declared' | 'conflict'
  constructor(code: ProfileRefused['code'], message: string) {
    super(message)
    this.code = code
  }
}

const MAX_OWN = 20
const MAX_NAME = 60
const MAX_LIST = 200
/** Tools are named of these (MCP 2026-07-28, Tool Names); a star stands for any of them. */
const PATTERN = /^[\w.\-/*]{1,128}$/

export function profileEditing(deps: ProfileEditDeps): ProfileEditing {
  return {
    async createOwn(user, draft, by) {
      requireAllowed(deps, user, draft)
      return add(deps, { ...checked(deps, draft), id: newOwnName(), owner: user.id }, by)
    },
    async changeOwn(user, id, draft, by) {
      const before = await find(deps, { id, owner: user.id }, draft)
      requireAllowed(deps, user, draft)
      return replace(deps, before, checked(deps, draft), by)
    },
    removeOwn: (user, id, by) => remove(deps, { id, owner: user.id }, by),
    async publish(id, draft, by) {
      if (!isProfileName(id)) throw new ProfileRefused('invalid', 'The identifier takes lower-case letters, digits and hyphens, at most 63.')
      if (!isFreeForAdministrators(id)) throw new ProfileRefused('taken', 'This identifier is reserved: choose another one.')
      if (isTaken(deps, id)) throw new ProfileRefused('taken', 'An upstream or another profile has this identifier.')
      return add(deps, { ...published(deps, draft), id }, by)
    },
    async change(id, draft, by) {
      if (isTaken(deps, id)) throw declaredElsewhere()
      return replace(deps, await find(deps, { id }, draft), published(deps, draft), by)
    },
    async remove(id, by) {
      // What was granted at the address is the declared one's.
      if (isTaken(deps, id)) throw declaredElsewhere()
      await remove(deps, { id }, by)
    },
  }
}

function declaredElsewhere(): ProfileRefused {
  return new ProfileRefused('declared', 'It is declared in the configuration, and is changed there.')
}

function isTaken({ declared, upstreams }: ProfileEditDeps, id: string): boolean {
  return declared.some((profile) => profile.id === id) || upstreams.some((upstream) => upstream.id === id)
}

/** Of what a person may use, from whatever application: what they may not is told of as what does not exist. */
function requireAllowed({ policy }: ProfileEditDeps, user: User, { upstreams }: ProfileDraft): void {
  const forbidden = upstreams.find((upstream) => !policy.mayConnect({ subject: user.id, groups: user.groups, upstream }))
  if (forbidden !== undefined) throw noSuchUpstream(forbidden)
}

function noSuchUpstream(id: string): ProfileRefused {
  return new ProfileRefused('invalid', `There is no upstream ${plain(id, 63)} for you.`)
}

function published(deps: ProfileEditDeps, draft: PublishedDraft): Omit<ProfileSettings, 'id'> {
  const { groups } = draft
  if (groups !== undefined && (groups.length === 0 || groups.length > MAX_LIST || groups.some((group) => group === ''))) throw new ProfileRefused('invalid', 'Name the groups that it is for, or leave them out for everybody.')
  return { ...checked(deps, draft), ...(groups === undefined ? {} : { groups: [...new Set(groups)] }) }
}

function checked(deps: ProfileEditDeps, { name, upstreams, tools }: ProfileDraft): Omit<ProfileSettings, 'id'> {
  const shown = plain(name, MAX_NAME)
  if (shown === '') throw new ProfileRefused('invalid', 'Give it a name.')
  if (upstreams.length === 0) throw new ProfileRefused('invalid', 'Choose at least one upstream.')
  const unknown = upstreams.find((id) => !deps.upstreams.some((upstream) => upstream.id === id && speaksMcp(upstream)))
  if (unknown !== undefined) throw noSuchUpstream(unknown)
  const entries = Object.entries(tools ?? {})
  for (const [upstream, patterns] of entries) {
    if (!upstreams.includes(upstream)) throw new ProfileRefused('invalid', `Tools are named of ${plain(upstream, 63)}, which is none of its upstreams.`)
    if (patterns.length === 0 || patterns.length > MAX_LIST || !patterns.every((pattern) => PATTERN.test(pattern))) throw new ProfileRefused('invalid', `The tools of ${plain(upstream, 63)} are a list of names or patterns, such as read_*.`)
  }
  return { name: shown, upstreams: [...new Set(upstreams)], ...(entries.length === 0 ? {} : { tools: Object.fromEntries(entries) }) }
}

async function find({ store }: ProfileEditDeps, { id, owner }: Pick<ProfileSettings, 'id' | 'owner'>, { version }: ProfileDraft): Promise<StoredProfile> {
  const found = await store.find(id)
  if (found === undefined || found.owner !== owner) throw notFound()
  if (version !== undefined && version !== found.version) throw changedMeanwhile()
  return found
}

function changedMeanwhile(): ProfileRefused {
  return new ProfileRefused('conflict', 'It was changed meanwhile: look at it again.')
}

function notFound(): ProfileRefused {
  return new ProfileRefused('not_found', 'There is no such profile.')
}

async function add(deps: ProfileEditDeps, profile: ProfileSettings, by: Doer): Promise<StoredProfile> {
  const outcome = await deps.store.add(profile, MAX_OWN, deps.now(), event(deps, 'profile.created', profile, by))
  if (outcome === 'taken') throw new ProfileRefused('taken', 'An upstream or another profile has this identifier.')
  if (outcome === 'full') throw new ProfileRefused('full', `You have ${MAX_OWN} profiles, which is as many as there can be. Delete one first.`)
  await deps.live.settled(profile.id)
  return { ...profile, version: 1 }
}

async function replace(deps: ProfileEditDeps, before: StoredProfile, settings: Omit<ProfileSettings, 'id'>, by: Doer): Promise<StoredProfile> {
  const { id, owner, version } = before
  const after: StoredProfile = { ...settings, id, version, ...(owner === undefined ? {} : { owner }) }
  const grown = isWithin(reach(after), reach(before)) ? undefined : profileResource(deps.issuer, id)
  // Of two changes at once the second knows nothing of the first: it is made anew.
  if (!(await deps.store.change(after, grown, deps.now(), event(deps, 'profile.changed', after, by)))) throw changedMeanwhile()
  await deps.live.settled(id)
  return { ...after, version: version + 1 }
}

function reach({ upstreams, tools }: ProfileSettings): readonly string[] {
  return reachOf({ upstreams: upstreams.map((id) => ({ id })), ...(tools === undefined ? {} : { tools }) })
}

async function remove(deps: ProfileEditDeps, profile: Pick<ProfileSettings, 'id' | 'owner'>, by: Doer): Promise<void> {
  const resource = profileResource(deps.issuer, profile.id)
  const deleted: AuditEvent = { action: 'profile.deleted', outcome: 'success', ...by, resource }
  if (!(await deps.store.remove(profile, resource, deps.now(), deleted))) throw notFound()
  await deps.live.settled(profile.id)
}

function event({ issuer }: ProfileEditDeps, action: AuditAction, { id, upstreams, groups }: ProfileSettings, by: Doer): AuditEvent {
  return { action, outcome: 'success', ...by, resource: profileResource(issuer, id), detail: { upstreams, ...(groups === undefined ? {} : { groups }) } }
}
