/** One event of a server-sent event stream: its data, and its other lines. */
export interface StreamEvent {
  /** Undefined for an event without data, which is not the same as one whose data is empty. */
  readonly data: string | undefined
  /** `id`, `event` and `retry` as they came, and comments without their text. */
  readonly lines: readonly string[]
}

export interface EventParser {
  /** @throws EventTooLarge, TypeError when the stream is not UTF-8 */
  push(chunk: Uint8Array): void
}

/** An event is larger than anybody should send. */
export class EventTooLarge extends Error {
  override readonly name = 'EventTooLarge'
}

const MAX_EVENT = 16 * 1024 * 1024
/** A comment keeps a connection alive: what it says is for nobody, and could be what a client may not read (H07). */
const COMMENT = ':'
const PASSED_FIELDS = new Set(['id', 'event', 'retry'])

/** Splits a stream into events, wherever its pieces are cut (WHATWG HTML §9.2.6). An event that does not end is none. */
export function eventParser(onEvent: (event: StreamEvent) => void): EventParser {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  let afterReturn = false
  let data: string[] = []
  let lines: string[] = []
  let size = 0
  const line = (text: string): void => {
    if (text === '') {
      const event = { data: data.length === 0 ? undefined : data.join('\n'), lines }
      data = []
      lines = []
      size = 0
      if (event.data !== undefined || event.lines.length > 0) onEvent(event)
      return
    }
    const colon = text.indexOf(':')
    const field = colon === -1 ? text : text.slice(0, colon)
    if (field === 'data') data.push(colon === -1 ? '' : text.slice(colon + 1).replace(/^ /, ''))
    else if (field === '') lines.push(COMMENT)
    else if (PASSED_FIELDS.has(field)) lines.push(text)
  }
  return {
    push(chunk) {
      // The decoder drops a byte order mark at the start, as the standard wants.
      let text = decoder.decode(chunk, { stream: true })
      if (text === '') return
      // A line feed that belongs to the carriage return before it.
      if (afterReturn && text.startsWith('\n')) text = text.slice(1)
      afterReturn = text === '' ? false : text.endsWith('\r')
      size += text.length
      const parts = text.split(/\r\n|\n|\r/)
      const last = parts.pop() ?? ''
      for (const part of parts) {
        line(rest + part)
        rest = ''
      }
      rest += last
      // Counted in pieces, so what is in memory is this and one piece at most.
      if (size > MAX_EVENT) throw new EventTooLarge('an event is too large')
    },
  }
}

export function formatEvent({ data, lines }: StreamEvent): string {
  const dataLines = data === undefined ? [] : data.split('\n').map((text) => `data: ${text}`)
  return `${[...lines, ...dataLines].join('\n')}\n\n`
}
