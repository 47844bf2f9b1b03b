// W3: streams that are open and silent, and then news for all of them: what each holds, and how long the last one waits.
import { availableParallelism } from 'node:os'
import { usageOf } from '../measure.ts'
import type { Era, StreamsJob } from '../load/job.ts'
import type { Budget, Findings, Row } from '../report.ts'
import { startLanyard } from '../subjects/lanyard.ts'
import { crowd, signIn } from '../subjects/lanyard-people.ts'
import { startUndiciProxy, startUpstream, UNDICI, type Upstream } from '../subjects/peers.ts'
import type { Subject } from '../subjects/subject.ts'
import { isLanyard } from './w1.ts'
import { withSubjects, type Circumstances, type Workload } from './workload.ts'

const ERAS: readonly Era[] = ['2026-07-28', '2025-11-25']
/** As many as one origin gets connections; each takes two of a process's open files, one on either side. */
const STREAMS = 8000
/** What one person may have open, less some. */
const PER_PERSON = 90
const SETTLE_MS = 2000
const PROMISED = { streams: 10_000, megabytes: 350, newsCpuMs: 400 }

export const w3: Workload = async (circumstances) => {
  const upstream = await startUpstream()
  try {
    const starts = [() => startUndiciProxy(upstream.url), () => startLanyard({ store: 'sqlite', upstream: upstream.url, accounts: false, rules: 10 })]
    return await withSubjects<Subject, Findings>(starts, (subjects) => measureAll(circumstances, upstream, subjects))
  } finally {
    await upstream.close()
  }
}

async function measureAll(circumstances: Circumstances, upstream: Upstream, subjects: readonly Subject[]): Promise<Findings> {
  const streams = circumstances.quick ? 200 : STREAMS
  const found: Held[] = []
  const failures: string[] = []
  for (const subject of subjects) {
    const tokens = isLanyard(subject) ? await crowd(subject, await signIn(subject, 'alice'), Math.ceil(streams / PER_PERSON)) : []
    for (const era of ERAS) {
      const job: StreamsJob = { kind: 'streams', url: subject.url, era, tokens, connections: streams, newsUrl: upstream.newsUrl }
      const name = `${subject.name}, ${era}`
      await measure(circumstances, subject, name, job).then((held) => found.push(held), (error: unknown) => failures.push(`W3, ${name}: ${error instanceof Error ? error.message : 'failed'}`))
    }
  }
  return { rows: rowsOf(found), budgets: found.filter(({ name }) => name.startsWith('lanyard')).flatMap(budgets), failures, notes: [`W3: ${streams} streams on ${availableParallelism()} cores; an operation is one stream that is told the news, memory is that of all of them`] }
}

interface Held {
  readonly name: string
  readonly streams: number
  readonly emptyMb: number
  readonly heldMb: number
  readonly cpuMicros: number
  readonly p50ms: number
  readonly p99ms: number
}

async function measure({ load }: Circumstances, subject: Subject, name: string, job: StreamsJob): Promise<Held> {
  const emptyMb = usageOf([subject.pid]).rssMb
  await load.prepare(name, job)
  try {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    const before = usageOf([subject.pid])
    const { operations, p50ms, p99ms, wrong, complaint } = await load.run(name, { seconds: 4 })
    if (wrong > 0 || operations !== job.connections) throw new Error(`${operations} of ${job.connections} heard the news: ${complaint ?? ''}`)
    return { name, streams: operations, emptyMb, heldMb: before.rssMb, cpuMicros: (usageOf([subject.pid]).cpuMicros - before.cpuMicros) / operations, p50ms, p99ms }
  } finally {
    await load.end(name)
  }
}

function rowsOf(found: readonly Held[]): Row[] {
  return found.map(({ name, emptyMb, heldMb, cpuMicros, p50ms, p99ms }) => {
    const floor = found.find((other) => other.name === name.replace(/^[^,]+/, UNDICI))?.cpuMicros
    return { workload: 'W3', subject: name, cpuMicros, perSecond: null, p50ms, p99ms, rssMb: heldMb, rssGrowthMb: heldMb - emptyMb, ratio: floor === undefined ? null : cpuMicros / floor }
  })
}

function budgets({ name, streams, emptyMb, heldMb, cpuMicros }: Held): Budget[] {
  const perStream = Math.max(0, heldMb - emptyMb) / streams
  const promised = emptyMb + perStream * PROMISED.streams
  const news = (cpuMicros * PROMISED.streams) / 1000
  return [
    { promise: `${name}: ${PROMISED.streams} idle streams at most ${PROMISED.megabytes} MB`, measured: `${promised.toFixed(0)} MB, from ${streams} of ${(perStream * 1024).toFixed(1)} KB each`, holds: promised <= PROMISED.megabytes },
    { promise: `${name}: news to ${PROMISED.streams} streams within ${PROMISED.newsCpuMs} ms of its own time`, measured: `${news.toFixed(0)} ms`, holds: news <= PROMISED.newsCpuMs },
  ]
}
