// Owns decisions: who may reach which tool of which upstream from which client. It reads no request and no store.
import ipaddr from 'ipaddr.js'
import { isInside } from '../http/address.ts'
import { isEverything, matcher, type Match } from './pattern.ts'

export interface PolicyInput {
  readonly subject: string
  readonly groups: readonly string[]
  readonly clientId: string
  readonly upstream: string
  /** Absent for what is no tool call (prompts, resources): only rules for all tools (`*`) match then. */
  readonly tool?: string
  /** The caller's network address, behind trusted proxies. */
  readonly address?: string
}

/** The result of policy, with the rule that made it; `default` is the denial when no rule allows. */
export interface Decision {
  readonly allow: boolean
  readonly rule: string
}

export interface Policy {
  decide(input: PolicyInput): Decision
  /** Whether any tool of the upstream may be allowed: decides if a person can get a token for it at all. */
  mayReach(input: Omit<PolicyInput, 'tool'>): boolean
  /** The same from whatever client: decides if a person may connect an account of theirs. */
  mayConnect(input: Omit<PolicyInput, 'tool' | 'clientId'>): boolean
}

/** One line of policy. A list that is absent matches everything; `*` in an entry stands for any text. */
export interface Rule {
  readonly id: string
  readonly effect: 'allow' | 'deny'
  readonly groups?: readonly string[] | undefined
  readonly users?: readonly string[] | undefined
  readonly clients?: readonly string[] | undefined
  readonly upstreams?: readonly string[] | undefined
  readonly tools?: readonly string[] | undefined
  readonly unless?: { readonly networks: readonly string[] } | undefined
}

interface CompiledRule {
  readonly id: string
  /** Its place in the list: of several rules that match, the first is the one that decided. */
  readonly order: number
  readonly allow: boolean
  /** Absent for everybody, also for somebody of whom no group is known. */
  readonly group: Match | undefined
  readonly user: Match
  readonly client: Match
  readonly upstream: Match
  readonly tool: Match
  readonly everyTool: boolean
  readonly everyClient: boolean
  /** Whether it depends on the address. */
  readonly conditional: boolean
  readonly suspended: (address: string | undefined) => boolean
  /** Its lists without wildcards: any of them may lead to this rule. */
  readonly lists: readonly List[]
}

interface List {
  readonly kind: 'user' | 'client' | 'tool' | 'group'
  /** The keys that its entries are filed under. */
  readonly keys: readonly string[]
}

/** The rules of one upstream and effect: each filed under one of its lists, or else in `always`. */
interface Index {
  readonly all: readonly CompiledRule[]
  readonly always: readonly CompiledRule[]
  readonly byKey: ReadonlyMap<string, readonly CompiledRule[]>
}

interface Indexes {
  readonly deny: Index
  readonly allow: Index
  /** The same for the question whether anything is allowed at all: denials of every tool, allows of any. */
  readonly denyAll: Index
  readonly allowAny: Index
}

const DENIED: Decision = { allow: false, rule: 'default' }

/**
 * Compiles rules: the first denial that matches decides, else the first allow, else denial.
 *
 * @throws Error for a doubled identifier or a bad network.
 */
export function policy(rules: readonly Rule[]): Policy {
  const compiled = rules.map(compile)
  if (new Set(rules.map((rule) => rule.id)).size !== rules.length) throw new Error('two rules have one identifier')
  const indexes = new Map<string, Indexes>()
  const rulesFor = (upstream: string): Indexes => {
    let found = indexes.get(upstream)
    if (found === undefined) {
      const relevant = compiled.filter((rule) => rule.upstream(upstream))
      const [denials, allows] = [relevant.filter((rule) => !rule.allow), relevant.filter((rule) => rule.allow)]
      const untooled = (rule: CompiledRule): readonly List[] => rule.lists.filter(({ kind }) => kind !== 'tool')
      found = { deny: index(denials), allow: index(allows), denyAll: index(denials.filter((rule) => rule.everyTool), untooled), allowAny: index(allows, untooled) }
      // Upstreams come from the configuration, so this stays as small as it.
      indexes.set(upstream, found)
    }
    return found
  }
  return {
    decide(input) {
      const { deny, allow } = rulesFor(input.upstream)
      const keys = keysOf(input)
      const matches = (rule: CompiledRule): boolean => isAbout(rule, input) && (input.tool === undefined ? rule.everyTool : rule.tool(input.tool))
      const denial = find(deny, keys, matches)
      if (denial !== undefined) return { allow: false, rule: denial.id }
      const permission = find(allow, keys, matches)
      return permission === undefined ? DENIED : { allow: true, rule: permission.id }
    },
    mayReach(input) {
      const { denyAll, allowAny } = rulesFor(input.upstream)
      const keys = keysOf(input)
      const matches = (rule: CompiledRule): boolean => isAbout(rule, input)
      return find(denyAll, keys, matches) === undefined && find(allowAny, keys, matches) !== undefined
    },
    // The client is left out, and perhaps the address: an account may be connected before, or for, any of them. So only a
    // denial that holds for all of them counts.
    mayConnect({ subject, groups, upstream, address }) {
      const { denyAll, allowAny } = rulesFor(upstream)
      const input = { subject, groups, address }
      const denied = (rule: CompiledRule): boolean => rule.everyClient && (address !== undefined || !rule.conditional) && isAbout(rule, input)
      const allowed = (rule: CompiledRule): boolean => isFor(rule, input) && (address === undefined || !rule.suspended(address))
      // Asked by pages, and without a client: read in turn.
      return !denyAll.all.some(denied) && allowAny.all.some(allowed)
    },
  }
}

type Caller = Pick<PolicyInput, 'subject' | 'groups'> & { readonly clientId?: string; readonly address?: string | undefined }

function isFor(rule: CompiledRule, { subject, groups, clientId }: Caller): boolean {
  return rule.user(subject) && (clientId === undefined || rule.client(clientId)) && (rule.group === undefined || groups.some(rule.group))
}

function isAbout(rule: CompiledRule, input: Caller): boolean {
  return isFor(rule, input) && !rule.suspended(input.address)
}

function keysOf({ subject, groups, clientId, tool }: Omit<PolicyInput, 'upstream' | 'address'>): readonly string[] {
  return [`user ${subject}`, `client ${clientId}`, `tool ${tool ?? ''}`, ...groups.map((group) => `group ${group}`)]
}

function find({ always, byKey }: Index, keys: readonly string[], matches: (rule: CompiledRule) => boolean): CompiledRule | undefined {
  let best = always.find(matches)
  for (const key of keys) {
    const found = byKey.get(key)?.find(matches)
    if (found !== undefined && found.order < (best?.order ?? Infinity)) best = found
  }
  return best
}

function compile(rule: Rule, order: number): CompiledRule {
  const networks = rule.unless?.networks.map((network) => ipaddr.parseCIDR(network))
  const lists = [['user', rule.users], ['client', rule.clients], ['tool', rule.tools], ['group', rule.groups]] as const
  return {
    id: rule.id,
    order,
    allow: rule.effect === 'allow',
    group: isEverything(rule.groups) ? undefined : matcher(rule.groups),
    user: matcher(rule.users),
    client: matcher(rule.clients),
    upstream: matcher(rule.upstreams),
    tool: matcher(rule.tools),
    everyTool: isEverything(rule.tools),
    everyClient: isEverything(rule.clients),
    conditional: networks !== undefined,
    // Of an address that is not known, the worst is assumed: a denial holds, and an allow does not.
    suspended: networks === undefined ? () => false : (address) => (address === undefined || !ipaddr.isValid(address) ? rule.effect === 'allow' : isInside(ipaddr.process(address), networks)),
    lists: lists.flatMap(([kind, list]) => (list === undefined || list.some((pattern) => pattern.includes('*')) ? [] : [{ kind, keys: [...new Set(list)].map((name) => `${kind} ${name}`) }])),
  }
}

/** Files each rule under the list of it whose keys lead to the fewest others. */
function index(rules: readonly CompiledRule[], listsOf: (rule: CompiledRule) => readonly List[] = (rule) => rule.lists): Index {
  const sharers = new Map<string, number>()
  for (const key of rules.flatMap((rule) => listsOf(rule).flatMap(({ keys }) => keys))) sharers.set(key, (sharers.get(key) ?? 0) + 1)
  const crowd = (keys: readonly string[]): number => Math.max(...keys.map((key) => sharers.get(key) ?? 0))
  const always: CompiledRule[] = []
  const byKey = new Map<string, CompiledRule[]>()
  for (const rule of rules) {
    const [keys] = listsOf(rule).map((list) => list.keys).sort((a, b) => crowd(a) - crowd(b))
    if (keys === undefined) always.push(rule)
    for (const key of keys ?? []) {
      const filed = byKey.get(key)
      if (filed === undefined) byKey.set(key, [rule])
      else filed.push(rule)
    }
  }
  return { all: rules, always, byKey }
}
