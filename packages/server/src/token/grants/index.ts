import { authorizationCode, type CodeGrantOptions } from './authorization-code.ts'
import { workloadAssertion } from '../assertions/workload.ts'
import { clientCredentials } from './client-credentials.ts'
import { deviceCode, type DeviceGrantOptions } from './device-code.ts'
import type { GrantType } from './grant.ts'
import { jwtBearer, type AssertionOptions } from './jwt-bearer.ts'
import type { MachineGrantOptions } from './machine.ts'
import { refreshToken, type RefreshGrantOptions } from './refresh-token.ts'
import { tokenExchange, type ExchangeOptions } from './token-exchange.ts'

/** All grant types of the token endpoint: one file and one line each. */
export function grantTypes(options: CodeGrantOptions & RefreshGrantOptions & DeviceGrantOptions & MachineGrantOptions & AssertionOptions & { readonly exchange?: ExchangeOptions }): readonly GrantType[] {
  return [authorizationCode(options), refreshToken(options), ...(options.devices === undefined ? [] : [deviceCode(options.devices, options.now)]), clientCredentials(options), jwtBearer([...(options.assertions ?? []), workloadAssertion(options)]), ...(options.exchange === undefined ? [] : [tokenExchange(options.exchange)])]
}
