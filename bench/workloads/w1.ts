// W1: one tool call, in both eras, with rules, vault and audit on: what a gateway costs between client and upstream.
import type { Cell } from '../interleave.ts'
import { interleave } from '../interleave.ts'
import type { Era, McpJob } from '../load/job.ts'
import type { Budget, Findings, Row } from '../report.ts'
import { startLanyard, type Lanyard } from '../subjects/lanyard.ts'
import { signIn } from '../subjects/lanyard-people.ts'
import { startNginx } from '../subjects/nginx.ts'
import { nginxNotes, SDK_GATEWAY, startSdkGateway, startUndiciProxy, startUpstream, UNDICI, type Upstream } from '../subjects/peers.ts'
import type { Subject } from '../subjects/subject.ts'
import { startSupergateway } from '../subjects/supergateway.ts'
import { soak } from './soak.ts'
import { withSubjects, type Circumstances, type Workload } from './workload.ts'

const ERAS: readonly Era[] = ['2026-07-28', '2025-11-25']
const CONNECTIONS = 16
/** One child per session. */
const STDIO_CONNECTIONS = 4
const PEOPLE = ['alice', 'bob', 'dana']

export const w1: Workload = async (circumstances) => {
  const upstream = await startUpstream()
  try {
    const starts = [
      () => startNginx(upstream.url),
      () => startUndiciProxy(upstream.url),
      () => startLanyard({ store: 'sqlite', upstream: upstream.protectedUrl }),
      () => startLanyard({ store: 'postgres', upstream: upstream.protectedUrl }),
      () => startSdkGateway(upstream.url),
      () => startSupergateway(),
    ]
    return await withSubjects<Subject, Findings>(starts, (subjects) => measure(circumstances, upstream, subjects))
  } finally {
    await upstream.close()
  }
}

async function measure(circumstances: Circumstances, upstream: Upstream, subjects: readonly Subject[]): Promise<Findings> {
  const { load, quick, rounds } = circumstances
  const callers = new Map<Subject, McpJob['callers']>()
  for (const subject of subjects) callers.set(subject, isLanyard(subject) ? await lanyardCallers(subject) : [{ account: 'nobody' }])
  const cells = ERAS.flatMap((era) => [upstream, ...subjects].map((subject) => cellOf(subject, era, callers.get(subject) ?? [{ account: 'nobody' }])))
  const plan = { workload: 'W1', rounds, warmUpSeconds: quick ? 0.3 : 4, closedSeconds: quick ? 0.5 : 0.8, openSeconds: quick ? 0.3 : 0.4 }
  const { rows, failures } = await interleave(load, cells, plan, ({ subject }) => subject.name === UNDICI)
  const soaked = circumstances.soak ? await soak(circumstances, subjects.find(isLanyard), callers) : { rows: [], budgets: [], failures: [], notes: ['memory over a million calls was not measured: --soak does it'] }
  return {
    rows: [...rows, ...soaked.rows],
    budgets: [...ERAS.flatMap((era) => budgets(rows, era)), ...soaked.budgets],
    failures: [...failures, ...soaked.failures],
    notes: [...nginxNotes(), ...soaked.notes],
  }
}

export function isLanyard(subject: Subject): subject is Lanyard {
  return 'issuer' in subject
}

/** Three people, each with an account of their own at the upstream: an answer for another one is noticed. */
export async function lanyardCallers(subject: Lanyard): Promise<McpJob['callers']> {
  const people = []
  for (const account of PEOPLE) people.push(await signIn(subject, account))
  return people.map(({ accessToken, account }) => ({ token: accessToken, account }))
}

function cellOf(subject: Subject, era: Era, callers: McpJob['callers']): Cell {
  const connections = subject.name === 'supergateway' ? STDIO_CONNECTIONS : CONNECTIONS
  return { subject, variant: era, job: () => ({ kind: 'mcp', url: subject.url, era, callers, connections, call: { tool: 'echo' } }) }
}

function budgets(rows: readonly Row[], era: Era): Budget[] {
  const costOf = (name: string): number | undefined => rows.find(({ subject }) => subject === `${name}, ${era}`)?.cpuMicros ?? undefined
  const [floor, naive] = [costOf(UNDICI), costOf(SDK_GATEWAY)]
  return rows.flatMap(({ subject, cpuMicros }): Budget[] => {
    if (!subject.startsWith('lanyard') || !subject.endsWith(era) || cpuMicros === null) return []
    const own = floor === undefined ? [] : [{ promise: `${subject}: a tool call at most 1.6 times the undici proxy's CPU`, measured: (cpuMicros / floor).toFixed(2), holds: cpuMicros <= 1.6 * floor }]
    const peer = naive === undefined ? [] : [{ promise: `${subject}: a tool call at most a tenth of the SDK gateway's CPU`, measured: `1/${(naive / cpuMicros).toFixed(1)}`, holds: cpuMicros <= naive / 10 }]
    return [...own, ...peer]
  })
}
