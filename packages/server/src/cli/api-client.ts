// How commands reach the JSON API of a running gateway: where it is, who asks, and what it said.
import { readFileSync } from 'node:fs'
import { outbound, OutboundError, type OutboundRequest } from '../http/outbound.ts'
import { CommandFailed } from './command.ts'
import type { Credential } from './credential.ts'

export interface ApiOptions {
  readonly url?: string
  readonly tokenFile?: string
  readonly json?: boolean
}

/** What is missing or wrong is how the command was called. */
export class WrongUsage extends Error {
  override readonly name = 'WrongUsage'
}

const TIMEOUT_MS = 60_000
const MAX_BYTES = 64 * 1024 * 1024
const LOOPBACK = /^(?:localhost|\[::1\]|127(?:\.\d+){3})$/

/** The origin of the gateway. @throws WrongUsage */
export function gatewayUrl({ url = process.env['LANYARD_URL'] }: ApiOptions): string {
  if (url === undefined) throw new WrongUsage('Which gateway? Name its address with --url, or in LANYARD_URL.')
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || parsed.pathname !== '/' || parsed.search !== '' || parsed.username !== '') throw new WrongUsage('The address of a gateway is its issuer, such as https://lanyard.example.com.')
  // Nothing that is secret goes over a network in the clear.
  if (parsed.protocol !== 'https:' && !(parsed.protocol === 'http:' && LOOPBACK.test(parsed.hostname))) throw new WrongUsage('The address of a gateway must be https (http is for this machine alone).')
  return parsed.origin
}

/** The access token that was given: never as an argument, which others on the machine can read. @throws WrongUsage */
export function givenToken({ tokenFile }: ApiOptions): string | undefined {
  const token = (tokenFile === undefined ? process.env['LANYARD_TOKEN'] : contentOf(tokenFile))?.trim()
  if (token === undefined || token === '') return undefined
  if (!/^[\w.~+/-]+=*$/.test(token)) throw new WrongUsage('The access token is none: it has characters that no token has.')
  return token
}

/** @throws WrongUsage */
export function contentOf(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (cause) {
    throw new WrongUsage(`${file} cannot be read.`, { cause })
  }
}

export interface ApiRequest {
  readonly method: NonNullable<OutboundRequest['method']>
  /** Below the origin. */
  readonly path: string
  readonly credential?: Credential
  readonly body?: unknown
}

/** @returns what was answered, as JSON. @throws CommandFailed with what the gateway says is wrong */
export async function askApi(origin: string, request: ApiRequest, nonce?: string): Promise<unknown> {
  const { method, path, credential, body } = request
  // The gateway is where its operator says. No redirect is followed: the token is for this address alone.
  const client = outbound({ allow: ['0.0.0.0/0', '::/0'], discoveredLoopback: true })
  const headers = { ...credential?.(method, `${origin}${path}`, nonce), ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
  try {
    const { status, headers: answered, body: text } = await client.request(`${origin}${path}`, { method, headers, provenance: 'configured', timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
    const answer = parsed(text)
    if (status < 300 && (text === '' || answer !== undefined)) return answer
    const wanted = answered.get('dpop-nonce')
    // RFC 9449 §9: what it refused so, it did not carry out.
    if (status === 401 && wanted !== null && nonce === undefined) return await askApi(origin, request, wanted)
    throw new CommandFailed(problemText(answer, status))
  } catch (error) {
    if (error instanceof OutboundError) throw new CommandFailed(`${origin} does not answer (${error.reason}).`, { cause: error })
    throw error
  } finally {
    await client.close()
  }
}

function parsed(text: string): unknown {
  try {
    return text === '' ? undefined : (JSON.parse(text) as unknown)
  } catch {
    return undefined
  }
}

/** RFC 9457 §3, in lines. */
function problemText(answer: unknown, status: number): string {
  const { detail, errors } = typeof answer === 'object' && answer !== null ? (answer as { readonly detail?: unknown; readonly errors?: unknown }) : {}
  const mistakes = (Array.isArray(errors) ? (errors as { pointer?: unknown; detail?: unknown }[]) : []).map((mistake) => `  ${String(mistake.pointer)}: ${String(mistake.detail)}`)
  const advice = status === 401 ? ['  -> get a new access token'] : []
  return [typeof detail === 'string' ? detail : `The gateway answered ${status}.`, ...mistakes, ...advice].map(printable).join('\n')
}

/** What a terminal would take for something else than text is left out. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}]/gu, '')
}
