/** The names of tasks, so that whoever began one can be told of it by the name that they know, at any node. */
export interface TaskStore {
  /** @returns the name that the task has: of two, the first */
  add(task: NamedTask, now: number): Promise<string>
  /** @returns names by the hash of the upstream's own */
  find(owner: string, owns: readonly string[], now: number): Promise<ReadonlyMap<string, string>>
  reap(now: number): Promise<void>
}

export interface NamedTask {
  /** Who may hear of it, by hash. */
  readonly owner: string
  /** The upstream's own name, by hash. */
  readonly own: string
  readonly name: string
  readonly expiresAt: number
}
