import { createHash } from 'node:crypto'
import type { Route } from '../http/route.ts'
import type { KeyRing } from '../keys/signing.ts'
import { authorizationServerMetadata, openidConfiguration, type MetadataFacts } from '../oauth/metadata.ts'

export type MetadataSettings = Omit<MetadataFacts, 'signingAlgorithms'>

const MAX_AGE = 300

/** All keys that `/jwks` publishes. */
export type PublishedKeys = Pick<KeyRing, 'begin' | 'jwks'>

/** Publishes the authorization server's metadata and public keys. There is one issuer, whatever address it is asked at. */
export function metadataRoutes(settings: MetadataSettings, keys: PublishedKeys): readonly Route[] {
  const facts = (): MetadataFacts => ({ ...settings, signingAlgorithms: [...new Set(keys.jwks().keys.flatMap(({ alg }) => alg ?? []))] })
  const authorizationServer = (): Record<string, unknown> => authorizationServerMetadata(facts())
  const openid = (): Record<string, unknown> => openidConfiguration(facts())
  const document = (path: string, content: () => object, type = 'application/json'): Route => ({
    method: 'GET',
    path,
    access: 'public',
    errors: 'oauth',
    cors: true,
    respond: async (request) => {
      // Keys in the making are waited for: another node may sign by them already.
      await keys.begin()
      return cacheable(request, content(), type)
    },
  })
  return [
    ...addresses('oauth-authorization-server').map((path) => document(path, authorizationServer)),
    ...addresses('openid-configuration').map((path) => document(path, openid)),
    document('/jwks', () => keys.jwks(), 'application/jwk-set+json'),
  ]
}

/**
 * AS-2: RFC 8414 §3.1 inserts the path of what a client takes for the issuer, OpenID Connect Discovery §4 appends to it;
 * older clients take the address of the MCP endpoint for the issuer.
 */
function addresses(name: string): readonly string[] {
  return [`/.well-known/${name}`, `/.well-known/${name}/mcp`, `/.well-known/${name}/mcp/:profile`, `/mcp/:profile/.well-known/${name}`, `/.well-known/${name}/http/:profile`]
}

/** For five minutes, and then by entity tag: a rotated key is published longer than that before it signs. */
function cacheable(request: Request, content: object, type: string): Response {
  const body = JSON.stringify(content)
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  const headers = { 'cache-control': `public, max-age=${MAX_AGE}`, etag }
  if (request.headers.get('if-none-match') === etag) return new Response(null, { status: 304, headers })
  return new Response(body, { headers: { ...headers, 'content-type': type } })
}
