import { CHOSEN } from './databases.ts'

/** The installations that a flow is proven on: SQLite, PostgreSQL, and two nodes on one PostgreSQL without affinity. */
export interface Variant {
  readonly name: string
  readonly store: 'sqlite' | 'postgres'
  readonly nodes: number
}

const SQLITE: readonly Variant[] = [{ name: 'SQLite', store: 'sqlite', nodes: 1 }]
const POSTGRES: readonly Variant[] = [
  { name: 'PostgreSQL', store: 'postgres', nodes: 1 },
  { name: 'PostgreSQL, two nodes', store: 'postgres', nodes: 2 },
]

/** Chosen by `LANYARD_TEST_STORE`: `sqlite` (default), `postgres` or `both`. */
export function variants(): readonly Variant[] {
  return [...(CHOSEN.sqlite ? SQLITE : []), ...(CHOSEN.postgres ? POSTGRES : [])]
}
