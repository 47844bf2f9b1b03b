import * as z from 'zod'
import { entraId } from './entra-schema.ts'
import { googleWorkspace, keycloak, okta, ping } from './preset-schema.ts'
import { commonProvider } from './provider-common.ts'
import { httpUrl, secret } from './words.ts'

const oidc = z.strictObject({
  ...commonProvider,
  type: z.literal('oidc'),
  issuer: httpUrl,
  clientSecret: secret.optional(),
  groupsClaim: z.string().min(1).default('groups'),
  rolesClaim: z.string().min(1).default('roles'),
  offlineAccess: z.enum(['scope', 'scope-and-consent', 'access_type', 'off']).optional(),
})

export const identityProvider = z.discriminatedUnion('type', [oidc, entraId, googleWorkspace, keycloak, okta, ping], { error: 'this version knows the types oidc, entra-id, google-workspace, keycloak, okta and ping' })
