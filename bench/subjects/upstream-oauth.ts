// The smallest authorization server that an MCP server can have: whoever opens its page picks an account.
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

export interface AuthorizationServer {
  respond(request: IncomingMessage, response: ServerResponse, body: string): void
  /** Whose access token the header holds. */
  accountOf(authorization: string | undefined): string | undefined
  challenge(response: ServerResponse): void
}

interface Code {
  readonly account: string
  readonly challenge: string
  readonly redirectUri: string
}

const PEOPLE = ['alice', 'bob', 'dana']
const LIFETIME_S = 24 * 3600

export function authorizationServer(issuer: string): AuthorizationServer {
  const accounts = new Map<string, string>()
  const refreshTokens = new Map<string, string>()
  const codes = new Map<string, Code>()
  const metadata = '/.well-known/oauth-protected-resource/mcp'

  const issue = (account: string): object => {
    const [accessToken, refreshToken] = [secret(), secret()]
    accounts.set(`Bearer ${accessToken}`, account)
    refreshTokens.set(refreshToken, account)
    return { access_token: accessToken, token_type: 'Bearer', expires_in: LIFETIME_S, refresh_token: refreshToken, scope: 'use' }
  }
  const redeem = (form: URLSearchParams): object | undefined => {
    const secretValue = form.get('code') ?? form.get('refresh_token') ?? ''
    const refreshed = refreshTokens.get(secretValue)
    if (refreshed !== undefined && refreshTokens.delete(secretValue)) return issue(refreshed)
    const code = codes.get(secretValue)
    const proven = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url')
    // RFC 7636 §4.6
    if (code === undefined || code.challenge !== proven || code.redirectUri !== form.get('redirect_uri') || !codes.delete(secretValue)) return undefined
    return issue(code.account)
  }
  const approve = (query: URLSearchParams, account: string, response: ServerResponse): void => {
    const code = secret()
    const redirectUri = query.get('redirect_uri') ?? ''
    codes.set(code, { account, challenge: query.get('code_challenge') ?? '', redirectUri })
    const target = new URL(redirectUri)
    for (const [name, value] of Object.entries({ code, state: query.get('state') ?? '', iss: issuer })) target.searchParams.set(name, value)
    response.writeHead(303, { location: target.href }).end()
  }

  return {
    accountOf: (authorization) => accounts.get(authorization ?? ''),
    challenge: (response) => void response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${issuer}${metadata}"` }).end(),
    respond(request, response, body) {
      const { pathname, searchParams } = new URL(request.url ?? '/', issuer)
      if (pathname === metadata) return json(response, { resource: `${issuer}/mcp`, authorization_servers: [issuer], scopes_supported: ['use'] })
      if (pathname === '/.well-known/oauth-authorization-server') return json(response, metadataOf(issuer))
      if (pathname === '/register') return json(response, { ...(JSON.parse(body) as object), client_id: secret() }, 201)
      if (pathname === '/authorize' && request.method === 'GET') return page(response, request.url ?? '')
      if (pathname === '/authorize') return approve(searchParams, new URLSearchParams(body).get('login') ?? '', response)
      if (pathname === '/revoke') return json(response, {})
      if (pathname !== '/token') return json(response, {}, 404)
      const issued = redeem(new URLSearchParams(body))
      return issued === undefined ? json(response, { error: 'invalid_grant' }, 400) : json(response, issued)
    },
  }
}

/** RFC 8414 */
function metadataOf(issuer: string): object {
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    registration_endpoint: `${issuer}/register`,
    revocation_endpoint: `${issuer}/revoke`,
    response_types_supported: ['code'],
    grant_types_supported: ['authorization_code', 'refresh_token'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['none'],
    authorization_response_iss_parameter_supported: true,
    scopes_supported: ['use'],
  }
}

function page(response: ServerResponse, action: string): void {
  const buttons = PEOPLE.map((name) => `<button name="login" value="${name}">${name}</button>`).join('')
  response.writeHead(200, { 'content-type': 'text/html' }).end(`<form method="post" action="${action.replaceAll('&', '&amp;')}">${buttons}</form>`)
}

function secret(): string {
  return randomBytes(32).toString('base64url')
}

function json(response: ServerResponse, body: object, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(body))
}
