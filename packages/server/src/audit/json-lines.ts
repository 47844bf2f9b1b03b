import type { RecordedEvent } from './event.ts'

/** Writes events as JSON lines to standard output; a reader that went away does not stop the gateway. */
export function jsonLines(output: NodeJS.WritableStream = process.stdout): (events: readonly RecordedEvent[]) => void {
  output.on('error', () => undefined)
  // Printed once for the store, the event becomes a line by its time in front.
  const line = ({ at, json }: RecordedEvent): string => `{"time":"${new Date(at).toISOString()}",${json.slice(1)}\n`
  return (events) => void output.write(events.map(line).join(''))
}
