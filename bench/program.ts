// Programs of the benchmark: each a process of its own, which says where it listens and ends with this one.
import { fork, type ChildProcess } from 'node:child_process'

export interface Program<Facts> {
  readonly pid: number
  readonly child: ChildProcess
  /** What it said when it was ready. */
  readonly facts: Facts
  stop(): Promise<void>
}

const START_MS = 20_000

/** Starts a program of this folder. @param name its path below this folder */
export async function startProgram<Facts = { readonly url: string }>(name: string, args: readonly string[] = [], execArgv: readonly string[] = []): Promise<Program<Facts>> {
  const child = fork(new URL(name, import.meta.url), args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [...execArgv] })
  const facts = await new Promise<Facts>((resolve, reject) => {
    const complaint = complaintsOf(child)
    const timer = setTimeout(() => reject(new Error(`${name} did not start: ${complaint()}`)), START_MS)
    child.once('message', (message) => resolve(message as Facts))
    child.once('exit', (code) => reject(new Error(`${name} ended with ${code}: ${complaint()}`)))
    child.once('message', () => clearTimeout(timer))
    child.once('exit', () => clearTimeout(timer))
  })
  return { pid: child.pid ?? 0, child, facts, stop: () => stop(child) }
}

/** What a process last wrote to its standard error. */
export function complaintsOf(child: ChildProcess): () => string {
  let text = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (text = (text + chunk).slice(-3000)))
  return () => text
}

/** Ends a process in order, or else by force. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await ended
  clearTimeout(timer)
}

/** Tells the parent process what this one is, and ends with it. */
export function announce(facts: object): void {
  if (process.send === undefined) return console.log(facts)
  process.send(facts)
  process.on('disconnect', () => process.exit(0))
}


/** Waits until an address answers with 200. @returns milliseconds since the call */
export async function untilAnswers(url: string, child: ChildProcess): Promise<number> {
  const startedAt = performance.now()
  while (performance.now() - startedAt < START_MS && child.exitCode === null) {
    const status = await fetch(url).then((response) => response.status, () => 0)
    if (status === 200) return performance.now() - startedAt
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`${url} does not answer (exit code ${child.exitCode})`)
}
