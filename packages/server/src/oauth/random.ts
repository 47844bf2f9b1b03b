import { randomFillSync } from 'node:crypto'

const POOL_BYTES = 4096

let pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

/** Gives out bytes of the system's generator, fetched some at a time: asking costs more than the bytes. Each is given out once. */
export function random(bytes: number): Buffer {
  if (bytes > POOL_BYTES) throw new RangeError('so many random bytes are not given out at once')
  if (used + bytes > POOL_BYTES) {
    // Another buffer, as parts of the last one may be in use.
    pool = randomFillSync(Buffer.alloc(POOL_BYTES))
    used = 0
  }
  used += bytes
  return pool.subarray(used - bytes, used)
}
