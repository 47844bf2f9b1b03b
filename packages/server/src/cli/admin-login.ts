// What `lanyard login` keeps, for the JSON API of a gateway.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { WrongUsage } from './api-client.ts'
import { credentialOf, type Credential } from './credential.ts'
import { loginsFolder, withLogins, type Login } from './logins.ts'
import { freshLogin } from './token.ts'

/** The gateway that is meant where none is named: of the environment, or that of the only login to an API. */
export async function keptOrigin(): Promise<{ readonly url?: string }> {
  const named = process.env['LANYARD_URL']
  if (named !== undefined) return { url: named }
  const [only, ...others] = await apiLogins()
  return only === undefined || others.length > 0 ? {} : { url: only.issuer }
}

/** Of a login to the API of this gateway. @throws WrongUsage when there is none */
export async function keptCredential(origin: string): Promise<Credential> {
  const kept = (await apiLogins()).find(({ issuer }) => issuer === origin)
  if (kept === undefined) throw new WrongUsage(`Who asks? Set LANYARD_TOKEN to an access token of an administrator for ${origin}/api with the scope admin, or name a file that holds one with --token-file.`)
  return credentialOf(await freshLogin(kept.resource))
}

async function apiLogins(): Promise<readonly Login[]> {
  // Nothing is made by looking.
  if (!existsSync(join(loginsFolder(), 'logins.json'))) return []
  return withLogins(async (open) => open.read().logins.filter(({ issuer, resource }) => resource === `${issuer}/api`))
}
