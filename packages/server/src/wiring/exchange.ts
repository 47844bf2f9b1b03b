// Wires which tokens are exchanged, and the identity providers' tokens that may be presented.
import { exchangeSettings } from '../config/token-exchange-settings.ts'
import { presentedTokens } from '../identity/presented.ts'
import { recognition } from '../identity/recognize.ts'
import type { TokenOptions } from '../token/routes.ts'
import type { Ground } from './ground.ts'
import type { People } from './people.ts'

export function exchangeWiring({ config, identityStore: store, now }: Ground, { providers }: People): Pick<TokenOptions, 'exchange'> {
  const rules = exchangeSettings(config)
  if (rules.length === 0) return {}
  return { exchange: { rules, presented: presentedTokens({ providers, people: recognition({ store, now }) }) } }
}
