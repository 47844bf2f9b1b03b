// Owns the configuration file: one schema, one frozen value, every mistake reported at once. It starts nothing.
import * as z from 'zod'
import { plainPath } from '../gateway/forwarded-request.ts'
import { canonicalResource } from '../oauth/resource.ts'
import { ruleSchema } from '../policy/rule-schema.ts'
import { client } from './client-schema.ts'
import { deviceAuthorization } from './device-schema.ts'
import { idJag } from './id-jag-schema.ts'
import { notices } from './notices.ts'
import { identityProvider } from './provider-schema.ts'
import { tokenExchange } from './token-exchange-schema.ts'
import { upstream } from './upstream-schema.ts'
import { httpUrl, id, mcpScope, patterns, publicKey, secret } from './words.ts'

const cidr = z.union([z.cidrv4(), z.cidrv6()], { error: 'must be a network such as 10.0.0.0/8, or 192.0.2.1/32 for one address' })

const issuer = z.string().superRefine((value, context) => {
  const problem = issuerProblem(value)
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
})

function issuerProblem(value: string): string | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) return 'must be an absolute https URL'
  if (value !== url.origin) return 'must be an origin without path or trailing slash, such as https://lanyard.example.com'
  if (url.protocol === 'https:') return undefined
  // Addresses alone: 127.0.0.1.example.com is anybody's.
  const loopback = url.hostname === 'localhost' || url.hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(url.hostname)
  return loopback ? undefined : 'must be https (http is allowed on a loopback address alone)'
}

const origin = z.string().refine((value) => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol) && new URL(value).origin === value, 'must be an origin without path or trailing slash, such as https://app.example.com')

const listen = z
  .string()
  .regex(/^(?:\[[0-9a-f:]+\]|[^:\s]+):\d{1,5}$/i, { error: 'must be ADDRESS:PORT', abort: true })
  .refine((value) => Number(value.slice(value.lastIndexOf(':') + 1)) <= 65_535, 'must have a port up to 65535')

const store = z
  .string()
  .regex(/^(?:sqlite:.+|postgres(?:ql)?:\/\/.+)$/, { error: 'must be sqlite:PATH or postgres://…', abort: true })
  // Several hosts, separated by commas, are no URL and yet fine.
  .refine((value) => value.startsWith('sqlite:') || URL.canParse(value.replace(/,[^/?]*/, '')), 'must be postgres://user:password@host/database (special characters of the password as %XX)')

const scopeEntry = z
  .strictObject({
    scopes: z.array(mcpScope).min(1, 'name at least one'),
    groups: z.array(z.string().min(1)).min(1, 'leave it out, or name at least one').optional(),
    roles: z.array(z.string().min(1)).min(1, 'leave it out, or name at least one').optional(),
  })
  .refine(({ groups, roles }) => groups !== undefined || roles !== undefined, 'needs groups or roles: who may hold the scopes')

const statementIssuer = z
  .strictObject({ issuer: z.string().min(1), jwks: z.object({ keys: z.array(publicKey).min(1, 'name at least one key') }).optional(), jwksUri: httpUrl.optional() })
  .refine(({ jwks, jwksUri }) => (jwks === undefined) !== (jwksUri === undefined), 'needs its keys: either jwks or jwksUri')
const statements = z.strictObject({ issuers: z.array(statementIssuer).default([]), unknown: z.enum(['refuse', 'unverified']).default('unverified') }).default({ issuers: [], unknown: 'unverified' })

const profile = z.strictObject({
  id,
  name: z.string().optional(),
  upstreams: z.array(id).min(1),
  groups: z.array(z.string().min(1)).min(1, 'leave it out for everybody, or name at least one').optional(),
  tools: z.record(id, patterns).optional(),
})

const protectedServer = z.strictObject({
  id,
  resource: httpUrl.refine((value) => canonicalResource(value) !== undefined && plainPath(new URL(value).pathname) !== undefined, 'must be an address with a plain path, without query, fragment or credentials'),
  profile: id,
  validatesHeaders: z.boolean().default(false),
})

export const schema = z.strictObject({
  issuer,
  listen: listen.default('127.0.0.1:8080'),
  hosts: z.array(z.string()).default([]),
  allowedOrigins: z.array(origin).default([]),
  trustedProxies: z.array(cidr).default([]),
  dataDir: z.string().default('./data'),
  store: store.optional(),
  keyEncryption: z.string().regex(/^(?:file|env):.+$/, 'must be file:PATH or env:NAME').optional(),
  outbound: z.strictObject({ allow: z.array(cidr).default([]) }).default({ allow: [] }),
  identityProviders: z.array(identityProvider).min(1, 'name at least one identity provider'),
  clients: z.array(client).default([]),
  deviceAuthorization,
  requirePushedAuthorizationRequests: z.boolean().default(false),
  idJag,
  tokenExchange,
  registration: z
    .strictObject({
      dynamic: z.boolean().default(true),
      clientIdMetadataDocuments: z.boolean().default(true),
      approval: z.enum(['none', 'required']).default('none'),
      changedApplications: z.enum(['report', 'hold']).default('report'),
      softwareStatements: statements,
    })
    .default({ dynamic: true, clientIdMetadataDocuments: true, approval: 'none', changedApplications: 'report', softwareStatements: { issuers: [], unknown: 'unverified' } }),
  baselineScope: z
    .array(z.enum(['mcp.read', 'mcp.write'], { error: 'must be mcp.read or mcp.write: these alone exist at every resource' }))
    .min(1, 'name at least one')
    .refine((scopes) => new Set(scopes).size === scopes.length, 'names one twice')
    .default(['mcp.read', 'mcp.write']),
  scopeMapping: z.array(scopeEntry).default([]),
  upstreams: z.array(upstream).default([]),
  profiles: z.array(profile).default([]),
  rules: z.array(ruleSchema).default([]),
  limits: z
    .strictObject({ registrationsPerHour: z.int().positive().default(5), tokenRequestsPerMinute: z.int().positive().default(60) })
    .default({ registrationsPerHour: 5, tokenRequestsPerMinute: 60 }),
  tokens: z
    .strictObject({
      accessTokenSeconds: z.int().min(60).max(3600).default(900),
      refreshTokenDays: z.int().min(1).max(365).default(30),
      grantDays: z.int().min(1).max(730).default(90),
    })
    .default({ accessTokenSeconds: 900, refreshTokenDays: 30, grantDays: 90 }),
  dpop: z.strictObject({ required: z.boolean().default(false), requireNonce: z.boolean().default(false) }).default({ required: false, requireNonce: false }),
  sessions: z
    .strictObject({ idleHours: z.number().positive().default(8), absoluteHours: z.number().positive().default(24), recheckMinutes: z.number().positive().default(15) })
    .default({ idleHours: 8, absoluteHours: 24, recheckMinutes: 15 }),
  notices,
  signing: z
    .strictObject({ algorithm: z.enum(['ES256', 'EdDSA']).default('ES256'), rotateAfterDays: z.int().min(1).default(90) })
    .default({ algorithm: 'ES256', rotateAfterDays: 90 }),
  externalPolicy: z
    .strictObject({ url: httpUrl, token: secret.optional(), timeoutSeconds: z.number().min(0.1).max(10).default(2), cacheSeconds: z.number().min(0).max(10, 'must not outlast a revocation: 10 at most').default(5) })
    .optional(),
  forwardAuth: z.array(protectedServer).default([]),
  forwardAuthKey: z.string().regex(/^[A-Za-z0-9._~-]{32,}$/, 'must have at least 32 characters, and none but letters, digits and . _ ~ -').optional(),
  admins: z.strictObject({ groups: z.array(z.string()).default([]) }).optional(),
  scim: z.strictObject({ tokens: z.array(z.strictObject({ provider: id, token: secret })).default([]) }).optional(),
})

export type Settings = z.output<typeof schema>
