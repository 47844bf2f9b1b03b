// Puts the token exchange together: whose tokens, by which rules, for what.
import type { PresentedTokens } from '../../identity/presented.ts'
import type { ExchangeOptions, ExchangeTarget } from '../grants/token-exchange.ts'
import { ownResource, type OwnResourceOptions } from './own-resource.ts'
import { exchangeRules, type ExchangeRule } from './rules.ts'
import type { SubjectOptions } from './subject.ts'

export interface ExchangeSettings {
  readonly rules: readonly ExchangeRule[]
  readonly presented: PresentedTokens
  /** What tokens are exchanged for besides access tokens of Lanyard. */
  readonly targets?: readonly ExchangeTarget[]
}

type Needs = ExchangeSettings & OwnResourceOptions & Pick<ExchangeOptions, 'store'> & Pick<SubjectOptions, 'issuer' | 'verifier' | 'cutoffs' | 'checkSubject' | 'users'> & { readonly mayIntrospect: SubjectOptions['standsFor'] }

export function exchangeRoom({ rules, targets = [], mayIntrospect, ...options }: Needs): ExchangeOptions {
  return { ...options, rules: exchangeRules(rules), standsFor: mayIntrospect, targets: [ownResource(options), ...targets] }
}
