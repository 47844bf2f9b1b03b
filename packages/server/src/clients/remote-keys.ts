import { createLocalJWKSet, type JSONWebKeySet } from 'jose'
import type { Outbound, Provenance } from '../http/outbound.ts'

const FRESH_MS = 5 * 60_000
/** An unknown key identifier may fetch the keys again, this often at most; so may a host that stopped answering be asked. */
const COOL_DOWN_MS = 30_000
/** How long keys are believed while their host does not answer: a withdrawn key must not outlive that. */
const STALE_MS = 6 * 3600_000
const MAX_BYTES = 64 * 1024
const TIMEOUT_MS = 3000
const MAX_CACHED = 500

/** The keys that clients publish at their `jwks_uri`. */
export interface RemoteKeys {
  /** @returns undefined when the keys cannot be fetched. */
  find(uri: string, kid: string | undefined, provenance: Provenance): Promise<JSONWebKeySet | undefined>
}

interface Cached {
  readonly keys: JSONWebKeySet
  readonly fetchedAt: number
  readonly triedAt: number
}

/** Fetches each set of keys once at a time, and keeps it; errors are never kept. */
export function remoteKeys(outbound: Outbound, now: () => number): RemoteKeys {
  const known = new Map<string, Cached>()
  const underWay = new Map<string, Promise<JSONWebKeySet | undefined>>()

  const refresh = async (name: string, uri: string, provenance: Provenance): Promise<JSONWebKeySet | undefined> => {
    const keys = await fetchKeys(outbound, uri, provenance)
    const cached = known.get(name)
    const at = now()
    if (keys !== undefined) remember(known, name, { keys, fetchedAt: at, triedAt: at })
    else if (cached !== undefined) remember(known, name, { ...cached, triedAt: at })
    return keys ?? usable(cached, at)
  }

  return {
    async find(uri, kid, provenance) {
      // What an operator's address may reach is no answer for one that a client names.
      const name = `${provenance} ${uri}`
      const cached = known.get(name)
      if (cached !== undefined) {
        const hasKey = kid === undefined || cached.keys.keys.some((key) => key.kid === kid)
        if (now() - cached.triedAt < COOL_DOWN_MS || (hasKey && now() - cached.fetchedAt < FRESH_MS)) return usable(cached, now())
      }
      const search = underWay.get(name) ?? refresh(name, uri, provenance).finally(() => underWay.delete(name))
      underWay.set(name, search)
      return search
    },
  }
}

const finders = new WeakMap<JSONWebKeySet, ReturnType<typeof createLocalJWKSet>>()

/** What finds the key of a signature among those of a set: each is imported once, for as long as the set is kept. @throws JOSEError when it is none */
export function finderIn(keys: JSONWebKeySet): ReturnType<typeof createLocalJWKSet> {
  const finder = finders.get(keys) ?? createLocalJWKSet(keys)
  finders.set(keys, finder)
  return finder
}

function usable(cached: Cached | undefined, at: number): JSONWebKeySet | undefined {
  return cached !== undefined && at - cached.fetchedAt < STALE_MS ? cached.keys : undefined
}

async function fetchKeys(outbound: Outbound, uri: string, provenance: Provenance): Promise<JSONWebKeySet | undefined> {
  try {
    const answer = await outbound.request(uri, { provenance, maxBytes: MAX_BYTES, timeoutMs: TIMEOUT_MS })
    const keys: unknown = answer.status === 200 ? JSON.parse(answer.body) : undefined
    return isKeySet(keys) ? keys : undefined
  } catch {
    return undefined
  }
}

function isKeySet(value: unknown): value is JSONWebKeySet {
  const keys: unknown = (value as { readonly keys?: unknown } | null | undefined)?.keys
  return Array.isArray(keys) && keys.every((key) => typeof key === 'object' && key !== null)
}

function remember(known: Map<string, Cached>, name: string, entry: Cached): void {
  known.delete(name)
  known.set(name, entry)
  const [oldest] = known.keys()
  if (known.size > MAX_CACHED && oldest !== undefined) known.delete(oldest)
}
