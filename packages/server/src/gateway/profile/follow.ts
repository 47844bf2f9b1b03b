import type { Upstream } from '../../upstreams/upstream.ts'
import { passEvents, type Change } from '../answers.ts'
import type { Call } from '../call.ts'
import { McpError } from '../error.ts'
import type { Answer } from '../exchange.ts'
import type { OpenCall } from '../open-calls.ts'

/** An upstream's stream, `later` when there may be one, `never` when there is none. */
export type Opened = Answer | 'later' | 'never'

/** One of the streams that a client reads as one. */
export interface Source {
  /** @throws McpError when it fails now */
  open(call: Call): Promise<Opened>
  changeOf(upstream: Upstream): Change
  /** Told when an upstream is back whose notifications may have been missed. */
  missed(upstream: Upstream): void
  /** Told when nothing more comes of an upstream, or nothing for now. */
  silent(upstream: Upstream): void
  readonly write?: (text: string) => void
}

const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 30_000
const KEEP_ALIVE_MS = 25_000

/**
 * Passes on what all streams say, event by event as they come. One that ends or breaks off is opened again: the client
 * sees one stream, which lives as long as it listens. Resolves when none of them has anything more to say.
 */
export async function followAll(calls: readonly Call[], opened: readonly (Opened | Promise<Opened>)[], source: Source): Promise<void> {
  const [first] = calls
  // Each of them waits for the same reader.
  first?.response.setMaxListeners(calls.length + 10)
  // RS-30: what is silent for long looks broken to proxies in between.
  const alive = setInterval(() => first?.response.writableNeedDrain === true || first?.response.write(':\n\n'), KEEP_ALIVE_MS).unref()
  try {
    await Promise.all(calls.map(async (call, index) => follow(call, (await opened[index]) ?? 'later', source)))
  } finally {
    clearInterval(alive)
  }
}

async function follow(call: Call, first: Opened, source: Source): Promise<void> {
  const { upstream, open, response } = call
  // What was given up for taking too long is tried again.
  open.ended = undefined
  let missed = false
  let pause = FIRST_PAUSE_MS
  for (let stream = first; stream !== 'never' && open.ended === undefined; stream = open.ended === undefined ? await openStream(call, source) : 'never') {
    if (stream !== 'later') {
      if (missed) source.missed(upstream)
      const whole = await passEvents(stream, { response, upstream, begin: () => undefined, ...(source.write === undefined ? {} : { write: source.write }) }, source.changeOf(upstream)).then(() => true, isOver)
      missed = !whole
      pause = FIRST_PAUSE_MS
    } else missed = true
    source.silent(upstream)
    await wait(pause, open)
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS)
  }
  // It is back, and has no stream: an account that was missing is connected, perhaps.
  if (missed && open.ended === undefined) source.missed(upstream)
  source.silent(upstream)
}

/** Opens the stream of one upstream, now or later. @throws what is not the upstream's own trouble */
export function openStream(call: Call, source: Pick<Source, 'open'>): Promise<Opened> {
  return source.open(call).catch((error: unknown) => {
    isOver(error)
    return 'later' as const
  })
}

/** An upstream's own trouble ends its stream for now. @throws whatever else it was */
function isOver(error: unknown): false {
  if (error instanceof McpError) return false
  throw error
}

function wait(milliseconds: number, open: OpenCall): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    open.stop = () => {
      clearTimeout(timer)
      resolve()
    }
    if (open.ended !== undefined) open.stop()
  })
}
