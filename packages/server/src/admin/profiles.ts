import * as z from 'zod'
import { ProblemError, type ProblemCode } from '../http/problem.ts'
import type { RequestContext } from '../http/route.ts'
import type { Policy } from '../policy/policy.ts'
import { isFor } from '../upstreams/profile.ts'
import { ProfileRefused, type Doer, type ProfileEditing } from '../upstreams/profile-edit.ts'
import { profileResource, type ProfileSettings } from '../upstreams/profiles.ts'
import type { LiveProfiles } from '../upstreams/stored-profiles.ts'
import { speaksMcp, type Profiles, type Upstream } from '../upstreams/upstream.ts'
import type { Actor } from './access.ts'
import { endpoint, type Endpoint } from './endpoint.ts'

export interface ProfileEndpointDeps {
  readonly issuer: string
  readonly profiles: Profiles
  readonly stored: LiveProfiles
  readonly editing: ProfileEditing
  /** Those that are declared in the configuration, as they stand there. */
  readonly declared: readonly ProfileSettings[]
  readonly upstreams: readonly Upstream[]
  readonly policy: Pick<Policy, 'mayConnect'>
}

const tools = z.record(z.string(), z.array(z.string())).optional().describe('By upstream, names of tools or patterns such as read_*; an upstream that is not named offers all')
const version = z.number().optional().describe('The version that was read: the change is refused when it is another one by now')
const draft = { name: z.string(), upstreams: z.array(z.string()), tools }
const groups = z.array(z.string()).optional().describe('Who it is for; everybody when absent')

const OWN = z.strictObject(draft)
const OWN_CHANGE = z.strictObject({ ...draft, version })
const PUBLISHED = z.strictObject({ id: z.string(), ...draft, groups })
const PUBLISHED_CHANGE = z.strictObject({ ...draft, groups, version })

const NAMED = z.object({ id: z.string(), name: z.string() })
const USABLE = z.object({ ...NAMED.shape, address: z.string().describe('What an application is given'), upstreams: z.array(NAMED), own: z.boolean() })
const STORED = z.object({ ...NAMED.shape, address: z.string(), upstreams: z.array(z.string()), tools, groups, version: z.number().optional(), declared: z.boolean() })

/** A person's profiles, and those that administrators publish. */
export function profileEndpoints(deps: ProfileEndpointDeps): readonly Endpoint[] {
  return [...ownEndpoints(deps), ...publishedEndpoints(deps)]
}

function ownEndpoints(deps: ProfileEndpointDeps): readonly Endpoint[] {
  const { editing } = deps
  const common = { access: 'user', result: STORED } as const
  return [
    endpoint({ method: 'GET', path: '/me/profiles', summary: 'What may be used, one address each, and the upstreams that a profile can be built of', access: 'user', result: z.object({ profiles: z.array(USABLE), own: z.array(STORED), upstreams: z.array(NAMED) }), respond: async ({ actor }) => ({ body: usable(deps, actor) }) }),
    endpoint({
      ...common, method: 'POST', path: '/me/profiles', summary: 'Builds a profile of one’s own', body: OWN,
      respond: async ({ actor, body, context }) => ({ status: 201, body: shown(deps, await told(editing.createOwn(actor.user, body, doer(actor, context)))) }),
    }),
    endpoint({
      ...common, method: 'PUT', path: '/me/profiles/:id', summary: 'Changes a profile of one’s own; what was granted for it ends when it grows', body: OWN_CHANGE,
      respond: async ({ actor, body, params, context }) => ({ body: shown(deps, await told(editing.changeOwn(actor.user, params['id'] ?? '', body, doer(actor, context)))) }),
    }),
    endpoint({
      method: 'DELETE', path: '/me/profiles/:id', summary: 'Deletes a profile of one’s own, and ends what was granted for it', access: 'user',
      async respond({ actor, params, context }) {
        await told(editing.removeOwn(actor.user, params['id'] ?? '', doer(actor, context)))
        return {}
      },
    }),
  ]
}

function publishedEndpoints(deps: ProfileEndpointDeps): readonly Endpoint[] {
  const { editing } = deps
  const common = { access: 'admin', result: STORED } as const
  return [
    endpoint({ method: 'GET', path: '/profiles', summary: 'The profiles that are declared or published', access: 'admin', result: z.object({ profiles: z.array(STORED) }), respond: async () => ({ body: { profiles: published(deps) } }) }),
    endpoint({
      ...common, method: 'GET', path: '/profiles/:id', summary: 'One of them',
      async respond({ params }) {
        const found = published(deps).find(({ id }) => id === params['id'])
        if (found === undefined) throw new ProblemError('not-found', 'There is no such profile.')
        return { body: found }
      },
    }),
    endpoint({
      ...common, method: 'POST', path: '/profiles', summary: 'Publishes a profile', body: PUBLISHED,
      respond: async ({ actor, body: { id, ...body }, context }) => ({ status: 201, body: shown(deps, await told(editing.publish(id, body, doer(actor, context)))) }),
    }),
    endpoint({
      ...common, method: 'PUT', path: '/profiles/:id', summary: 'Changes a profile; what was granted for it ends when it grows', body: PUBLISHED_CHANGE,
      respond: async ({ actor, body, params, context }) => ({ body: shown(deps, await told(editing.change(params['id'] ?? '', body, doer(actor, context)))) }),
    }),
    endpoint({
      method: 'DELETE', path: '/profiles/:id', summary: 'Deletes a profile, and ends what was granted for it', access: 'admin',
      async respond({ actor, params, context }) {
        await told(editing.remove(params['id'] ?? '', doer(actor, context)))
        return {}
      },
    }),
  ]
}

function usable({ profiles, stored, upstreams, policy, issuer }: ProfileEndpointDeps, { user }: Actor) {
  const mayUse = ({ id: upstream }: Upstream): boolean => policy.mayConnect({ subject: user.id, groups: user.groups, upstream })
  const own = stored.ownedBy(user.id)
  const all = [...profiles.all(), ...own.flatMap(({ id }) => profiles.byId(id) ?? [])]
  const offered = all.filter((profile) => isFor(profile, user) && profile.upstreams.some(mayUse))
  return {
    profiles: offered.map(({ id, name, resource, owner, upstreams: members }) => ({ id, name, address: resource, own: owner !== undefined, upstreams: members.filter(mayUse).map(named) })),
    own: own.map((profile) => shown({ issuer }, profile)),
    upstreams: upstreams.filter((upstream) => speaksMcp(upstream) && mayUse(upstream)).map(named),
  }
}

function named({ id, name }: Upstream): { readonly id: string; readonly name: string } {
  return { id, name }
}

function published({ issuer, declared, stored }: ProfileEndpointDeps) {
  const names = new Set(declared.map(({ id }) => id))
  return [...declared.map((profile) => shown({ issuer }, profile, true)), ...[...stored.published()].filter(({ id }) => !names.has(id)).map((profile) => shown({ issuer }, profile))]
}

function shown({ issuer }: Pick<ProfileEndpointDeps, 'issuer'>, profile: ProfileSettings & { readonly version?: number }, declared = false) {
  const { id, name, upstreams, tools: offered, groups: readers, version: read } = profile
  return { id, name, address: profileResource(issuer, id), upstreams, tools: offered, groups: readers, version: read, declared }
}

function doer({ user, clientId }: Actor, { reference, address }: RequestContext): Doer {
  return { subject: user.id, reference, address, ...(clientId === undefined ? {} : { clientId }) }
}

const PROBLEMS: Readonly<Record<ProfileRefused['code'], ProblemCode>> = { invalid: 'invalid', not_found: 'not-found', taken: 'conflict', full: 'conflict', declared: 'declared', conflict: 'conflict' }

async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof ProfileRefused) throw new ProblemError(PROBLEMS[error.code], error.message, { cause: error })
    throw error
  }
}
