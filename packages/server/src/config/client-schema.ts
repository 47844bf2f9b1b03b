import * as z from 'zod'
import { subjectPatternProblem } from '../clients/subject-pattern.ts'
import { DEVICE_CODE } from '../oauth/grant-type.ts'
import { redirectClass } from '../oauth/redirect-uri.ts'
import { httpUrl, mcpScope, publicKey } from './words.ts'

const redirectUri = z.string().refine((value) => redirectClass(value) !== undefined, 'must be an https URI, an http URI of a loopback address, or one of a private-use scheme; without fragment or credentials')

const keys = z.object({ keys: z.array(publicKey).min(1, 'name at least one key') })
const platform = z.string().refine((value) => /^spiffe:\/\/[a-z0-9._-]+$/.test(value) || (URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)), 'must be the issuer as it stands in iss, an http or https URL, or spiffe://{trust domain}')

const workloadIdentity = z.strictObject({
  issuer: platform,
  subject: z.string().min(1).superRefine((value, context) => {
    const problem = subjectPatternProblem(value)
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
  }),
  audience: z.string().min(1).optional(),
  claims: z.record(z.string().min(1), z.array(z.union([z.string(), z.number(), z.boolean()])).min(1, 'name at least one value')).optional(),
  jwks: keys.optional(),
  jwksUri: httpUrl.optional(),
})

export const client = z.strictObject({
  id: z.string().min(1).refine((value) => !value.startsWith('https://'), 'is taken by client ID metadata documents when it starts with https://').refine((value) => !/^(?:dyn_|software:|provider:)/.test(value), 'is taken by applications that others vouch for when it starts with dyn_, software: or provider:'),
  name: z.string().min(1),
  redirectUris: z.array(redirectUri).default([]),
  grantTypes: z.array(z.enum(['authorization_code', 'refresh_token', DEVICE_CODE, 'client_credentials', 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'urn:ietf:params:oauth:grant-type:token-exchange'])).default(['authorization_code', 'refresh_token']),
  tokenEndpointAuthMethod: z.enum(['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'workload_identity']).default('client_secret_basic'),
  clientSecret: z.string().min(32, 'must have at least 32 characters').optional(),
  jwks: keys.optional(),
  jwksUri: httpUrl.optional(),
  workloadIdentities: z.array(workloadIdentity).min(1, 'name at least one').optional(),
  dpopBoundAccessTokens: z.boolean().optional(),
  requirePushedAuthorizationRequests: z.boolean().optional(),
  resources: z.array(z.string()).default([]),
  owner: z.string().min(1).optional(),
  groups: z.array(z.string().min(1)).default([]),
  scopes: z.array(z.string().refine((value) => value === 'admin' || mcpScope.safeParse(value).success, 'must be admin, mcp.read, mcp.write, mcp.{upstream}.read or mcp.{upstream}.write')).min(1, 'leave it out where its groups alone decide, or name at least one').optional(),
})
