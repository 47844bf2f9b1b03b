import type { AuditEvent } from './event.ts'

/** Writes events as JSON lines to standard output; a reader that went away does not stop the gateway. */
export function jsonLines(output: NodeJS.WritableStream = process.stdout): (events: readonly (AuditEvent & { readonly at: number })[]) => void {
  output.on('error', () => undefined)
  return (events) => void output.write(events.map(({ at, ...event }) => `${JSON.stringify({ time: new Date(at).toISOString(), ...event })}\n`).join(''))
}
