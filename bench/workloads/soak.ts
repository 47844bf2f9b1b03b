import type { McpJob } from '../load/job.ts'
import { usageOf } from '../measure.ts'
import type { Findings } from '../report.ts'
import type { Subject } from '../subjects/subject.ts'
import type { Circumstances } from './workload.ts'

const CALLS = 1_000_000
const SLICE_SECONDS = 5
/** What a heap needs to find its size. */
const SETTLED = 0.2
const TOLERANCE = 1.15

/** A million calls in a row: memory has to be at their end what it was when the heap had found its size. */
export async function soak({ load, quick, say }: Circumstances, subject: Subject | undefined, callers: ReadonlyMap<Subject, McpJob['callers']>): Promise<Findings> {
  if (subject === undefined) throw new Error('there is no gateway to soak')
  const calls = quick ? CALLS / 50 : CALLS
  const job: McpJob = { kind: 'mcp', url: subject.url, era: '2026-07-28', callers: callers.get(subject) ?? [], connections: 16, call: { tool: 'echo' } }
  await load.prepare('soak', job)
  const seen: { readonly done: number; readonly rssMb: number }[] = []
  const failures: string[] = []
  const before = usageOf([subject.pid])
  let done = 0
  let seconds = 0
  while (done < calls && failures.length === 0) {
    const outcome = await load.run('soak', { seconds: quick ? 0.5 : SLICE_SECONDS })
    if (outcome.wrong > 0 || outcome.operations === 0) failures.push(`soak, ${subject.name}: ${outcome.complaint ?? 'nothing was answered'}`)
    done += outcome.operations
    seconds += outcome.seconds
    seen.push({ done, rssMb: usageOf([subject.pid]).rssMb })
    say(`soak: ${done} of ${calls} calls, ${seen.at(-1)?.rssMb.toFixed(0)} MB`)
  }
  await load.end('soak')
  const settled = seen.find((one) => one.done >= calls * SETTLED)?.rssMb ?? Number.NaN
  const last = seen.at(-1)?.rssMb ?? Number.NaN
  const cpuMicros = (usageOf([subject.pid]).cpuMicros - before.cpuMicros) / done
  return {
    rows: [{ workload: 'W1', subject: `${subject.name}, ${done} calls`, cpuMicros, perSecond: done / seconds, p50ms: null, p99ms: null, rssMb: last, ratio: null, rssGrowthMb: last - settled }],
    budgets: quick ? [] : [{ promise: 'memory flat over a million calls', measured: `${settled.toFixed(0)} MB after a fifth of them, ${last.toFixed(0)} MB at the end`, holds: last <= settled * TOLERANCE }],
    failures,
    notes: [],
  }
}
