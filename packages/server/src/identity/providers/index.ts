import { entraIdProvider } from './entra-id.ts'
import { googleWorkspace } from './google-workspace.ts'
import { keycloak } from './keycloak.ts'
import { oidcProvider, type OidcDeps } from './oidc.ts'
import { okta } from './okta.ts'
import { ping } from './ping.ts'
import type { IdentityProvider } from './provider.ts'
import type { EntraDeps } from '../entra/client.ts'
import type { GoogleDeps } from '../google/service-account.ts'

/** The kinds of identity provider: a new one is one file and one line. A preset is a short file over the generic one. */
const KINDS = {
  oidc: oidcProvider,
  'entra-id': entraIdProvider,
  'google-workspace': googleWorkspace,
  keycloak,
  okta,
  ping,
}

type Kinds = typeof KINDS
type Kind = keyof Kinds

export type ProviderDeps = OidcDeps & EntraDeps & GoogleDeps

export type ProviderSettings<Type extends Kind = Kind> = { readonly [Each in Type]: Parameters<Kinds[Each]>[0] & { readonly type: Each } }[Type]

type Make = (settings: ProviderSettings, deps: ProviderDeps) => IdentityProvider

export function identityProviders(settings: readonly ProviderSettings[], deps: ProviderDeps): ReadonlyMap<string, IdentityProvider> {
  return new Map(settings.map((provider) => [provider.id, (KINDS[provider.type] as Make)(provider, deps)]))
}
