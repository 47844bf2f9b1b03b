// How commands ask a gateway's authorization server, as the public client that every gateway knows.
import * as z from 'zod'
import { COMMAND_LINE } from '../clients/built-in.ts'
import { outbound, OutboundError } from '../http/outbound.ts'
import { DEVICE_CODE } from '../oauth/grant-type.ts'
import { canonicalResource } from '../oauth/resource.ts'
import { printable, WrongUsage } from './api-client.ts'
import { CommandFailed } from './command.ts'

const TIMEOUT_MS = 20_000
const LOOPBACK = /^(?:localhost|\[::1\]|127(?:\.\d+){3})$/

/** What is shown on a terminal. */
const shown = z.string().transform(printable)
const device = z.object({
  device_code: z.string(),
  user_code: shown,
  verification_uri: shown,
  verification_uri_complete: shown.optional(),
  expires_in: z.number(),
  interval: z.number().default(5),
})
const tokens = z.object({ access_token: z.string().regex(/^[\w.~+/-]+=*$/), refresh_token: z.string().optional(), expires_in: z.number(), scope: shown })

export type DeviceAnswer = z.output<typeof device>
export type Tokens = z.output<typeof tokens>

/** The gateway answered with an error of OAuth (RFC 6749 §5.2). */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly code: string

  constructor(code: string, description: string) {
    super(description)
    this.code = code
  }
}

export interface Target {
  readonly issuer: string
  readonly resource: string
}

/** What an address stands for: a gateway, and of it everything or one endpoint. @throws WrongUsage */
export function targetOf(address: string): Target {
  const url = URL.canParse(address) ? new URL(address) : undefined
  // Nothing that is secret goes over a network in the clear.
  if (url === undefined || (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.test(url.hostname)))) throw new WrongUsage('The address must be https, such as https://lanyard.example.com or https://lanyard.example.com/mcp/notes (http is for this machine alone).')
  const resource = canonicalResource(url.pathname === '/' ? `${url.origin}/mcp` : address)
  if (resource === undefined || url.username !== '') throw new WrongUsage('The address must be that of a gateway, or of one of its endpoints.')
  return { issuer: url.origin, resource }
}

interface Form {
  readonly path: '/device_authorization' | '/token' | '/revoke'
  readonly params: Readonly<Record<string, string>>
}

export async function askForCode({ issuer, resource }: Target, scope: string | undefined): Promise<DeviceAnswer> {
  return read(device, await post(issuer, { path: '/device_authorization', params: { resource, ...(scope === undefined ? {} : { scope }) } }))
}

export async function redeem({ issuer, resource }: Target, code: string): Promise<Tokens> {
  return read(tokens, await post(issuer, { path: '/token', params: { grant_type: DEVICE_CODE, device_code: code, resource } }))
}

export async function refresh(issuer: string, refreshToken: string): Promise<Tokens> {
  return read(tokens, await post(issuer, { path: '/token', params: { grant_type: 'refresh_token', refresh_token: refreshToken } }))
}

export async function revoke(issuer: string, refreshToken: string): Promise<void> {
  await post(issuer, { path: '/revoke', params: { token: refreshToken, token_type_hint: 'refresh_token' } })
}

/** The addresses are those of every gateway; that it is one, its answers say. @throws Refused, CommandFailed */
async function post(issuer: string, { path, params }: Form): Promise<unknown> {
  // No redirect is followed: codes and tokens are for this address alone.
  const client = outbound({ allow: ['0.0.0.0/0', '::/0'], discoveredLoopback: true })
  try {
    const body = new URLSearchParams({ client_id: COMMAND_LINE.id, ...params }).toString()
    const { status, body: text } = await client.request(`${issuer}${path}`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }, body, provenance: 'configured', timeoutMs: TIMEOUT_MS })
    const answer = parsed(text)
    if (status === 200) return answer
    const { error, error_description: description } = z.object({ error: z.string(), error_description: z.string().default('') }).catch({ error: '', error_description: '' }).parse(answer)
    if (error === '') throw new CommandFailed(`${issuer} answered ${status}: it is no gateway, or does not let devices log in.`)
    throw new Refused(error, printable(description))
  } catch (error) {
    if (error instanceof OutboundError) throw new CommandFailed(`${issuer} does not answer (${error.reason}).`, { cause: error })
    throw error
  } finally {
    await client.close()
  }
}

function read<Answer>(schema: z.ZodType<Answer>, answer: unknown): Answer {
  const { data } = schema.safeParse(answer)
  if (data === undefined) throw new CommandFailed('The answer is none that a gateway gives.')
  return data
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
