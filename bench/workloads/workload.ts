import type { Load } from '../load/load.ts'
import type { Findings } from '../report.ts'
import type { Subject } from '../subjects/subject.ts'

export interface Circumstances {
  readonly load: Load
  readonly rounds: number
  /** Whether this is a smoke test: everything runs, nothing is precise. */
  readonly quick: boolean
  /** Whether a million calls are made to see what becomes of memory. */
  readonly soak: boolean
  /** Told what happens, for a person who waits. */
  readonly say: (line: string) => void
}

export type Workload = (circumstances: Circumstances) => Promise<Findings>

/** Starts subjects one after the other and ends them all when `work` is done, or when one of them does not start. */
export async function withSubjects<Started extends Subject, Result>(starts: readonly (() => Promise<Started | undefined>)[], work: (subjects: readonly Started[]) => Promise<Result>): Promise<Result> {
  await using running = new AsyncDisposableStack()
  const subjects: Started[] = []
  for (const start of starts) {
    const subject = await start()
    if (subject === undefined) continue
    running.defer(() => subject.close())
    subjects.push(subject)
  }
  return await work(subjects)
}
