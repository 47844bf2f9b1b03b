// Google Workspace. What it does otherwise than the specifications and most providers:
// - `iss` is `https://accounts.google.com` or, in some tokens, the same without a scheme.
// - Who is of the company, the claim `hd` says, and nothing else: anybody may keep a personal account on a company's
//   address, and the parameter `hd` is a hint that whoever signs in may ignore.
// - A refresh token comes with `access_type=offline` and a consent, so usually at the first sign-in alone.
// - It knows no `prompt=login`; `auth_time` it tells where `claims` asks for it and the project has it switched on.
// - ID tokens say nothing of groups: the Directory API does.
import type { JWTPayload } from 'jose'
import { directory, type Directory, type DirectorySettings } from '../google/directory.ts'
import { GoogleRefused, GoogleUnavailable } from '../google/errors.ts'
import { serviceAccount, type GoogleDeps, type ServiceAccountSettings } from '../google/service-account.ts'
import { oidcProvider, type OidcDeps, type OidcQuirks, type OidcSettings } from './oidc.ts'
import { LoginRefused, NotWelcome, ProviderUnavailable, type IdentityProvider, type LoginOptions } from './provider.ts'

export interface GoogleWorkspaceSettings extends OidcSettings {
  /** The company's domains, as `hd` names them. */
  readonly domains: readonly string[]
  /** Where groups come from; nobody is in any when absent. */
  readonly directory?: DirectorySettings & { readonly serviceAccount: ServiceAccountSettings }
}

export function googleWorkspace(settings: GoogleWorkspaceSettings, deps: OidcDeps & GoogleDeps): IdentityProvider {
  const groups = settings.directory === undefined ? undefined : directory(settings.directory, serviceAccount(settings.directory.serviceAccount, deps), deps)
  const provider = oidcProvider(settings, deps, quirks(settings, groups))
  return { ...provider, offlineByConsent: true }
}

function quirks({ issuer, domains, groupsClaim }: GoogleWorkspaceSettings, groups: Directory | undefined): OidcQuirks {
  const spellings = new Set([issuer, issuer.replace(/^https?:\/\//, '')])
  return {
    issuerOf: ({ iss }) => (iss !== undefined && spellings.has(iss) ? iss : issuer),
    issues: (named) => spellings.has(named),
    asks: (options) => parameters(options, domains),
    readClaims: (claims) => ofTheCompany({ ...claims, iss: issuer }, domains),
    // Asking the userinfo endpoint brings nothing that is not in the ID token.
    profile: async ({ sub }) => (groups === undefined ? {} : { [groupsClaim]: await groupsOf(groups, sub) }),
  }
}

function parameters({ prompt, maxAge, consent }: LoginOptions, domains: readonly string[]): Readonly<Record<string, string | undefined>> {
  const prompts = [...(prompt === undefined ? [] : ['select_account']), ...(consent === true ? ['consent'] : [])]
  const age = maxAge ?? (prompt === undefined ? undefined : 0)
  return {
    prompt: prompts.length === 0 ? undefined : prompts.join(' '),
    hd: domains.length === 1 ? domains[0] : '*',
    acr_values: undefined,
    claims: age === undefined ? undefined : JSON.stringify({ id_token: { auth_time: { essential: true } } }),
  }
}

function ofTheCompany(claims: JWTPayload, domains: readonly string[]): JWTPayload {
  const { hd, email_verified: verified, email, ...others } = claims
  if (typeof hd !== 'string') throw new NotWelcome('hd is missing: a personal account')
  if (!domains.includes(hd.toLowerCase())) throw new NotWelcome('hd is another domain')
  // An address that is not verified is nobody's.
  return verified === true ? { ...others, hd, email, email_verified: true } : { ...others, hd }
}

async function groupsOf(groups: Directory, sub: string): Promise<readonly string[]> {
  try {
    return await groups.groups(sub)
  } catch (error) {
    if (error instanceof GoogleUnavailable) throw new ProviderUnavailable(`groups: ${error.message}`, { cause: error })
    if (!(error instanceof GoogleRefused)) throw error
    // A directory that cannot be read is ours or the administrator's to mend: it says nothing of the person.
    if (error.reason === 'unknown_user' || error.reason === 'too_many_groups') throw new LoginRefused(`groups: ${error.reason}`, error)
    throw new ProviderUnavailable(`groups: ${error.message}`, { cause: error })
  }
}
