// Storage for oidc-provider in PostgreSQL, as its documentation asks for it: one table, prepared statements, no cache.
import type { Adapter, AdapterPayload } from 'oidc-provider'
import type postgres from 'postgres'

const TABLE = `
  CREATE TABLE IF NOT EXISTS oidc (
    model TEXT NOT NULL,
    id TEXT NOT NULL,
    payload TEXT NOT NULL,
    grant_id TEXT,
    user_code TEXT,
    uid TEXT,
    expires_at BIGINT,
    consumed_at BIGINT,
    PRIMARY KEY (model, id)
  );
  CREATE INDEX IF NOT EXISTS oidc_grant ON oidc (grant_id) WHERE grant_id IS NOT NULL;
  CREATE INDEX IF NOT EXISTS oidc_user_code ON oidc (user_code) WHERE user_code IS NOT NULL;
  CREATE INDEX IF NOT EXISTS oidc_uid ON oidc (uid) WHERE uid IS NOT NULL;
`

export async function createTable(sql: postgres.Sql): Promise<void> {
  await sql.unsafe(TABLE)
}

interface Row {
  readonly payload: string
  readonly consumed_at: string | null
}

/** One adapter per model, as oidc-provider makes them. */
export function postgresAdapter(sql: postgres.Sql): (model: string) => Adapter {
  const read = (rows: readonly Row[]): AdapterPayload | undefined => {
    const [row] = rows
    if (row === undefined) return undefined
    const payload = JSON.parse(row.payload) as AdapterPayload
    return row.consumed_at === null ? payload : { ...payload, consumed: Number(row.consumed_at) }
  }
  return (model) => ({
    async upsert(id, payload, expiresIn) {
      const { grantId = null, userCode = null, uid = null } = payload
      const expiresAt = expiresIn === undefined || expiresIn <= 0 ? null : now() + expiresIn
      await sql`
        INSERT INTO oidc (model, id, payload, grant_id, user_code, uid, expires_at)
        VALUES (${model}, ${id}, ${JSON.stringify(payload)}, ${grantId}, ${userCode}, ${uid}, ${expiresAt})
        ON CONFLICT (model, id) DO UPDATE SET payload = excluded.payload, grant_id = excluded.grant_id, user_code = excluded.user_code,
          uid = excluded.uid, expires_at = excluded.expires_at`
    },
    find: async (id) => read(await sql<Row[]>`SELECT payload, consumed_at FROM oidc WHERE model = ${model} AND id = ${id} AND (expires_at IS NULL OR expires_at > ${now()})`),
    findByUserCode: async (code) => read(await sql<Row[]>`SELECT payload, consumed_at FROM oidc WHERE model = ${model} AND user_code = ${code}`),
    findByUid: async (uid) => read(await sql<Row[]>`SELECT payload, consumed_at FROM oidc WHERE model = ${model} AND uid = ${uid}`),
    consume: async (id) => void (await sql`UPDATE oidc SET consumed_at = ${now()} WHERE model = ${model} AND id = ${id}`),
    destroy: async (id) => void (await sql`DELETE FROM oidc WHERE model = ${model} AND id = ${id}`),
    revokeByGrantId: async (grantId) => void (await sql`DELETE FROM oidc WHERE grant_id = ${grantId}`),
  })
}

function now(): number {
  return Math.floor(Date.now() / 1000)
}
