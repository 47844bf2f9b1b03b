import { setTimeout as sleep } from 'node:timers/promises'
import type { JWK } from 'jose'
import { OutboundError } from '../http/outbound.ts'
import { newProofKey, possession } from '../upstreams/connectors/oauth/possession.ts'
import { WrongUsage } from './api-client.ts'
import { CommandFailed, print } from './command.ts'
import { withLogins, type Login } from './logins.ts'
import { askForCode, knowsProofs, redeem, Refused, revoke, targetOf, type DeviceAnswer, type Target, type Tokens } from './oauth-client.ts'

export interface LoginOptions {
  readonly scope?: string
  /** Whether the tokens are bound to a key also where the gateway leaves that to the client. */
  readonly dpop?: boolean
  readonly json?: boolean
}

/** RFC 8628 §3.5. */
const SLOWER_S = 5

/** Logs in at a gateway without a browser of its own (RFC 8628), and remembers the grant. */
export async function login(address: string | undefined, options: LoginOptions): Promise<void> {
  const target = await targetFor(address)
  const key = options.dpop === true ? await firstKey(target) : undefined
  const device = await askForCode(target, options.scope).catch((error: unknown) => fail(error, target))
  tell(device, options)
  const made = await waitForTokens(target, device, key)
  await remember(made)
  const { scope } = made
  const use = made.key === undefined ? 'An access token for scripts: lanyard token' : 'The headers of one request, for scripts: lanyard token --proof METHOD URL'
  print(options, { loggedIn: true, ...target, scope, ...(made.key && { dpop: true }) }, [`Logged in to ${target.resource} (${scope}).`, use, 'To end it: lanyard logout'])
}

/** The one that was named, or the last one. @throws WrongUsage */
async function targetFor(address: string | undefined): Promise<Target> {
  const named = address ?? process.env['LANYARD_URL'] ?? (await withLogins(async (logins) => logins.read().last))
  if (named === undefined) throw new WrongUsage('Where? Name the address of a gateway: lanyard login https://lanyard.example.com')
  return targetOf(named)
}

/** For people on standard error, so that what a program reads is the data alone. */
function tell({ user_code: code, verification_uri: uri, verification_uri_complete: complete = uri, expires_in: seconds }: DeviceAnswer, { json }: LoginOptions): void {
  console.error(`Open ${uri} in a browser and enter the code ${code}`)
  console.error(`or open ${complete} and compare it. It is good for ${Math.floor(seconds / 60)} minutes.`)
  if (json === true) print({ json }, { verification_uri: uri, verification_uri_complete: complete, user_code: code, expires_in: seconds }, [])
}

async function firstKey({ issuer }: Target): Promise<JWK> {
  if (await knowsProofs(issuer)) return newProofKey()
  throw new CommandFailed(`${issuer} binds no token to a key: log in without --dpop.`)
}

async function waitForTokens(target: Target, device: DeviceAnswer, asked: JWK | undefined): Promise<Login> {
  let key = asked
  let proof = key && possession(key)
  const until = Date.now() + device.expires_in * 1000
  let interval = device.interval
  while (Date.now() < until) {
    await sleep(interval * 1000)
    try {
      return loginOf(target, await redeem(target, device.device_code, proof), key)
    } catch (error) {
      if (error instanceof Refused && error.code === 'slow_down') interval += SLOWER_S
      else if (error instanceof Refused && error.code === 'authorization_pending') continue
      // RFC 9449 §5.2: an administrator lets this gateway, or this client, have no other tokens.
      else if (isUnproven(error) && key === undefined) proof = possession((key = await newProofKey()))
      // RFC 8628 §3.5: a gateway that does not answer now is asked less often.
      else if (isPassing(error)) interval += SLOWER_S
      else throw fail(error, target)
    }
  }
  throw new CommandFailed('Nobody entered the code in time. Run the command again.')
}

/** Whether a gateway wants the proof of a key. */
export function isUnproven(error: unknown): boolean {
  return error instanceof Refused && error.code === 'invalid_dpop_proof'
}

function isPassing(error: unknown): boolean {
  if (error instanceof Refused) return error.code === 'temporarily_unavailable' || error.code === 'server_error'
  return error instanceof CommandFailed && error.cause instanceof OutboundError
}

const REASONS: Readonly<Record<string, string>> = {
  access_denied: 'It was denied: the page in the browser says why.',
  expired_token: 'Nobody entered the code in time. Run the command again.',
  invalid_target: 'There is no such endpoint at this gateway.',
  unauthorized_client: 'This gateway does not let the command line log in there: an administrator decides it (deviceAuthorization).',
  invalid_client: 'This gateway does not let the command line log in: an administrator decides it (deviceAuthorization).',
}

function fail(error: unknown, { resource }: Target): never {
  if (!(error instanceof Refused)) throw error
  throw new CommandFailed(`${resource}: ${REASONS[error.code] ?? `${error.code}: ${error.message}`}`)
}

async function remember(made: Login): Promise<void> {
  const before = await withLogins(async (open) => {
    const { logins } = open.read()
    open.write({ last: made.resource, logins: [...logins.filter(({ resource }) => resource !== made.resource), made] })
    return logins.find(({ resource }) => resource === made.resource)
  })
  // What is forgotten here would live on at the gateway, and with whoever copied it.
  await (before && revoke(before.issuer, before.refreshToken).catch(({ message }: Error) => console.error(`The login of before could not be ended: ${message} It is among your access at ${before.issuer}/.`)))
}

/** What is remembered of an answer of the token endpoint. */
export function loginOf({ issuer, resource }: Target, { access_token: accessToken, token_type: type, refresh_token: refreshToken, expires_in: seconds, scope }: Tokens, key?: JWK): Login {
  if (refreshToken === undefined) throw new CommandFailed('The gateway gave no refresh token.')
  // RFC 9449 §5: a token that is not bound is none that was asked for.
  if ((type.toLowerCase() === 'dpop') !== (key !== undefined)) throw new CommandFailed(`The gateway gave a token of the type ${type}.`)
  return { issuer, resource, scope, refreshToken, accessToken, expiresAt: Math.floor(Date.now() / 1000) + seconds, ...(key && { key }) }
}
