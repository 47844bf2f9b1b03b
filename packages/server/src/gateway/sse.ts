/** One event of a server-sent event stream: its data, and its other lines as they came. */
export interface StreamEvent {
  readonly data: string
  /** `id`, `event`, `retry` and comment lines. */
  readonly lines: readonly string[]
}

export interface EventParser {
  push(chunk: Uint8Array): void
}

/** An event is larger than anybody should send. */
export class EventTooLarge extends Error {
  override readonly name = 'EventTooLarge'
}

const MAX_EVENT = 16 * 1024 * 1024

/**
 * Splits a stream into events, wherever its pieces are cut (WHATWG HTML §9.2.6). An event that does not end is none.
 *
 * @throws EventTooLarge from `push`
 */
export function eventParser(onEvent: (event: StreamEvent) => void): EventParser {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  let data: string[] = []
  let lines: string[] = []
  let size = 0
  const line = (text: string): void => {
    if (text === '') {
      if (data.length > 0 || lines.length > 0) onEvent({ data: data.join('\n'), lines })
      data = []
      lines = []
      size = 0
      return
    }
    size += text.length
    if (size > MAX_EVENT) throw new EventTooLarge('an event is too large')
    const colon = text.indexOf(':')
    const field = colon === -1 ? text : text.slice(0, colon)
    if (field === 'data') data.push(colon === -1 ? '' : text.slice(colon + 1).replace(/^ /, ''))
    else lines.push(text)
  }
  return {
    push(chunk) {
      // The decoder drops a byte order mark at the start, as the standard wants.
      const text = rest + decoder.decode(chunk, { stream: true })
      if (text.length > MAX_EVENT) throw new EventTooLarge('an event is too large')
      // A carriage return at the end may be half of a line end.
      const end = text.endsWith('\r') ? text.length - 1 : text.length
      const parts = text.slice(0, end).split(/\r\n|\n|\r/)
      rest = (parts.pop() ?? '') + text.slice(end)
      for (const part of parts) line(part)
    },
  }
}

export function formatEvent({ data, lines }: StreamEvent): string {
  const dataLines = data === '' ? [] : data.split('\n').map((text) => `data: ${text}`)
  return `${[...lines, ...dataLines].join('\n')}\n\n`
}
