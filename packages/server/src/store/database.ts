// Owns how the domains' interfaces become SQL: two thin drivers, one SQL text, one conformance suite. No rule lives here.

export type Value = string | number | null

/**
 * Runs SQL that both drivers understand: parameters are `$1`, `$2`, … (each used in order, repeats allowed); times are
 * integers; booleans are 0 and 1; JSON is text; `INSERT … ON CONFLICT … DO UPDATE` and `RETURNING` are there.
 */
export interface Database {
  /** Runs one statement and returns its rows; names of columns as the SQL writes them. */
  query<Row extends object = Record<string, Value>>(sql: string, params?: readonly Value[]): Promise<Row[]>
  /**
   * Reads the row that a key names. What is asked at once goes to the database together and is answered in turn: for nothing
   * that takes long.
   */
  find<Row extends object = Record<string, Value>>(sql: string, params: readonly Value[]): Promise<Row | undefined>
  /**
   * Runs statements as one transaction that commits when `run` resolves and rolls back when it throws. Conflicting
   * writers wait for each other (SQLite: one writer; PostgreSQL: read committed, rows locked by UPDATE).
   * Nothing but `tx` may be awaited inside.
   */
  transaction<T>(run: (tx: Transaction) => Promise<T>): Promise<T>
  /**
   * Runs one statement that only adds. When it resolves, everybody sees what it added, and the end of this process does
   * not undo it; a machine that loses its power may lose what was added during the last second.
   */
  append(sql: string, params: readonly Value[]): Promise<void>
  readonly dialect: 'sqlite' | 'postgres'
  close(): Promise<void>
}

export interface Transaction {
  query: Database['query']
  readonly dialect: Database['dialect']
  /** Runs after the commit, on this node alone. */
  onCommit(run: () => void): void
}
