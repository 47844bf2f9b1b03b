import * as z from 'zod'
import { clientCredentials } from './client-credentials-schema.ts'
import { entraObo } from './entra-schema.ts'
import { googleDelegation } from './google-schema.ts'
import { idJagConnector } from './id-jag-schema.ts'
import { tokenExchangeConnector } from './token-exchange-connector.ts'
import { httpUrl, id, patterns, secret } from './words.ts'

/** Those that HTTP, MCP or the gateway itself uses: a key in one of them would break or change every call. */
const apiKeyHeader = z
  .string()
  .regex(/^[A-Za-z0-9-]+$/, { error: 'must be a header name', abort: true })
  .refine((name) => !/^(?:host|connection|keep-alive|upgrade|te|trailer|transfer-encoding|expect|accept|accept-encoding|user-agent|last-event-id|content-.*|proxy-.*|mcp-.*)$/i.test(name), 'is not free for a key')
const headerValue = z.string().min(1, { error: 'must not be empty', abort: true }).regex(/^[\x21-\x7e]+(?:[\t ]+[\x21-\x7e]+)*$/, 'must be one line of printable ASCII, as headers are')

const connector = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('none') }),
  z.strictObject({ type: z.literal('api-key'), header: apiKeyHeader, value: headerValue }),
  z.strictObject({ type: z.literal('oauth'), clientId: z.string().optional(), clientSecret: secret.optional(), issuer: httpUrl.optional(), scopes: z.array(z.string()).optional(), dpop: z.boolean().optional(), offlineAccess: z.enum(['scope', 'access_type']).optional(), quirk: z.enum(['slack']).optional() }),
  entraObo,
  googleDelegation,
  clientCredentials,
  idJagConnector,
  tokenExchangeConnector,
], { error: 'this version knows the connectors none, api-key, oauth, client-credentials, entra-obo, google-delegation, id-jag and token-exchange' })

export const upstream = z.strictObject({
  id,
  name: z.string().optional(),
  url: httpUrl,
  connector: connector.default({ type: 'none' }),
  readOnlyTools: z.array(z.string()).default([]),
  timeoutSeconds: z.number().positive().max(3600).default(60),
  dataClasses: z.record(z.string().min(1), patterns).optional(),
  toolChanges: z.enum(['hide', 'report']).default('hide'),
  vending: z.strictObject({ purpose: z.enum(['optional', 'required']).default('optional'), maxSeconds: z.int().min(30).max(3600).default(300) }).optional(),
  protocol: z.enum(['auto', '2026-07-28', '2025']).default('auto'),
  type: z.enum(['mcp', 'http']).default('mcp'),
  maxBodyMegabytes: z.number().positive().max(10_240).default(64),
  encodedSlashes: z.boolean().default(false),
  openapi: z.string().min(1).optional(),
  operations: z.strictObject({ include: patterns.optional(), exclude: patterns.optional() }).optional(),
})
