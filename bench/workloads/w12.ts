// W12: large results, readers that are slower than what they read, and many small events: nothing may pile up.
import { interleave, type Cell } from '../interleave.ts'
import type { Call, McpJob } from '../load/job.ts'
import type { Budget, Findings, Row } from '../report.ts'
import { startLanyard } from '../subjects/lanyard.ts'
import { startNginx } from '../subjects/nginx.ts'
import { nginxNotes, startSdkGateway, startUndiciProxy, startUpstream, UNDICI } from '../subjects/peers.ts'
import type { Subject } from '../subjects/subject.ts'
import { isLanyard, lanyardCallers } from './w1.ts'
import { withSubjects, type Circumstances, type Workload } from './workload.ts'

const MB = 1_000_000

interface Shape {
  readonly variant: string
  readonly call: Call
  readonly connections: number
  readonly seconds: number
  /** What one operation counts as. */
  readonly units?: number
}

const EVENTS = 2500
const SLOW = { readers: 8, bytes: 16 * MB, bytesPerSecond: 2 * MB }

const SHAPES: readonly Shape[] = [
  { variant: '1 MB results', call: { tool: 'large', bytes: MB }, connections: 4, seconds: 0.8 },
  { variant: '50 MB results', call: { tool: 'large', bytes: 50 * MB }, connections: 1, seconds: 0.8 },
  { variant: 'slow readers', call: { tool: 'slow', bytes: SLOW.bytes, bytesPerSecond: SLOW.bytesPerSecond }, connections: SLOW.readers, seconds: 1.2 },
  { variant: 'progress events', call: { tool: 'progress', events: EVENTS }, connections: 8, seconds: 0.4, units: EVENTS },
]

export const w12: Workload = async (circumstances) => {
  const upstream = await startUpstream()
  try {
    const starts = [
      () => startNginx(upstream.url),
      () => startUndiciProxy(upstream.url),
      () => startLanyard({ store: 'sqlite', upstream: upstream.protectedUrl }),
      () => startSdkGateway(upstream.url),
    ]
    return await withSubjects<Subject, Findings>(starts, (subjects) => measure(circumstances, subjects))
  } finally {
    await upstream.close()
  }
}

async function measure({ load, rounds, quick }: Circumstances, subjects: readonly Subject[]): Promise<Findings> {
  const callers = new Map<Subject, McpJob['callers']>()
  for (const subject of subjects) callers.set(subject, isLanyard(subject) ? await lanyardCallers(subject) : [{ account: 'nobody' }])
  const rows: Row[] = []
  const failures: string[] = []
  for (const shape of SHAPES) {
    const cells = subjects.map((subject): Cell => {
      const job: McpJob = { kind: 'mcp', url: subject.url, era: '2026-07-28', callers: callers.get(subject) ?? [], connections: shape.connections, call: shape.call }
      return { subject, variant: shape.variant, job: () => job, units: shape.units ?? 1 }
    })
    const plan = { workload: 'W12', rounds, warmUpSeconds: quick ? 0.2 : 0.5, closedSeconds: shape.seconds, watchMemory: true }
    const found = await interleave(load, cells, plan, ({ subject }) => subject.name === UNDICI)
    rows.push(...found.rows)
    failures.push(...found.failures)
  }
  return { rows, budgets: budgets(rows), failures, notes: [...nginxNotes(), 'W12: an event is one operation; p50 and p99 are those of whole answers, under full load'] }
}

/** Who buffers all of it holds more than half of what the slow readers were promised. */
function budgets(rows: readonly Row[]): Budget[] {
  const growth = rows.find(({ subject }) => subject.startsWith('lanyard') && subject.endsWith('slow readers'))?.rssGrowthMb
  if (growth === undefined) return []
  const whole = (SLOW.readers * SLOW.bytes) / MB
  return [{ promise: `slow readers of ${whole} MB make memory grow by less than a quarter of it`, measured: `${growth.toFixed(0)} MB`, holds: growth < whole / 4 }]
}
