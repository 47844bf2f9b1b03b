import { scopeIncludes } from '../oauth/scope.ts'
import { matcher } from '../policy/pattern.ts'
import type { User } from './user.ts'

/** Scopes that the members of any of the groups, and the holders of any of the roles, may hold. */
export interface ScopeEntry {
  readonly scopes: readonly string[]
  readonly groups?: readonly string[]
  readonly roles?: readonly string[]
}

/** Who may hold which scopes, by what their identity provider says of them; policy decides each call all the same. */
export interface ScopeMapping {
  mayHold(user: Holder, scope: string): boolean
  /** What of the scope the person may hold: of a wider one that they may not, the narrower ones within it that they may (AS-30). */
  narrow(user: Holder, scope: readonly string[]): readonly string[]
}

type Holder = Pick<User, 'groups' | 'roles' | 'scopes'>

/** Everybody may hold every scope, but for machines that are limited: policy alone decides. */
export const EVERY_SCOPE: ScopeMapping = limited({ mayHold: () => true, narrow: (_user, scope) => scope })

/** @param entries when there are none, policy alone decides */
export function scopeMapping(entries: readonly ScopeEntry[]): ScopeMapping {
  if (entries.length === 0) return EVERY_SCOPE
  const compiled = entries.map(({ scopes, groups = [], roles = [] }) => ({ scopes, group: matcher(groups), role: matcher(roles) }))
  const heldBy = ({ groups, roles = [] }: Holder): readonly string[] => compiled.filter(({ group, role }) => groups.some(group) || roles.some(role)).flatMap(({ scopes }) => scopes)
  return limited({
    mayHold: (user, scope) => isOther(scope) || scopeIncludes(heldBy(user), scope),
    narrow(user, scope) {
      const held = heldBy(user)
      return [...new Set(scope.flatMap((each) => (isOther(each) || scopeIncludes(held, each) ? [each] : within(each, held))))]
    },
  })
}

/** What a machine may hold at most stands beside what its groups may hold, and counts for every scope there is. */
function limited(mapping: ScopeMapping): ScopeMapping {
  return {
    mayHold: (user, scope) => (user.scopes === undefined || scopeIncludes(user.scopes, scope)) && mapping.mayHold(user, scope),
    narrow(user, scope) {
      const { scopes } = user
      if (scopes === undefined) return mapping.narrow(user, scope)
      return mapping.narrow(user, [...new Set(scope.flatMap((each) => (scopeIncludes(scopes, each) ? [each] : within(each, scopes))))])
    },
  }
}

/** Scopes that are not about upstreams, such as `admin`, are given in other ways. */
function isOther(scope: string): boolean {
  return !scope.startsWith('mcp.')
}

function within(scope: string, held: readonly string[]): readonly string[] {
  const reading = scope.replace(/\.write$/, '.read')
  const narrower = held.filter((each) => scopeIncludes([scope], each))
  return scopeIncludes(held, reading) && !narrower.some((each) => scopeIncludes([each], reading)) ? [...narrower, reading] : narrower
}
