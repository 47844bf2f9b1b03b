// Wires the JSON API of administrators.
import { adminRoutes } from '../admin/admin.ts'
import { applicationEndpoints } from '../admin/applications.ts'
import { approvalEndpoints } from '../admin/approvals.ts'
import type { Endpoint } from '../admin/endpoint.ts'
import { pinEndpoints } from '../admin/pins.ts'
import { policyRoom } from '../admin/policy.ts'
import { decisions } from '../approval/decisions.ts'
import type { Route } from '../http/route.ts'
import { callRecords } from '../store/call-records.ts'
import { pinStore } from '../store/pins.ts'
import { ruleStore } from '../store/rules.ts'
import type { Tokens } from '../token/routes.ts'
import type { Applications } from './applications.ts'
import type { Ground } from './ground.ts'
import type { People } from './people.ts'

export function ruleRoom({ store, policy, upstreams, findUser, now }: Ground, { clients: applications }: Applications): readonly Endpoint[] {
  return policyRoom({ policy, upstreams, applications, store: ruleStore(store), records: callRecords(store), findUser, now })
}

export function adminRoom({ issuer, administrators, approvalStore: decided, store, audit, limits, proof, now }: Ground, { sessions }: People, { verifier }: Tokens, endpoints: readonly Endpoint[]): readonly Route[] {
  const approving = { store: decided, decisions: decisions(decided, now) }
  return adminRoutes({ issuer, administration: administrators, sessions, verifier, proof, cutoffs: store.cutoffs, audit, flood: limits.refusedTokens }, [...endpoints, ...pinEndpoints({ pins: pinStore(store), now }), ...approvalEndpoints(approving), ...applicationEndpoints(approving)])
}
