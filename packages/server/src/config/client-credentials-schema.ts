import { createPrivateKey, type KeyObject } from 'node:crypto'
import * as z from 'zod'
import { JWT_BEARER } from '../upstreams/connectors/client-credentials/settings.ts'
import { algorithmOf } from '../upstreams/connectors/client-credentials/token-request.ts'
import { httpUrl, secret } from './words.ts'

const privateKey = z.string().superRefine((value, context) => {
  const problem = keyProblem(value)
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
})

function keyProblem(pem: string): string | undefined {
  const key = readKey(pem)
  if (key === undefined) return 'must be a private key in PEM without a passphrase'
  return algorithmOf(key) === undefined ? 'must be a key of RSA, P-256, P-384, P-521 or Ed25519' : undefined
}

function readKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem)
  } catch {
    return undefined
  }
}

const shape = z.strictObject({
  type: z.literal('client-credentials'),
  clientId: z.string().min(1),
  tokenEndpointAuthMethod: z.enum(['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'workload_identity']).default('client_secret_basic'),
  clientSecret: secret.optional(),
  privateKey: privateKey.optional(),
  keyId: z.string().min(1).optional(),
  algorithm: z.enum(['RS256', 'PS256']).optional(),
  tokenFile: z.string().min(1).optional(),
  grantType: z.enum(['client_credentials', JWT_BEARER]).default('client_credentials'),
  issuer: httpUrl.optional(),
  tokenEndpoint: httpUrl.optional(),
  scopes: z.array(z.string().min(1)).optional(),
  audience: z.string().min(1).optional(),
  resource: z.string().min(1).optional(),
})

type Given = z.output<typeof shape>

/** The connector of the gateway's own account: each way of authenticating needs what proves it, and nothing else. */
export const clientCredentials = shape.superRefine((given, context) => {
  const add = (setting: keyof Given, message: string): void => context.addIssue({ code: 'custom', path: [setting], message })
  const needed = PROOFS[given.tokenEndpointAuthMethod]
  if (given[needed] === undefined) add(needed, `is missing: tokenEndpointAuthMethod is ${given.tokenEndpointAuthMethod}`)
  for (const other of new Set(Object.values(PROOFS))) if (other !== needed && given[other] !== undefined) add(other, `is of no use with tokenEndpointAuthMethod ${given.tokenEndpointAuthMethod}`)
  for (const setting of ['keyId', 'algorithm'] as const) if (given[setting] !== undefined && given.privateKey === undefined) add(setting, 'is of no use without a privateKey')
  if (given.algorithm !== undefined && (readKey(given.privateKey ?? '')?.asymmetricKeyType ?? 'rsa') !== 'rsa') add('algorithm', 'is for keys of RSA: any other key has but one')
  if (given.grantType === JWT_BEARER && given.tokenEndpointAuthMethod !== 'workload_identity') add('grantType', 'needs the token of a platform: tokenEndpointAuthMethod workload_identity')
})

const PROOFS = { client_secret_basic: 'clientSecret', client_secret_post: 'clientSecret', private_key_jwt: 'privateKey', workload_identity: 'tokenFile' } as const satisfies Record<Given['tokenEndpointAuthMethod'], keyof Given>
