import type { Recorder } from '../audit/event.ts'
import { OutboundError, type Outbound } from '../http/outbound.ts'
import { OAuthError } from '../oauth/error.ts'
import { DEVICE_CODE } from '../oauth/grant-type.ts'
import type { Client } from './client.ts'
import { pinnedDocument } from './directory.ts'
import { metadataDigest, parseClientMetadata } from './metadata.ts'

// draft-ietf-oauth-client-id-metadata-document §6.6 recommends 5 kB.
const MAX_BYTES = 5 * 1024
const TIMEOUT_MS = 3000
const MIN_FRESH_MS = 5 * 60_000
const MAX_FRESH_MS = 24 * 3600_000
/** How long a document outlives its freshness while its host does not answer. */
const STALE_MS = 24 * 3600_000
/** What stands in for a document that cannot be fetched is used this long before its host is asked again. */
const RETRY_MS = 60_000
const MAX_CACHED = 2000
const MAX_FETCHES = 16
const GRANT_TYPES = ['authorization_code', 'refresh_token', DEVICE_CODE, 'urn:ietf:params:oauth:grant-type:jwt-bearer']

export interface MetadataDocuments {
  /** @throws OAuthError `invalid_client` */
  find(clientId: string): Promise<Client>
}

interface Cached {
  readonly client: Client
  readonly freshUntil: number
  readonly staleUntil: number
}

export interface MetadataDocumentDeps {
  readonly outbound: Pick<Outbound, 'request'>
  readonly audit: Recorder
  /** Told of each document that was fetched. */
  readonly fetched?: (client: Client) => Promise<void>
  readonly now: () => number
}

/**
 * Finds clients whose identifier is the URL of their metadata document (AS-9). Errors and invalid documents are never
 * cached (AS-13); a client of the built-in directory is found even when its host refuses to be fetched from.
 */
export function metadataDocuments({ outbound, audit, fetched, now }: MetadataDocumentDeps): MetadataDocuments {
  const cache = new Map<string, Cached>()
  const underWay = new Map<string, Promise<Client>>()
  const reportDrift = driftReport(audit)

  const fetchDocument = async (clientId: string): Promise<Client> => {
    if (underWay.size >= MAX_FETCHES) throw new OAuthError('temporarily_unavailable', 'too many clients are being looked up; try again', { retryAfter: 5 })
    const answer = await outbound.request(clientId, { provenance: 'discovered', maxBytes: MAX_BYTES, timeoutMs: TIMEOUT_MS })
    // AS-14: redirects are not followed, and anything but 200 is an error; of those, two say that there is no such client.
    if (answer.status === 404 || answer.status === 410) throw badDocument(`it is gone (${answer.status})`)
    if (answer.status !== 200) throw refused(`the metadata document answered ${answer.status}`)
    if (!/^application\/(?:[\w.-]+\+)?json\b/i.test(answer.headers.get('content-type') ?? '')) throw refused('the metadata document is not JSON')
    const client = readDocument(clientId, parseJson(answer.body))
    await reportDrift(client)
    await fetched?.(client)
    // Once it is known that it changed, where it did.
    const freshUntil = now() + freshness(answer.headers.get('cache-control'))
    remember(cache, clientId, { client, freshUntil, staleUntil: freshUntil + STALE_MS })
    return client
  }

  const find = async (clientId: string): Promise<Client> => {
    const cached = cache.get(clientId)
    // Remembered anew, as what is used is forgotten last.
    if (cached !== undefined) {
      remember(cache, clientId, cached)
      if (cached.freshUntil > now()) return cached.client
    }
    try {
      return await fetchDocument(clientId)
    } catch (error) {
      // A document that was fetched and is wrong says no; a host that does not answer says nothing.
      if (error instanceof OAuthError && error.reason.startsWith('document:')) {
        cache.delete(clientId)
        throw error
      }
      // A fault of ours says nothing either, and is told as one.
      if (!(error instanceof OAuthError || error instanceof OutboundError)) throw error
      const standIn = standInFor(clientId, cached, now())
      if (standIn !== undefined) {
        remember(cache, clientId, standIn)
        return standIn.client
      }
      if (error instanceof OAuthError) throw error
      throw refused('the metadata document cannot be fetched', error)
    }
  }

  return {
    async find(clientId) {
      requireClientIdUrl(clientId)
      let search = underWay.get(clientId)
      if (search === undefined) {
        search = find(clientId).finally(() => underWay.delete(clientId))
        underWay.set(clientId, search)
      }
      return search
    },
  }
}

/** The digest that a well-known client's document has in the built-in directory. */
export function directoryDigest(clientId: string): string | undefined {
  const pinned = pinnedDocument(clientId)
  return pinned === undefined ? undefined : readDocument(clientId, pinned).digest
}

/** Tells once of each document that the directory should have and has not. */
function driftReport(audit: Recorder): (client: Client) => Promise<void> {
  const reported = new Map<string, string>()
  return async ({ id: clientId, digest }) => {
    const pinned = directoryDigest(clientId)
    if (pinned === undefined || pinned === digest || reported.get(clientId) === digest) return
    reported.set(clientId, digest)
    await audit.record({ action: 'client.updated', outcome: 'success', clientId, reason: 'the document differs from the built-in directory' })
  }
}

/** The last good document while it is not too old, or else the pinned one. */
function standInFor(clientId: string, cached: Cached | undefined, now: number): Cached | undefined {
  if (cached !== undefined && cached.staleUntil > now) return { ...cached, freshUntil: now + RETRY_MS }
  const pinned = pinnedDocument(clientId)
  return pinned === undefined ? undefined : { client: readDocument(clientId, pinned), freshUntil: now + RETRY_MS, staleUntil: now }
}

/** draft-ietf-oauth-client-id-metadata-document §3: https, a path, no fragment, user information or dot segments. */
function requireClientIdUrl(clientId: string): void {
  const url = URL.canParse(clientId) ? new URL(clientId) : undefined
  // Equality with the parsed form refuses dot segments, odd hosts, default ports and characters that parsers read differently.
  const exact = url !== undefined && url.href === clientId && url.protocol === 'https:' && url.pathname !== '/'
  if (!exact || url.hash !== '' || clientId.includes('#') || url.username !== '' || url.password !== '' || /%2e/i.test(url.pathname) || clientId.length > 512) {
    throw refused('the client identifier is not a valid metadata document URL')
  }
}

function readDocument(clientId: string, document: unknown): Client {
  if (typeof document !== 'object' || document === null) throw badDocument('it is not a JSON object')
  const fields = document as Readonly<Record<string, unknown>>
  // AS-10: simple string comparison.
  if (fields['client_id'] !== clientId) throw badDocument('its client_id is not its address')
  // AS-11
  if (typeof fields['client_name'] !== 'string') throw badDocument('it has no client_name')
  // AS-17
  if ('client_secret' in fields || 'client_secret_expires_at' in fields) throw badDocument('it holds a client secret')
  const method = fields['token_endpoint_auth_method']
  if (typeof method === 'string' && method.startsWith('client_secret')) throw badDocument('it asks for a shared secret')
  try {
    const metadata = parseClientMetadata(document, { grantTypes: GRANT_TYPES, defaultMethod: 'none', allowSecrets: false })
    return {
      ...metadata,
      id: clientId,
      kind: 'metadata-document',
      secretHashes: [],
      verifiedHost: new URL(clientId).host,
      digest: metadataDigest(metadata),
    }
  } catch (error) {
    throw error instanceof OAuthError ? badDocument(error.message) : error
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw badDocument('it is not JSON')
  }
}

function badDocument(why: string): OAuthError {
  return new OAuthError('invalid_client', `the client's metadata document is not valid: ${why}`, { reason: `document: ${why}` })
}

function refused(why: string, cause?: unknown): OAuthError {
  return new OAuthError('invalid_client', why, { cause })
}

function freshness(cacheControl: string | null): number {
  if (/\bno-(?:store|cache)\b/i.test(cacheControl ?? '')) return MIN_FRESH_MS
  const maxAge = Number(/\bmax-age=(\d{1,9})\b/i.exec(cacheControl ?? '')?.[1] ?? 0) * 1000
  return Math.min(Math.max(maxAge, MIN_FRESH_MS), MAX_FRESH_MS)
}

function remember(cache: Map<string, Cached>, clientId: string, entry: Cached): void {
  cache.delete(clientId)
  cache.set(clientId, entry)
  const [oldest] = cache.keys()
  if (cache.size > MAX_CACHED && oldest !== undefined) cache.delete(oldest)
}
