import type { IdentityStore, LoginRecord, SignInEntry, VouchedFor } from '../identity/identity-store.ts'
import type { User } from '../identity/user.ts'
import type { Hashed, Sealed } from '../oauth/secret.ts'
import { renewAuthentication } from './authentications.ts'
import type { Database, Transaction } from './database.ts'
import { linkVerbs } from './linked-people.ts'
import type { StoreParts } from './parts.ts'
import { tokenVerbs } from './sign-in-tokens.ts'
import { addSession, sessionVerbs } from './sessions.ts'
import { rememberGroups } from './user-groups.ts'

interface UserRow {
  readonly id: string
  readonly provider: string
  readonly issuer: string
  readonly subject: string
  readonly name: string | null
  readonly email: string | null
  readonly email_verified: number
  readonly groups: string
  readonly roles: string | null
  readonly groups_at: number
  readonly disabled: number
}

interface LoginRow {
  readonly state_hash: Hashed
  readonly flow_hash: Hashed
  readonly provider: string
  readonly secrets: Sealed
  readonly options: string
  readonly return_to: Sealed
  readonly start_again_at: string
  readonly reference: string
  readonly expires_at: number
}

export function identityStore(parts: StoreParts): IdentityStore {
  const users = userVerbs(parts)
  return { ...users, ...linkVerbs(parts, (id) => users.findUser(id)), ...tokenVerbs(parts), ...loginVerbs(parts), ...sessionVerbs(parts) }
}

function userVerbs({ db, audit, changed }: StoreParts): Pick<IdentityStore, 'findUser' | 'signIn' | 'recognize' | 'updateUser'> {
  return {
    async findUser(id) {
      const row = await db.find<UserRow>('SELECT * FROM users WHERE id = $1', [id])
      return row === undefined ? undefined : toUser(row)
    },
    signIn: (entry) =>
      db.transaction(async (tx) => {
        const { user, tokens } = await upsertUser(tx, entry)
        if (user.disabled) return undefined
        await rememberGroups(tx, user.id, user.groups, entry.now)
        await tx.query('UPDATE users SET tokens = $1, sign_in = $2, tokens_leased_until = 0 WHERE id = $3', [entry.sealTokens(user.id, tokens ?? undefined), entry.session.id, user.id])
        if (entry.replaces !== undefined) await tx.query('DELETE FROM sessions WHERE hash = $1', [entry.replaces])
        await addSession(tx, { ...entry.session, userId: user.id }, entry.now)
        await audit.append(tx, entry.events(user.id))
        await changed(tx, { kind: 'user', key: user.id, at: entry.now })
        return user
      }),
    async recognize({ person, newUserId, now }) {
      const at = toldAt(person, now)
      const row = await findByKey(db, person)
      if (row !== undefined && !saysMore(person, toUser(row), at >= row.groups_at)) {
        // Said again, it is the newest word.
        if (at > row.groups_at) await db.query('UPDATE users SET groups_at = $1 WHERE id = $2 AND groups_at < $1', [at, row.id])
        return toUser(row)
      }
      return db.transaction(async (tx) => {
        const user = await addOrTell(tx, person, newUserId, { now, at })
        await rememberGroups(tx, user.id, user.groups, now)
        await changed(tx, { kind: 'user', key: user.id, at: now })
        return user
      })
    },
    updateUser: (userId, claimed, identity, tokens, now) =>
      db.transaction(async (tx) => {
        const [updated] = await tx.query<{ sign_in: string | null }>('UPDATE users SET name = $1, email = $2, groups = $3, roles = $4, groups_at = $6, tokens = $5, checked_at = $6, email_verified = $9 WHERE id = $7 AND tokens = $8 RETURNING sign_in', [
          identity.name ?? null,
          identity.email ?? null,
          JSON.stringify(identity.groups),
          roleColumn(identity),
          tokens,
          now,
          userId,
          claimed,
          verifiedColumn(identity),
        ])
        if (updated === undefined) return
        await rememberGroups(tx, userId, identity.groups, now)
        if (updated.sign_in !== null) await renewAuthentication(tx, updated.sign_in, identity)
        await changed(tx, { kind: 'user', key: userId, at: now })
      }),
  }
}

async function findByKey(db: Pick<Database, 'find'>, { provider, issuer, subject }: VouchedFor): Promise<UserRow | undefined> {
  const row = await db.find<UserRow>('SELECT * FROM users WHERE provider = $1 AND issuer = $2 AND subject = $3', [provider, issuer, subject])
  return row
}

/** When groups and roles were told, where they were; a clock that runs ahead makes nothing newer than now. */
function toldAt({ groups, roles, toldAt: told }: VouchedFor, now: number): number {
  return groups === undefined && roles === undefined ? 0 : Math.floor(Math.min(told ?? now, now))
}

function saysMore({ groups, roles, name, email }: VouchedFor, known: User, isNews: boolean): boolean {
  const otherGroups = groups !== undefined && JSON.stringify(groups) !== JSON.stringify(known.groups)
  const otherRoles = roles !== undefined && JSON.stringify(roles) !== JSON.stringify(known.roles ?? [])
  return (isNews && (otherGroups || otherRoles)) || (name !== undefined && known.name === undefined) || (email !== undefined && known.email === undefined)
}

async function addOrTell(tx: Transaction, { provider, issuer, subject, name, email, groups, roles }: VouchedFor, newUserId: string, { now, at }: { readonly now: number; readonly at: number }): Promise<User> {
  const newer = (column: string, isTold: boolean): string => (isTold ? `CASE WHEN excluded.groups_at >= users.groups_at THEN excluded.${column} ELSE users.${column} END` : `users.${column}`)
  const [row] = await tx.query<UserRow>(
    `INSERT INTO users (id, provider, issuer, subject, name, email, groups, roles, disabled, checked_at, created_at, groups_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $9, 0, $8, $8, $10)
     ON CONFLICT (provider, issuer, subject)
     DO UPDATE SET name = COALESCE(users.name, excluded.name), email = COALESCE(users.email, excluded.email), groups = ${newer('groups', groups !== undefined)}, roles = ${newer('roles', roles !== undefined)}, groups_at = ${newer('groups_at', true)}
     RETURNING *`,
    [newUserId, provider, issuer, subject, name ?? null, email ?? null, JSON.stringify(groups ?? []), now, roleColumn(roles === undefined ? {} : { roles }), at],
  )
  if (row === undefined) throw new Error('an upsert returned no user')
  return toUser(row)
}

/** The key of a person is (provider, issuer, subject): an e-mail address never finds one. */
async function upsertUser(tx: Transaction, { identity, newUserId, now }: SignInEntry): Promise<{ user: User; tokens: Sealed | null }> {
  const [row] = await tx.query<UserRow & { tokens: Sealed | null }>(
    `INSERT INTO users (id, provider, issuer, subject, name, email, groups, roles, disabled, checked_at, created_at, email_verified, groups_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $9, $10, $9)
     ON CONFLICT (provider, issuer, subject)
     DO UPDATE SET name = excluded.name, email = excluded.email, email_verified = excluded.email_verified, groups = excluded.groups, roles = excluded.roles, groups_at = excluded.groups_at, checked_at = excluded.checked_at
     RETURNING *`,
    [newUserId, identity.provider, identity.issuer, identity.subject, identity.name ?? null, identity.email ?? null, JSON.stringify(identity.groups), roleColumn(identity), now, verifiedColumn(identity)],
  )
  if (row === undefined) throw new Error('an upsert returned no user')
  return { user: toUser(row), tokens: row.tokens }
}

function loginVerbs({ db }: StoreParts): Pick<IdentityStore, 'addLogin' | 'takeLogin'> {
  return {
    async addLogin(login) {
      const { prompt, maxAge, acrValues, unmetAt } = login
      await db.query('INSERT INTO logins (state_hash, flow_hash, provider, secrets, options, return_to, start_again_at, reference, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)', [
        login.stateHash,
        login.flowHash,
        login.provider,
        login.secrets,
        JSON.stringify({ prompt, maxAge, acrValues, unmetAt }),
        login.returnTo,
        login.startAgainAt,
        login.reference,
        login.expiresAt,
      ])
    },
    async takeLogin(stateHash, now) {
      const [row] = await db.query<LoginRow>('DELETE FROM logins WHERE state_hash = $1 AND expires_at > $2 RETURNING *', [stateHash, now])
      if (row === undefined) return undefined
      const options = JSON.parse(row.options) as Pick<LoginRecord, 'prompt' | 'maxAge' | 'acrValues' | 'unmetAt'>
      return {
        ...options,
        stateHash: row.state_hash,
        flowHash: row.flow_hash,
        provider: row.provider,
        secrets: row.secrets,
        returnTo: row.return_to,
        startAgainAt: row.start_again_at,
        reference: row.reference,
        expiresAt: row.expires_at,
      }
    },
  }
}

function roleColumn({ roles = [] }: Pick<User, 'roles'>): string | null {
  return roles.length === 0 ? null : JSON.stringify(roles)
}

function verifiedColumn({ email, emailVerified }: Pick<User, 'email' | 'emailVerified'>): number {
  return email !== undefined && emailVerified === true ? 1 : 0
}

function toUser(row: UserRow): User {
  return {
    id: row.id,
    provider: row.provider,
    issuer: row.issuer,
    subject: row.subject,
    groups: JSON.parse(row.groups) as string[],
    disabled: row.disabled !== 0,
    ...(row.roles === null ? {} : { roles: JSON.parse(row.roles) as string[] }),
    ...(row.name === null ? {} : { name: row.name }),
    ...(row.email === null ? {} : { email: row.email }),
    ...(row.email === null || row.email_verified === 0 ? {} : { emailVerified: true as const }),
  }
}
