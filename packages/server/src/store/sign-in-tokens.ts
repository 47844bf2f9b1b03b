// The identity provider's tokens of people's newest sign-ins: sealed, and leased to whoever redeems the refresh token.
import type { IdentityStore } from '../identity/identity-store.ts'
import type { Sealed } from '../oauth/secret.ts'
import type { StoreParts } from './parts.ts'

interface Row {
  readonly tokens: Sealed | null
}

export function tokenVerbs({ db }: StoreParts): Pick<IdentityStore, 'claimCheck' | 'findTokens' | 'leaseTokens' | 'releaseTokens' | 'replaceTokens'> {
  return {
    async claimCheck(userId, before, { now, until }) {
      const [claimed] = await db.query<Row>(
        'UPDATE users SET checked_at = $1, tokens_leased_until = $2 WHERE id = $3 AND checked_at < $4 AND tokens_leased_until <= $1 AND tokens IS NOT NULL RETURNING tokens',
        [now, until, userId, before],
      )
      return claimed?.tokens ?? undefined
    },
    async findTokens(userId) {
      const [row] = await db.query<Row>('SELECT tokens FROM users WHERE id = $1', [userId])
      return row?.tokens ?? undefined
    },
    async leaseTokens(userId, { now, until }) {
      const [leased] = await db.query<Row>('UPDATE users SET tokens_leased_until = $1 WHERE id = $2 AND tokens_leased_until <= $3 AND tokens IS NOT NULL RETURNING tokens', [until, userId, now])
      return leased?.tokens ?? undefined
    },
    async releaseTokens(userId, { until }) {
      await db.query('UPDATE users SET tokens_leased_until = 0 WHERE id = $1 AND tokens_leased_until = $2', [userId, until])
    },
    async replaceTokens(userId, claimed, tokens) {
      return (await db.query('UPDATE users SET tokens = $1 WHERE id = $2 AND tokens = $3 RETURNING id', [tokens, userId, claimed])).length > 0
    },
  }
}
