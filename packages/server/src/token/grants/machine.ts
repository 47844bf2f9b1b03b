import type { Approvals } from '../../approval/approvals.ts'
import type { AuditEvent } from '../../audit/event.ts'
import { requestedProfile, requestedScope } from '../../authorize/target.ts'
import type { Client } from '../../clients/client.ts'
import type { Machines } from '../../identity/machines.ts'
import { OAuthError } from '../../oauth/error.ts'
import { EVERY_UPSTREAM } from '../../oauth/scope.ts'
import { newId } from '../../oauth/secret.ts'
import type { Profiles } from '../../upstreams/upstream.ts'
import type { TokenLifetimes } from '../issue.ts'
import type { TokenStore } from '../token-store.ts'
import type { Granted, GrantRequest } from './grant.ts'
import { startGrant } from './start.ts'

export interface MachineGrantOptions {
  readonly store: Pick<TokenStore, 'startGrant'>
  readonly machines: Machines
  readonly approvals: Pick<Approvals, 'used'>
  readonly profiles: Pick<Profiles, 'byResource' | 'all'>
  readonly lifetimes: Pick<TokenLifetimes, 'accessToken'>
  readonly now: () => number
}

/**
 * What a client that proved itself may have a token for: itself, at one resource, and as much of its scope as it may hold.
 *
 * @param endsAt seconds since the epoch: what the token must not outlive
 * @throws OAuthError
 */
export async function machineGrant({ store, machines, approvals, profiles, lifetimes, now }: MachineGrantOptions, request: GrantRequest, endsAt = Infinity): Promise<Granted> {
  const { client, params } = request
  const machine = machines.ofClient(client.id)
  if (machine === undefined) throw new OAuthError('unauthorized_client', 'the client may not stand for itself', { reason: 'the client is no machine' })
  const profile = requestedProfile(params, profiles)
  // Nobody is asked: who names no scope asks for all that the resource has, and of it gets what the machine may hold.
  const scope = requestedScope(params, profile, profile.scopes ?? EVERY_UPSTREAM)
  // Administrators see it among the applications that are used, and can refuse it there.
  await approvals.used(client)
  const at = Math.floor(now() / 1000)
  // RFC 6749 §4.4.3: no refresh token, so the grant is over with its one access token.
  const authorization = { id: newId('grt'), userId: machine.id, clientId: client.id, resource: profile.resource, scope, expiresAt: Math.min(at + lifetimes.accessToken, endsAt) }
  return startGrant(store, request, { authorization, at, ...(machine.owner === undefined ? {} : { owner: machine.owner }), ...workloadDetail(client) })
}

/** Which run of which pipeline it was, the client alone does not say. */
function workloadDetail({ workload }: Client): { readonly detail?: AuditEvent['detail'] } {
  return workload === undefined ? {} : { detail: { workload: workload.subject.slice(0, 512), workload_issuer: workload.issuer } }
}
