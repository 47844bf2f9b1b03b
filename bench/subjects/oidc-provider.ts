// The peer of the authorization server: oidc-provider with refresh tokens that rotate and JWT access tokens like ours,
// on the same PostgreSQL. Asked by its parent process, it makes grants and codes.
import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import { Provider, type Configuration } from 'oidc-provider'
import postgres from 'postgres'
import { announce } from '../program.ts'
import { createTable, postgresAdapter } from './oidc-adapter.ts'

export interface OidcFacts {
  readonly url: string
}

const REDIRECT_URI = 'http://127.0.0.1:53682/callback'
const RESOURCES = { jwt: 'https://bench.example/jwt', opaque: 'https://bench.example/opaque' } as const

const sql = postgres(process.argv[2] ?? '', { max: 10, onnotice: () => undefined })
await createTable(sql)
const server = createServer()
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const { privateKey } = await generateKeyPair('ES256', { extractable: true })
const provider = new Provider(issuer, { ...configuration(), jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid: 'bench' }] } })
const answer = provider.callback()
server.on('request', (request, response) => void answer(request, response))

function configuration(): Configuration {
  return {
    adapter: postgresAdapter(sql),
    clients: [
      { client_id: 'app', token_endpoint_auth_method: 'none', application_type: 'native', redirect_uris: [REDIRECT_URI], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], id_token_signed_response_alg: 'ES256' },
      { client_id: 'resource-server', client_secret: 'secret-of-the-resource-server', token_endpoint_auth_method: 'client_secret_post', redirect_uris: [], grant_types: [], response_types: [], id_token_signed_response_alg: 'ES256' },
    ],
    clientAuthMethods: ['none', 'client_secret_post'],
    responseTypes: ['code'],
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: false },
      // It is asked by a resource server, as ours is.
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_context, resource) => ({ scope: 'read write', audience: resource, accessTokenTTL: 3600, accessTokenFormat: resource === RESOURCES.jwt ? 'jwt' : 'opaque', jwt: { sign: { alg: 'ES256' } } }),
      },
    },
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    ttl: { AccessToken: 3600, AuthorizationCode: 600, RefreshToken: 86_400, Grant: 86_400, IdToken: 3600 },
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  }
}

/** A grant of somebody's and its code, as the authorization endpoint would have made them. */
async function mint(format: keyof typeof RESOURCES): Promise<{ value: string; verifier: string }> {
  const client = await provider.Client.find('app')
  if (client === undefined) throw new Error('no client')
  const resource = RESOURCES[format]
  const grant = new provider.Grant({ accountId: 'alice', clientId: 'app' })
  grant.addResourceScope(resource, 'read write')
  const verifier = randomBytes(32).toString('base64url')
  const codeChallenge = createHash('sha256').update(verifier).digest('base64url')
  const about = { accountId: 'alice', grantId: await grant.save(), redirectUri: REDIRECT_URI, codeChallenge, codeChallengeMethod: 'S256', scope: 'read write', resource, gty: 'authorization_code', authTime: Math.floor(Date.now() / 1000) }
  const code = new provider.AuthorizationCode({ client, ...about })
  return { value: await code.save(), verifier }
}

process.on('message', (order: { readonly mint: number; readonly format: keyof typeof RESOURCES }) => {
  void (async () => {
    const codes: { value: string; verifier: string }[] = []
    for (let index = 0; index < order.mint; index += 1) codes.push(await mint(order.format))
    process.send?.({ codes })
  })()
})
announce({ url: issuer })
