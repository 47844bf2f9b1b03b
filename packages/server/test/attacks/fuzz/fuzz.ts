import type { Coverage } from './coverage.ts'
import { mutate, randomFrom } from './mutate.ts'

/** A parser under attack. */
export interface Target {
  readonly name: string
  /** Valid inputs, and what was found before. */
  readonly seeds: readonly (string | Buffer)[]
  /** Words of the format. */
  readonly words: readonly string[]
  /** @throws when the input does what none may do */
  readonly run: (input: Buffer) => void
}

export interface Finding {
  readonly input: Buffer
  readonly error: unknown
}

export interface Outcome {
  readonly runs: number
  /** Inputs that reached something new. */
  readonly kept: number
  readonly blocks: number
  readonly finding: Finding | undefined
}

export interface FuzzOptions {
  readonly seed: number
  readonly coverage: Coverage
  /** Asked before each batch. */
  readonly goOn: (runs: number) => boolean
}

const BATCH = 256
/** Of each batch, how many inputs are looked at one by one, however little the others reached: how often a block runs counts then. */
const SAMPLE = 4
/** Milliseconds that no input of this size may take. */
const SLOW_MS = 1000

/** Runs mutated inputs and keeps those that reach what none reached before. Ends at the first finding. */
export function fuzz(target: Target, { seed, coverage, goOn }: FuzzOptions): Outcome {
  const random = randomFrom(seed)
  const corpus: Buffer[] = target.seeds.map((input) => Buffer.from(input))
  const reached = new Set<string>()
  const found = new Set<string>()
  const words = target.words.length === 0 ? [''] : target.words
  let [runs, finding] = [0, undefined as Finding | undefined]
  const run = (inputs: readonly Buffer[]): void => {
    runs += inputs.length
    for (const input of inputs) finding ??= attempt(target, input)
  }
  /** Asking what was reached takes as long as many runs: of a batch it is asked once, and then of its halves. */
  const keepNew = (inputs: readonly Buffer[]): void => {
    run(inputs)
    const blocks = coverage.take()
    if (finding !== undefined) return
    if (inputs.length > 1) {
      // How often a block ran in a batch says nothing of one input.
      const ran = blocks.filter((block) => !block.endsWith(':0')).map(unnumbered)
      if (ran.every((block) => reached.has(block))) return
      keepNew(inputs.slice(0, inputs.length / 2))
      keepNew(inputs.slice(inputs.length / 2))
      for (const block of ran) reached.add(block)
      return
    }
    // A block that did not run counts, too: V8 does not name one that ran as often as what is around it.
    const before = found.size
    for (const block of blocks) found.add(block)
    if (found.size > before) corpus.push(...inputs)
  }
  coverage.take()
  for (const input of corpus.slice()) keepNew([input])
  const seeds = corpus.length
  const isOver = (): boolean => finding !== undefined || !goOn(runs)
  while (!isOver()) {
    const batch = Array.from({ length: BATCH }, () => mutate(corpus[random(corpus.length)] ?? Buffer.alloc(0), { corpus, words }, random))
    for (const input of batch.slice(0, SAMPLE)) keepNew([input])
    keepNew(batch.slice(SAMPLE))
  }
  return { runs, kept: corpus.length - seeds, blocks: new Set([...found].map(unnumbered)).size, finding }
}

function unnumbered(block: string): string {
  return block.replace(/:\d+$/, '')
}

function attempt({ run }: Target, input: Buffer): Finding | undefined {
  const before = performance.now()
  try {
    run(input)
  } catch (error) {
    return { input, error }
  }
  const took = performance.now() - before
  return took < SLOW_MS ? undefined : { input, error: new Error(`took ${Math.round(took)} ms`) }
}
