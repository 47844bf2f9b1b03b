import * as z from 'zod'
import { httpUrl, id, secret } from './words.ts'

/** A connector: what the identity provider issued at the sign-in, in exchange for what the upstream takes. */
export const tokenExchangeConnector = z.strictObject({
  type: z.literal('token-exchange'),
  clientId: z.string().min(1).optional(),
  clientSecret: secret.optional(),
  issuer: httpUrl.optional(),
  identityProvider: id.optional(),
  subjectToken: z.enum(['access_token', 'id_token']).default('access_token'),
  audience: z.string().min(1).optional(),
  resource: httpUrl.optional(),
  scopes: z.array(z.string().min(1)).optional(),
  dpop: z.boolean().optional(),
})
