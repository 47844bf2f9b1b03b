import type { StepUpKey, StepUpStore } from '../authorize/step-up-store.ts'
import type { Resource } from '../oauth/resource.ts'
import { formatScope } from '../oauth/scope.ts'
import type { SignInRequirement } from '../policy/rule.ts'
import { authenticationColumns } from './authentications.ts'
import type { Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'

interface StepUpRow {
  readonly user_id: string
  readonly client_id: string
  readonly resource: Resource
  readonly grant_id: string
  readonly requirement: string
  readonly scope: string
}

const KEY = 'user_id = $1 AND client_id = $2 AND resource = $3'

export function stepUpStore({ db, audit, changed }: StoreParts): StepUpStore {
  return {
    ask: (stepUp, at, unmetSince, ...events) =>
      db.transaction(async (tx) => {
        const { userId, clientId, resource, grantId, requirement, scope } = stepUp
        const asked = await tx.query(
          `INSERT INTO step_ups (user_id, client_id, resource, grant_id, requirement, scope, asked_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
           ON CONFLICT (user_id, client_id, resource) DO UPDATE SET grant_id = excluded.grant_id, requirement = excluded.requirement,
             scope = excluded.scope, asked_at = excluded.asked_at, refused_at = NULL, unmet_at = NULL
           WHERE step_ups.unmet_at IS NULL OR step_ups.unmet_at < $8 OR step_ups.requirement <> excluded.requirement RETURNING user_id`,
          [userId, clientId, resource, grantId, JSON.stringify(requirement), formatScope(scope), at, unmetSince],
        )
        await audit.append(tx, events)
        return asked.length > 0 ? 'asked' : 'unmet'
      }),
    async findAsked({ userId, clientId, resource }, since) {
      const [row] = await db.query<StepUpRow>(`SELECT * FROM step_ups WHERE ${KEY} AND asked_at > $4 AND unmet_at IS NULL`, [userId, clientId, resource, since])
      if (row === undefined) return undefined
      const { grant_id: grantId, requirement, scope } = row
      return { userId, clientId, resource, grantId, requirement: JSON.parse(requirement) as SignInRequirement, scope: scope.split(' ').filter((token) => token !== '') }
    },
    async refuseRefresh(grantId, since, at) {
      const refused = await db.query('UPDATE step_ups SET refused_at = $1 WHERE grant_id = $2 AND asked_at > $3 AND refused_at IS NULL AND unmet_at IS NULL RETURNING user_id', [at, grantId, since])
      return refused.length > 0
    },
    async markUnmet({ userId, clientId, resource }, at) {
      await db.query('UPDATE step_ups SET unmet_at = $1 WHERE user_id = $2 AND client_id = $3 AND resource = $4', [at, userId, clientId, resource])
    },
    raise: ({ id, userId, sessionId }, authentication, at, ...events) =>
      db.transaction(async (tx) => {
        const raised = await tx.query('UPDATE grants SET auth_time = $1, acr = $2, amr = $3, claims = $4, session_id = $5 WHERE id = $6 AND user_id = $7 AND revoked_at IS NULL RETURNING id', [
          ...authenticationColumns(authentication),
          sessionId,
          id,
          userId,
        ])
        if (raised.length === 0) return false
        await audit.append(tx, events)
        await changed(tx, { kind: 'authentication', key: id, at })
        return true
      }),
  }
}

/** With a new grant, what its client was told to come back with is done; what could not be had is remembered for a while. */
export async function stepUpDone(tx: Transaction, { userId, clientId, resource }: StepUpKey): Promise<void> {
  await tx.query(`DELETE FROM step_ups WHERE ${KEY} AND unmet_at IS NULL`, [userId, clientId, resource])
}
