import type { JSONWebKeySet } from 'jose'
import * as z from 'zod'
import type { Outbound, Provenance } from '../http/outbound.ts'
import type { RemoteKeys } from './remote-keys.ts'

/** Somebody whose assertions an administrator trusts. */
export interface AssertionIssuer {
  readonly issuer: string
  /** Where its keys are; found by its metadata when absent. */
  readonly jwksUri?: string
}

/** The keys of those whose assertions are trusted here. */
export interface IssuerKeys {
  /** @returns undefined when they cannot be had now */
  find(issuer: AssertionIssuer, kid: string | undefined): Promise<JSONWebKeySet | undefined>
}

const FRESH_MS = 3600_000
/** An issuer that does not answer is asked again this often at most. */
const COOL_DOWN_MS = 30_000
const MAX_BYTES = 128 * 1024
const TIMEOUT_MS = 3000

const metadata = z.object({ issuer: z.string(), jwks_uri: z.string() })

interface Known {
  readonly jwksUri?: string
  readonly at: number
}

/** Finds the keys of issuers that are configured: they are few, so all that is found is kept. */
export function issuerKeys(outbound: Outbound, keys: RemoteKeys, now: () => number): IssuerKeys {
  const known = new Map<string, Known>()
  const underWay = new Map<string, Promise<string | undefined>>()
  const discover = async (issuer: string): Promise<string | undefined> => {
    const found = await discoverKeys(outbound, issuer)
    const before = known.get(issuer)
    // While it does not answer, what it said before stands.
    const jwksUri = found ?? before?.jwksUri
    known.set(issuer, { ...(jwksUri === undefined ? {} : { jwksUri }), at: found === undefined ? now() - FRESH_MS + COOL_DOWN_MS : now() })
    return jwksUri
  }
  const jwksUriOf = (issuer: string): Promise<string | undefined> => {
    const found = known.get(issuer)
    if (found !== undefined && now() - found.at < FRESH_MS) return Promise.resolve(found.jwksUri)
    const search = underWay.get(issuer) ?? discover(issuer).finally(() => underWay.delete(issuer))
    underWay.set(issuer, search)
    return search
  }
  return {
    async find({ issuer, jwksUri }, kid) {
      if (jwksUri !== undefined) return keys.find(jwksUri, kid, 'configured')
      const found = await jwksUriOf(issuer)
      return found === undefined ? undefined : keys.find(found, kid, provenance(found, issuer))
    },
  }
}

/** What the operator wrote names a host; addresses elsewhere were discovered. */
function provenance(url: string, issuer: string): Provenance {
  return new URL(url).host === new URL(issuer).host ? 'configured' : 'discovered'
}

/** RFC 8414 §3.1: inserted before the path; OpenID Connect Discovery §4: appended to it. */
async function discoverKeys(outbound: Outbound, issuer: string): Promise<string | undefined> {
  const { origin, pathname, protocol } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  for (const url of [`${origin}/.well-known/oauth-authorization-server${path}`, `${origin}${path}/.well-known/openid-configuration`]) {
    const document = metadata.safeParse(await fetchJson(outbound, url))
    // RFC 8414 §3.3: identical, without any normalisation.
    if (document.data?.issuer !== issuer) continue
    const { jwks_uri: jwksUri } = document.data
    if (URL.canParse(jwksUri) && (new URL(jwksUri).protocol === 'https:' || new URL(jwksUri).protocol === protocol)) return jwksUri
  }
  return undefined
}

async function fetchJson(outbound: Outbound, url: string): Promise<unknown> {
  try {
    const answer = await outbound.request(url, { provenance: 'configured', maxBytes: MAX_BYTES, timeoutMs: TIMEOUT_MS })
    return answer.status === 200 ? JSON.parse(answer.body) : undefined
  } catch {
    return undefined
  }
}
