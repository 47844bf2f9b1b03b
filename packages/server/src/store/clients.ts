import { applicationOf } from '../clients/application.ts'
import type { ClientStore, RegisteredClient } from '../clients/client-store.ts'
import type { ClientMetadata } from '../clients/metadata.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { Database } from './database.ts'
import { endGrants } from './grants.ts'
import type { StoreParts } from './parts.ts'

interface ClientRow {
  readonly id: string
  readonly fingerprint: string
  readonly metadata: string
  readonly secret_hash: Hashed | null
  readonly registration_token_hash: Hashed
  readonly address: string
  readonly created_at: number
  readonly last_used_at: number | null
}

const MAX_IDS = 500

/** A client in use: it has a grant that was not revoked. */
const WITHOUT_GRANT = 'NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.id AND grants.revoked_at IS NULL)'

export function clientStore(parts: StoreParts): ClientStore {
  return { ...registrationVerbs(parts), ...useVerbs(parts) }
}

function registrationVerbs({ db, audit, changed }: StoreParts): Pick<ClientStore, 'addClient' | 'updateClient' | 'deleteClient'> {
  return {
    addClient: (client, limits, ...events) =>
      db.transaction(async (tx) => {
        // The upsert locks the row: of registrations at once, each counts what the one before it added.
        await tx.query('INSERT INTO registration_turns (key, at) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET at = $2', [
          `${client.fingerprint} ${client.address}`,
          client.createdAt,
        ])
        const [pending] = await tx.query<{ n: number }>(
          `SELECT COUNT(*) AS n FROM clients WHERE fingerprint = $1 AND address = $2 AND created_at > $3 AND ${WITHOUT_GRANT}`,
          [client.fingerprint, client.address, limits.since],
        )
        if ((pending?.n ?? 0) >= limits.pending) return false
        await tx.query(
          `INSERT INTO clients (id, fingerprint, metadata, secret_hash, registration_token_hash, address, created_at, last_used_at, application)
           VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $8)`,
          [client.id, client.fingerprint, JSON.stringify(client.metadata), client.secretHash ?? null, client.registrationTokenHash, client.address, client.createdAt, applicationId(client)],
        )
        await tx.query(
          `DELETE FROM clients WHERE id IN (
             SELECT id FROM clients WHERE fingerprint = $1 AND created_at < $2 AND ${WITHOUT_GRANT} ORDER BY created_at DESC, id LIMIT 1000 OFFSET $3)`,
          [client.fingerprint, limits.abandonedBefore, limits.abandoned],
        )
        await audit.append(tx, events)
        return true
      }),
    updateClient: (client, at, ...events) =>
      db.transaction(async (tx) => {
        const updated = await tx.query('UPDATE clients SET metadata = $1, secret_hash = $2, fingerprint = $3, application = $4 WHERE id = $5 RETURNING id', [
          JSON.stringify(client.metadata),
          client.secretHash ?? null,
          client.fingerprint,
          applicationId(client),
          client.id,
        ])
        if (updated.length === 0) return false
        await audit.append(tx, events)
        await changed(tx, { kind: 'registration', key: client.id, at })
        return true
      }),
    deleteClient: (id, at, ...events) =>
      db.transaction(async (tx) => {
        const deleted = await tx.query('DELETE FROM clients WHERE id = $1 RETURNING id', [id])
        if (deleted.length === 0) return false
        await tx.query('DELETE FROM consents WHERE client_id = $1', [id])
        await endGrants({ changed }, tx, 'client_id = $2', [id], at)
        await audit.append(tx, events)
        await changed(tx, { kind: 'client', key: id, at })
        return true
      }),
  }
}

function useVerbs({ db }: StoreParts): Pick<ClientStore, 'findClient' | 'touchClient' | 'useAssertion' | 'reap'> {
  return {
    async findClient(id) {
      const [row] = await db.query<ClientRow>('SELECT * FROM clients WHERE id = $1', [id])
      return row === undefined ? undefined : fromRow(row)
    },
    async touchClient(id, at) {
      await db.query('UPDATE clients SET last_used_at = $1 WHERE id = $2', [at, id])
    },
    async useAssertion(clientId, jti, expiresAt) {
      const added = await db.query(
        'INSERT INTO client_assertions (client_id, jti_hash, expires_at) VALUES ($1, $2, $3) ON CONFLICT (client_id, jti_hash) DO NOTHING RETURNING jti_hash',
        [clientId, jti, expiresAt],
      )
      return added.length > 0
    },
    async reap({ used, never }, now) {
      const gone = await db.query<{ id: string }>(`DELETE FROM clients WHERE (last_used_at < $1 OR (last_used_at IS NULL AND created_at < $2)) AND ${WITHOUT_GRANT} RETURNING id`, [used, never])
      for (let start = 0; start < gone.length; start += MAX_IDS) await forgetConsents(db, gone.slice(start, start + MAX_IDS).map(({ id }) => id))
      await db.query('DELETE FROM client_assertions WHERE expires_at < $1', [now])
      await db.query('DELETE FROM registration_turns WHERE at < $1', [never])
    },
  }
}

/** Identifiers never come back: what people approved for them is of no use. */
async function forgetConsents(db: Database, clientIds: readonly string[]): Promise<void> {
  await db.query(`DELETE FROM consents WHERE client_id IN (${clientIds.map((_, index) => `$${index + 1}`).join(', ')})`, clientIds)
}

/** Whose grants end with the application's. Whether its issuer is still trusted is asked when it is read. */
function applicationId({ id, metadata }: RegisteredClient): string {
  return applicationOf({ ...metadata, id, kind: 'dynamic' }).id
}

function fromRow(row: ClientRow): RegisteredClient {
  return {
    id: row.id,
    fingerprint: row.fingerprint,
    metadata: JSON.parse(row.metadata) as ClientMetadata,
    registrationTokenHash: row.registration_token_hash,
    address: row.address,
    createdAt: row.created_at,
    ...(row.secret_hash === null ? {} : { secretHash: row.secret_hash }),
    ...(row.last_used_at === null ? {} : { lastUsedAt: row.last_used_at }),
  }
}
