// Owns the gateway's own account at an upstream: one credential for everybody who may use it, by an explicit setting and
// never as a fallback. What the upstream then sees is the gateway; who called stands in the audit trail alone.
import { createHash } from 'node:crypto'
import { SealError } from '../../../keys/seal.ts'
import type { Vault } from '../../../vault/credential.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, CredentialRefused, UpstreamUnavailable, type Connector, type Credential } from '../connector.ts'
import { credentialCache } from '../oauth/credential-cache.ts'
import { discovery, type Discovered } from '../oauth/discovery.ts'
import type { Refresh } from '../oauth/refresh.ts'
import { exchange } from '../oauth/exchange.ts'
import { serverOfClient, type ClientDeps } from '../oauth/registration.ts'
import { settingsOf, tokenRequests } from './token-request.ts'

/** After a refusal the server is asked again this often at most, however many callers there are. */
const COOL_DOWN_MS = 10_000
const REFUSED = "the gateway's own account there was refused. Your administrator must mend its settings"

export interface ClientCredentialsDeps extends ClientDeps {
  readonly vault: Vault
}

/**
 * The client credentials grant, or the JWT bearer grant of a workload, with the gateway as the client. The token is kept
 * sealed where connections are, so that all nodes use one: many servers end the one before with each that they give.
 */
export function clientCredentialsConnector(deps: ClientCredentialsDeps): Connector {
  const found = discovery(deps.outbound, deps.now)
  const serverOf = async (upstream: Upstream): Promise<Discovered> => {
    const settings = settingsOf(upstream)
    const { tokenEndpoint, issuer } = settings
    // RFC 7523 §3: a signed assertion names its audience; where the operator names an endpoint alone, that is it.
    if (tokenEndpoint !== undefined) return { server: { issuer: issuer ?? tokenEndpoint, authorization_endpoint: '', token_endpoint: tokenEndpoint }, scope: [] }
    return serverOfClient(deps, found, upstream, settings)
  }
  const request = tokenRequests(exchange(deps.outbound, found, deps.now))
  const refusals = new Map<string, { readonly error: CredentialRefused; readonly until: number }>()
  const refusalOf = (upstream: Upstream): CredentialRefused | undefined => {
    const refusal = refusals.get(upstream.id)
    return refusal !== undefined && refusal.until > deps.now() ? refusal.error : undefined
  }
  const unlessRefused = async <T>(upstream: Upstream, work: () => Promise<T>): Promise<T> => {
    if (refusalOf(upstream) !== undefined) throw new UpstreamUnavailable('the account was refused a moment ago')
    try {
      return await work()
    } catch (error) {
      if (error instanceof ConnectionRefused) refusals.set(upstream.id, { error: new CredentialRefused(REFUSED, error.reason, error), until: deps.now() + COOL_DOWN_MS })
      throw error
    }
  }
  const prepare = async (upstream: Upstream): Promise<Refresh> => {
    const discovered = await unlessRefused(upstream, () => serverOf(upstream))
    return () => unlessRefused(upstream, () => request(upstream, discovered))
  }
  const cache = credentialCache({ ...deps, renewable: () => true, prepare, orphaned: () => Promise.resolve() })
  const kept = async (upstream: Upstream): Promise<Credential> => {
    try {
      return await cache.credential(accountOf(upstream), upstream)
    } catch (error) {
      throw (error instanceof UpstreamUnavailable ? refusalOf(upstream) : undefined) ?? error
    }
  }
  return {
    perUser: false,
    async credential(_userId, upstream) {
      const credential = await kept(upstream).catch((error: unknown) => {
        // Its key-encryption key is gone: another token is all that it takes.
        if (error instanceof SealError) return 'sealed' as const
        throw error
      })
      if (typeof credential === 'object') return credential
      await begin(deps, upstream, credential === 'sealed')
      return kept(upstream)
    },
    async refused(_userId, upstream, version) {
      found.doubt(upstream)
      // Whoever asks for the next credential is told why there is none.
      await cache.refused(accountOf(upstream), upstream, version).catch((error: unknown) => {
        if (!(error instanceof UpstreamUnavailable)) throw error
      })
    },
  }
}

/** Where the account's token stands. With other settings it is another account: what the one before was given is not its. */
export function accountOf(upstream: Upstream): string {
  const { clientId, issuer, tokenEndpoint, scopes, audience, resource, grantType } = settingsOf(upstream)
  const digest = createHash('sha256').update(JSON.stringify([upstream.url, clientId, issuer, tokenEndpoint, scopes, audience, resource, grantType])).digest('base64url')
  return `service:${digest.slice(0, 22)}`
}

/** Stores a token that has ended: from there on it is had anew like any other, by one of all nodes. */
async function begin({ vault, store, now }: ClientCredentialsDeps, upstream: Upstream, replaces: boolean): Promise<void> {
  const key = { userId: accountOf(upstream), upstream: upstream.id }
  const { clientId } = settingsOf(upstream)
  const ended = vault.seal(key.userId, key.upstream, { accessToken: '', expiresAt: 0, issuer: '', clientId })
  const event = { action: 'connection.created', outcome: 'success', subject: key.userId, upstream: key.upstream, detail: { client: clientId, service: true } } as const
  if (replaces) await store.connect(key, ended, now(), event)
  // Another node may have been faster: then its token is the token.
  else await store.add(key, ended, now(), event)
}
