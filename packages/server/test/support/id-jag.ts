// An identity provider that issues ID-JAGs, and what a node of Lanyard needs to trust it.
import { generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, type JSONWebKeySet, type JWK } from 'jose'
import type { Cutoffs } from '../../src/audit/change.ts'
import type { IssuerKeys } from '../../src/clients/issuer-keys.ts'
import { recognition } from '../../src/identity/recognize.ts'
import type { Decision } from '../../src/policy/rule.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { identityStore } from '../../src/store/users.ts'
import { idJag, type IdJagOptions, type TrustedIssuer } from '../../src/token/assertions/id-jag.ts'
import type { AssertionProfile } from '../../src/token/grants/jwt-bearer.ts'

export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const ALGORITHMS = ['ES256', 'RS256', 'PS256', 'EdDSA']

/** Claims and header members to put in place of the right ones; undefined leaves one out. */
export interface Changes {
  readonly claims?: Readonly<Record<string, unknown>>
  readonly header?: Readonly<Record<string, unknown>>
}

export interface AssertingProvider {
  readonly issuer: string
  readonly jwks: JSONWebKeySet
  /** A good ID-JAG, but for the changes. */
  assertion(now: number, changes?: Changes): string
}

export async function assertingProvider(issuer: string, about: Readonly<Record<string, unknown>>): Promise<AssertingProvider> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const bare = publicKey.export({ format: 'jwk' }) as JWK
  const kid = await calculateJwkThumbprint(bare)
  return {
    issuer,
    jwks: { keys: [{ ...bare, kid, alg: 'ES256', use: 'sig' }] },
    assertion(now, { claims, header } = {}) {
      const at = Math.floor(now / 1000)
      return jws({ alg: 'ES256', typ: 'oauth-id-jag+jwt', kid, ...header }, { iss: issuer, iat: at, exp: at + 300, jti: randomUUID(), ...about, ...claims }, privateKey)
    },
  }
}

/** A signed JWT of whatever header and claims. */
export function jws(header: object, claims: object, key: KeyObject): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${part(header)}.${part(claims)}`
  return `${input}.${sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

/** What of the world decides about assertions. */
export interface AssertionWorld {
  readonly providers: AssertingProvider[]
  readonly trusted: TrustedIssuer[]
  keysDown: boolean
  /** What policy lacks for everything of an upstream. */
  restriction: (authentication: unknown) => Decision | undefined
}

export function assertionWorld(): AssertionWorld {
  return { providers: [], trusted: [], keysDown: false, restriction: () => undefined }
}

/** Trusts a provider as configuration would. */
export function trust(world: AssertionWorld, provider: AssertingProvider, more: Partial<TrustedIssuer> = {}): void {
  world.providers.push(provider)
  world.trusted.push({ issuer: provider.issuer, provider: 'corp', algorithms: ALGORITHMS, ...more })
}

export interface AssertionNode extends Pick<IdJagOptions, 'issuer' | 'store' | 'profiles' | 'lifetimes' | 'approvals' | 'now'> {
  readonly parts: StoreParts
  readonly cutoffs: Cutoffs
  readonly mayReach: IdJagOptions['policy']['mayReach']
}

export function testAssertions(world: AssertionWorld, { parts, mayReach, ...node }: AssertionNode): readonly AssertionProfile[] {
  const keys: IssuerKeys = { find: async ({ issuer }) => (world.keysDown ? undefined : world.providers.find((provider) => provider.issuer === issuer)?.jwks) }
  return [
    idJag({
      ...node,
      trusted: world.trusted,
      keys,
      people: recognition({ store: identityStore(parts), now: node.now }),
      policy: { mayReach, restriction: ({ authentication }) => world.restriction(authentication) },
    }),
  ]
}
