// Who may exchange which tokens, for what: nothing, until an administrator says so.
import type { PresentedKind } from '../../identity/providers/provider.ts'
import { matcher, type Match } from '../../policy/pattern.ts'

/** What may be exchanged of an identity provider. */
export type SubjectKind = PresentedKind | 'refresh_token'

export interface ExchangeRule {
  readonly id: string
  /** Who may ask: client ids. */
  readonly clients: readonly string[]
  /** Whose tokens may be presented; Lanyard's own access tokens when absent. */
  readonly identityProvider?: string
  /** Of an identity provider: which of its tokens. */
  readonly tokenTypes?: readonly SubjectKind[]
  /** Of an identity provider: whom the tokens must be made for. */
  readonly audiences?: readonly string[]
  /** Of an identity provider, the clients that its tokens may be issued to; of Lanyard's own, those besides the client that asks. */
  readonly issuedTo?: readonly string[]
  /** What may be asked for: addresses of resources, of upstreams, or of authorization servers elsewhere. */
  readonly targets: readonly string[]
  /** The scopes that what is issued has at most. */
  readonly scopes?: readonly string[]
  /** Who may act for the person besides the client that asks: identifiers of people and machines. */
  readonly actors?: readonly string[]
}

export interface CompiledExchangeRule {
  readonly rule: ExchangeRule
  /** Whether a token that was issued to the client may be presented; absent where the rule does not say. */
  readonly isIssuedTo?: Match
  readonly isTarget: Match
  readonly isActor: Match
}

export type ExchangeRules = (clientId: string) => readonly CompiledExchangeRule[]

const NOBODY: Match = () => false

export function exchangeRules(rules: readonly ExchangeRule[]): ExchangeRules {
  const compiled = rules.map((rule) => ({ rule, isClient: matcher(rule.clients), ...(rule.issuedTo === undefined ? {} : { isIssuedTo: matcher(rule.issuedTo) }), isTarget: matcher(rule.targets), isActor: rule.actors === undefined ? NOBODY : matcher(rule.actors) }))
  return (clientId) => compiled.filter(({ isClient }) => isClient(clientId))
}
