import { canonicalResource } from '../oauth/resource.ts'
import { newProofKey, possession } from '../upstreams/connectors/oauth/possession.ts'
import { WrongUsage } from './api-client.ts'
import { CommandFailed, print } from './command.ts'
import { credentialOf } from './credential.ts'
import { isUnproven, loginOf } from './login.ts'
import { withLogins, type Login, type Logins, type OpenLogins } from './logins.ts'
import { refresh, Refused } from './oauth-client.ts'

/** A token is good for this long at least when it is printed. */
const LEFT_S = 60

export interface TokenOptions {
  readonly resource?: string
  /** The method and the address of one request. */
  readonly proof?: readonly string[]
  /** What the gateway wants in the proof (RFC 9449 §9). */
  readonly nonce?: string
  readonly json?: boolean
}

/** Prints an access token of a login, or the headers of one request, and nothing else. */
export async function token(options: TokenOptions): Promise<void> {
  const { proof, nonce } = options
  if (proof !== undefined) return headers(options, proof)
  if (nonce !== undefined) throw new WrongUsage('A nonce is for a proof: lanyard token --proof METHOD URL --nonce NONCE')
  const login = await freshLogin(options.resource)
  if (login.key !== undefined && options.json !== true) throw new CommandFailed('The token is bound to a key, and good for nothing without it. The headers of one request: lanyard token --proof METHOD URL')
  print(options, facts(login), [login.accessToken])
}

function facts({ accessToken, key, expiresAt, resource, scope, issuer }: Login): Readonly<Record<string, string>> {
  return { access_token: accessToken, token_type: key === undefined ? 'Bearer' : 'DPoP', expires_at: new Date(expiresAt * 1000).toISOString(), resource, scope, issuer }
}

/** One a line, as `curl -H @-` reads them; for a login that is bound to no key too, so that a script need not know which it has. */
async function headers(options: TokenOptions, [method = '', url = '', ...others]: readonly string[]): Promise<void> {
  if (!/^[A-Z]+$/.test(method) || !URL.canParse(url) || others.length > 0) throw new WrongUsage('A request has a method and an address: lanyard token --proof POST https://lanyard.example.com/mcp/notes')
  const login = await freshLogin(options.resource, url)
  const { authorization = '', dpop } = credentialOf(login)(method, url, options.nonce)
  print(options, { ...facts(login), ...(dpop === undefined ? {} : { proof: dpop }) }, [`Authorization: ${authorization}`, ...(dpop === undefined ? [] : [`DPoP: ${dpop}`])])
}

/** A login with an access token that is good for a while. @throws CommandFailed, WrongUsage */
export function freshLogin(named: string | undefined, url?: string): Promise<Login> {
  return withLogins(async (open) => {
    const known = url === undefined ? chosen(open.read(), named) : chosenFor(open.read(), named, url)
    return known.expiresAt - Math.floor(Date.now() / 1000) >= LEFT_S ? known : renewed(open, known)
  })
}

/** The login that is meant: that of a resource, or the last one. @throws CommandFailed, WrongUsage */
export function chosen({ last, logins }: Logins, named: string | undefined): Login {
  const resource = named === undefined ? last : canonicalResource(named)
  if (named !== undefined && resource === undefined) throw new WrongUsage('The resource must be the address of an endpoint, such as https://lanyard.example.com/mcp/notes.')
  return logins.find((login) => login.resource === resource) ?? notLoggedIn(logins, named)
}

/** The login whose resource an address is, or is below: a token is for no other. @throws CommandFailed, WrongUsage */
function chosenFor(known: Logins, named: string | undefined, url: string): Login {
  const { origin, pathname } = new URL(url)
  const address = `${origin}${pathname}`
  const logins = named === undefined ? known.logins : [chosen(known, named)]
  return logins.find(({ resource }) => isOf(address, resource)) ?? notLoggedIn(logins, address)
}

/** Below `/mcp` are other endpoints; below an HTTP API, or the JSON API, are its own addresses. */
function isOf(address: string, resource: string): boolean {
  return address === resource || (!/^\/mcp(?:\/|$)/.test(new URL(resource).pathname) && address.startsWith(`${resource}/`))
}

function notLoggedIn(logins: readonly Login[], named: string | undefined): never {
  const others = logins.map((login) => `\n  ${login.resource}`).join('')
  throw new CommandFailed(`You are not logged in${named === undefined ? '' : ` to ${named}`}: run "lanyard login ${named ?? 'https://…'}".${others === '' ? '' : ` You are logged in to:${others}`}`)
}

/** While the lock is held: whoever waits for it finds the new tokens. */
async function renewed(open: OpenLogins, login: Login): Promise<Login> {
  const { issuer, resource, refreshToken, key } = login
  const { last, logins } = open.read()
  const others = logins.filter((login) => login.resource !== resource)
  try {
    const fresh = loginOf(login, await refresh(issuer, refreshToken, key && possession(key)), key)
    open.write({ last, logins: [...others, fresh] })
    return fresh
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    // RFC 9449 §5.2: since the login, an administrator lets it have no token without a key.
    if (key === undefined && isUnproven(error)) return renewed(open, { ...login, key: await newProofKey() })
    if (error.code !== 'invalid_grant') throw new CommandFailed(`${issuer}: ${error.code}: ${error.message}`)
    open.write({ last: last === resource ? others.at(-1)?.resource : last, logins: others })
    throw new CommandFailed(`The login to ${resource} has ended: run "lanyard login ${resource}".`)
  }
}
