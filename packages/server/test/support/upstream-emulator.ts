// An upstream with an authorization server that does what a test says, and remembers what it was asked. By default it
// behaves: challenge, metadata, registration, codes, refresh tokens that rotate and are used once, revocation.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly form: URLSearchParams
}

export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export type Answer = (asked: Asked) => Reply | undefined | Promise<Reply | undefined>

export interface Emulator {
  readonly issuer: string
  /** The protected resource. */
  readonly mcp: string
  /** Answers instead of the default ones, by path; `undefined` falls back to the default. */
  readonly on: Map<string, Answer>
  /** What it does by default: for whoever answers later, or adds something. */
  behave: (asked: Asked) => Reply
  /** Everything it was asked, in order. */
  readonly asked: Asked[]
  /** What it was asked at one path. */
  at(path: string): Asked[]
  /** Every token and secret that it gave away. */
  readonly secrets: string[]
  /** Seconds that access tokens live. */
  lifetime: number
  /** Members of the authorization server's metadata, over the default ones. */
  metadata: Record<string, unknown>
  /** Members of the protected resource's metadata, over the default ones. */
  resource: Record<string, unknown>
  close(): Promise<void>
}

export const json = (body: unknown, status = 200): Reply => ({ status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

export async function upstreamEmulator(): Promise<Emulator> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const asked: Asked[] = []
  const emulator: Emulator = {
    issuer,
    mcp: `${issuer}/mcp`,
    on: new Map(),
    behave: () => ({ status: 404 }),
    asked,
    at: (path) => asked.filter((request) => request.path === path),
    secrets: [],
    lifetime: 600,
    metadata: {},
    resource: {},
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  emulator.behave = behaviour(emulator)
  server.on('request', (request, response) => {
    void (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
      const body = Buffer.concat(chunks).toString('utf8')
      const { pathname, searchParams } = new URL(request.url ?? '/', issuer)
      const seen: Asked = { method: request.method ?? '', path: pathname, query: searchParams, headers: request.headers, body, form: new URLSearchParams(body) }
      asked.push(seen)
      const reply = (await emulator.on.get(pathname)?.(seen)) ?? emulator.behave(seen)
      response.writeHead(reply.status, reply.headers)
      response.end(reply.body)
    })().catch(() => response.destroy())
  })
  return emulator
}

function behaviour(emulator: Emulator): (asked: Asked) => Reply {
  const { issuer, mcp } = emulator
  const live = new Set<string>()
  let count = 0
  const secret = (kind: string): string => {
    count += 1
    const value = `${kind}-${count}-${createHash('sha256').update(`${issuer} ${count}`).digest('base64url')}`
    emulator.secrets.push(value)
    return value
  }
  const tokens = (): Reply => {
    const refreshToken = secret('refresh')
    live.add(refreshToken)
    return json({ access_token: secret('access'), token_type: 'Bearer', expires_in: emulator.lifetime, refresh_token: refreshToken, scope: 'a b' })
  }
  const routes: Record<string, Answer> = {
    '/mcp': () => ({ status: 401, headers: { 'www-authenticate': `Bearer resource_metadata="${issuer}/.well-known/oauth-protected-resource/mcp"` } }),
    '/.well-known/oauth-protected-resource/mcp': () => json({ resource: mcp, authorization_servers: [issuer], ...emulator.resource }),
    '/.well-known/oauth-authorization-server': () =>
      json({
        issuer,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        registration_endpoint: `${issuer}/register`,
        revocation_endpoint: `${issuer}/revoke`,
        code_challenge_methods_supported: ['S256'],
        token_endpoint_auth_methods_supported: ['none', 'client_secret_basic', 'client_secret_post'],
        ...emulator.metadata,
      }),
    '/register': ({ body }) => json({ ...(JSON.parse(body) as object), client_id: `client-${(count += 1)}` }, 201),
    '/token': ({ form }) => {
      if (form.get('grant_type') === 'authorization_code') return tokens()
      // RFC 9700 §4.14.2: a refresh token is used once.
      return live.delete(form.get('refresh_token') ?? '') ? tokens() : json({ error: 'invalid_grant' }, 400)
    },
    '/revoke': () => ({ status: 200 }),
  }
  return (asked) => (routes[asked.path]?.(asked) as Reply | undefined) ?? { status: 404 }
}
