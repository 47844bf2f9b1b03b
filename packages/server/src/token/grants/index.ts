import { authorizationCode, type CodeGrantOptions } from './authorization-code.ts'
import { clientCredentials, type ClientCredentialsOptions } from './client-credentials.ts'
import type { GrantType } from './grant.ts'
import { refreshToken, type RefreshGrantOptions } from './refresh-token.ts'

/** All grant types of the token endpoint: one file and one line each. */
export function grantTypes(options: CodeGrantOptions & RefreshGrantOptions & ClientCredentialsOptions): readonly GrantType[] {
  return [authorizationCode(options), refreshToken(options), clientCredentials(options)]
}
