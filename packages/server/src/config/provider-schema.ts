import * as z from 'zod'
import { httpUrl, id, secret } from './words.ts'

export const identityProvider = z.strictObject({
  id,
  name: z.string().optional(),
  type: z.literal('oidc', { error: 'this version knows the type "oidc"' }),
  issuer: httpUrl,
  clientId: z.string().min(1),
  clientSecret: secret.optional(),
  scopes: z.array(z.string().min(1)).optional(),
  groupsClaim: z.string().min(1).default('groups'),
  rolesClaim: z.string().min(1).default('roles'),
  claims: z.array(z.string().min(1).max(128)).max(32, 'name at most 32').default([]),
  acrValues: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be one printable word')).default([]),
  offlineAccess: z.enum(['scope', 'scope-and-consent', 'access_type', 'off']).optional(),
  acceptTokens: z.array(z.string().min(1)).default([]),
  acceptIdTokens: z.array(z.string().min(1)).default([]),
})
