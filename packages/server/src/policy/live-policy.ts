// Owns the rules that decide on this node: those of the configuration and those that are stored, as fresh as the changes
// that it hears of. A new set takes the place of the old one between two decisions.
import type { ChangeFeed } from '../audit/change.ts'
import { policy, type Policy, type Rule } from './policy.ts'
import type { RuleStore, StoredRule } from './rule-store.ts'

export interface LivePolicy extends Policy {
  readonly declared: readonly Rule[]
  /** The stored rules as this node knows them. */
  stored(): readonly StoredRule[]
  /** Compiles a set of stored rules with those of the configuration. @throws Error for rules that cannot be: see `policy` */
  compile(stored: readonly Rule[]): Policy
  /** Reads the stored rules again; resolves when they decide. */
  reload(): Promise<void>
  /** Resolves when what this node has been told of decides. */
  settled(): Promise<void>
}

export interface LivePolicyDeps {
  readonly declared: readonly Rule[]
  readonly store: Pick<RuleStore, 'all'>
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  /** The upstreams that rules are indexed for at once. */
  readonly upstreams: readonly string[]
  /** Told when stored rules cannot be read or compiled: the ones before them go on deciding. */
  readonly log: (line: Readonly<Record<string, unknown>>) => void
}

const RETRY_MS = 1000

/** @throws Error when the rules that are stored cannot be compiled: a node does not start with fewer rules than there are */
export async function livePolicy({ declared, store, feed, upstreams, log }: LivePolicyDeps): Promise<LivePolicy> {
  const compile = (rules: readonly Rule[]): Policy => policy([...declared, ...withoutDeclared(declared, rules)], upstreams)
  let stored: readonly StoredRule[] = []
  let current = policy([])
  const read = async (): Promise<void> => {
    const found = await store.all()
    current = compile(found.map(({ rule }) => rule))
    stored = found
  }
  const reload = oneAtATime(read)
  const reloadUntilDone = (): void => {
    reload().catch((error: unknown) => {
      log({ level: 'error', message: 'the stored rules could not be loaded; those before them go on deciding', error: error instanceof Error ? error.message : 'not an error' })
      setTimeout(reloadUntilDone, RETRY_MS).unref()
    })
  }
  // Before the first look: what changes meanwhile is read after it.
  feed.subscribe(({ kind }) => {
    if (kind === 'rules') reloadUntilDone()
  })
  await reload()
  return {
    declared,
    stored: () => stored,
    compile,
    reload,
    settled: reload.settled,
    decide: (input) => current.decide(input),
    restriction: (input) => current.restriction(input),
    mayReach: (input) => current.mayReach(input),
    decideAll: (input) => current.decideAll(input),
    mayConnect: (input) => current.mayConnect(input),
    explain: (input) => current.explain(input),
    asksAnnotations: (upstream) => current.asksAnnotations(upstream),
  }
}

/** What the configuration declares stands: a stored rule of the same name was there before it. */
function withoutDeclared(declared: readonly Rule[], stored: readonly Rule[]): readonly Rule[] {
  const names = new Set(declared.map(({ id }) => id))
  return stored.filter(({ id }) => !names.has(id))
}

/** Whoever asks while one runs shares the next run: it begins after they asked. */
function oneAtATime(run: () => Promise<void>): (() => Promise<void>) & { readonly settled: () => Promise<void> } {
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  const begin = (): Promise<void> => {
    const current = run().finally(() => {
      if (running === current) running = undefined
    })
    running = current
    return current
  }
  const ask = (): Promise<void> => {
    if (running === undefined) return begin()
    next ??= running.catch(() => undefined).then(() => {
      next = undefined
      return begin()
    })
    return next
  }
  return Object.assign(ask, { settled: () => next ?? running ?? Promise.resolve() })
}
