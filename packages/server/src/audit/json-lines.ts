import type { AuditEvent } from './event.ts'

/** Writes events as JSON lines to standard output; a reader that went away does not stop the gateway. */
export function jsonLines(output: NodeJS.WritableStream = process.stdout): (event: AuditEvent & { readonly at: number }) => void {
  output.on('error', () => undefined)
  return ({ at, ...event }) => void output.write(`${JSON.stringify({ time: new Date(at).toISOString(), ...event })}\n`)
}
