// Checks Google's service accounts: whether Google takes their keys, and whether groups can be read.
import type { Config } from '../config/load.ts'
import { providerSettings, upstreamSettings } from '../config/settings.ts'
import type { Outbound } from '../http/outbound.ts'
import { directory, GROUPS_SCOPE } from '../identity/google/directory.ts'
import { GoogleRefused, GoogleUnavailable } from '../identity/google/errors.ts'
import { serviceAccount, type GoogleDeps } from '../identity/google/service-account.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

export async function checkGoogle(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  const deps: GoogleDeps = { outbound, now: Date.now }
  const providers = providerSettings(config).flatMap((provider) => (provider.type === 'google-workspace' ? [provider] : []))
  const upstreams = upstreamSettings(config).flatMap(({ id, connector }) => (connector.type === 'google-delegation' ? [{ id, connector }] : []))
  return Promise.all([
    ...providers.map(({ id, directory: found }) => {
      const check = `groups of ${id}`
      if (found?.serviceAccount.workloadIdentity !== undefined) return trusting(check)
      if (found === undefined) return warning(check, 'nobody is in any group: Google’s tokens name none', 'set directory (docs/setup/google-workspace.md)')
      // Nobody's groups, of somebody whom nobody knows: Google says whether they could be read.
      const ask = async (): Promise<void> => {
        await serviceAccount(found.serviceAccount, deps).token([GROUPS_SCOPE], found.administrator)
        await directory(found, serviceAccount(found.serviceAccount, deps), deps).groups('0').catch((error: unknown) => {
          if (!(error instanceof GoogleRefused && error.reason === 'unknown_user')) throw error
        })
      }
      return findingOf(check, 'the directory answers', ask)
    }),
    ...upstreams.map(({ id, connector }) => connector.serviceAccount.workloadIdentity !== undefined ? trusting(`upstream ${id}`) : findingOf(`upstream ${id}`, `Google takes what ${connector.serviceAccount.email} signs; whether its scopes are delegated shows with the first call`, async () => void (await serviceAccount(connector.serviceAccount, deps).token(connector.scopes)))),
  ])
}

/** The running gateway alone has the keys that Google trusts. */
function trusting(check: string): Finding {
  return warning(check, 'whether Google trusts this gateway shows with the first call', 'see that Google can read its metadata and keys')
}

async function findingOf(check: string, message: string, ask: () => Promise<void>): Promise<Finding> {
  try {
    await ask()
    return ok(check, message)
  } catch (error) {
    if (error instanceof GoogleUnavailable) return failed(check, error.message, 'see whether Google can be reached from here; the metadata server needs outbound.allow 169.254.169.254/32')
    if (error instanceof GoogleRefused) return failed(check, error.message, 'docs/setup/google-workspace.md has the steps')
    throw error
  }
}
