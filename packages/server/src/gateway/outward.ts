import type { Operation } from './operation.ts'

type Json = Readonly<Record<string, unknown>>

/** Puts what an upstream says into the words of a profile of several. */
export interface Outward {
  /** What the client asked for. */
  readonly operation: Operation
  /** @returns undefined for what is not for this client */
  message(message: Json): Json | undefined | Promise<Json | undefined>
  /** The lines of an event besides its data. */
  lines(lines: readonly string[]): readonly string[]
}
