import type { EntraOboSettings } from '../upstreams/connectors/entra-obo/settings.ts'
import type { Settings } from './schema.ts'

type Obo = Extract<Settings['upstreams'][number]['connector'], { readonly type: 'entra-obo' }>

/** By which of the identity providers people sign in whom it acts for; that there is one was checked. */
export function oboSettings({ provider: id, app, ...settings }: Obo, providers: Settings['identityProviders']): EntraOboSettings {
  const provider = entraProviders(providers).find((each) => id === undefined || each.id === id)
  if (provider === undefined) throw new Error('there is no identity provider of the type entra-id')
  return { ...settings, provider: { id: provider.id, authority: provider.entra.authority }, ...(app === undefined ? {} : { app }) }
}

/** Whether an app registration at Entra ID takes this gateway's own word for what it is. */
export function isFederated({ identityProviders, upstreams }: Settings): boolean {
  const apps = upstreams.flatMap(({ connector }) => (connector.type === 'entra-obo' ? (connector.app ?? []) : []))
  return [...entraProviders(identityProviders).map(({ entra }) => entra), ...apps].some(({ credential }) => credential.type === 'federated')
}

function entraProviders(providers: Settings['identityProviders']) {
  return providers.flatMap((provider) => (provider.type === 'entra-id' ? [provider] : []))
}
