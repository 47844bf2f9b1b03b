/** A command could not do its work: the message says why and what to do next. */
export class CommandFailed extends Error {
  override readonly name = 'CommandFailed'
}

/** Options that most commands share. */
export interface CommonOptions {
  readonly config: string
  readonly json?: boolean
}

/** Prints data for people, or as JSON where a program asked for it. */
export function print(options: { readonly json?: boolean }, data: unknown, lines: readonly string[]): void {
  console.log(options.json === true ? asJson(data) : onTerminal(lines.join('\n')))
}

/** Without what a terminal would take for something else than text: names and messages are others' words. */
export function onTerminal(text: string): string {
  return text.replaceAll(/(?![\n\t])[\p{Cc}\p{Cf}]/gu, '')
}

/** The same data, written without it (RFC 8259 §7). */
function asJson(data: unknown): string {
  return JSON.stringify(data).replaceAll(/[\p{Cc}\p{Cf}]/gu, (unprintable) => unprintable.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''))
}
