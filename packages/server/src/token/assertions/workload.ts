import { hash } from '../../oauth/secret.ts'
import { refusedAssertion, type AssertionProfile } from '../grants/jwt-bearer.ts'
import { machineGrant, type MachineGrantOptions } from '../grants/machine.ts'

/**
 * What a platform signed for a workload, as the authorization grant (RFC 7523 §2.1, MCP's workload identity federation):
 * the client that is configured to be that workload stands for itself.
 */
export function workloadAssertion(options: MachineGrantOptions): AssertionProfile {
  return {
    // Whatever names a type of its own is of another kind (RFC 8725 §3.11).
    accepts: ({ typ }) => typ === undefined || /^(?:JWT|JOSE)$/i.test(typ),
    async authorize(request, assertion) {
      const { workload } = request.client
      if (workload === undefined) throw refusedAssertion('the client is no workload')
      // RFC 7521 §4.1: it was verified where the client authenticated, which it did with this one and no other.
      if (workload.hash !== hash(assertion)) throw refusedAssertion('it is not the one that the client authenticated with')
      // RFC 7521 §4.1: no access token that outlives it, and none for one that clocks alone keep alive.
      if (workload.expiresAt * 1000 <= options.now()) throw refusedAssertion('it has expired')
      return machineGrant(options, request, workload.expiresAt)
    },
  }
}
