import { CommandFailed, print } from './command.ts'
import { withLogins, type Login } from './logins.ts'
import { Refused, revoke, targetOf } from './oauth-client.ts'
import { chosen } from './token.ts'

export interface LogoutOptions {
  readonly all?: boolean
  readonly json?: boolean
}

/** Ends logins at their gateways (RFC 7009), and forgets them. What could not be ended there is not forgotten. */
export async function logout(address: string | undefined, options: LogoutOptions): Promise<void> {
  const ended = await withLogins(async (open) => {
    const known = open.read()
    const meant = options.all === true ? known.logins : [chosen(known, address === undefined ? undefined : targetOf(address).resource)]
    const done: string[] = []
    try {
      for (const login of meant) {
        await end(login)
        done.push(login.resource)
      }
    } finally {
      const left = known.logins.filter(({ resource }) => !done.includes(resource))
      open.write({ last: left.some(({ resource }) => resource === known.last) ? known.last : left.at(-1)?.resource, logins: left })
    }
    return done
  })
  print(options, { loggedOut: ended }, ended.length === 0 ? ['You were not logged in.'] : ended.map((resource) => `Logged out of ${resource}.`))
}

async function end({ issuer, resource, refreshToken }: Login): Promise<void> {
  try {
    await revoke(issuer, refreshToken)
  } catch (error) {
    if (error instanceof Refused) throw new CommandFailed(`${resource} was not logged out: ${error.message}`)
    throw error
  }
}
