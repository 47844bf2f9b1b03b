// The load generator, seen from the run: what was asked of it, and what came of it.
import { startProgram } from '../program.ts'
import type { Job, Order, Outcome, Plan, Report } from './job.ts'

export interface Load {
  /** Opens the connections and whatever the job needs before its first operation. @throws Error */
  prepare(name: string, job: Job): Promise<void>
  run(name: string, plan: Plan): Promise<Outcome>
  end(name: string): Promise<void>
  stop(): Promise<void>
}

export async function startLoad(): Promise<Load> {
  const program = await startProgram('load/generator.ts')
  const obey = (order: Order, name: string): Promise<Outcome | undefined> =>
    new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error('the load generator ended'))
      program.child.once('exit', ended)
      program.child.once('message', (report: Report) => {
        program.child.off('exit', ended)
        if (report.failure === undefined && report.done === name) resolve(report.outcome)
        else reject(new Error(`${name}: ${report.failure ?? `an answer to ${report.done}`}`))
      })
      program.child.send(order)
    })
  return {
    prepare: async (name, job) => void (await obey({ prepare: name, job }, name)),
    async run(name, plan) {
      const outcome = await obey({ run: name, plan }, name)
      if (outcome === undefined) throw new Error('no outcome')
      return outcome
    },
    end: async (name) => void (await obey({ end: name }, name)),
    stop: () => program.stop(),
  }
}
