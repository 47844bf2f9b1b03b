import * as z from 'zod'
import { httpUrl, id } from './words.ts'

/** Those of key pairs: `none`, and HMAC with a secret that others know too, prove nothing. */
export const ALGORITHMS = ['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'] as const

/** As it stands in `iss`: compared byte by byte, so a trailing slash is part of it. */
const issuer = httpUrl.refine((value) => URL.canParse(value) && new URL(value).search === '' && new URL(value).hash === '', 'must have no query and no fragment')

const trustedIssuer = z.strictObject({
  id,
  issuer,
  jwksUri: httpUrl.optional(),
  tenant: z.string().min(1).optional(),
  audienceTenant: z.string().min(1).optional(),
  algorithms: z.array(z.enum(ALGORITHMS)).min(1, 'leave it out for all that are safe, or name at least one').default([...ALGORITHMS]),
  clients: z.array(z.string().min(1)).min(1, 'leave it out for every client, or name at least one').optional(),
  identityProvider: id.optional(),
  groupsClaim: z.string().min(1).optional(),
})

export const idJag = z.strictObject({ trustedIssuers: z.array(trustedIssuer).default([]) }).default({ trustedIssuers: [] })
