import type { AuditEvent } from '../audit/event.ts'
import type { Actor, Authorization } from '../authorize/authorization.ts'
import type { RedirectUri } from '../oauth/redirect-uri.ts'
import type { Resource } from '../oauth/resource.ts'
import { formatScope } from '../oauth/scope.ts'
import type { Hashed, Sealed } from '../oauth/secret.ts'
import type { GrantRecord, NewGrant, NewRefreshToken, RefreshTokenRecord, StoredCode, TokenStore } from '../token/token-store.ts'
import { assertionVerbs, useAssertion } from './assertions.ts'
import { AUDIT_COLUMNS } from './audit-log.ts'
import { authenticationColumns, toAuthentication, type AuthenticationRow } from './authentications.ts'
import type { Database, Transaction, Value } from './database.ts'
import type { StoreParts } from './parts.ts'

/** Longer than any access token lives. */
const KEEP_S = 86_400

export const GRANT = 'g.id AS grant_id, g.user_id, g.client_id, g.resource, g.scope, g.auth_time, g.acr, g.amr, g.claims, g.reach, g.expires_at AS ends_at, g.parents, g.actor, g.jkt, g.created_at AS granted_at'

export interface GrantRow extends AuthenticationRow {
  readonly grant_id: string
  readonly user_id: string
  readonly client_id: string
  readonly resource: Resource
  readonly scope: string
  readonly reach: string | null
  readonly ends_at: number | null
  readonly parents: string | null
  readonly actor: string | null
  readonly jkt: string | null
  readonly granted_at: number
}

interface CodeRow extends GrantRow {
  readonly hash: Hashed
  readonly redirect_uri: RedirectUri
  readonly code_challenge: string
  readonly expires_at: number
  readonly consumed_at: number | null
}

interface RefreshTokenRow extends GrantRow {
  readonly hash: Hashed
  readonly family: Hashed
  readonly generation: number
  readonly created_at: number
  readonly expires_at: number
  readonly used_at: number | null
  readonly request_digest: Hashed | null
  readonly successor: Sealed | null
  /** Whether more than its tokens stand for is asked of the grant at present. */
  readonly asked: 1 | null
}

export function tokenStore({ db, audit, changed }: StoreParts): TokenStore {
  return {
    async findCode(hash) {
      const row = await db.find<CodeRow>(
        `SELECT c.hash, c.redirect_uri, c.code_challenge, c.expires_at, c.consumed_at, ${GRANT} FROM codes c JOIN grants g ON g.id = c.grant_id WHERE c.hash = $1`,
        [hash],
      )
      return row && code(row)
    },
    consumeCode: ({ hash, grantId, at, refreshToken, jkt }, events) =>
      db.transaction(async (tx) => {
        // The grant first, as everywhere: whoever revokes it waits for this transaction, or this one for them.
        if (!(await touchGrant(tx, grantId, at))) return 'ended'
        const consumed = await tx.query('UPDATE codes SET consumed_at = $1 WHERE hash = $2 AND grant_id = $3 AND consumed_at IS NULL RETURNING hash', [at, hash, grantId])
        if (consumed.length === 0) return 'spent'
        if (jkt !== undefined) await tx.query('UPDATE grants SET jkt = $1 WHERE id = $2', [jkt, grantId])
        if (refreshToken !== undefined) await tx.query(INSERT, columns(refreshToken))
        await audit.append(tx, events)
        return 'consumed'
      }),
    async findRefreshToken(hash) {
      const row = await db.find<RefreshTokenRow>(
        `SELECT r.hash, r.family, r.generation, r.created_at, r.expires_at, r.used_at, r.request_digest, r.successor, ${GRANT},
           (SELECT 1 FROM step_ups s WHERE s.grant_id = g.id LIMIT 1) AS asked
         FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id WHERE r.hash = $1 AND g.revoked_at IS NULL`,
        [hash],
      )
      return row && refreshToken(row)
    },
    async findFamily(family) {
      const row = await db.find<GrantRow>(
        `SELECT ${GRANT} FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id WHERE r.family = $1 AND g.revoked_at IS NULL LIMIT 1`,
        [family],
      )
      return row && grant(row)
    },
    rotate: (change, events) => (db.dialect === 'postgres' ? rotateAtOnce({ db, audit }, change, events) : rotateInSteps({ db, audit }, change, events)),
    async findGrant(grantId) {
      const row = await db.find<GrantRow>(`SELECT ${GRANT} FROM grants g WHERE g.id = $1 AND g.revoked_at IS NULL`, [grantId])
      return row !== undefined && (await areLive(db, parentsOf(row))) ? grant(row) : undefined
    },
    revokeGrant: (grantId, at, events) =>
      db.transaction(async (tx) => {
        const revoked = await tx.query('UPDATE grants SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL RETURNING id', [at, grantId])
        if (revoked.length === 0) return false
        // They share a family, by which those that were used are found.
        await tx.query('DELETE FROM refresh_tokens WHERE family = (SELECT family FROM refresh_tokens WHERE grant_id = $1 AND used_at IS NULL)', [grantId])
        await audit.append(tx, events)
        await changed(tx, { kind: 'grant', key: grantId, at: at * 1000 })
        return true
      }),
    startGrant: (started, events) => (db.dialect === 'postgres' && isSimple(started) && events.length > 0 ? startAtOnce({ db, audit }, started, events) : startInSteps({ db, audit }, started, events)),
    ...assertionVerbs(db),
    prune: (at) => prune(db, at),
  }
}

async function prune(db: Database, { usedBefore, expiredBefore }: { readonly usedBefore: number; readonly expiredBefore: number }): Promise<void> {
  await db.query('DELETE FROM refresh_tokens WHERE used_at < $1 OR expires_at < $2', [usedBefore, expiredBefore])
  await db.query('DELETE FROM used_assertions WHERE expires_at < $1', [expiredBefore])
  // A code that comes again late is still known, and ends its grant (RFC 6749 §4.1.2).
  await db.query('DELETE FROM codes WHERE expires_at < $1', [expiredBefore - KEEP_S])
  await db.query(
    `DELETE FROM grants WHERE created_at < $1 AND NOT EXISTS (SELECT 1 FROM refresh_tokens WHERE grant_id = grants.id)
     AND NOT EXISTS (SELECT 1 FROM codes WHERE grant_id = grants.id)`,
    [expiredBefore - KEEP_S],
  )
}

async function beginGrant(tx: Transaction, { assertion, refreshToken: first, ...started }: NewGrant): Promise<'started' | 'ended' | 'used'> {
  if (assertion !== undefined && !(await useAssertion(tx, assertion))) return 'used'
  if (!(await addGrant(tx, started))) return 'ended'
  if (first !== undefined) await tx.query(INSERT, columns(first))
  return 'started'
}

async function addGrant(tx: Transaction, { authorization: granted, at }: NewGrant): Promise<boolean> {
  // Rows are locked that whoever ends their access changes first: they wait for this grant and find it, or are found.
  for (const parent of granted.parents?.toReversed() ?? []) if (!(await touchGrant(tx, parent, at))) return false
  const people = await tx.query<{ disabled: number }>('UPDATE users SET checked_at = checked_at WHERE id = $1 RETURNING disabled', [granted.userId])
  // Who has no row is no person: a machine, whose access ends with its client's.
  if (people[0] !== undefined && people[0].disabled !== 0) return false
  await tx.query(`INSERT INTO grants (${GRANT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, $13, $14, $15)`, grantColumns(granted, at))
  return true
}

const GRANT_COLUMNS = 'id, user_id, client_id, resource, scope, auth_time, acr, amr, claims, created_at, last_used_at, reach, expires_at, parents, actor, jkt'

function grantColumns(granted: Authorization, at: number): Value[] {
  const { id, userId, clientId, resource, scope, reach, expiresAt = null, parents, actor, jkt = null } = granted
  return [id, userId, clientId, resource, formatScope(scope), ...authenticationColumns(granted), at, printed(reach), expiresAt, printed(parents), printed(actor), jkt]
}

function startInSteps({ db, audit }: Pick<StoreParts, 'db' | 'audit'>, started: NewGrant, events: readonly AuditEvent[]): Promise<'started' | 'ended' | 'used'> {
  return db.transaction(async (tx) => {
    const begun = await beginGrant(tx, started)
    if (begun === 'started') await audit.append(tx, events)
    return begun
  })
}

/** What one statement can begin: with a refresh token, or of several grants, it takes steps. */
function isSimple({ authorization: { parents = [] }, refreshToken: first }: NewGrant): boolean {
  return first === undefined && parents.length <= 1
}

/** How often the use of a grant by those that come of it is written down, in seconds: its row is that of everybody who exchanges. */
const TOUCH_S = 60

/**
 * The same in one statement. Whoever ends a grant, or disables a person, changes the rows that are locked here: they wait
 * for this grant and find it, or are found; those that begin grants do not wait for one another.
 */
async function startAtOnce({ db, audit }: Pick<StoreParts, 'db' | 'audit'>, { authorization: granted, at, assertion }: NewGrant, events: readonly AuditEvent[]): Promise<'started' | 'ended' | 'used'> {
  const [parent = null] = granted.parents ?? []
  const params = [...grantColumns(granted, at), parent, assertion?.hash ?? null, assertion?.expiresAt ?? null]
  const record = audit.within(events)
  const rows = record.values(params.length + 1)
  const [outcome] = await db.query<{ started: number; first: number; touched: number | null }>(
    `WITH alive AS (SELECT id, last_used_at FROM grants WHERE id = $16 AND revoked_at IS NULL FOR SHARE),
     person AS (SELECT disabled FROM users WHERE id = $2 FOR SHARE),
     first AS (INSERT INTO used_assertions (hash, expires_at) SELECT $17::text, $18::bigint WHERE $17::text IS NOT NULL ON CONFLICT (hash) DO NOTHING RETURNING hash),
     started AS (INSERT INTO grants (${GRANT_COLUMNS})
       SELECT $1, $2, $3, $4, $5, $6::bigint, $7, $8, $9, $10::bigint, $10::bigint, $11, $12::bigint, $13, $14, $15
       WHERE ($16::text IS NULL OR EXISTS (SELECT 1 FROM alive)) AND NOT EXISTS (SELECT 1 FROM person WHERE disabled <> 0) AND ($17::text IS NULL OR EXISTS (SELECT 1 FROM first)) RETURNING id),
     told AS (INSERT INTO audit (${AUDIT_COLUMNS}) SELECT rows.* FROM (VALUES ${rows.sql}) AS rows WHERE EXISTS (SELECT 1 FROM started))
     SELECT (SELECT count(*) FROM started) AS started, (SELECT count(*) FROM first) AS first, (SELECT last_used_at FROM alive) AS touched`,
    [...params, ...rows.params],
  )
  if (assertion !== undefined && outcome?.first === 0) return 'used'
  if (outcome?.started !== 1) return 'ended'
  record.written()
  // By itself: of several who have the rows together, each would wait for the others to let go of them.
  if (outcome.touched !== null && outcome.touched < at - TOUCH_S) await db.query('UPDATE grants SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1 AND revoked_at IS NULL', [at, parent])
  return 'started'
}

function printed(value: object | undefined): string | null {
  return value === undefined ? null : JSON.stringify(value)
}

/**
 * A grant that came of others is asked for with them: whoever ended one of them wrote nothing into this one. One by one: a
 * statement for several is planned while there are few grants, and then reads all of many.
 */
async function areLive(db: Database, ids: readonly string[]): Promise<boolean> {
  const found = await Promise.all(ids.map((id) => db.find('SELECT id FROM grants WHERE id = $1 AND revoked_at IS NULL', [id])))
  return found.every((row) => row !== undefined)
}

function parentsOf({ parents }: Pick<GrantRow, 'parents'>): readonly string[] {
  return parents === null ? [] : (JSON.parse(parents) as string[])
}

const INSERT = 'INSERT INTO refresh_tokens (hash, family, grant_id, generation, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)'

function columns(token: NewRefreshToken): Value[] {
  return [token.hash, token.family, token.grantId, token.generation, token.issuedAt, token.expiresAt]
}

export async function addRefreshToken(tx: Transaction, token: NewRefreshToken): Promise<void> {
  await tx.query(INSERT, columns(token))
}

export async function touchGrant(tx: Transaction, grantId: string, at: number): Promise<boolean> {
  return (await tx.query('UPDATE grants SET last_used_at = $1 WHERE id = $2 AND revoked_at IS NULL RETURNING id', [at, grantId])).length > 0
}

const USE = 'UPDATE refresh_tokens SET used_at = $1, request_digest = $2, successor = $3 WHERE hash = $4 AND used_at IS NULL'

type Rotation = Parameters<TokenStore['rotate']>[0]

function rotateInSteps({ db, audit }: Pick<StoreParts, 'db' | 'audit'>, { hash, used, successor }: Rotation, events: readonly AuditEvent[]): Promise<boolean> {
  return db.transaction(async (tx) => {
    if (!(await touchGrant(tx, successor.grantId, used.at))) return false
    const won = await tx.query(`${USE} RETURNING hash`, [used.at, used.requestDigest, used.successor, hash])
    if (won.length === 0) return false
    await tx.query(INSERT, columns(successor))
    await audit.append(tx, events)
    return true
  })
}

/** The same in one statement, its record included: a round trip to a database on another machine costs more than the work. */
async function rotateAtOnce({ db, audit }: Pick<StoreParts, 'db' | 'audit'>, { hash, used, successor }: Rotation, events: readonly AuditEvent[]): Promise<boolean> {
  const params = [used.at, used.requestDigest, used.successor, hash, successor.grantId, successor.hash, successor.family, successor.generation, successor.issuedAt, successor.expiresAt]
  const record = audit.within(events)
  const rows = record.values(params.length + 1)
  const won = await db.query(
    `WITH alive AS (UPDATE grants SET last_used_at = $1 WHERE id = $5 AND revoked_at IS NULL RETURNING id),
     won AS (${USE} AND EXISTS (SELECT 1 FROM alive) RETURNING hash),
     added AS (INSERT INTO refresh_tokens (hash, family, grant_id, generation, created_at, expires_at) SELECT $6, $7, $5, $8, $9, $10 FROM won RETURNING hash),
     told AS (INSERT INTO audit (${AUDIT_COLUMNS}) SELECT rows.* FROM (VALUES ${rows.sql}) AS rows WHERE EXISTS (SELECT 1 FROM added))
     SELECT hash FROM added`,
    [...params, ...rows.params],
  )
  if (won.length > 0) record.written()
  return won.length > 0
}

export function grant(row: GrantRow): GrantRecord {
  return { authorization: authorization(row), createdAt: row.granted_at }
}

function authorization(row: GrantRow): Authorization {
  return {
    id: row.grant_id,
    userId: row.user_id,
    clientId: row.client_id,
    resource: row.resource,
    scope: row.scope.split(' ').filter((token) => token !== ''),
    ...toAuthentication(row),
    ...(row.reach === null ? {} : { reach: JSON.parse(row.reach) as string[] }),
    ...(row.ends_at === null ? {} : { expiresAt: row.ends_at }),
    ...(row.parents === null ? {} : { parents: JSON.parse(row.parents) as string[] }),
    ...(row.actor === null ? {} : { actor: JSON.parse(row.actor) as Actor }),
    ...(row.jkt === null ? {} : { jkt: row.jkt }),
  }
}

function code(row: CodeRow): StoredCode {
  return {
    hash: row.hash,
    authorization: authorization(row),
    redirectUri: row.redirect_uri,
    codeChallenge: row.code_challenge,
    expiresAt: row.expires_at,
    consumed: row.consumed_at !== null,
    grantedAt: row.granted_at,
  }
}

function refreshToken(row: RefreshTokenRow): RefreshTokenRecord {
  const { used_at: at, request_digest: requestDigest, successor } = row
  return {
    ...grant(row),
    hash: row.hash,
    family: row.family,
    generation: row.generation,
    issuedAt: row.created_at,
    expiresAt: row.expires_at,
    ...(row.asked === 1 ? { isAsked: true as const } : {}),
    ...(at === null || requestDigest === null || successor === null ? {} : { used: { at, requestDigest, successor } }),
  }
}
