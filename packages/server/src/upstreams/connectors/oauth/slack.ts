// How Slack's Web API differs where an account is connected: user tokens are asked for by `user_scope`, come in
// `authed_user` beside the token of a bot that everybody shares, and whatever goes wrong has the status 200.
import * as z from 'zod'
import type { OutboundFetch } from '../../../http/outbound.ts'
import type { Upstream } from '../../upstream.ts'
import { jsonOf, type Discovered } from './discovery.ts'

const token = z.object({ access_token: z.string(), token_type: z.string(), scope: z.string().optional(), refresh_token: z.string().optional(), expires_in: z.number().optional() })
const answer = z.object({ ok: z.boolean(), error: z.string().optional(), authed_user: token.partial().optional() }).and(token.partial())

function isSlack({ connector }: Upstream): boolean {
  return connector.type === 'oauth' && connector.quirk === 'slack'
}

/** Its metadata is that of its OpenID provider: the Web API has endpoints of its own, and Slack's MCP server names its own. */
export function atSlack(upstream: Upstream, discovered: Discovered): Discovered {
  if (!isSlack(upstream) || upstream.http === undefined) return discovered
  const { issuer } = discovered.server
  const { revocation_endpoint: _revocation, registration_endpoint: _registration, ...server } = discovered.server
  return { ...discovered, server: { ...server, authorization_endpoint: `${issuer}/oauth/v2/authorize`, token_endpoint: `${issuer}/api/oauth.v2.access` } }
}

/** How scopes are asked for. `scope` would ask for a bot. */
export function scopeParameter(upstream: Upstream, requested: string): Readonly<Record<string, string>> {
  if (requested === '') return {}
  return isSlack(upstream) && upstream.http !== undefined ? { user_scope: requested.replaceAll(' ', ',') } : { scope: requested }
}

/** Tells what Slack answers in the words of RFC 6749 §5.1 and §5.2. */
export function inPlainOAuth(upstream: Upstream, ask: OutboundFetch): OutboundFetch {
  if (!isSlack(upstream)) return ask
  return async (url, init) => {
    const response = await ask(url, init)
    if (response.status !== 200) return response
    const said = answer.safeParse(jsonOf(await response.text()))
    if (!said.success) return Response.json({ error: 'invalid_answer' }, { status: 502 })
    return said.data.ok ? granted(said.data) : refused(said.data.error ?? 'unknown_error')
  }
}

function granted(said: z.output<typeof answer>): Response {
  // A refresh brings the token by itself.
  const given = token.safeParse(said.authed_user?.access_token === undefined ? said : { token_type: 'user', ...said.authed_user })
  // The token of a bot stands for nobody, and for everybody.
  if (!given.success || given.data.token_type === 'bot') return Response.json({ error: 'no_user_token' }, { status: 400 })
  const { scope, ...rest } = given.data
  return Response.json({ ...rest, token_type: 'bearer', ...(scope === undefined ? {} : { scope: scope.replaceAll(',', ' ') }) })
}

/** What ended the grant, or the code. */
const ENDED = new Set(['invalid_code', 'code_already_used', 'code_expired', 'bad_redirect_uri', 'invalid_refresh_token', 'token_expired', 'token_revoked', 'account_inactive', 'invalid_auth', 'authorization_not_found', 'org_login_required', 'user_not_found'])
const WRONG_CLIENT = new Set(['invalid_client_id', 'bad_client_id', 'bad_client_secret', 'client_not_found'])
const TRY_AGAIN = new Set(['internal_error', 'fatal_error', 'service_unavailable', 'request_timeout', 'ratelimited', 'rate_limited', 'accesslimited', 'unknown_error'])

function refused(error: string): Response {
  if (ENDED.has(error)) return Response.json({ error: 'invalid_grant' }, { status: 400 })
  if (WRONG_CLIENT.has(error)) return Response.json({ error: 'invalid_client' }, { status: 400 })
  return Response.json({ error }, { status: TRY_AGAIN.has(error) ? 503 : 400 })
}
