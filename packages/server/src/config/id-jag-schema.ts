import * as z from 'zod'
import { canonicalResource } from '../oauth/resource.ts'
import { httpUrl, id, secret } from './words.ts'

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
  linkByEmail: id.optional(),
})

const audience = z.strictObject({
  issuer,
  resources: z.array(httpUrl.refine((value) => canonicalResource(value) !== undefined, 'must have no query, fragment or credentials')).min(1, 'name at least one'),
  scopes: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be one printable word')).min(1, 'leave it out for whatever it knows, or name at least one').optional(),
  clients: z.record(z.string().min(1), z.string().min(1)).refine((clients) => Object.keys(clients).length > 0, 'name at least one client, and its identifier there'),
  groups: z.array(z.string().min(1)).min(1, 'leave it out for everybody, or name at least one').optional(),
  tenant: z.string().min(1).optional(),
})

/** A connector: access that who signed the person in decides. */
export const idJagConnector = z.strictObject({
  type: z.literal('id-jag'),
  clientId: z.string().min(1).optional(),
  clientSecret: secret.optional(),
  issuer: httpUrl.optional(),
  scopes: z.array(z.string()).optional(),
  dpop: z.boolean().optional(),
  assertions: z.enum(['identity-provider', 'lanyard']).default('identity-provider'),
  tenant: z.string().min(1).optional(),
})

export const idJag = z
  .strictObject({ trustedIssuers: z.array(trustedIssuer).default([]), audiences: z.array(audience).default([]) })
  .default({ trustedIssuers: [], audiences: [] })
