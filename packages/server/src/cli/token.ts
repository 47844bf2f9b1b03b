import { canonicalResource } from '../oauth/resource.ts'
import { WrongUsage } from './api-client.ts'
import { CommandFailed, print } from './command.ts'
import { loginOf } from './login.ts'
import { withLogins, type Login, type Logins, type OpenLogins } from './logins.ts'
import { refresh, Refused } from './oauth-client.ts'

/** A token is good for this long at least when it is printed. */
const LEFT_S = 60

export interface TokenOptions {
  readonly resource?: string
  readonly json?: boolean
}

/** Prints an access token of a login, and nothing else. */
export async function token(options: TokenOptions): Promise<void> {
  const { accessToken, expiresAt, resource, scope, issuer } = await freshLogin(options.resource)
  print(options, { access_token: accessToken, expires_at: new Date(expiresAt * 1000).toISOString(), resource, scope, issuer }, [accessToken])
}

/** A login with an access token that is good for a while. @throws CommandFailed, WrongUsage */
export function freshLogin(named: string | undefined): Promise<Login> {
  return withLogins(async (open) => {
    const known = chosen(open.read(), named)
    return known.expiresAt - Math.floor(Date.now() / 1000) >= LEFT_S ? known : renewed(open, known)
  })
}

/** The login that is meant: that of a resource, or the last one. @throws CommandFailed, WrongUsage */
export function chosen({ last, logins }: Logins, named: string | undefined): Login {
  const resource = named === undefined ? last : canonicalResource(named)
  if (named !== undefined && resource === undefined) throw new WrongUsage('The resource must be the address of an endpoint, such as https://lanyard.example.com/mcp/notes.')
  const found = logins.find((login) => login.resource === resource)
  if (found !== undefined) return found
  const others = logins.map((login) => `\n  ${login.resource}`).join('')
  throw new CommandFailed(`You are not logged in${named === undefined ? '' : ` to ${named}`}: run "lanyard login ${named ?? 'https://…'}".${others === '' ? '' : ` You are logged in to:${others}`}`)
}

/** While the lock is held: whoever waits for it finds the new tokens. */
async function renewed(open: OpenLogins, { issuer, resource, refreshToken }: Login): Promise<Login> {
  const { last, logins } = open.read()
  const others = logins.filter((login) => login.resource !== resource)
  try {
    const fresh = loginOf(issuer, resource, await refresh(issuer, refreshToken))
    open.write({ last, logins: [...others, fresh] })
    return fresh
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.code !== 'invalid_grant') throw new CommandFailed(`${issuer}: ${error.code}: ${error.message}`)
    open.write({ last: last === resource ? others.at(-1)?.resource : last, logins: others })
    throw new CommandFailed(`The login to ${resource} has ended: run "lanyard login ${resource}".`)
  }
}
