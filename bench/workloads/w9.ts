// W9: how long a decision takes among ten thousand rules, how long until a new set decides, and what becomes of the calls
// that are made meanwhile.
import { policy, type Policy, type PolicyInput, type Rule } from '../../packages/server/src/policy/policy.ts'
import { median } from '../measure.ts'
import type { Budget, Findings, Row } from '../report.ts'
import { startLanyard, type Lanyard } from '../subjects/lanyard.ts'
import { signIn, type Person } from '../subjects/lanyard-people.ts'
import { rules } from '../subjects/lanyard-rules.ts'
import { startUpstream } from '../subjects/peers.ts'
import { lanyardCallers } from './w1.ts'
import type { Circumstances, Workload } from './workload.ts'

const RULES = 10_000
const GROUPS_EACH = 5
const INPUTS = 1000
const CALLS_PER_SECOND = 200

export const w9: Workload = async (circumstances) => {
  const rounds = circumstances.quick ? 1 : circumstances.rounds
  const set = rules(RULES) as readonly Rule[]
  const compileMs: number[] = []
  const decisions: Spread[] = []
  const inTurn: Spread[] = []
  for (let round = 0; round < rounds; round += 1) {
    const before = performance.now()
    const compiled = policy(set, ['echo'])
    compileMs.push(performance.now() - before)
    decisions.push(timeDecisions(compiled, circumstances.quick ? 20_000 : 200_000))
    inTurn.push(timeDecisions(readInTurn(set), 50))
  }
  const [indexed, naive] = [middle(decisions), middle(inTurn)]
  const replaced = await replaceUnderLoad(circumstances)
  const compile = median(compileMs)
  return {
    rows: [
      row(`a decision among ${RULES} rules, ${GROUPS_EACH} groups`, indexed, indexed.meanMicros / naive.meanMicros),
      row('the same, every rule read in turn', naive, 1),
      { ...EMPTY, subject: `compiling ${RULES} rules`, p50ms: compile, p99ms: Math.max(...compileMs) },
      ...replaced.rows,
    ],
    budgets: [
      { promise: `a decision among ${RULES} rules: 20 us at the 99th percentile`, measured: `${indexed.p99Micros.toFixed(1)} us`, holds: indexed.p99Micros <= 20 },
      { promise: `${RULES} rules compiled within 200 ms`, measured: `${compile.toFixed(0)} ms`, holds: compile <= 200 },
      ...replaced.budgets,
    ],
    failures: replaced.failures,
    notes: ['W9: the first three rows are in this process; p50 and p99 are those of one decision, or of one compilation', 'W9: rules are replaced by PUT /api/rules: sent, checked, stored, read again and compiled'],
  }
}

const EMPTY: Row = { workload: 'W9', subject: '', cpuMicros: null, perSecond: null, p50ms: null, p99ms: null, rssMb: null, ratio: null }

interface Spread {
  readonly p50Micros: number
  readonly p99Micros: number
  readonly meanMicros: number
}

function timeDecisions(subject: Pick<Policy, 'decide'>, count: number): Spread {
  const inputs = Array.from({ length: INPUTS }, (_, index) => inputOf(index))
  for (let warm = 0; warm < Math.min(count, 20_000); warm += 1) subject.decide(inputs[warm % INPUTS] ?? inputOf(0))
  const times = new Float64Array(count)
  for (let index = 0; index < count; index += 1) {
    const input = inputs[index % INPUTS] ?? inputOf(0)
    const before = process.hrtime.bigint()
    subject.decide(input)
    times[index] = Number(process.hrtime.bigint() - before) / 1000
  }
  const sorted = times.sort()
  return { p50Micros: sorted[Math.floor(count / 2)] ?? 0, p99Micros: sorted[Math.floor(count * 0.99)] ?? 0, meanMicros: sorted.reduce((sum, time) => sum + time, 0) / count }
}

/** Somebody in five teams, or one of those at the end of the list, who calls a tool that a rule names or that none does. */
function inputOf(index: number): PolicyInput {
  const teams = Array.from({ length: GROUPS_EACH }, (_, turn) => `team-${(index * 37 + turn * 101) % 500}`)
  const tool = index % 3 === 0 ? `area_${index % 50}_${index}` : index % 3 === 1 ? `tool_${(index * 7919) % RULES}` : 'echo'
  return { subject: `usr_${index}`, groups: index % 4 === 0 ? [...teams.slice(1), 'engineering'] : teams, clientId: 'client', upstream: 'echo', tool, address: index % 2 === 0 ? '203.0.113.7' : '198.51.100.7', at: 1_767_225_600_000 + index * 1000 }
}

/** What there would be without an index. */
function readInTurn(set: readonly Rule[]): Pick<Policy, 'decide'> {
  const single = set.map((rule) => ({ rule, compiled: policy([rule.effect === 'allow' ? rule : { ...rule, effect: 'allow' }], ['echo']) }))
  return {
    decide(input) {
      const matching = single.filter(({ compiled }) => compiled.decide(input).allow).map(({ rule }) => rule)
      const decided = matching.find(({ effect }) => effect === 'deny') ?? matching[0]
      return { allow: decided?.effect === 'allow', effect: decided?.effect ?? 'deny', rule: decided?.id ?? 'default' }
    },
  }
}

/** Puts ten thousand other rules in the place of those that there are, again and again, while calls are made. */
async function replaceUnderLoad({ load, quick, rounds }: Circumstances): Promise<Pick<Findings, 'rows' | 'budgets' | 'failures'>> {
  const upstream = await startUpstream()
  const lanyard = await startLanyard({ store: 'sqlite', upstream: upstream.protectedUrl, rules: 10 })
  try {
    const callers = await lanyardCallers(lanyard)
    const dana = await signIn(lanyard, 'dana')
    const times = quick ? 1 : rounds
    const set = rules(RULES) as readonly Rule[]
    await load.prepare('W9', { kind: 'mcp', url: lanyard.url, era: '2026-07-28', callers, connections: 16, call: { tool: 'echo' } })
    const quiet = await load.run('W9', { seconds: 1, rate: CALLS_PER_SECOND })
    const tookMs: number[] = []
    const calls = load.run('W9', { seconds: times * 2 + 1, rate: CALLS_PER_SECOND })
    for (let time = 0; time < times; time += 1) {
      const before = performance.now()
      await replace(lanyard, dana, set.map((rule) => ({ ...rule, id: `stored-${rule.id}`, description: `set ${time}` })))
      tookMs.push(performance.now() - before)
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
    const during = await calls
    await load.end('W9')
    const dropped = during.wrong
    return {
      rows: [
        { ...EMPTY, subject: 'lanyard, calls while nothing changes', perSecond: quiet.operations / quiet.seconds, p50ms: quiet.p50ms, p99ms: quiet.p99ms },
        { ...EMPTY, subject: `lanyard, calls while ${RULES} rules are replaced`, perSecond: during.operations / during.seconds, p50ms: during.p50ms, p99ms: during.p99ms },
        { ...EMPTY, subject: `lanyard, replacing ${RULES} rules`, p50ms: median(tookMs), p99ms: Math.max(...tookMs) },
      ],
      budgets: [{ promise: 'rules are replaced without a dropped call', measured: `${dropped} of ${during.operations} dropped`, holds: dropped === 0 && during.operations > 0 }] satisfies Budget[],
      failures: during.wrong > 0 ? [`W9: ${during.complaint ?? 'wrong answers'}`] : [],
    }
  } finally {
    await lanyard.close()
    await upstream.close()
  }
}

async function replace({ issuer }: Lanyard, { browser }: Person, set: readonly Rule[]): Promise<void> {
  const cookie = [...browser.cookies('127.0.0.1')].map(([name, value]) => `${name}=${value}`).join('; ')
  const response = await fetch(`${issuer}/api/rules`, { method: 'PUT', headers: { cookie, origin: issuer, 'content-type': 'application/json' }, body: JSON.stringify({ rules: set }) })
  if (response.status !== 200) throw new Error(`PUT /api/rules ${response.status}: ${(await response.text()).slice(0, 300)}`)
}

function middle(spreads: readonly Spread[]): Spread {
  return { p50Micros: median(spreads.map(({ p50Micros }) => p50Micros)), p99Micros: median(spreads.map(({ p99Micros }) => p99Micros)), meanMicros: median(spreads.map(({ meanMicros }) => meanMicros)) }
}

function row(subject: string, { p50Micros, p99Micros, meanMicros }: Spread, ratio: number): Row {
  return { ...EMPTY, subject, cpuMicros: meanMicros, p50ms: p50Micros / 1000, p99ms: p99Micros / 1000, ratio }
}
