import { createPrivateKey, createPublicKey, generateKeyPairSync, sign as signBytes, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, type JSONWebKeySet, type JWK, type JWTPayload } from 'jose'
import type { Sealer } from './seal.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'

/** The keys that sign access tokens, on this node: loaded from the store, followed when another node rotates them. */
export interface KeyRing {
  /** Signs a JWT with the active key; adds `alg`, `kid` and the given `typ`. */
  sign(payload: JWTPayload, typ: string): string
  /** The public key of a key identifier and its algorithm, or undefined when it is unknown or revoked. */
  publicKey(kid: string): { readonly key: KeyObject; readonly algorithm: string } | undefined
  /** What `/jwks` publishes: next, active and retired keys, never revoked ones. */
  jwks(): JSONWebKeySet
  /** Reads the keys again: another node changed them. */
  reload(): Promise<void>
  rotate(options: { readonly force: boolean }): Promise<RotationResult>
  revoke(kid: string): Promise<boolean>
  list(): Promise<readonly KeyRecord[]>
  /** Rotates when the active key is old enough, and forgets what no token needs any more. */
  maintain(): Promise<void>
}

export type RotationResult = 'rotated' | 'too_early' | 'raced'

export type SigningAlgorithm = 'ES256' | 'EdDSA'

export interface KeyRingOptions {
  readonly store: KeyStore
  readonly sealer: Sealer
  readonly algorithm: SigningAlgorithm
  readonly rotateAfterMs: number
  /** How long a key is published before it signs, and stays published after: tokens and caches must have ended. */
  readonly overlapMs: number
  readonly now: () => number
}

interface LoadedKey {
  readonly record: KeyRecord
  readonly publicJwk: JWK
  readonly publicKey: KeyObject
  /** Opened for the active key alone. */
  readonly privateKey: KeyObject | undefined
}

/** Opens the key ring; the first start of an installation makes its keys. */
export async function keyRing(options: KeyRingOptions): Promise<KeyRing> {
  const { store, now } = options
  let keys = new Map<string, LoadedKey>()
  let active: LoadedKey | undefined

  const load = async (): Promise<void> => {
    const loaded = (await store.all()).map((record) => openKey(record, options.sealer))
    keys = new Map(loaded.map((key) => [key.record.kid, key]))
    active = loaded.find((key) => key.record.state === 'active')
  }

  const rotate = async (force: boolean): Promise<RotationResult> => {
    await load()
    const next = [...keys.values()].find((key) => key.record.state === 'next')
    if (active === undefined || next === undefined) return 'raced'
    if (!force && now() - next.record.since < options.overlapMs) return 'too_early'
    const added = await makeKey(options, 'next')
    const events = [
      { action: 'key.activated', outcome: 'success', detail: { kid: next.record.kid, retired: active.record.kid } },
      { action: 'key.created', outcome: 'success', detail: { kid: added.kid } },
    ] as const
    const done = await store.rotate({ activeKid: active.record.kid, nextKid: next.record.kid, added, at: now() }, events)
    await load()
    return done ? 'rotated' : 'raced'
  }

  await load()
  if (keys.size === 0) {
    const first = [await makeKey(options, 'active'), await makeKey(options, 'next')]
    await store.addFirst(first, first.map((key) => ({ action: 'key.created', outcome: 'success', detail: { kid: key.kid } }) as const))
    await load()
  }
  return {
    sign(payload, typ) {
      if (active?.privateKey === undefined) throw new Error('there is no active signing key')
      return signJwt(payload, typ, active.record, active.privateKey)
    },
    publicKey(kid) {
      const found = keys.get(kid)
      if (found === undefined || found.record.state === 'revoked') return undefined
      return { key: found.publicKey, algorithm: found.record.algorithm }
    },
    jwks: () => ({ keys: [...keys.values()].filter((key) => key.record.state !== 'revoked').map((key) => key.publicJwk) }),
    reload: load,
    rotate: ({ force }) => rotate(force),
    async revoke(kid) {
      // A revoked active key must have a successor before it goes, or nothing could be signed.
      if (active?.record.kid === kid) await rotate(true)
      const done = await store.revoke(kid, now(), [{ action: 'key.revoked', outcome: 'success', detail: { kid } }])
      await load()
      return done
    },
    list: () => store.all(),
    async maintain() {
      if (active !== undefined && now() - active.record.since > options.rotateAfterMs) await rotate(false)
      await store.forgetRetired(now() - options.overlapMs)
    },
  }
}

function openKey(record: KeyRecord, sealer: Sealer): LoadedKey {
  const publicJwk = JSON.parse(record.publicJwk) as JWK
  const privateKey =
    record.state === 'active' ? createPrivateKey({ key: JSON.parse(sealer.open(record.privateJwk, row(record.kid))) as JWK, format: 'jwk' }) : undefined
  return { record, publicJwk, publicKey: createPublicKey({ key: publicJwk, format: 'jwk' }), privateKey }
}

async function makeKey(options: KeyRingOptions, state: 'active' | 'next'): Promise<KeyRecord> {
  const pair = options.algorithm === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
  const bare = pair.publicKey.export({ format: 'jwk' }) as JWK
  const kid = await calculateJwkThumbprint(bare)
  return {
    kid,
    algorithm: options.algorithm,
    state,
    publicJwk: JSON.stringify({ ...bare, kid, alg: options.algorithm, use: 'sig' }),
    privateJwk: options.sealer.seal(JSON.stringify(pair.privateKey.export({ format: 'jwk' })), row(kid)),
    since: options.now(),
  }
}

function row(kid: string): readonly string[] {
  return ['signing_keys', kid, 'private_jwk']
}

function signJwt(payload: JWTPayload, typ: string, record: KeyRecord, key: KeyObject): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode({ alg: record.algorithm, typ, kid: record.kid })}.${encode(payload)}`
  // RFC 7518 §3.4: the signature is R and S side by side, not their DER form.
  const signature =
    record.algorithm === 'ES256' ? signBytes('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }) : signBytes(null, Buffer.from(input), key)
  return `${input}.${signature.toString('base64url')}`
}
