/** How far a client has read the stream of one upstream. */
export interface Position {
  /** The identifier of its last event. */
  readonly event: string
  /** The client's request that the stream is to answer, and has not answered yet. */
  readonly call?: string | number
}

/** How far a client has read the streams of several upstreams. */
export type Positions = Readonly<Record<string, Position>>

const MAX_LENGTH = 8192

/** One event's identifier that says where all streams are, as a client gives back only the last that it saw. */
export function formatPositions(positions: Positions): string {
  return Buffer.from(JSON.stringify(Object.entries(positions).map(([upstream, { event, call }]) => (call === undefined ? [upstream, event] : [upstream, event, call])))).toString('base64url')
}

/** They are believed as far as an upstream believes its own: the streams are those of the client's own session. */
export function parsePositions(lastEventId: unknown): ReadonlyMap<string, Position> {
  if (typeof lastEventId !== 'string' || lastEventId.length > MAX_LENGTH) return new Map()
  try {
    const value: unknown = JSON.parse(Buffer.from(lastEventId, 'base64url').toString('utf8'))
    return new Map((Array.isArray(value) ? value : []).flatMap(positionIn))
  } catch {
    return new Map()
  }
}

function positionIn(entry: unknown): [string, Position][] {
  const [upstream, event, call]: unknown[] = Array.isArray(entry) ? entry : []
  if (typeof upstream !== 'string' || typeof event !== 'string' || !/^[\x20-\x7e]*$/.test(event)) return []
  return [[upstream, { event, ...(typeof call === 'string' || typeof call === 'number' ? { call } : {}) }]]
}

const ID_LINE = /^id: ?(.+)$/

/** The lines of an event with its identifier changed. */
export function withPosition(lines: readonly string[], change: (id: string) => string): readonly string[] {
  return lines.some((line) => ID_LINE.test(line)) ? lines.map((line) => line.replace(ID_LINE, (_line, id: string) => `id: ${change(id)}`)) : lines
}
