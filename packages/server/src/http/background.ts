type Log = (line: Readonly<Record<string, unknown>>) => void

/** Does what nobody waits for; what goes wrong with it is logged. */
export function inBackground({ log }: { readonly log: Log }, task: string, run: () => Promise<void>): void {
  run().catch((error: unknown) => failed(log, task, error))
}

export function failed(log: Log, task: string, error: unknown): void {
  log({ level: 'error', message: `${task} failed`, error: error instanceof Error ? error.message : 'not an error' })
}
