import type { Authentication } from '../policy/rule.ts'
import type { Transaction, Value } from './database.ts'

/** How somebody signed in, as sessions and grants have it in four columns of one order. */
export interface AuthenticationRow {
  readonly auth_time: number | null
  readonly acr: string | null
  readonly amr: string | null
  readonly claims: string | null
}

export function authenticationColumns({ authTime, acr, amr, claims }: Authentication): [Value, Value, Value, Value] {
  return [authTime ?? null, acr ?? null, amr === undefined ? null : JSON.stringify(amr), claims === undefined ? null : JSON.stringify(claims)]
}

export function toAuthentication(row: AuthenticationRow): Authentication {
  return {
    ...(row.auth_time === null ? {} : { authTime: row.auth_time }),
    ...(row.acr === null ? {} : { acr: row.acr }),
    ...(row.amr === null ? {} : { amr: JSON.parse(row.amr) as string[] }),
    ...(row.claims === null ? {} : { claims: JSON.parse(row.claims) as Record<string, unknown> }),
  }
}

/**
 * Renews what a sign-in is known by, in its session and all grants that came of it. What the provider tells of an older
 * sign-in is no news (OpenID Connect Core §12.2: `auth_time` is that of the original one), and what it leaves out of the same
 * one stands; of a newer sign-in it proves nothing.
 */
export async function renewAuthentication(tx: Transaction, signIn: string, told: Authentication): Promise<void> {
  const [authTime, acr, amr, claims] = authenticationColumns(told)
  for (const [table, key] of [['sessions', 'id'], ['grants', 'session_id']] as const) {
    await tx.query(
      `UPDATE ${table} SET auth_time = COALESCE($1, auth_time), acr = ${kept('$2', 'acr')}, amr = ${kept('$3', 'amr')}, claims = $4
       WHERE ${key} = $5 AND (CAST($1 AS BIGINT) IS NULL OR auth_time IS NULL OR auth_time <= $1)`,
      [authTime, acr, amr, claims, signIn],
    )
  }
}

function kept(told: string, column: string): string {
  return `CASE WHEN auth_time < $1 THEN ${told} ELSE COALESCE(${told}, ${column}) END`
}
