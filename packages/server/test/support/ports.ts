// Free ports of loopback, for programs that must be told where to listen.
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** Below those that systems give to connections, so that none takes a port between its choice and its use. */
const [FIRST, LAST] = [20_000, 30_000]

/** Finds free ports, none of them twice in one call. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  for (let attempt = 0; ports.size < count; attempt += 1) {
    if (attempt > 50 * count) throw new Error(`Nobody found ${count} free ports between ${FIRST} and ${LAST}.`)
    const port = randomInt(FIRST, LAST)
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

/** Finds one free port. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1)
  return port as number
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer().once('error', () => resolve(false)).listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}
