// W5: from the start of a process to its first 200, and the memory that it holds while nobody asks.
import { median, usageOf } from '../measure.ts'
import type { Budget, Row } from '../report.ts'
import { startProgram } from '../program.ts'
import { startDatabase } from '../subjects/database.ts'
import { startLanyard, STORE_NAMES, type LanyardOptions } from '../subjects/lanyard.ts'
import { startNginx } from '../subjects/nginx.ts'
import { nginxNotes, startSdkGateway, startUndiciProxy, startUpstream, UNDICI } from '../subjects/peers.ts'
import type { Subject } from '../subjects/subject.ts'
import { startSupergateway } from '../subjects/supergateway.ts'
import type { Workload } from './workload.ts'

/** What a company starts with, and what it has later. */
const RULES = [10, 10_000]
const SETTLE_MS = 700

/** Starts its subject anew each time it is asked, with all that it keeps from the last time. */
interface Starter {
  readonly name: string
  start(): Promise<Started | undefined>
  close(): Promise<void>
}

interface Started {
  readonly startMs: number
  readonly pid: number
  stop(): Promise<void>
}

interface Sample {
  readonly startMs: number
  readonly cpuMicros: number
  readonly rssMb: number
}

export const w5: Workload = async ({ rounds }) => {
  const samples = new Map<string, Sample[]>()
  const failures: string[] = []
  await using running = new AsyncDisposableStack()
  const upstream = await startUpstream()
  running.defer(() => upstream.close())
  const starters: Starter[] = []
  for (const make of makers(upstream.url, upstream.protectedUrl)) {
    const starter = await make()
    running.defer(() => starter.close())
    starters.push(starter)
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const starter of starters) {
      await sample(starter).then(
        (found) => found && samples.set(starter.name, [...(samples.get(starter.name) ?? []), found]),
        (error: unknown) => failures.push(`W5, ${starter.name}: ${error instanceof Error ? error.message : 'failed'}`),
      )
    }
  }
  const rows = rowsOf(samples)
  return { rows, budgets: budgets(rows), failures, notes: [...nginxNotes(), 'W5: one operation is one start, p50 is the median of the starts and p99 the slowest'] }
}

function makers(open: string, guarded: string): readonly (() => Promise<Starter>)[] {
  return [
    async () => fresh('nginx', () => startNginx(open)),
    async () => fresh(UNDICI, () => startUndiciProxy(open)),
    ...(['sqlite', 'postgres'] as const).flatMap((store) => RULES.map((rules) => () => lanyard({ store, upstream: guarded, rules }))),
    async () => fresh('SDK gateway', () => startSdkGateway(open)),
    async () => fresh('supergateway', startSupergateway),
    oidcProvider,
  ]
}

/** A subject that keeps nothing. */
function fresh(name: string, make: () => Promise<Subject | undefined>): Starter {
  return {
    name,
    async start() {
      const before = performance.now()
      const subject = await make()
      return subject && { startMs: performance.now() - before, pid: subject.pid, stop: () => subject.close() }
    },
    close: () => Promise.resolve(),
  }
}

/** The second start and those after it: the database has its tables, as it has on all days but the first. */
async function lanyard(options: LanyardOptions): Promise<Starter> {
  const gateway = await startLanyard(options)
  return {
    name: `lanyard on ${STORE_NAMES[options.store]}, ${options.rules ?? 0} rules`,
    start: async () => ({ ...(await gateway.restart()), stop: () => Promise.resolve() }),
    close: () => gateway.close(),
  }
}

async function oidcProvider(): Promise<Starter> {
  const database = await startDatabase()
  return {
    name: 'oidc-provider on PostgreSQL',
    async start() {
      const before = performance.now()
      const program = await startProgram('subjects/oidc-provider.ts', [database.url])
      return { startMs: performance.now() - before, pid: program.pid, stop: () => program.stop() }
    },
    close: () => database.close(),
  }
}

async function sample(starter: Starter): Promise<Sample | undefined> {
  const started = await starter.start()
  if (started === undefined) return undefined
  const { cpuMicros } = usageOf([started.pid])
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
  const { rssMb } = usageOf([started.pid])
  await started.stop()
  return { startMs: started.startMs, cpuMicros, rssMb }
}

function rowsOf(samples: ReadonlyMap<string, readonly Sample[]>): Row[] {
  const floor = median((samples.get(UNDICI) ?? []).map(({ cpuMicros }) => cpuMicros))
  return [...samples].map(([subject, own]) => {
    const starts = own.map(({ startMs }) => startMs)
    const cpuMicros = median(own.map((one) => one.cpuMicros))
    const ratio = cpuMicros / floor
    return {
      workload: 'W5',
      subject,
      cpuMicros,
      perSecond: null,
      p50ms: median(starts),
      p99ms: Math.max(...starts),
      rssMb: median(own.map((one) => one.rssMb)),
      ratio: Number.isFinite(ratio) ? ratio : null,
    }
  })
}

function budgets(rows: readonly Row[]): Budget[] {
  return rows.flatMap(({ subject, p50ms, rssMb }): Budget[] => {
    if (!subject.startsWith('lanyard') || p50ms === null || rssMb === null) return []
    return [
      { promise: `${subject}: start to first 200 at most 0.8 s`, measured: `${(p50ms / 1000).toFixed(2)} s`, holds: p50ms <= 800 },
      { promise: `${subject}: idle at most 120 MB`, measured: `${rssMb.toFixed(0)} MB`, holds: rssMb <= 120 },
    ]
  })
}
