import type { Authorization } from '../authorize/authorization.ts'
import type { AuthorizationRequest, AuthorizeStore, GrantSummary, PendingRequest, Progress } from '../authorize/authorize-store.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { Resource } from '../oauth/resource.ts'
import { formatScope } from '../oauth/scope.ts'
import { authenticationColumns } from './authentications.ts'
import { LONGEST_TOKEN_MS } from './changes.ts'
import type { Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'
import { stepUpDone } from './step-ups.ts'

interface RequestRow {
  readonly id: string
  readonly flow_hash: Hashed
  readonly request: string
  readonly progress: string
  readonly reference: string
  readonly created_at: number
  readonly expires_at: number
}

interface GrantRow {
  readonly id: string
  readonly client_id: string
  readonly resource: Resource
  readonly scope: string
  readonly last_used_at: number
}

/** Nobody comes back with an answer to a challenge that is this old. */
const STEP_UP_MS = 86_400_000

const SUMMARY = 'id, client_id, resource, scope, last_used_at'

export function authorizeStore(parts: StoreParts): AuthorizeStore {
  return { ...requestVerbs(parts), ...consentVerbs(parts), ...grantVerbs(parts), ...endingVerbs(parts) }
}

function requestVerbs({ db, audit }: StoreParts): Pick<AuthorizeStore, 'addRequest' | 'findRequest' | 'updateProgress' | 'endRequest' | 'reap'> {
  return {
    addRequest: (pending, maxPending, ...events) =>
      db.transaction(async (tx) => {
        await tx.query(
          `INSERT INTO authorization_requests (id, flow_hash, client_id, request, reference, created_at, expires_at, progress)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
          [
            pending.id,
            pending.flowHash,
            pending.request.clientId,
            JSON.stringify(pending.request),
            pending.reference,
            pending.createdAt,
            pending.expiresAt,
            JSON.stringify(pending.progress),
          ],
        )
        await tx.query(
          `DELETE FROM authorization_requests WHERE id IN (
             SELECT id FROM authorization_requests WHERE flow_hash = $1 ORDER BY created_at DESC, id LIMIT 1000 OFFSET $2)`,
          [pending.flowHash, maxPending],
        )
        await audit.append(tx, events)
      }),
    async findRequest(id, now) {
      const [row] = await db.query<RequestRow>('SELECT * FROM authorization_requests WHERE id = $1 AND expires_at > $2', [id, now])
      return row === undefined ? undefined : toPending(row)
    },
    async updateProgress(id, progress) {
      await db.query('UPDATE authorization_requests SET progress = $1 WHERE id = $2', [JSON.stringify(progress), id])
    },
    endRequest: (id, ...events) =>
      db.transaction(async (tx) => {
        const ended = await endRequest(tx, id)
        if (ended) await audit.append(tx, events)
        return ended
      }),
    async reap(now) {
      await db.query('DELETE FROM authorization_requests WHERE expires_at < $1', [now])
      await db.query('DELETE FROM step_ups WHERE asked_at < $1', [now - STEP_UP_MS])
    },
  }
}

function consentVerbs({ db, audit }: StoreParts): Pick<AuthorizeStore, 'findConsent' | 'addConsent'> {
  return {
    async findConsent({ userId, clientId, redirectHost, resource }) {
      const [row] = await db.query<{ scope: string; client_digest: string; reach: string }>(
        'SELECT scope, client_digest, reach FROM consents WHERE user_id = $1 AND client_id = $2 AND redirect_host = $3 AND resource = $4',
        [userId, clientId, redirectHost, resource],
      )
      return row === undefined ? undefined : { userId, clientId, redirectHost, resource, scope: row.scope.split(' '), clientDigest: row.client_digest, reach: JSON.parse(row.reach) as readonly string[] }
    },
    addConsent: (consent, requestId, progress, now, ...events) =>
      db.transaction(async (tx) => {
        await tx.query(
          `INSERT INTO consents (user_id, client_id, redirect_host, resource, scope, client_digest, granted_at, reach) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
           ON CONFLICT (user_id, client_id, redirect_host, resource)
           DO UPDATE SET scope = excluded.scope, client_digest = excluded.client_digest, reach = excluded.reach, granted_at = excluded.granted_at`,
          [consent.userId, consent.clientId, consent.redirectHost, consent.resource, formatScope(consent.scope), consent.clientDigest, now, JSON.stringify(consent.reach)],
        )
        await tx.query('UPDATE authorization_requests SET progress = $1 WHERE id = $2', [JSON.stringify(progress), requestId])
        await audit.append(tx, events)
      }),
  }
}

function grantVerbs({ db, audit }: StoreParts): Pick<AuthorizeStore, 'grantAuthorization' | 'grantsOf'> {
  return {
    grantAuthorization: (requestId, sessionId, { hash, authorization: granted, redirectUri, codeChallenge, expiresAt }, now, ...events) =>
      db.transaction(async (tx) => {
        if (!(await lockSession(tx, sessionId, granted.userId))) return false
        // The request's row is the permission to issue: of parallel answers, one deletes it.
        if (!(await endRequest(tx, requestId))) return false
        await insertGrant(tx, granted, sessionId, now)
        await tx.query('INSERT INTO codes (hash, grant_id, redirect_uri, code_challenge, expires_at) VALUES ($1, $2, $3, $4, $5)', [
          hash,
          granted.id,
          redirectUri,
          codeChallenge,
          expiresAt,
        ])
        await audit.append(tx, events)
        return true
      }),
    async grantsOf(userId, now) {
      const rows = await db.query<GrantRow>(
        `SELECT ${SUMMARY} FROM grants WHERE user_id = $1 AND revoked_at IS NULL AND (last_used_at > $2
           OR EXISTS (SELECT 1 FROM refresh_tokens WHERE grant_id = grants.id AND used_at IS NULL AND refresh_tokens.expires_at > $3))
         ORDER BY last_used_at DESC, id`,
        [userId, Math.floor((now - LONGEST_TOKEN_MS) / 1000), Math.floor(now / 1000)],
      )
      return rows.map(toSummary)
    },
  }
}

/**
 * Locks the session's row: whoever ends the person's access meanwhile waits, and then finds the grant; or was first, and
 * then there is no session any more.
 */
export async function lockSession(tx: Transaction, sessionId: string, userId: string): Promise<boolean> {
  return (await tx.query('UPDATE sessions SET last_used_at = last_used_at WHERE id = $1 AND user_id = $2 RETURNING id', [sessionId, userId])).length > 0
}

export async function endRequest(tx: Transaction, id: string): Promise<boolean> {
  return (await tx.query('DELETE FROM authorization_requests WHERE id = $1 RETURNING id', [id])).length > 0
}

/** Writes what a person approved in a session, with all that follows from it. */
export async function insertGrant(tx: Transaction, granted: Authorization, sessionId: string, now: number): Promise<void> {
  await tx.query(
    `INSERT INTO grants (id, user_id, client_id, resource, scope, auth_time, acr, amr, claims, session_id, created_at, last_used_at, reach, jkt)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13)`,
    [
      granted.id,
      granted.userId,
      granted.clientId,
      granted.resource,
      formatScope(granted.scope),
      ...authenticationColumns(granted),
      sessionId,
      Math.floor(now / 1000),
      granted.reach === undefined ? null : JSON.stringify(granted.reach),
      granted.jkt ?? null,
    ],
  )
  await stepUpDone(tx, granted)
  // From its first grant on, a registration is one that is used.
  await tx.query('UPDATE clients SET last_used_at = $1 WHERE id = $2 AND last_used_at IS NULL', [now, granted.clientId])
}

function endingVerbs({ db, audit, changed }: StoreParts): Pick<AuthorizeStore, 'endAccess'> {
  return {
    endAccess: (grantId, userId, at, event) =>
      db.transaction(async (tx) => {
        // The user stands in the statement: another person's grant is not there for them.
        const [named] = await tx.query<GrantRow>(`SELECT ${SUMMARY} FROM grants WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL`, [grantId, userId])
        if (named === undefined) return false
        const rows = await tx.query<GrantRow>(
          `UPDATE grants SET revoked_at = $1 WHERE user_id = $2 AND client_id = $3 AND resource = $4 AND revoked_at IS NULL RETURNING ${SUMMARY}`,
          [Math.floor(at / 1000), userId, named.client_id, named.resource],
        )
        // Another request ended them since they were read.
        if (rows.length === 0) return false
        await tx.query('DELETE FROM consents WHERE user_id = $1 AND client_id = $2 AND resource = $3', [userId, named.client_id, named.resource])
        const ended = rows.map(toSummary)
        await audit.append(tx, ended.map(event))
        for (const grant of ended) await changed(tx, { kind: 'grant', key: grant.id, at })
        return true
      }),
  }
}

function toSummary(row: GrantRow): GrantSummary {
  return {
    id: row.id,
    clientId: row.client_id,
    resource: row.resource,
    scope: row.scope.split(' '),
    lastUsedAt: row.last_used_at,
  }
}

function toPending(row: RequestRow): PendingRequest {
  return {
    id: row.id,
    flowHash: row.flow_hash,
    request: JSON.parse(row.request) as AuthorizationRequest,
    progress: JSON.parse(row.progress) as Progress,
    reference: row.reference,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  }
}
