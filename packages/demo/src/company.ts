// Starts the demo company: each server a process of its own that ends with this one.
import { fork, type ChildProcess } from 'node:child_process'

export { people, type Person } from './people.ts'

export interface Company {
  /** The issuer of the OpenID provider. */
  readonly issuer: string
  /** The addresses of the MCP servers. */
  readonly notes: string
  readonly tickets: string
  close(): void
}

/**
 * Starts an OpenID provider and two MCP servers on free loopback ports.
 *
 * @throws Error when one of them does not start within 20 seconds.
 */
export async function startCompany(gateway: { readonly callback: string; readonly clientSecret: string }): Promise<Company> {
  const children: ChildProcess[] = []
  const close = (): void => children.forEach((child) => child.kill())
  const start = (program: string, ...args: string[]): Promise<string> => {
    const child = fork(new URL(program, import.meta.url), args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    children.push(child)
    return address(child, program)
  }
  try {
    const [issuer, notes, tickets] = await Promise.all([
      start('identity-provider.ts', gateway.callback, gateway.clientSecret),
      start('notes.ts'),
      start('tickets.ts'),
    ])
    return { issuer, notes, tickets, close }
  } catch (error) {
    close()
    throw error
  }
}

function address(child: ChildProcess, program: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-4000)))
    const timer = setTimeout(() => reject(new Error(`${program} did not start: ${complaint}`)), 20_000)
    child.once('message', (message: { readonly url: string }) => {
      clearTimeout(timer)
      resolve(message.url)
    })
    child.once('exit', (code) => {
      clearTimeout(timer)
      reject(new Error(`${program} ended with ${code}: ${complaint}`))
    })
  })
}
