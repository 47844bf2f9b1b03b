// How commands ask a gateway's authorization server, as the public client that every gateway knows.
import * as z from 'zod'
import { COMMAND_LINE } from '../clients/built-in.ts'
import { outbound, OutboundError, type OutboundRequest, type OutboundResponse } from '../http/outbound.ts'
import { DEVICE_CODE } from '../oauth/grant-type.ts'
import { canonicalResource } from '../oauth/resource.ts'
import type { Possession } from '../upstreams/connectors/connector.ts'
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
const tokens = z.object({ access_token: z.string().regex(/^[\w.~+/-]+=*$/), token_type: shown, refresh_token: z.string().optional(), expires_in: z.number(), scope: shown })
const metadata = z.object({ dpop_signing_alg_values_supported: z.array(z.string()).default([]) })

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
  /** Proves the key that what is issued is bound to. */
  readonly proof?: Possession | undefined
}

/** Whether a gateway binds tokens to keys of the kind that logins have (RFC 9449 §5.1). */
export async function knowsProofs(issuer: string): Promise<boolean> {
  const { status, body } = await request(issuer, '/.well-known/oauth-authorization-server', {})
  return status === 200 && read(metadata, parsed(body)).dpop_signing_alg_values_supported.includes('ES256')
}

export async function askForCode({ issuer, resource }: Target, scope: string | undefined): Promise<DeviceAnswer> {
  return read(device, await post(issuer, { path: '/device_authorization', params: { resource, ...(scope === undefined ? {} : { scope }) } }))
}

export async function redeem({ issuer, resource }: Target, code: string, proof?: Possession): Promise<Tokens> {
  return read(tokens, await post(issuer, { path: '/token', params: { grant_type: DEVICE_CODE, device_code: code, resource }, proof }))
}

export async function refresh(issuer: string, refreshToken: string, proof?: Possession): Promise<Tokens> {
  return read(tokens, await post(issuer, { path: '/token', params: { grant_type: 'refresh_token', refresh_token: refreshToken }, proof }))
}

export async function revoke(issuer: string, refreshToken: string): Promise<void> {
  await post(issuer, { path: '/revoke', params: { token: refreshToken, token_type_hint: 'refresh_token' } })
}

/** The addresses are those of every gateway; that it is one, its answers say. @throws Refused, CommandFailed */
async function post(issuer: string, form: Form, isAgain = false): Promise<unknown> {
  const { path, params, proof } = form
  const body = new URLSearchParams({ client_id: COMMAND_LINE.id, ...params }).toString()
  const { status, headers, body: text } = await request(issuer, path, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json', ...(proof && { dpop: proof.prove('POST', `${issuer}${path}`, Date.now()) }) }, body })
  proof?.learn(status, Object.fromEntries(headers))
  const answer = parsed(text)
  if (status === 200) return answer
  const { error, error_description: description } = z.object({ error: z.string(), error_description: z.string().default('') }).catch({ error: '', error_description: '' }).parse(answer)
  if (error === '') throw new CommandFailed(`${issuer} answered ${status}: it is no gateway, or does not let devices log in.`)
  // RFC 9449 §8: what it refused so, it did not carry out.
  if (error === 'use_dpop_nonce' && proof !== undefined && !isAgain) return post(issuer, form, true)
  throw new Refused(error, printable(description))
}

/** No redirect is followed: codes and tokens are for this address alone. @throws CommandFailed */
async function request(issuer: string, path: string, sent: Omit<OutboundRequest, 'provenance'>): Promise<OutboundResponse> {
  const client = outbound({ allow: ['0.0.0.0/0', '::/0'], discoveredLoopback: true })
  try {
    return await client.request(`${issuer}${path}`, { ...sent, provenance: 'configured', timeoutMs: TIMEOUT_MS })
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
