import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'

/** Waits for what happens by itself. @returns milliseconds until it did; fails when it does not in time */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>, ms = 5000): Promise<number> {
  const startedAt = Date.now()
  while (!(await holds())) {
    if (Date.now() - startedAt > ms) assert.fail(`not within ${ms} ms: ${what}`)
    await delay(10)
  }
  return Date.now() - startedAt
}
