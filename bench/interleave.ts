// Owns how subjects are compared: round by round, one after the other, so that whatever else the machine does falls on
// all of them; the median of the rounds counts.
import type { Load } from './load/load.ts'
import type { Job, Outcome } from './load/job.ts'
import { median, usageOf } from './measure.ts'
import type { Findings, Row } from './report.ts'
import type { Subject } from './subjects/subject.ts'

/** One subject doing one thing. */
export interface Cell {
  readonly subject: Subject
  /** What tells this cell from others of the same subject; empty when there are none. */
  readonly variant: string
  /** A new job for each round where the last one used its up; the same for all of them otherwise. */
  readonly job: () => Job | Promise<Job>
  readonly renew?: boolean
  /** Units that one operation of the load stands for, such as the events of a stream. */
  readonly units?: number
}

export interface Plan {
  readonly workload: string
  readonly rounds: number
  readonly warmUpSeconds: number
  /** As many requests as can be answered: what they cost. */
  readonly closedSeconds: number
  /** Half as many: how long they take. Without it, latency is that under full load. */
  readonly openSeconds?: number
  /** Whether memory is watched while a round runs, rather than read after it. */
  readonly watchMemory?: boolean
}

interface Sample {
  readonly cpuMicros: number
  readonly databaseCpuMicros: number | undefined
  readonly perSecond: number
  readonly p50ms: number
  readonly p99ms: number
  readonly rssMb: number
  readonly growthMb: number
}

/** @param floor tells the cell that all cells of one variant are compared with */
export async function interleave(load: Load, cells: readonly Cell[], plan: Plan, floor: (cell: Cell) => boolean): Promise<Pick<Findings, 'rows' | 'failures'>> {
  const samples = new Map<Cell, Sample[]>(cells.map((cell) => [cell, []]))
  const failures: string[] = []
  const failing = new Set<Cell>()
  const attempt = async (cell: Cell, work: () => Promise<void>): Promise<void> => {
    if (failing.has(cell)) return
    await work().catch((error: unknown) => {
      failing.add(cell)
      failures.push(`${plan.workload}, ${nameOf(cell)}: ${error instanceof Error ? error.message : 'failed'}`)
    })
  }
  for (const cell of cells) {
    await attempt(cell, async () => {
      await load.prepare(nameOf(cell), await cell.job())
      requireRight(await load.run(nameOf(cell), { seconds: plan.warmUpSeconds }))
    })
  }
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const cell of cells) await attempt(cell, async () => void samples.get(cell)?.push(await sample(load, cell, plan)))
  }
  for (const cell of cells) if (!failing.has(cell)) await load.end(nameOf(cell))
  return { rows: rowsOf(cells, samples, plan, floor), failures }
}

export function nameOf({ subject, variant }: Cell): string {
  return variant === '' ? subject.name : `${subject.name}, ${variant}`
}

async function sample(load: Load, cell: Cell, plan: Plan): Promise<Sample> {
  const name = nameOf(cell)
  if (cell.renew === true) {
    await load.end(name)
    await load.prepare(name, await cell.job())
  }
  const { subject, units = 1 } = cell
  const before = usageOf([subject.pid])
  const databaseBefore = subject.databasePid === undefined ? undefined : usageOf([subject.databasePid])
  const memory = plan.watchMemory === true ? watchMemory(subject.pid) : undefined
  const closed = requireRight(await load.run(name, { seconds: plan.closedSeconds }))
  const after = usageOf([subject.pid])
  const databaseAfter = subject.databasePid === undefined ? undefined : usageOf([subject.databasePid])
  const rssMb = memory?.stop() ?? after.rssMb
  const operations = closed.operations * units
  if (operations === 0) throw new Error('nothing was answered')
  const perSecond = operations / closed.seconds
  const latency = plan.openSeconds === undefined ? closed : requireRight(await load.run(name, { seconds: plan.openSeconds, rate: perSecond / units / 2 }))
  return {
    cpuMicros: (after.cpuMicros - before.cpuMicros) / operations,
    databaseCpuMicros: databaseBefore === undefined || databaseAfter === undefined ? undefined : (databaseAfter.cpuMicros - databaseBefore.cpuMicros) / operations,
    perSecond,
    p50ms: latency.p50ms,
    p99ms: latency.p99ms,
    rssMb,
    growthMb: rssMb - before.rssMb,
  }
}

/** The oracle: one wrong answer, and nothing that was measured counts. */
function requireRight(outcome: Outcome): Outcome {
  if (outcome.wrong > 0) throw new Error(`${outcome.wrong} wrong answers, the first: ${outcome.complaint ?? ''}`)
  return outcome
}

/** The largest memory that is seen until it is stopped. */
function watchMemory(pid: number): { stop(): number } {
  let largest = 0
  const look = (): void => void (largest = Math.max(largest, usageOf([pid]).rssMb))
  const timer = setInterval(look, 50)
  return {
    stop() {
      clearInterval(timer)
      look()
      return largest
    },
  }
}

function rowsOf(cells: readonly Cell[], samples: ReadonlyMap<Cell, readonly Sample[]>, plan: Plan, floor: (cell: Cell) => boolean): Row[] {
  const costOf = (cell: Cell | undefined): number => median((cell === undefined ? [] : (samples.get(cell) ?? [])).map(({ cpuMicros }) => cpuMicros))
  return cells.flatMap((cell): Row[] => {
    const own = samples.get(cell) ?? []
    if (own.length === 0) return []
    const of = (field: Exclude<keyof Sample, 'databaseCpuMicros'>): number => median(own.map((one) => one[field]))
    const costs = own.map(({ cpuMicros }) => cpuMicros)
    const database = own.flatMap(({ databaseCpuMicros }) => databaseCpuMicros ?? [])
    const ratio = of('cpuMicros') / costOf(cells.find((other) => other.variant === cell.variant && floor(other)))
    return [
      {
        workload: plan.workload,
        subject: nameOf(cell),
        cpuMicros: of('cpuMicros'),
        perSecond: of('perSecond'),
        p50ms: of('p50ms'),
        p99ms: of('p99ms'),
        rssMb: of('rssMb'),
        ratio: Number.isFinite(ratio) ? ratio : null,
        ...(database.length === 0 ? {} : { databaseCpuMicros: median(database) }),
        ...(own.length === 1 ? {} : { spread: (Math.max(...costs) - Math.min(...costs)) / of('cpuMicros') }),
        ...(plan.watchMemory === true ? { rssGrowthMb: of('growthMb') } : {}),
      },
    ]
  })
}
