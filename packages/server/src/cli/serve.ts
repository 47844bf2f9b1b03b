import { loadConfig } from '../config/load.ts'
import { start } from '../main.ts'
import type { CommonOptions } from './command.ts'

/** Runs the gateway until it is told to stop. */
export async function serve(options: CommonOptions): Promise<void> {
  const config = loadConfig(options.config)
  for (const note of config.notes) console.error(`note: ${note}`)
  const running = await start(config)
  console.error(`Lanyard serves ${config.issuer} on ${running.address}`)
  stopOnSignal(running.close)
}

/** Ends the process in order at the first SIGTERM or SIGINT, at once at the second. */
export function stopOnSignal(close: () => Promise<void>): void {
  let stopping = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(1)
      stopping = true
      close().then(
        () => process.exit(0),
        (error: unknown) => {
          console.error(error)
          process.exit(1)
        },
      )
    })
  }
}
