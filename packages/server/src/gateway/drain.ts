import type { Answer } from './exchange.ts'

const DRAIN_MS = 2000

/** Reads what is left of a short answer, so that its connection can be used again; a long or slow one is left. */
export async function drain(answer: Answer): Promise<void> {
  let size = 0
  const timer = setTimeout(() => answer.cancel(), DRAIN_MS)
  await answer
    .consume((chunk) => {
      size += chunk.length
      if (size > 64 * 1024) throw new Error('too long to be read')
    })
    .catch(() => undefined)
  clearTimeout(timer)
}
