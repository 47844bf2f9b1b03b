/** How far a client has read the streams of several upstreams: by upstream, the identifier of its last event. */
export type Positions = Readonly<Record<string, string>>

const MAX_LENGTH = 8192

/** One event's identifier that says where all streams are, as a client gives back only the last that it saw. */
export function formatPositions(positions: Positions): string {
  return Buffer.from(JSON.stringify(positions)).toString('base64url')
}

/** They are believed as far as an upstream believes its own: the stream is that of the client's own session. */
export function parsePositions(lastEventId: unknown): Positions {
  if (typeof lastEventId !== 'string' || lastEventId.length > MAX_LENGTH) return {}
  try {
    const value: unknown = JSON.parse(Buffer.from(lastEventId, 'base64url').toString('utf8'))
    const entries = Object.entries(typeof value === 'object' && value !== null ? value : {})
    return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string' && /^[\x20-\x7e]*$/.test(entry[1])))
  } catch {
    return {}
  }
}

const ID_LINE = /^id: ?(.+)$/

/** The lines of an event with its identifier changed. */
export function withPosition(lines: readonly string[], change: (id: string) => string): readonly string[] {
  return lines.some((line) => ID_LINE.test(line)) ? lines.map((line) => line.replace(ID_LINE, (_line, id: string) => `id: ${change(id)}`)) : lines
}
