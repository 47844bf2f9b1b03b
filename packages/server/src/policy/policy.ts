// Owns decisions: who may reach which tool of which upstream from which client. It reads no request and no store.
import ipaddr from 'ipaddr.js'

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

type Match = (value: string) => boolean

interface CompiledRule {
  readonly id: string
  readonly allow: boolean
  readonly groups: readonly string[] | undefined
  readonly group: Match
  readonly user: Match
  readonly client: Match
  readonly upstream: Match
  readonly tool: Match
  readonly everyTool: boolean
  readonly suspended: (address: string | undefined) => boolean
}

/** The rules of one upstream and effect: those for every group, and those that a group's name leads to. */
interface Index {
  readonly always: readonly CompiledRule[]
  readonly byGroup: ReadonlyMap<string, readonly CompiledRule[]>
}

const DENIED: Decision = { allow: false, rule: 'default' }

/** Compiles rules; denials come first, then any allow, else denial. @throws Error for a doubled identifier or a bad network. */
export function policy(rules: readonly Rule[]): Policy {
  const compiled = rules.map(compile)
  if (new Set(rules.map((rule) => rule.id)).size !== rules.length) throw new Error('two rules have one identifier')
  const indexes = new Map<string, { readonly deny: Index; readonly allow: Index }>()
  const rulesFor = (upstream: string): { readonly deny: Index; readonly allow: Index } => {
    let found = indexes.get(upstream)
    if (found === undefined) {
      const relevant = compiled.filter((rule) => rule.upstream(upstream))
      found = { deny: index(relevant.filter((rule) => !rule.allow)), allow: index(relevant.filter((rule) => rule.allow)) }
      // Upstreams come from the configuration, so this stays as small as it.
      indexes.set(upstream, found)
    }
    return found
  }
  const first = (where: Index, input: Omit<PolicyInput, 'clientId'> & { readonly clientId?: string }, wanted: (rule: CompiledRule) => boolean): CompiledRule | undefined => {
    const matches = (rule: CompiledRule): boolean =>
      wanted(rule) && rule.user(input.subject) && (input.clientId === undefined || rule.client(input.clientId)) && !rule.suspended(input.address)
    const general = where.always.find((rule) => matches(rule) && (rule.groups === undefined || input.groups.some(rule.group)))
    if (general !== undefined) return general
    for (const group of input.groups) {
      const found = where.byGroup.get(group)?.find(matches)
      if (found !== undefined) return found
    }
    return undefined
  }
  return {
    decide(input) {
      const { deny, allow } = rulesFor(input.upstream)
      const covers = (rule: CompiledRule): boolean => (input.tool === undefined ? rule.everyTool : rule.tool(input.tool))
      const denial = first(deny, input, covers)
      if (denial !== undefined) return { allow: false, rule: denial.id }
      const permission = first(allow, input, covers)
      return permission === undefined ? DENIED : { allow: true, rule: permission.id }
    },
    mayReach(input) {
      const { deny, allow } = rulesFor(input.upstream)
      return first(deny, input, (rule) => rule.everyTool) === undefined && first(allow, input, () => true) !== undefined
    },
    // The client is left out: an account may be connected before, or for, any of them.
    mayConnect: ({ subject, groups, upstream, address }) =>
      first(rulesFor(upstream).allow, { subject, groups, upstream, ...(address === undefined ? {} : { address }) }, () => true) !== undefined,
  }
}

function compile(rule: Rule): CompiledRule {
  const networks = rule.unless?.networks.map((network) => ipaddr.parseCIDR(network))
  return {
    id: rule.id,
    allow: rule.effect === 'allow',
    // `*` is everybody, also somebody of whom no group is known.
    groups: rule.groups?.includes('*') === true ? undefined : rule.groups,
    group: matcher(rule.groups),
    user: matcher(rule.users),
    client: matcher(rule.clients),
    upstream: matcher(rule.upstreams),
    tool: matcher(rule.tools),
    everyTool: rule.tools === undefined || rule.tools.includes('*'),
    suspended: networks === undefined ? () => false : (address) => address !== undefined && isInside(address, networks),
  }
}

function index(rules: readonly CompiledRule[]): Index {
  const always: CompiledRule[] = []
  const byGroup = new Map<string, CompiledRule[]>()
  for (const rule of rules) {
    if (rule.groups === undefined || rule.groups.some((group) => group.includes('*'))) {
      always.push(rule)
      continue
    }
    for (const group of rule.groups) byGroup.set(group, [...(byGroup.get(group) ?? []), rule])
  }
  return { always, byGroup }
}

function matcher(patterns: readonly string[] | undefined): Match {
  if (patterns === undefined || patterns.includes('*')) return () => true
  const exact = new Set(patterns.filter((pattern) => !pattern.includes('*')))
  const wild = patterns.filter((pattern) => pattern.includes('*')).map(wildcard)
  return (value) => exact.has(value) || wild.some((matches) => matches(value))
}

/** Matches by looking for the parts between stars one after the other: no backtracking, whatever the name. */
function wildcard(pattern: string): Match {
  const parts = pattern.split('*')
  const [head = '', tail = ''] = [parts[0], parts.at(-1)]
  const middle = parts.slice(1, -1).filter((part) => part !== '')
  return (value) => {
    if (value.length < head.length + tail.length || !value.startsWith(head) || !value.endsWith(tail)) return false
    let at = head.length
    const end = value.length - tail.length
    for (const part of middle) {
      const found = value.indexOf(part, at)
      if (found === -1 || found + part.length > end) return false
      at = found + part.length
    }
    return true
  }
}

function isInside(address: string, networks: readonly [ipaddr.IPv4 | ipaddr.IPv6, number][]): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.process(address)
  return networks.some(([network, bits]) => network.kind() === parsed.kind() && parsed.match(network, bits))
}
