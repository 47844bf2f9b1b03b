import type { Decision, Policy, PolicyInput } from './policy.ts'

/** How one kind of call would be decided by other rules. */
export interface SimulatedChange {
  readonly subject: string
  readonly clientId: string
  readonly upstream: string
  readonly tool: string
  readonly before: Pick<Decision, 'effect' | 'rule'>
  readonly after: Pick<Decision, 'effect' | 'rule'>
  /** Calls of this kind. */
  readonly calls: number
  /** Milliseconds since the epoch: the newest of them. */
  readonly lastAt: number
}

export interface Simulation {
  readonly calls: number
  readonly changedCalls: number
  /** Those of which most calls change first. */
  readonly changes: readonly SimulatedChange[]
}

export type SimulatedCall = PolicyInput & { readonly tool: string; readonly at: number }

/** So many calls are decided before others have their turn. */
const TURN = 500

/** Decides calls by two sets of rules, and tells the difference. */
export async function simulate(before: Pick<Policy, 'decide'>, after: Pick<Policy, 'decide'>, calls: readonly SimulatedCall[]): Promise<Simulation> {
  const changes = new Map<string, SimulatedChange>()
  let changedCalls = 0
  for (const [index, call] of calls.entries()) {
    if (index % TURN === TURN - 1) await new Promise((resolve) => void setImmediate(resolve))
    const [was, is] = [before.decide(call), after.decide(call)]
    if (was.effect === is.effect) continue
    changedCalls += 1
    const { subject, clientId, upstream, tool, at } = call
    const key = JSON.stringify([subject, clientId, upstream, tool, was.effect, was.rule, is.effect, is.rule])
    const known = changes.get(key)
    changes.set(key, { subject, clientId, upstream, tool, before: named(was), after: named(is), calls: (known?.calls ?? 0) + 1, lastAt: Math.max(at, known?.lastAt ?? 0) })
  }
  return { calls: calls.length, changedCalls, changes: [...changes.values()].sort((a, b) => b.calls - a.calls) }
}

function named({ effect, rule }: Decision): Pick<Decision, 'effect' | 'rule'> {
  return { effect, rule }
}
