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
  console.log(options.json === true ? JSON.stringify(data) : lines.join('\n'))
}
