import { parseScope } from '../oauth/scope.ts'
import type { Connector } from '../upstreams/connectors/connector.ts'
import { challengeParameters } from '../upstreams/connectors/oauth/discovery.ts'
import type { Call } from './call.ts'
import type { Answer } from './exchange.ts'

/**
 * C-17: the scopes that the user's account must be connected with before this call can succeed; none unless the upstream
 * says that those of the credential do not suffice (RFC 6750 §3.1) and asking for more may help.
 */
export async function lackingScope(connector: Connector, { caller, upstream, operation }: Pick<Call, 'caller' | 'upstream' | 'operation'>, { status, headers }: Answer): Promise<readonly string[] | undefined> {
  if (status !== 403 || connector.stepUp === undefined || (operation.kind !== 'tool' && operation.kind !== 'item')) return undefined
  // RFC 9110 §11.6.1: an upstream may send several, each in a line of its own.
  const challenge = challengeParameters([headers['www-authenticate'] ?? []].flat().join(', '))
  const lacking = challenge.get('error') === 'insufficient_scope' ? parseScope(challenge.get('scope') ?? '') : undefined
  return lacking === undefined || lacking.length === 0 ? undefined : connector.stepUp(caller.user.id, upstream, lacking)
}
