// Checks what app registrations at Entra ID prove themselves with: whether certificates are about to end, and whether Entra
// ID takes them.
import { X509Certificate } from 'node:crypto'
import type { Config } from '../config/load.ts'
import { providerSettings, upstreamSettings } from '../config/settings.ts'
import type { Outbound } from '../http/outbound.ts'
import { entraClient, EntraRefused, type EntraApp } from '../identity/entra/client.ts'
import { tokenEndpointOf } from '../identity/entra/tenant.ts'
import { ProviderUnavailable } from '../identity/providers/provider.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

interface App extends EntraApp {
  readonly check: string
  readonly authority: string
  readonly tenant: string
  readonly graphUrl: string
}

const DAY_MS = 86_400_000
const SOON_DAYS = 30
const PAGE = 'docs/setup/entra-id.md'

export async function checkEntra(config: Config, outbound: Outbound, now = Date.now()): Promise<readonly Finding[]> {
  const providers = providerSettings(config).flatMap((provider) => (provider.type === 'entra-id' ? [provider] : []))
  const own = providers.map(({ id, clientId, entra }): App => ({ check: `app of ${id}`, clientId, ...entra, tenant: entra.tenants[0] ?? entra.tenant }))
  const others = upstreamSettings(config).flatMap(({ id, connector }): readonly App[] => {
    if (connector.type !== 'entra-obo' || connector.app === undefined) return []
    const { provider, app } = connector
    return providers.filter((each) => each.id === provider.id).map(({ entra }) => ({ check: `upstream ${id}`, ...app, ...entra, credential: app.credential, tenant: entra.tenants[0] ?? entra.tenant }))
  })
  return (await Promise.all([...own, ...others].map(async (app) => [...certificateOf(app, now), await taken(app, outbound)]))).flat()
}

function certificateOf({ check, credential }: App, now: number): readonly Finding[] {
  if (credential.type !== 'certificate') return []
  const days = Math.floor((Date.parse(new X509Certificate(credential.certificate).validTo) - now) / DAY_MS)
  if (days < 0) return [failed(check, 'its certificate has ended', `make another one and upload it (${PAGE})`)]
  return days < SOON_DAYS ? [warning(check, `its certificate ends in ${days} days`, `make the next one and upload it beside this one (${PAGE})`)] : []
}

/** A token for itself proves the app, whatever it may do with it. */
async function taken(app: App, outbound: Outbound): Promise<Finding> {
  const { check } = app
  if (app.credential.type === 'federated') return warning(check, 'whether Entra ID trusts this gateway shows with the first sign-in', 'see that Entra ID can read its metadata and keys')
  try {
    await entraClient(app, { outbound, now: Date.now }).token(tokenEndpointOf(app, app.tenant), { grant_type: 'client_credentials', scope: `${app.graphUrl}/.default` })
    return ok(check, 'Entra ID takes what it proves itself with')
  } catch (error) {
    if (error instanceof ProviderUnavailable) return failed(check, error.message, 'see whether Entra ID can be reached from here')
    if (error instanceof EntraRefused) return failed(check, error.reason, `${PAGE} says what the numbers mean`)
    throw error
  }
}
