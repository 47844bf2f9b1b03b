// What is measured: something that answers at an address, and the processes that it is made of.

export interface Subject {
  readonly name: string
  readonly url: string
  /** Whose processor time and memory count, children included. */
  readonly pid: number
  /** The database server behind it, counted apart; absent when there is none, or it runs elsewhere. */
  readonly databasePid?: number
  close(): Promise<void>
}
