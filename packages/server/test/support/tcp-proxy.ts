// A TCP proxy that a test can stop at an exact place: what a node sends to its database, or hears from it, goes no
// further. It is how a process is killed between two of its steps without any hook inside of it.
import { connect, createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'

export type Direction = 'request' | 'answer'

/** Called for each piece of data before it is passed on; it waits for what is returned. */
export type Gate = (data: Buffer, direction: Direction) => void | Promise<void>

export interface TcpProxy {
  readonly port: number
  gate: Gate | undefined
  /** Connections that were opened so far. */
  readonly opened: () => number
  close(): Promise<void>
}

export async function tcpProxy(target: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let opened = 0
  const server = createServer((near) => {
    opened += 1
    const far = connect(target, '127.0.0.1')
    for (const [from, to, direction] of [[near, far, 'request'], [far, near, 'answer']] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      void pass(from, to, (data) => proxy.gate?.(data, direction))
      from.on('error', () => undefined)
      from.once('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const proxy: TcpProxy = {
    port: (server.address() as AddressInfo).port,
    gate: undefined,
    opened: () => opened,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
  return proxy
}

/** In order: what comes while one piece is held waits behind it. */
async function pass(from: Socket, to: Socket, gate: (data: Buffer) => void | Promise<void>): Promise<void> {
  try {
    for await (const data of from as AsyncIterable<Buffer>) {
      await gate(data)
      if (!to.destroyed) to.write(data)
    }
  } catch {
    // The connection was lost, which is what it is for.
  }
  to.end()
}

export interface Freeze {
  /** Resolves when the place is reached and everything stands still. */
  readonly reached: Promise<void>
  /** How many pieces went through. */
  readonly passed: () => number
}

/** Lets so many pieces of data through, and nothing after them, on any connection. */
export function freezeAfter(proxy: TcpProxy, pieces: number): Freeze {
  const { promise: reached, resolve } = Promise.withResolvers<void>()
  const never = new Promise<void>(() => undefined)
  let passed = 0
  proxy.gate = () => {
    if (passed < pieces) {
      passed += 1
      return undefined
    }
    resolve()
    return never
  }
  return { reached, passed: () => passed }
}
