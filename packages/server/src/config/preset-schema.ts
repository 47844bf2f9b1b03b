// Identity providers that are OpenID Connect with what a product does otherwise: what it refuses or needs is not for every
// administrator to find out.
import * as z from 'zod'
import { OKTA_ACR_VALUES, oktaScopes } from '../identity/providers/okta.ts'
import { pingScopes } from '../identity/providers/ping.ts'
import { domain, googleDirectory } from './google-schema.ts'
import { commonProvider } from './provider-common.ts'
import { httpUrl, secret } from './words.ts'

/** Compared byte by byte with what tokens say: these products write no slash at the end. */
const issuer = httpUrl.refine((value) => !value.endsWith('/'), 'has no slash at its end there')

const preset = {
  ...commonProvider,
  clientSecret: secret.optional(),
  groupsClaim: z.string().min(1).default('groups'),
  rolesClaim: z.string().min(1).default('roles'),
  offlineAccess: z.enum(['scope', 'scope-and-consent', 'off']).default('scope'),
}

/** Groups come from the Directory API, never from a claim; Google has no words for how somebody signed in. */
export const googleWorkspace = z
  .strictObject({ ...commonProvider, type: z.literal('google-workspace'), issuer: issuer.default('https://accounts.google.com'), clientSecret: secret, acrValues: z.array(z.string()).max(0, 'Google knows none').default([]), domains: z.array(domain).min(1, 'name the domains of your organization'), directory: googleDirectory.optional() })
  .transform(({ scopes = ['openid', 'profile', 'email'], directory, ...provider }) => ({
    ...provider,
    scopes: scopes.filter((scope) => scope !== 'offline_access'),
    groupsClaim: 'groups',
    rolesClaim: 'roles',
    offlineAccess: 'access_type' as const,
    ...(directory === undefined ? {} : { directory }),
  }))

const oktaIssuer = issuer
  .refine((value) => !URL.canParse(value) || !/-admin\.okta[a-z-]*\.com$/.test(new URL(value).hostname), 'is the Admin Console: leave out -admin')
  .refine((value) => /^https?:\/\/[^/?#]+(?:\/oauth2\/[A-Za-z0-9]+)?$/.test(value), 'must be https://example.okta.com, or https://example.okta.com/oauth2/{authorization server}')

export const okta = z
  .strictObject({ ...preset, type: z.literal('okta'), issuer: oktaIssuer, acrValues: commonProvider.acrValues.unwrap().default([...OKTA_ACR_VALUES]) })
  .transform(({ scopes, ...provider }) => ({ ...provider, scopes: scopes ?? [...oktaScopes(provider.issuer)] }))

const realm = issuer.refine((value) => /\/realms\/[^/?#]+$/.test(value), 'must be that of a realm: https://sso.example.com/realms/{realm}')

export const keycloak = z.strictObject({ ...preset, type: z.literal('keycloak'), issuer: realm })

export const ping = z.strictObject({ ...preset, type: z.literal('ping'), issuer }).transform(({ scopes, ...provider }) => ({ ...provider, scopes: scopes ?? [...pingScopes(provider.issuer)] }))
