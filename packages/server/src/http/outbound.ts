// Owns every request that leaves: who may be reached, for how long, how much of an answer is read. It knows no protocol.
import { lookup as systemLookup, type LookupAddress } from 'node:dns'
import { isIP } from 'node:net'
import type { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { Agent as UndiciAgent, buildConnector as Connectors, Dispatcher } from 'undici'
import { addressCheck, type AddressCheck, type AddressRules, type Provenance } from './outbound-address.ts'
import { Agent, buildConnector, request } from './undici.ts'

export type { Provenance } from './outbound-address.ts'

export interface OutboundRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly provenance: Provenance
  /** Bytes after decompression; 1 MiB when absent. */
  readonly maxBytes?: number
  /** Milliseconds for the whole exchange; 10 s when absent. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

export interface OutboundResponse {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** The one client for every request that leaves: resolves once, checks all addresses, pins, never follows a redirect. */
export interface Outbound {
  /** @throws OutboundError */
  request(url: string | URL, options: OutboundRequest): Promise<OutboundResponse>
  /** The same, in the shape of `fetch`, for oauth4webapi and jose. */
  fetch(provenance: Provenance | ((url: URL) => Provenance)): OutboundFetch
  /** The same addresses for streams without an end: what the data plane sends calls through. */
  readonly streams: Dispatcher
  close(): Promise<void>
}

export type OutboundFetch = (
  url: string | URL,
  init?: {
    readonly method?: string | undefined
    readonly headers?: ConstructorParameters<typeof Headers>[0]
    readonly body?: unknown
    readonly signal?: AbortSignal | null | undefined
  },
) => Promise<Response>

export type OutboundReason = 'refused_address' | 'refused_scheme' | 'too_large' | 'timeout' | 'unreachable' | 'protocol'

/** A request could not be made or answered; the message names no address, host or content. */
export class OutboundError extends Error {
  override readonly name = 'OutboundError'
  readonly reason: OutboundReason
  constructor(reason: OutboundReason, cause?: unknown) {
    super(`outbound request failed: ${reason}`, cause === undefined ? undefined : { cause })
    this.reason = reason
  }
}

export interface OutboundSettings extends AddressRules {
  /** Resolves a name to all of its addresses; the system's resolver when absent. */
  readonly lookup?: Lookup
}

export type Lookup = (hostname: string, callback: (error: Error | null, addresses: readonly LookupAddress[]) => void) => void

const MAX_BYTES = 1024 * 1024
const TIMEOUT_MS = 10_000
const CONNECT_TIMEOUT_MS = 5000
const MAX_HEADER_BYTES = 16 * 1024
const CONNECTIONS = 32
/** To one origin: each stream that is open takes one, and calls must find another. */
const STREAM_CONNECTIONS = 8192

export function outbound(settings: OutboundSettings): Outbound {
  const check = addressCheck(settings)
  const lookup = settings.lookup ?? ((hostname, callback) => systemLookup(hostname, { all: true }, callback))
  const agent = (provenance: Provenance, options: UndiciAgent.Options): UndiciAgent =>
    new Agent({ connect: guardedConnector(provenance, check, lookup), maxHeaderSize: MAX_HEADER_BYTES, ...options })
  const agents = {
    configured: agent('configured', { connections: CONNECTIONS }),
    discovered: agent('discovered', { connections: CONNECTIONS, keepAliveTimeout: 1000 }),
  }
  // Idle connections are given up after undici's 4 s: many servers close theirs after 5 s, and a call that meets that end
  // may have been carried out, so it is not made again.
  const streams = agent('configured', { connections: STREAM_CONNECTIONS, headersTimeout: 0, bodyTimeout: 0 })
  const request: Outbound['request'] = async (url, options) => {
    if (!URL.canParse(String(url))) throw new OutboundError('refused_scheme')
    return exchange(agents[options.provenance], new URL(url), options)
  }
  return {
    request,
    fetch: (provenance) => async (input, init) => {
      const url = new URL(input)
      const headers = Object.fromEntries(new Headers(init?.headers))
      const { body } = init ?? {}
      const answer = await request(url, {
        provenance: typeof provenance === 'function' ? provenance(url) : provenance,
        method: init?.method?.toUpperCase() === 'POST' ? 'POST' : 'GET',
        headers,
        ...(body instanceof URLSearchParams || typeof body === 'string' ? { body: body.toString() } : {}),
        ...(init?.signal ? { signal: init.signal } : {}),
      })
      return toResponse(answer)
    },
    streams,
    close: async () => void (await Promise.all([agents.configured.destroy(), agents.discovered.destroy(), streams.destroy()])),
  }
}

/** Connects to a checked address alone: a name resolves once, and every one of its addresses must be allowed. */
function guardedConnector(provenance: Provenance, check: AddressCheck, lookup: Lookup): Connectors.connector {
  const connector = (secure: boolean): Connectors.connector =>
    buildConnector({
      timeout: CONNECT_TIMEOUT_MS,
      lookup: (hostname, options, callback) =>
        lookup(hostname, (error, addresses) => {
          if (error !== null) return callback(new OutboundError('unreachable', error), [])
          const [first] = addresses
          // One private address among public ones is how a name is rebound: all must pass.
          const refused = addresses.some(({ address }) => !check(address, { provenance, secure }))
          if (first === undefined || refused) return callback(new OutboundError('refused_address'), [])
          // Node asks for one address where it does not race both families.
          return options.all === true ? callback(null, [...addresses]) : callback(null, first.address, first.family)
        }),
    })
  const connectors = { 'https:': connector(true), 'http:': connector(false) }
  return (options, callback) => {
    const secure = options.protocol === 'https:'
    const host = options.hostname.replace(/^\[|\]$/g, '')
    // An address written in the URL is connected to without any lookup.
    if (isIP(host) !== 0 && !check(host, { provenance, secure })) return callback(new OutboundError('refused_address'), null)
    return connectors[secure ? 'https:' : 'http:'](options, callback)
  }
}

async function exchange(dispatcher: Dispatcher, url: URL, options: OutboundRequest): Promise<OutboundResponse> {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw new OutboundError('refused_scheme')
  if (url.username !== '' || url.password !== '') throw new OutboundError('refused_scheme')
  const deadline = AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS)
  const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal])
  try {
    const answer = await request(dispatcher, {
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: options.method ?? 'GET',
      headers: { 'user-agent': 'lanyard', accept: 'application/json', 'accept-encoding': 'identity', ...options.headers },
      body: options.body ?? null,
      signal,
    })
    const headers = new Headers(Object.entries(answer.headers).flatMap(([name, value]) => [value ?? []].flat().map((item): [string, string] => [name, item])))
    const body = await readBody(answer.body, headers, options.maxBytes ?? MAX_BYTES, signal)
    // RFC 9110 §15: there are no other classes of status codes.
    if (answer.statusCode > 599) throw new OutboundError('protocol')
    return { status: answer.statusCode, headers, body }
  } catch (error) {
    throw outboundError(error, deadline)
  }
}

/** Reads at most `limit` bytes, counted after decompression: a small answer must not become a large one. */
async function readBody(body: Readable, headers: Headers, limit: number, signal: AbortSignal): Promise<string> {
  body.on('error', () => undefined)
  const decoder = decoderFor(headers.get('content-encoding'))
  if (decoder === null) {
    body.destroy()
    throw new OutboundError('protocol')
  }
  const stream = decoder === undefined ? body : body.pipe(decoder)
  if (decoder !== undefined) body.on('error', (error) => decoder.destroy(error))
  const stop = (): void => void stream.destroy(new OutboundError('timeout'))
  signal.addEventListener('abort', stop, { once: true })
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > limit) throw new OutboundError('too_large')
      chunks.push(chunk)
    }
  } finally {
    signal.removeEventListener('abort', stop)
    body.destroy()
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** @returns undefined when there is nothing to decode, null when it cannot be decoded. */
function decoderFor(encoding: string | null): ReturnType<typeof createGunzip> | null | undefined {
  switch (encoding?.trim().toLowerCase() ?? 'identity') {
    case 'identity':
    case '':
      return undefined
    case 'gzip':
    case 'x-gzip':
      return createGunzip()
    case 'deflate':
      return createInflate()
    case 'br':
      return createBrotliDecompress()
    default:
      return null
  }
}

function outboundError(error: unknown, deadline: AbortSignal): OutboundError {
  // The connector's own refusal arrives as the cause of undici's error.
  for (let current: unknown = error; current instanceof Error; current = current.cause) {
    if (current instanceof OutboundError) return current
  }
  if (deadline.aborted) return new OutboundError('timeout', error)
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const unreachable = /^(?:E[A-Z]+|UND_ERR_(?:CONNECT_TIMEOUT|SOCKET))$/.test(code)
  return new OutboundError(unreachable ? 'unreachable' : 'protocol', error)
}

const WITHOUT_BODY = new Set([101, 204, 205, 304])

function toResponse({ status, headers, body }: OutboundResponse): Response {
  const plain = new Headers(headers)
  plain.delete('content-encoding')
  plain.delete('content-length')
  return new Response(WITHOUT_BODY.has(status) ? null : body, { status, headers: plain })
}
