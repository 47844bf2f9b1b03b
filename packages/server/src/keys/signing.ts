import { createPrivateKey, createPublicKey, generateKeyPair, sign as signBytes, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { calculateJwkThumbprint, type JSONWebKeySet, type JWK, type JWTPayload } from 'jose'
import type { AuditEvent } from '../audit/event.ts'
import type { KeyRecord, KeyStore, RevocationEffect } from './key-store.ts'
import type { Sealer } from './seal.ts'

/** The keys that sign one kind of tokens, on this node: loaded from the store, followed when another node rotates them. */
export interface KeyRing {
  /** Makes the first keys of an installation; nothing where there are keys. */
  begin(): Promise<void>
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

export type SigningAlgorithm = 'ES256' | 'EdDSA' | 'RS256'

export interface KeyRingOptions {
  readonly store: KeyStore
  readonly sealer: Sealer
  readonly algorithm: SigningAlgorithm
  readonly rotateAfterMs: number
  /** How long a key is published before it signs, and stays published after: tokens and caches must have ended. */
  readonly overlapMs: number
  readonly now: () => number
}

/** Longer than any token lives (the configuration allows an hour at most): until then its key must verify, or say that it is revoked. */
export const KEEP_ENDED_MS = 2 * 3600_000

interface LoadedKey {
  readonly record: KeyRecord
  readonly publicJwk: JWK
  readonly publicKey: KeyObject
}

interface Signer {
  readonly record: KeyRecord
  readonly privateKey: KeyObject
}

/** What this node knows of the keys, as the store said when it was asked last. */
interface LoadedKeys {
  readonly keys: ReadonlyMap<string, LoadedKey>
  readonly signer: Signer | undefined
  readonly load: () => Promise<void>
}

function loadedKeys({ store, sealer }: KeyRingOptions): LoadedKeys {
  let keys = new Map<string, LoadedKey>()
  let signer: Signer | undefined
  const read = async (): Promise<void> => {
    const records = await store.all()
    // Public halves first: whatever happens to a private one, this node knows what was revoked.
    keys = new Map(records.map((record) => [record.kid, openPublic(record)]))
    const active = records.find((record) => record.state === 'active')
    // A node that cannot open the new key yet goes on with the one before it, never with a revoked one.
    const before = keys.get(signer?.record.kid ?? '')?.record.state
    if (before === undefined || before === 'revoked') signer = undefined
    if (active !== undefined) signer = { record: active, privateKey: openPrivate(active, sealer, store.kind) }
  }
  let last: Promise<unknown> = Promise.resolve()
  return {
    get keys() {
      return keys
    },
    get signer() {
      return signer
    },
    // One after the other: an answer of the store that comes late never replaces a newer one.
    load() {
      const loaded = last.then(read)
      last = loaded.catch(() => undefined)
      return loaded
    },
  }
}

/** Opens the key ring; the first start of an installation makes its keys. */
export async function keyRing(options: KeyRingOptions): Promise<KeyRing> {
  const ring = await openKeyRing(options)
  await ring.begin()
  return ring
}

/** Opens the key ring as it is: keys that take their time to make are begun when nobody waits for them. */
export async function openKeyRing(options: KeyRingOptions): Promise<KeyRing> {
  const { store, now } = options
  const loaded = loadedKeys(options)
  const rotate = async (force: boolean): Promise<RotationResult> => {
    await loaded.load()
    const next = [...loaded.keys.values()].find((key) => key.record.state === 'next')
    const active = loaded.signer?.record.kid
    if (active === undefined || next === undefined) return 'raced'
    if (!force && now() - next.record.since < options.overlapMs) return 'too_early'
    const added = await makeKey(options, 'next')
    const done = await store.rotate({ activeKid: active, nextKid: next.record.kid, added, at: now() }, [activated(next.record.kid, active), created(added.kid)])
    await loaded.load()
    return done ? 'rotated' : 'raced'
  }

  let beginning: Promise<void> | undefined
  const begin = async (): Promise<void> => {
    if (loaded.signer !== undefined) return
    beginning ??= makeFirst(options, loaded).finally(() => (beginning = undefined))
    await beginning
  }

  await loaded.load()
  return {
    begin,
    sign(payload, typ) {
      if (loaded.signer === undefined) throw new Error('there is no active signing key')
      return signJwt(payload, typ, loaded.signer)
    },
    publicKey(kid) {
      const found = loaded.keys.get(kid)
      if (found === undefined || found.record.state === 'revoked') return undefined
      return { key: found.publicKey, algorithm: found.record.algorithm }
    },
    jwks: () => ({ keys: [...loaded.keys.values()].filter((key) => key.record.state !== 'revoked').map((key) => key.publicJwk) }),
    reload: loaded.load,
    rotate: ({ force }) => rotate(force),
    async revoke(kid) {
      const added = await makeKey(options, 'next')
      const done = await store.revoke({ kid, added, at: now() }, (effect) => revocationEvents(kid, effect))
      await loaded.load()
      return done
    },
    list: () => store.all(),
    async maintain() {
      await begin()
      if (loaded.signer !== undefined && now() - loaded.signer.record.since > options.rotateAfterMs) await rotate(false)
      await store.forgetRetired(now() - Math.max(options.overlapMs, KEEP_ENDED_MS))
    },
  }
}

async function makeFirst(options: KeyRingOptions, loaded: LoadedKeys): Promise<void> {
  if (loaded.keys.size === 0) {
    const first = [await makeKey(options, 'active'), await makeKey(options, 'next')]
    await options.store.addFirst(first, first.map(({ kid }) => created(kid)))
    await loaded.load()
  }
  if (loaded.signer === undefined) throw new Error(`there is no active signing key: the table signing_keys was changed by hand`)
}

function created(kid: string): AuditEvent {
  return { action: 'key.created', outcome: 'success', detail: { kid } }
}

function activated(kid: string, retired: string): AuditEvent {
  return { action: 'key.activated', outcome: 'success', detail: { kid, retired } }
}

function revocationEvents(kid: string, effect: RevocationEffect): readonly AuditEvent[] {
  return [
    { action: 'key.revoked', outcome: 'success', detail: { kid } },
    ...(effect.activated === undefined ? [] : [activated(effect.activated, kid)]),
    ...(effect.added === undefined ? [] : [created(effect.added)]),
  ]
}

function openPublic(record: KeyRecord): LoadedKey {
  const publicJwk = JSON.parse(record.publicJwk) as JWK
  return { record, publicJwk, publicKey: createPublicKey({ key: publicJwk, format: 'jwk' }) }
}

function openPrivate(record: KeyRecord, sealer: Sealer, kind: string): KeyObject {
  return createPrivateKey({ key: JSON.parse(sealer.open(record.privateJwk, row(kind, record.kid))) as JWK, format: 'jwk' })
}

const generate = promisify(generateKeyPair)

const PAIRS = {
  ES256: () => generate('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generate('ed25519', {}),
  RS256: () => generate('rsa', { modulusLength: 2048 }),
} satisfies Record<SigningAlgorithm, unknown>

async function makeKey(options: KeyRingOptions, state: 'active' | 'next'): Promise<KeyRecord> {
  const pair = await PAIRS[options.algorithm]()
  const bare = pair.publicKey.export({ format: 'jwk' }) as JWK
  const kid = await calculateJwkThumbprint(bare)
  return {
    kid,
    algorithm: options.algorithm,
    state,
    publicJwk: JSON.stringify({ ...bare, kid, alg: options.algorithm, use: 'sig' }),
    privateJwk: options.sealer.seal(JSON.stringify(pair.privateKey.export({ format: 'jwk' })), row(options.store.kind, kid)),
    since: options.now(),
  }
}

function row(kind: string, kid: string): readonly string[] {
  return ['signing_keys', kind, kid, 'private_jwk']
}

function signJwt(payload: JWTPayload, typ: string, { record, privateKey: key }: Signer): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode({ alg: record.algorithm, typ, kid: record.kid })}.${encode(payload)}`
  // RFC 7518 §3.4: the signature is R and S side by side, not their DER form.
  const signature = signBytes(record.algorithm === 'EdDSA' ? null : 'sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}
