// Starts the demo company: each server a process of its own that ends with this one.
import { fork, type ChildProcess } from 'node:child_process'

export { people, type Person } from './people.ts'

export interface Company {
  /** The issuer of the OpenID provider. */
  readonly issuer: string
  /** The addresses of the MCP servers. */
  readonly notes: string
  readonly tickets: string
  /** The process identifiers, for whoever wants one of them to be down. */
  readonly processes: Readonly<Record<'identityProvider' | 'notes' | 'tickets', number | undefined>>
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
  const start = async (program: string, ...args: string[]): Promise<{ readonly url: string; readonly pid: number | undefined }> => {
    const child = fork(new URL(program, import.meta.url), args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    children.push(child)
    return { url: await address(child, program), pid: child.pid }
  }
  try {
    const [provider, notes, tickets] = await Promise.all([
      start('identity-provider.ts', gateway.callback, gateway.clientSecret),
      start('notes.ts'),
      start('tickets.ts'),
    ])
    const processes = { identityProvider: provider.pid, notes: notes.pid, tickets: tickets.pid }
    return { issuer: provider.url, notes: notes.url, tickets: tickets.url, processes, close }
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
