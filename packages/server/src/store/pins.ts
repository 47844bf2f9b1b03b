import type { Pin, PinState, PinStore, PinWithText, Sight } from '../gateway/pin-store.ts'
import { PINNED } from '../gateway/pinned-definition.ts'
import type { Database, Transaction, Value } from './database.ts'
import { addNotices } from './notices.ts'
import type { StoreParts } from './parts.ts'

interface PinRow {
  readonly upstream: string
  readonly hash: string
  readonly tool: string
  readonly state: PinState
  readonly reason: string | null
  readonly seen_at: number
  readonly decided_at: number | null
  readonly decided_by: string | null
}

interface TextRow extends PinRow {
  readonly definition: string
}

const COLUMNS = 'upstream, hash, tool, state, reason, seen_at, decided_at, decided_by'
/** Statements have at most this many rows of parameters: every driver takes so many. */
const MAX_ROWS = 500
/** An upstream that has more tools, or invents new ones in every list, gets no further ones pinned. */
const MAX_TOOLS = 10_000
/** Of one tool, so many definitions wait at once: the newest. */
const MAX_WAITING = 10
const MAX_LISTED = 1000

export function pinStore(parts: StoreParts): PinStore {
  return { ...sightVerbs(parts), ...pinQueries(parts), ...decisionVerbs(parts) }
}

function sightVerbs({ db, audit, changed }: StoreParts): Pick<PinStore, 'states' | 'see'> {
  return {
    states: (upstream, hashes) => statesOf(db, upstream, hashes),
    see: (upstream, seen, at, tell) =>
      db.transaction(async (tx) => {
        // In one order on all nodes, so that none waits for another that waits for it.
        const sorted = [...seen].sort((a, b) => compare(a.tool, b.tool) || compare(a.hash, b.hash))
        const first = await pinFirst(tx, upstream, seen, sorted, at)
        // What pins a tool stands there before what differs from it.
        const added = await addMany(tx, upstream, sorted.filter(({ hash, refusal }) => first.has(hash) || refusal !== undefined), at)
        for (const sight of sorted.filter(({ hash, refusal }) => !first.has(hash) && refusal === undefined)) added.push(...(await addPending(tx, upstream, sight, at)))
        for (const tool of new Set(added.filter(({ state }) => state !== 'approved').map((pin) => pin.tool))) await forgetOldest(tx, upstream, tool)
        const { events, notices } = tell(added)
        await audit.append(tx, events)
        await addNotices(tx, notices)
        if (added.some(({ state }) => state !== 'approved')) await changed(tx, { kind: 'pin', key: upstream, at })
        return statesOf(tx, upstream, seen.map(({ hash }) => hash))
      }),
  }
}

async function statesOf(db: Pick<Database, 'query'>, upstream: string, hashes: readonly string[]): Promise<Map<string, PinState>> {
  const states = new Map<string, PinState>()
  for (const part of slices(hashes)) {
    const rows = await db.query<PinRow>(`SELECT hash, state FROM tool_definitions WHERE upstream = $1 AND hash IN (${part.map((_, index) => `$${index + 2}`).join(', ')})`, [upstream, ...part])
    for (const { hash, state } of rows) states.set(hash, state)
  }
  return states
}

/** @returns the hashes of definitions that pinned their tool now: of two in one list, the one that stands first in it */
async function pinFirst(tx: Transaction, upstream: string, seen: readonly Sight[], sorted: readonly Sight[], at: number): Promise<ReadonlySet<string>> {
  const tools = [...new Set(sorted.filter(({ refusal }) => refusal === undefined).map(({ tool }) => tool))]
  const [{ n: known } = { n: 0 }] = await tx.query<{ n: number }>('SELECT COUNT(*) AS n FROM pinned_tools WHERE upstream = $1', [upstream])
  const first = new Set<string>()
  for (const part of slices(tools.slice(0, Math.max(0, MAX_TOOLS - known)))) {
    const rows = part.map((_, index) => `($1, $2, $${index + 3})`).join(', ')
    const pinned = await tx.query<{ tool: string }>(`INSERT INTO pinned_tools (upstream, seen_at, tool) VALUES ${rows} ON CONFLICT (upstream, tool) DO NOTHING RETURNING tool`, [upstream, at, ...part])
    for (const { tool } of pinned) {
      const sight = seen.find((each) => each.tool === tool && each.refusal === undefined)
      if (sight !== undefined) first.add(sight.hash)
    }
  }
  return first
}

/** Adds definitions that pin their tool, or are refused. @returns those that nobody had seen */
async function addMany(tx: Transaction, upstream: string, sights: readonly Sight[], at: number): Promise<Pin[]> {
  const added: Pin[] = []
  for (const part of slices(sights, MAX_ROWS / 5)) {
    const rows = part.map((_, index) => `($1, $2, ${Array.from({ length: 5 }, (_each, column) => `$${3 + index * 5 + column}`).join(', ')})`)
    const params = part.flatMap(({ hash, tool, text, refusal }) => [hash, tool, refusal === undefined ? 'approved' : 'refused', refusal ?? null, text])
    added.push(...(await insert(tx, rows, [upstream, at, ...params])))
  }
  return added
}

async function addPending(tx: Transaction, upstream: string, { tool, hash, text }: Sight, at: number): Promise<Pin[]> {
  const reason = await changesSince(tx, upstream, tool, text)
  return insert(tx, ['($1, $2, $3, $4, $5, $6, $7)'], [upstream, at, hash, tool, 'pending', reason ?? null, text])
}

async function insert(tx: Transaction, rows: readonly string[], params: readonly Value[]): Promise<Pin[]> {
  const sql = `INSERT INTO tool_definitions (upstream, seen_at, hash, tool, state, reason, definition) VALUES ${rows.join(', ')} ON CONFLICT (upstream, hash) DO NOTHING RETURNING ${COLUMNS}`
  return (await tx.query<PinRow>(sql, params)).map(toPin)
}

async function forgetOldest(tx: Transaction, upstream: string, tool: string): Promise<void> {
  await tx.query(
    `DELETE FROM tool_definitions WHERE upstream = $1 AND hash IN (
       SELECT hash FROM tool_definitions WHERE upstream = $1 AND tool = $2 AND state <> 'approved' ORDER BY seen_at DESC, hash LIMIT 1000 OFFSET $3)`,
    [upstream, tool, MAX_WAITING],
  )
}

/** The names of the members that differ from the definition that was approved last. */
async function changesSince(tx: Transaction, upstream: string, tool: string, text: string): Promise<string | undefined> {
  const [row] = await tx.query<TextRow>(`SELECT * FROM tool_definitions WHERE ${APPROVED} LIMIT 1`, [upstream, tool])
  if (row === undefined) return undefined
  const [before, after] = [row.definition, text].map((each) => JSON.parse(each) as Readonly<Record<string, unknown>>)
  return PINNED.filter((member) => JSON.stringify(before?.[member]) !== JSON.stringify(after?.[member])).join(', ') || undefined
}

const APPROVED = `upstream = $1 AND tool = $2 AND state = 'approved' ORDER BY COALESCE(decided_at, seen_at) DESC, hash`

function pinQueries({ db }: StoreParts): Pick<PinStore, 'list' | 'find' | 'approvedBefore'> {
  return {
    async list({ upstream, state }) {
      const conditions = [upstream === undefined ? undefined : 'upstream = $1', state === undefined ? undefined : `state = $${upstream === undefined ? 1 : 2}`].filter((each) => each !== undefined)
      const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`
      const params: Value[] = [upstream, state].filter((each) => each !== undefined)
      return (await db.query<PinRow>(`SELECT ${COLUMNS} FROM tool_definitions ${where} ORDER BY seen_at DESC, upstream, tool, hash LIMIT ${MAX_LISTED}`, params)).map(toPin)
    },
    async find(upstream, hash) {
      const [row] = await db.query<TextRow>('SELECT * FROM tool_definitions WHERE upstream = $1 AND hash = $2', [upstream, hash])
      return row === undefined ? undefined : withText(row)
    },
    async approvedBefore(upstream, tool, hash) {
      const rows = await db.query<TextRow>(`SELECT * FROM tool_definitions WHERE ${APPROVED} LIMIT 2`, [upstream, tool])
      const row = rows.find((each) => each.hash !== hash)
      return row === undefined ? undefined : withText(row)
    },
  }
}

function decisionVerbs({ db, audit, changed }: StoreParts): Pick<PinStore, 'decide'> {
  return {
    decide: ({ upstream, hashes, state, by, at }, events) =>
      db.transaction(async (tx) => {
        const decided: Pin[] = []
        for (const part of slices([...new Set(hashes)].sort(compare))) {
          const rows = await tx.query<PinRow>(
            `UPDATE tool_definitions SET state = $1, decided_at = $2, decided_by = $3 WHERE upstream = $4 AND state = $5 AND hash IN (${part.map((_, index) => `$${index + 6}`).join(', ')}) RETURNING ${COLUMNS}`,
            [state, at, by, upstream, state === 'approved' ? 'pending' : 'approved', ...part],
          )
          decided.push(...rows.map(toPin))
        }
        if (decided.length === 0) return []
        await audit.append(tx, events(decided))
        await changed(tx, { kind: 'pin', key: upstream, at })
        return decided
      }),
  }
}

function toPin(row: PinRow): Pin {
  return {
    upstream: row.upstream,
    tool: row.tool,
    hash: row.hash,
    state: row.state,
    seenAt: row.seen_at,
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.decided_at === null ? {} : { decidedAt: row.decided_at }),
    ...(row.decided_by === null ? {} : { decidedBy: row.decided_by }),
  }
}

function withText(row: TextRow): PinWithText {
  return { ...toPin(row), text: row.definition }
}

function slices<Item>(items: readonly Item[], size = MAX_ROWS): (readonly Item[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, part) => items.slice(part * size, (part + 1) * size))
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
