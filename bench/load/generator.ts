// The load generator, a process of its own. Closed loop: each connection asks again as soon as it was answered. Open
// loop: requests are due at a fixed rate whatever comes of those before them, and lateness counts as latency.
import { setTimeout as sleep } from 'node:timers/promises'
import { announce } from '../program.ts'
import type { Actor, Job, Order, Outcome, Plan, Report } from './job.ts'
import { listActor } from './list.ts'
import { mcpActor } from './mcp.ts'
import { streamActors } from './streams.ts'
import { tokenActors } from './token.ts'

const crews = new Map<string, readonly Actor[]>()

interface Tally {
  readonly samples: number[]
  wrong: number
  complaint: string | undefined
}

async function obey(order: Order): Promise<Report> {
  if ('prepare' in order) {
    const crew = crewFor(order.job)
    crews.set(order.prepare, crew)
    await Promise.all(crew.map((actor) => actor.prepare()))
    return { done: order.prepare }
  }
  if ('run' in order) return { done: order.run, outcome: await run(crews.get(order.run) ?? [], order.plan) }
  crews.get(order.end)?.forEach((actor) => actor.close())
  crews.delete(order.end)
  return { done: order.end }
}

function crewFor(job: Job): Actor[] {
  if (job.kind === 'streams') return streamActors(job)
  if (job.kind === 'list') return Array.from({ length: job.connections }, () => listActor(job))
  return job.kind === 'mcp' ? Array.from({ length: job.connections }, (_, index) => mcpActor(job, index)) : tokenActors(job)
}

async function run(crew: readonly Actor[], plan: Plan): Promise<Outcome> {
  const tally: Tally = { samples: [], wrong: 0, complaint: undefined }
  const over = new AbortController()
  const startedAt = performance.now()
  const timer = setTimeout(() => over.abort(), plan.seconds * 1000)
  const turns = { taken: 0 }
  await Promise.all(crew.map((actor) => (plan.rate === undefined ? closed(actor, tally, over.signal) : open(actor, tally, over.signal, { rate: plan.rate, startedAt, seconds: plan.seconds, turns }))))
  clearTimeout(timer)
  const sorted = Float64Array.from(tally.samples).sort()
  return {
    operations: sorted.length,
    seconds: (performance.now() - startedAt) / 1000,
    p50ms: sorted[Math.floor(sorted.length * 0.5)] ?? 0,
    p99ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    wrong: tally.wrong,
    ...(tally.complaint === undefined ? {} : { complaint: tally.complaint }),
  }
}

async function closed(actor: Actor, tally: Tally, end: AbortSignal): Promise<void> {
  while (!end.aborted) {
    if (!(await timed(actor, tally, performance.now(), end))) return
  }
}

interface Schedule {
  readonly rate: number
  readonly startedAt: number
  readonly seconds: number
  readonly turns: { taken: number }
}

/** Connections take the requests in the order in which they are due: one that all of them are too busy for waits, and is late. */
async function open(actor: Actor, tally: Tally, end: AbortSignal, { rate, startedAt, seconds, turns }: Schedule): Promise<void> {
  while (turns.taken < rate * seconds) {
    const dueAt = startedAt + (turns.taken++ / rate) * 1000
    const early = dueAt - performance.now()
    if (early > 0) await sleep(early)
    // A timer that rings late is the generator's own fault, a connection that was busy is the subject's.
    if (!(await timed(actor, tally, early > 0 ? performance.now() : dueAt, end))) return
  }
}

/** @returns whether there is more to do */
async function timed(actor: Actor, tally: Tally, since: number, end: AbortSignal): Promise<boolean> {
  try {
    const more = await actor.step(end)
    if (more) tally.samples.push(performance.now() - since)
    return more
  } catch (error) {
    tally.wrong += 1
    tally.complaint ??= error instanceof Error ? error.message : 'failed'
    return tally.wrong < 100
  }
}

process.on('message', (order: Order) => {
  const name = 'prepare' in order ? order.prepare : 'run' in order ? order.run : order.end
  obey(order).then(
    (report) => process.send?.(report),
    (error: unknown) => process.send?.({ done: name, failure: error instanceof Error ? error.message : 'failed' } satisfies Report),
  )
})
announce({ ready: true })
