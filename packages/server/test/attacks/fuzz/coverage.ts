// What a run reached, by V8's own counters of blocks: no instrumentation, no dependency.
import { Session } from 'node:inspector'

export interface Coverage {
  /** Which blocks ran, and about how often, since this was asked last. */
  take(): readonly string[]
  close(): void
}

interface FunctionCoverage {
  readonly functionName: string
  readonly ranges: readonly { readonly startOffset: number; readonly endOffset: number; readonly count: number }[]
}

/** @param within the part of a file's address that says that it counts */
export function startCoverage(within: string): Coverage {
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  return {
    take() {
      const blocks: string[] = []
      session.post('Profiler.takePreciseCoverage', (error, answer) => {
        if (error !== null) throw error
        for (const script of answer.result) {
          if (script.url.includes(within) && !script.url.includes('.test.')) blocks.push(...script.functions.flatMap((found) => blocksOf(script.scriptId, found)))
        }
      })
      return blocks
    },
    close: () => session.disconnect(),
  }
}

function blocksOf(script: string, { ranges }: FunctionCoverage): string[] {
  return ranges.map(({ startOffset, endOffset, count }) => `${script}:${startOffset}:${endOffset}:${magnitude(count)}`)
}

/** A loop that ran 5 times is as good as one that ran 7 times, and another one than one that ran 50 times. */
function magnitude(count: number): number {
  return count === 0 ? 0 : 1 + Math.floor(Math.log2(count))
}
