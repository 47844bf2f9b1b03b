// One node of the gateway as a process: it can be started, killed, paused and started again on its port.
import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { AuditEvent } from '../../src/audit/event.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname
const START_MS = 30_000
const STOP_MS = 5000

export interface NodeProcess {
  /** The address of the node itself. */
  readonly url: string
  /** The path of its configuration file. */
  readonly config: string
  readonly pid: number | undefined
  /** Starts it, or starts it again, and waits until it can do its work. */
  start(): Promise<void>
  /** Sends a signal, and does not wait for what comes of it. */
  signal(signal: NodeJS.Signals): void
  /** Ends it at once and waits for its end. */
  kill(): Promise<void>
  /** Resolves when the process that runs now has ended. */
  ended(): Promise<Ending>
  stop(): Promise<void>
}

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface NodeProcessOptions {
  readonly url: string
  readonly config: string
  readonly environment: Readonly<Record<string, string>>
  readonly wrapper: readonly string[]
  readonly events: AuditEvent[]
  readonly output: string[]
}

export function nodeProcess(options: NodeProcessOptions): NodeProcess {
  let child: ChildProcess | undefined
  let ending: Promise<Ending> = Promise.resolve({ code: null, signal: null })
  const signal = (name: NodeJS.Signals): void => void child?.kill(name)
  return {
    url: options.url,
    config: options.config,
    get pid() {
      return child?.pid
    },
    async start() {
      const command = [...options.wrapper, process.execPath, BIN, 'serve', '--config', options.config]
      const started = spawn('/usr/bin/env', command, { env: { ...process.env, ...options.environment }, stdio: ['ignore', 'pipe', 'pipe'] })
      child = started
      ending = new Promise((resolve) => started.once('exit', (code, name) => resolve({ code, signal: name })))
      await ready(started, options)
    },
    signal,
    async kill() {
      signal('SIGKILL')
      await ending
    },
    ended: () => ending,
    async stop() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      signal('SIGTERM')
      // One that was paused hears nothing until it goes on.
      signal('SIGCONT')
      const timer = setTimeout(signal, STOP_MS, 'SIGKILL')
      await ending
      clearTimeout(timer)
    },
  }
}

async function ready(child: ChildProcess, { url, events, output }: NodeProcessOptions): Promise<void> {
  const complaints: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line)
      if (stream === child.stderr) complaints.push(line)
      else if (line.startsWith('{')) events.push(...event(line))
    })
  }
  const deadline = Date.now() + START_MS
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) break
    const status = await fetch(`${url}/readyz`).then((response) => response.status, () => 0)
    if (status === 200) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`the gateway did not start (exit code ${child.exitCode}):\n${complaints.join('\n')}`)
}

/** A process that was killed may have written half a line. */
function event(line: string): AuditEvent[] {
  try {
    return [JSON.parse(line) as AuditEvent]
  } catch {
    return []
  }
}
