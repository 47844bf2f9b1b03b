import ipaddr from 'ipaddr.js'
import { isInside } from '../http/address.ts'
import { inWindow } from './clock.ts'
import type { Claims, Conditions, PolicyInput, SignInRequirement, ToolAnnotations } from './rule.ts'

/** Undefined when what it would take to know is missing. */
export type Truth = boolean | undefined

/** What a condition looks at: whatever of an input is known. */
export type Facts = Partial<PolicyInput>

export interface Condition {
  /** As the rule writes it: `networks`, `authentication.acr`, `claims.device`. */
  readonly name: string
  readonly holds: (facts: Facts) => Truth
  /** Whether it is about the tool: of a rule with such a condition nobody can say that it is for all tools. */
  readonly ofTool?: true
}

/** Compiles conditions, one for each thing that is named. @throws Error for a network or time zone that is none */
export function compileConditions(conditions: Conditions | undefined): readonly Condition[] {
  if (conditions === undefined) return []
  const { networks, time, authentication, claims, application, tool, dataClasses } = conditions
  return [
    ...(networks === undefined ? [] : [{ name: 'networks', holds: inNetworks(networks) }]),
    ...(time === undefined ? [] : [{ name: 'time', holds: known((facts) => facts.at, inWindow(time)) }]),
    ...signInConditions(authentication ?? {}, 'authentication.'),
    ...claimConditions(claims ?? {}),
    ...(application === undefined ? [] : [{ name: 'application', holds: known((facts) => facts.application, ({ verified }) => verified === (application === 'verified')) }]),
    ...Object.entries(tool ?? {}).flatMap(([name, wanted]): Condition[] => (wanted === undefined ? [] : [annotation(name as keyof ToolAnnotations, wanted)])),
    ...(dataClasses === undefined ? [] : [{ name: 'dataClasses', holds: hasClass(dataClasses), ofTool: true } as const]),
  ]
}

/** What a sign-in must have been like, as conditions. */
export function compileRequirement({ acrValues, maxAge, claims }: SignInRequirement): readonly Condition[] {
  return [...signInConditions({ acr: acrValues, maxAge }, ''), ...claimConditions(claims ?? {})]
}

/** Whether all of them hold: one that does not decides, whatever is unknown of the others. */
export function allHold(conditions: readonly Condition[], facts: Facts): Truth {
  let all: Truth = true
  for (const { holds } of conditions) {
    const one = holds(facts)
    if (one === false) return false
    if (one === undefined) all = undefined
  }
  return all
}

function known<Value>(read: (facts: Facts) => Value | undefined, holds: (value: Value) => boolean): Condition['holds'] {
  return (facts) => {
    const value = read(facts)
    return value === undefined ? undefined : holds(value)
  }
}

function inNetworks(networks: readonly string[]): Condition['holds'] {
  const parsed = networks.map(parseNetwork)
  return known(({ address }) => (address !== undefined && ipaddr.isValid(address) ? address : undefined), (address) => isInside(ipaddr.process(address), parsed))
}

const MAX_NETWORKS = 1000
const parsedNetworks = new Map<string, ReturnType<typeof ipaddr.parseCIDR>>()

/** Many rules name the same few networks. */
function parseNetwork(network: string): ReturnType<typeof ipaddr.parseCIDR> {
  const known = parsedNetworks.get(network)
  if (known !== undefined) return known
  const parsed = ipaddr.parseCIDR(network)
  if (parsedNetworks.size < MAX_NETWORKS) parsedNetworks.set(network, parsed)
  return parsed
}

function signInConditions({ acr, amr, maxAge }: NonNullable<Conditions['authentication']>, before: string): readonly Condition[] {
  return [
    ...(acr === undefined ? [] : [{ name: `${before}acr`, holds: known(({ authentication }) => authentication?.acr, (given) => acr.includes(given)) }]),
    ...(amr === undefined ? [] : [{ name: `${before}amr`, holds: known(({ authentication }) => authentication?.amr, (given) => amr.some((method) => given.includes(method))) }]),
    ...(maxAge === undefined ? [] : [{ name: `${before}maxAge`, holds: known(age, (seconds) => seconds <= maxAge) }]),
  ]
}

/** Seconds since the person signed in. */
function age({ at, authentication }: Facts): number | undefined {
  return at === undefined || authentication?.authTime === undefined ? undefined : at / 1000 - authentication.authTime
}

function claimConditions(claims: Claims): readonly Condition[] {
  return Object.entries(claims).map(([name, values]) => ({
    name: `claims.${name}`,
    // A claim that the provider did not send says nothing: neither that it holds nor that it does not.
    holds: known(
      ({ authentication }) => (authentication?.claims !== undefined && Object.hasOwn(authentication.claims, name) ? authentication.claims[name] : undefined),
      (given) => values.some((value) => given === value || (Array.isArray(given) && given.includes(value))),
    ),
  }))
}

function annotation(name: keyof ToolAnnotations, wanted: boolean): Condition {
  return { name: `tool.${name}`, holds: known(({ toolFacts }) => toolFacts?.annotations, (annotations) => annotations[name] === wanted), ofTool: true }
}

function hasClass(classes: readonly string[]): Condition['holds'] {
  return known(({ toolFacts }) => toolFacts?.dataClasses, (given) => classes.some((each) => given.includes(each)))
}
