import { authorizationCode, type CodeGrantOptions } from './authorization-code.ts'
import type { GrantType } from './grant.ts'
import { refreshToken, type RefreshGrantOptions } from './refresh-token.ts'

/** All grant types of the token endpoint: one file and one line each. */
export function grantTypes(options: CodeGrantOptions & RefreshGrantOptions): readonly GrantType[] {
  return [authorizationCode(options), refreshToken(options)]
}
