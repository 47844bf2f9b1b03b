import { canonicalResource } from '../oauth/resource.ts'
import type { ExchangeRule } from '../token/exchange/rules.ts'
import type { Acceptance } from '../token/presented.ts'
import type { Config } from './load.ts'
import { present } from './settings.ts'

/** An address in the form that requests are brought into. */
function canonical(target: string): string {
  return target.includes('*') ? target : (canonicalResource(target) ?? target)
}

export function exchangeSettings({ tokenExchange }: Config): readonly ExchangeRule[] {
  return tokenExchange.map(({ targets, tokenTypes, ...rule }) => ({
    ...present(rule),
    targets: targets.map(canonical),
    // ID tokens are made for an application to know who signed in: whoever wants them exchanged says so.
    ...(rule.identityProvider === undefined ? {} : { tokenTypes: tokenTypes ?? ['access_token'] }),
  }))
}

/** The identity providers whose tokens may be presented in place of Lanyard's own. */
export function acceptedTokens({ identityProviders }: Config): ReadonlyMap<string, Acceptance> {
  const accepting = identityProviders.filter(({ acceptTokens, acceptIdTokens }) => acceptTokens.length > 0 || acceptIdTokens.length > 0)
  return new Map(accepting.map(({ id, acceptTokens, acceptIdTokens }) => [id, { audiences: acceptTokens, idTokenClients: acceptIdTokens }]))
}
