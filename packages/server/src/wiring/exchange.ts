// Wires which tokens are exchanged for what, and the identity providers' tokens that may be presented.
import { acceptedTokens, exchangeSettings } from '../config/token-exchange-settings.ts'
import { presentedTokens } from '../identity/presented.ts'
import { recognition } from '../identity/recognize.ts'
import { vend } from '../token/exchange/vend.ts'
import type { ExchangeTarget } from '../token/grants/token-exchange.ts'
import type { TokenOptions } from '../token/routes.ts'
import type { Accounts } from './accounts.ts'
import type { Applications } from './applications.ts'
import type { Ground } from './ground.ts'
import type { People } from './people.ts'

export function exchangeWiring({ config, identityStore: store, now }: Ground, { providers }: People): Pick<TokenOptions, 'exchange' | 'accept'> {
  const rules = exchangeSettings(config)
  const presented = presentedTokens({ providers, people: recognition({ store, now }) })
  return { accept: { accepted: acceptedTokens(config), presented }, ...(rules.length === 0 ? {} : { exchange: { rules, presented } }) }
}

export function vending({ upstreams, profiles, policy, audit: recorder, now }: Ground, { approvals }: Applications, { connector, connections }: Accounts): ExchangeTarget {
  return vend({ upstreams, connector, connections, profiles, policy, approvals, recorder, now })
}
