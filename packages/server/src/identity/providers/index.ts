import { oidcProvider, type OidcDeps, type OidcSettings } from './oidc.ts'
import type { IdentityProvider } from './provider.ts'

/** The kinds of identity provider: a new one is one file and one line. */
const KINDS = {
  oidc: oidcProvider,
} as const satisfies Record<string, (settings: OidcSettings, deps: OidcDeps) => IdentityProvider>

export type ProviderSettings = OidcSettings & { readonly type: keyof typeof KINDS }

export function identityProviders(settings: readonly ProviderSettings[], deps: OidcDeps): ReadonlyMap<string, IdentityProvider> {
  return new Map(settings.map((provider) => [provider.id, KINDS[provider.type](provider, deps)]))
}
