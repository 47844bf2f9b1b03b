// What processes used, by the operating system's own accounting: it holds on a busy machine, where clocks do not.
import { readdirSync, readFileSync } from 'node:fs'

/** The kernel counts in hundredths of a second, whatever its own clock is. */
const TICK_MICROS = 10_000

export interface Usage {
  readonly cpuMicros: number
  readonly rssMb: number
}

/** What the processes and all their children used since they started. */
export function usageOf(pids: readonly number[]): Usage {
  const processes = withDescendants(pids)
  return {
    cpuMicros: processes.reduce((sum, pid) => sum + cpuTicks(pid), 0) * TICK_MICROS,
    rssMb: processes.reduce((sum, pid) => sum + residentMb(pid), 0),
  }
}

/** The operating system of other machines keeps its accounts elsewhere. @throws Error */
export function requireAccounting(): void {
  if (cpuTicks(process.pid) < 0 || residentMb(process.pid) <= 0) throw new Error('the benchmark needs Linux: it reads /proc')
}

function withDescendants(roots: readonly number[]): readonly number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = Number(statOf(Number(name))?.[1] ?? 0)
    children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  const found = new Set<number>()
  const add = (pid: number): void => {
    if (found.has(pid)) return
    found.add(pid)
    children.get(pid)?.forEach(add)
  }
  roots.forEach(add)
  return [...found]
}

/** Its own time and that of children that ended, in both modes. */
function cpuTicks(pid: number): number {
  return (statOf(pid)?.slice(11, 15) ?? []).reduce((sum, ticks) => sum + Number(ticks), 0)
}

/** The parent of a process. */
export function parentOf(pid: number): number {
  return Number(statOf(pid)?.[1] ?? 0)
}

/** The fields of proc(5) `stat` from the third on: the second, the name, may hold spaces. A process that ended has none. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}

function residentMb(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = Number.NaN, high = Number.NaN] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]]
  return (low + high) / 2
}
