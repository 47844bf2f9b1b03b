import type { BridgeStore, ClientSession, Opening } from '../gateway/bridge/bridge-store.ts'
import { NOTE_PREFIX } from '../gateway/bridge/mailbox.ts'
import type { StoreParts } from './parts.ts'

interface SessionRow {
  readonly id: string
  readonly user_id: string
  readonly upstream: string
  readonly opening: string
  readonly level: string | null
}

/** A person has a session with each upstream in each of their clients, and starts those anew. */
export const MAX_PER_USER = 500

export function bridgeStore(parts: StoreParts): BridgeStore {
  return { ...sessionVerbs(parts), ...noteVerbs(parts), reap: (now) => reap(parts, now) }
}

type NoteVerbs = 'post' | 'take'

function sessionVerbs({ db, changed }: StoreParts): Omit<BridgeStore, NoteVerbs | 'reap'> {
  return {
    addSession: ({ id, userId, upstream, opening }, expiresAt) =>
      db.transaction(async (tx) => {
        await tx.query('INSERT INTO bridge_sessions (id, user_id, upstream, opening, expires_at) VALUES ($1, $2, $3, $4, $5)', [id, userId, upstream, JSON.stringify(opening), expiresAt])
        // Clients that never end their sessions do not fill the store: the oldest make room.
        const old = await tx.query<{ id: string }>(
          'DELETE FROM bridge_sessions WHERE id IN (SELECT id FROM bridge_sessions WHERE user_id = $1 ORDER BY expires_at DESC, id LIMIT 100 OFFSET $2) RETURNING id',
          [userId, MAX_PER_USER],
        )
        for (const each of old) await tx.query('DELETE FROM bridge_subscriptions WHERE session = $1', [each.id])
      }),
    async findSession(id, now) {
      const [row] = await db.query<SessionRow>('SELECT id, user_id, upstream, opening, level FROM bridge_sessions WHERE id = $1 AND expires_at > $2', [id, now])
      if (row === undefined) return undefined
      const uris = await db.query<{ uri: string }>('SELECT uri FROM bridge_subscriptions WHERE session = $1 ORDER BY uri', [id])
      return toSession(row, uris.map(({ uri }) => uri))
    },
    setLevel: (id, level, at) =>
      db.transaction(async (tx) => {
        await tx.query('UPDATE bridge_sessions SET level = $1 WHERE id = $2', [level, id])
        await changed(tx, { kind: 'bridge', key: id, at })
      }),
    subscribe: (id, uri, max, at) =>
      db.transaction(async (tx) => {
        // The row of the session is held, so that parallel subscriptions are counted one after another.
        const [session] = await tx.query('UPDATE bridge_sessions SET expires_at = expires_at WHERE id = $1 RETURNING id', [id])
        const [{ n } = { n: 0 }] = await tx.query<{ n: number }>('SELECT COUNT(*) AS n FROM bridge_subscriptions WHERE session = $1 AND uri <> $2', [id, uri])
        if (session === undefined || n >= max) return false
        await tx.query('INSERT INTO bridge_subscriptions (session, uri) VALUES ($1, $2) ON CONFLICT (session, uri) DO NOTHING', [id, uri])
        await changed(tx, { kind: 'bridge', key: id, at })
        return true
      }),
    unsubscribe: (id, uri, at) =>
      db.transaction(async (tx) => {
        await tx.query('DELETE FROM bridge_subscriptions WHERE session = $1 AND uri = $2', [id, uri])
        await changed(tx, { kind: 'bridge', key: id, at })
      }),
    endSession: (id, at) =>
      db.transaction(async (tx) => {
        await tx.query('DELETE FROM bridge_subscriptions WHERE session = $1', [id])
        await tx.query('DELETE FROM bridge_sessions WHERE id = $1', [id])
        await changed(tx, { kind: 'bridge', key: id, at })
      }),
  }
}

function noteVerbs({ db, changed }: StoreParts): Pick<BridgeStore, NoteVerbs> {
  return {
    post: ({ id, address, body, expiresAt }, at) =>
      db.transaction(async (tx) => {
        await tx.query('DELETE FROM bridge_notes WHERE expires_at <= $1', [at])
        await tx.query('INSERT INTO bridge_notes (id, address, body, expires_at) VALUES ($1, $2, $3, $4)', [id, address, body, expiresAt])
        await changed(tx, { kind: 'bridge', key: `${NOTE_PREFIX}${address}`, at })
      }),
    async take(address) {
      const rows = await db.query<{ body: string }>('DELETE FROM bridge_notes WHERE address = $1 RETURNING body', [address])
      return rows.map(({ body }) => body)
    },
  }
}

async function reap({ db }: StoreParts, now: number): Promise<void> {
  await db.query('DELETE FROM bridge_notes WHERE expires_at <= $1', [now])
  await db.query('DELETE FROM bridge_subscriptions WHERE session IN (SELECT id FROM bridge_sessions WHERE expires_at <= $1)', [now])
  await db.query('DELETE FROM bridge_sessions WHERE expires_at <= $1', [now])
}

function toSession({ id, user_id: userId, upstream, opening, level }: SessionRow, uris: readonly string[]): ClientSession {
  return { id, userId, upstream, opening: JSON.parse(opening) as Opening, uris, ...(level === null ? {} : { level }) }
}
