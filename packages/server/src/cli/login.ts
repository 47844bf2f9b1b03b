import { setTimeout as sleep } from 'node:timers/promises'
import { OutboundError } from '../http/outbound.ts'
import { WrongUsage } from './api-client.ts'
import { CommandFailed, print } from './command.ts'
import { withLogins, type Login } from './logins.ts'
import { askForCode, redeem, Refused, targetOf, type DeviceAnswer, type Target, type Tokens } from './oauth-client.ts'

export interface LoginOptions {
  readonly scope?: string
  readonly json?: boolean
}

/** RFC 8628 §3.5. */
const SLOWER_S = 5

/** Logs in at a gateway without a browser of its own (RFC 8628), and remembers the grant. */
export async function login(address: string | undefined, options: LoginOptions): Promise<void> {
  const target = await targetFor(address)
  const device = await askForCode(target, options.scope).catch((error: unknown) => fail(error, target))
  tell(device, options)
  const tokens = await waitForTokens(target, device)
  const { scope } = tokens
  await remember(target, tokens)
  print(options, { loggedIn: true, ...target, scope }, [`Logged in to ${target.resource} (${scope}).`, 'An access token for scripts: lanyard token', 'To end it: lanyard logout'])
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
  if (json === true) console.log(JSON.stringify({ verification_uri: uri, verification_uri_complete: complete, user_code: code, expires_in: seconds }))
}

async function waitForTokens(target: Target, device: DeviceAnswer): Promise<Tokens> {
  const until = Date.now() + device.expires_in * 1000
  let interval = device.interval
  while (Date.now() < until) {
    await sleep(interval * 1000)
    try {
      return await redeem(target, device.device_code)
    } catch (error) {
      if (error instanceof Refused && error.code === 'slow_down') interval += SLOWER_S
      else if (error instanceof Refused && error.code === 'authorization_pending') continue
      // RFC 8628 §3.5: a gateway that does not answer now is asked less often.
      else if (isPassing(error)) interval += SLOWER_S
      else throw fail(error, target)
    }
  }
  throw new CommandFailed('Nobody entered the code in time. Run the command again.')
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

async function remember({ issuer, resource }: Target, tokens: Tokens): Promise<void> {
  await withLogins(async (open) => {
    const { logins } = open.read()
    open.write({ last: resource, logins: [...logins.filter((other) => other.resource !== resource), loginOf(issuer, resource, tokens)] })
  })
}

/** What is remembered of an answer of the token endpoint. */
export function loginOf(issuer: string, resource: string, { access_token: accessToken, refresh_token: refreshToken, expires_in: seconds, scope }: Tokens): Login {
  if (refreshToken === undefined) throw new CommandFailed('The gateway gave no refresh token.')
  return { issuer, resource, scope, refreshToken, accessToken, expiresAt: Math.floor(Date.now() / 1000) + seconds }
}
