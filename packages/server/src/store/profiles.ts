import type { ProfileSettings } from '../upstreams/profiles.ts'
import type { ProfileStore, StoredProfile } from '../upstreams/profile-store.ts'
import type { Transaction, Value } from './database.ts'
import { endGrants } from './grants.ts'
import type { StoreParts } from './parts.ts'

interface ProfileRow {
  readonly id: string
  readonly name: string
  readonly owner: string | null
  readonly groups: string | null
  readonly upstreams: string
  readonly tools: string | null
  readonly version: number
}

const COLUMNS = 'id, name, owner, groups, upstreams, tools, version'

export function profileStore(parts: StoreParts): ProfileStore {
  const { db, audit, changed } = parts
  return {
    all: async () => (await db.query<ProfileRow>(`SELECT ${COLUMNS} FROM profiles ORDER BY created_at, id`)).map(toProfile),
    async find(id) {
      const [row] = await db.query<ProfileRow>(`SELECT ${COLUMNS} FROM profiles WHERE id = $1`, [id])
      return row === undefined ? undefined : toProfile(row)
    },
    add: (profile, maxOwn, now, ...events) =>
      db.transaction(async (tx) => {
        if (profile.owner !== undefined && !(await hasRoom(tx, profile.owner, maxOwn))) return 'full'
        const added = await tx.query(
          `INSERT INTO profiles (id, name, owner, groups, upstreams, tools, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)
           ON CONFLICT (id) DO NOTHING RETURNING id`,
          [...values(profile), now],
        )
        if (added.length === 0) return 'taken'
        await audit.append(tx, events)
        await changed(tx, { kind: 'profile', key: profile.id, at: now })
        return 'added'
      }),
    change: (profile, grown, now, ...events) =>
      db.transaction(async (tx) => {
        const stored = await tx.query(
          `UPDATE profiles SET name = $2, groups = $4, upstreams = $5, tools = $6, version = version + 1, updated_at = $7
           WHERE id = $1 AND owner IS NOT DISTINCT FROM $3 AND version = $8 RETURNING id`,
          [...values(profile), now, profile.version],
        )
        if (stored.length === 0) return false
        await audit.append(tx, events)
        // Every token for the resource ends: the next one follows a new consent.
        if (grown !== undefined) await endGrants(parts, tx, 'resource = $2', [grown], now)
        await changed(tx, { kind: 'profile', key: profile.id, at: now })
        return true
      }),
    remove: ({ id, owner }, resource, now, ...events) =>
      db.transaction(async (tx) => {
        const removed = await tx.query('DELETE FROM profiles WHERE id = $1 AND owner IS NOT DISTINCT FROM $2 RETURNING id', [id, owner ?? null])
        if (removed.length === 0) return false
        await audit.append(tx, events)
        await tx.query('DELETE FROM consents WHERE resource = $1', [resource])
        await endGrants(parts, tx, 'resource = $2', [resource], now)
        await changed(tx, { kind: 'profile', key: id, at: now })
        return true
      }),
  }
}

/** The owner's row is locked: of their requests at once, each counts what the others added. */
async function hasRoom(tx: Transaction, owner: string, max: number): Promise<boolean> {
  await tx.query('UPDATE users SET disabled = disabled WHERE id = $1', [owner])
  return (await tx.query('SELECT id FROM profiles WHERE owner = $1', [owner])).length < max
}

function values({ id, name, owner, groups, upstreams, tools }: ProfileSettings): readonly Value[] {
  return [id, name, owner ?? null, groups === undefined ? null : JSON.stringify(groups), JSON.stringify(upstreams), tools === undefined ? null : JSON.stringify(tools)]
}

function toProfile({ id, name, owner, groups, upstreams, tools, version }: ProfileRow): StoredProfile {
  return {
    id,
    name,
    upstreams: JSON.parse(upstreams) as readonly string[],
    version,
    ...(owner === null ? {} : { owner }),
    ...(groups === null ? {} : { groups: JSON.parse(groups) as readonly string[] }),
    ...(tools === null ? {} : { tools: JSON.parse(tools) as Readonly<Record<string, readonly string[]>> }),
  }
}
