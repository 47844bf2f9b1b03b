// What a run found, for programs and for people.

/** One line of `--json`. `null` where a subject has no such value, or it was not measured. */
export interface Row {
  readonly workload: string
  readonly subject: string
  /** Processor time of the subject alone, per operation. */
  readonly cpuMicros: number | null
  readonly perSecond: number | null
  readonly p50ms: number | null
  readonly p99ms: number | null
  readonly rssMb: number | null
  /** Processor time in units of the floor's. */
  readonly ratio: number | null
  /** The database server's processor time, per operation. */
  readonly databaseCpuMicros?: number
  /** How far the largest of the rounds lies above the smallest, as a part of the median. */
  readonly spread?: number
  /** How much the subject's memory grew while it was asked. */
  readonly rssGrowthMb?: number
}

export interface Budget {
  readonly promise: string
  readonly measured: string
  readonly holds: boolean
}

export interface Findings {
  readonly rows: readonly Row[]
  readonly budgets: readonly Budget[]
  /** Subjects that failed, and answers that were wrong. */
  readonly failures: readonly string[]
  /** What was left out, and why. */
  readonly notes: readonly string[]
}

type Column = readonly [title: string, cell: (row: Row) => string]

const COLUMNS: readonly Column[] = [
  ['subject', (row) => row.subject],
  ['CPU us', (row) => number(row.cpuMicros)],
  ['ratio', (row) => number(row.ratio, 2)],
  ['spread', (row) => (row.spread === undefined ? '' : `${Math.round(row.spread * 100)} %`)],
  ['db CPU us', (row) => number(row.databaseCpuMicros ?? null)],
  ['per s', (row) => number(row.perSecond)],
  ['p50 ms', (row) => number(row.p50ms, 2)],
  ['p99 ms', (row) => number(row.p99ms, 2)],
  ['RSS MB', (row) => number(row.rssMb)],
  ['growth MB', (row) => number(row.rssGrowthMb ?? null)],
]

/** A table whose columns stand under one another; columns without any value are left out. */
export function table(rows: readonly Row[]): string {
  const shown = COLUMNS.map(([title, cell]) => [title, ...rows.map(cell)]).filter(([, ...cells]) => cells.some((text) => text !== ''))
  const widths = shown.map((cells) => Math.max(...cells.map((text) => text.length)))
  const line = (index: number): string => shown.map((cells, column) => (column === 0 ? (cells[index] ?? '').padEnd(widths[column] ?? 0) : (cells[index] ?? '').padStart(widths[column] ?? 0))).join('  ')
  return Array.from({ length: rows.length + 1 }, (_, index) => line(index).trimEnd()).join('\n')
}

function number(value: number | null, digits?: number): string {
  if (value === null || !Number.isFinite(value)) return ''
  return value.toFixed(digits ?? (value < 100 ? 1 : 0))
}

export function rounded(row: Row): Row {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, typeof value === 'number' ? Math.round(value * 1000) / 1000 : value])) as unknown as Row
}

/** The last lines of a run: which budgets hold, in words. */
export function summary(budgets: readonly Budget[]): string {
  const lines = budgets.map(({ promise, measured, holds }) => `  ${holds ? 'holds ' : 'MISSED'}  ${promise}: ${measured}`)
  const missed = budgets.filter(({ holds }) => !holds).length
  const verdict = budgets.length === 0 ? 'No budget was measured.' : missed === 0 ? `All ${budgets.length} budgets that were measured hold.` : `${missed} of the ${budgets.length} budgets that were measured are missed.`
  return [...(lines.length === 0 ? [] : ['Budgets', ...lines]), verdict].join('\n')
}
