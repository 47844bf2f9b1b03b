// Owns what is secret at rest and what signs: sealing, key-encryption keys, signing keys. It does not know what it seals.
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { random } from '../oauth/random.ts'
import type { Sealed } from '../oauth/secret.ts'
import type { EncryptionKey } from './key-source.ts'

/**
 * Envelope encryption: each value under a data key of its own, wrapped by a versioned key-encryption key, bound to the
 * row that it belongs to.
 */
export interface Sealer {
  /** @param row names table, key and column of the row, as additional data: the value opens in that place alone. */
  seal(plaintext: string, row: readonly string[]): Sealed
  /** @throws SealError when the value is not of this row, was changed, or its key is unknown. */
  open(sealed: Sealed, row: readonly string[]): string
}

/** A sealed value does not open here: the message says nothing about what is in it. */
export class SealError extends Error {
  override readonly name = 'SealError'
}

const FORMAT = 'v1'
const IV_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32

export function sealer(keys: readonly EncryptionKey[]): Sealer {
  const byId = new Map(keys.map((key) => [key.id, key]))
  const [current] = keys
  if (current === undefined) throw new SealError('there is no key-encryption key')
  return {
    seal(plaintext, row) {
      const dataKey = random(KEY_BYTES)
      const context = additionalData([FORMAT, current.id, ...row])
      const wrapped = encrypt(current.key, dataKey, context)
      const body = encrypt(dataKey, Buffer.from(plaintext, 'utf8'), context)
      return `${FORMAT}.${current.id}.${wrapped.toString('base64url')}.${body.toString('base64url')}` as Sealed
    },
    open(sealed, row) {
      const [format, id = '', wrapped = '', body = '', ...rest] = sealed.split('.')
      const key = byId.get(id)
      if (format !== FORMAT || rest.length > 0 || key === undefined) throw new SealError('the key of a sealed value is not among the key-encryption keys')
      const context = additionalData([FORMAT, id, ...row])
      const dataKey = decrypt(key.key, decode(wrapped), context)
      return decrypt(dataKey, decode(body), context).toString('utf8')
    },
  }
}

/** Seals small state that travels through a client or a browser: compact, for one purpose and context, until it expires. */
export interface StateSealer {
  /** @param expiresAt milliseconds since the epoch */
  seal(purpose: string, context: readonly string[], payload: object, expiresAt: number): string
  /** @returns undefined when the state was changed, is of another purpose or context, or has expired. */
  open(purpose: string, context: readonly string[], state: string, now: number): unknown
}

export function stateSealer(keys: readonly EncryptionKey[]): StateSealer {
  const derived = new Map<string, Buffer>()
  // One key per purpose: what is sealed for one can never open for another. Purposes are constants of the code.
  const keyFor = (key: EncryptionKey, purpose: string): Buffer => {
    const name = `${key.id} ${purpose}`
    let value = derived.get(name)
    if (value === undefined) {
      value = Buffer.from(hkdfSync('sha256', key.key, Buffer.alloc(0), `lanyard state ${purpose}`, KEY_BYTES))
      derived.set(name, value)
    }
    return value
  }
  const [current] = keys
  if (current === undefined) throw new SealError('there is no key-encryption key')
  return {
    seal(purpose, context, payload, expiresAt) {
      const plaintext = Buffer.from(JSON.stringify([expiresAt, payload]), 'utf8')
      return `${current.id}.${encrypt(keyFor(current, purpose), plaintext, additionalData(context)).toString('base64url')}`
    },
    open(purpose, context, state, now) {
      const [id = '', body = '', ...rest] = state.split('.')
      const key = keys.find((candidate) => candidate.id === id)
      if (key === undefined || rest.length > 0) return undefined
      try {
        const opened: unknown = JSON.parse(decrypt(keyFor(key, purpose), decode(body), additionalData(context)).toString('utf8'))
        if (!Array.isArray(opened) || typeof opened[0] !== 'number' || opened[0] <= now) return undefined
        return opened[1]
      } catch (error) {
        if (error instanceof SealError) return undefined
        throw error
      }
    },
  }
}

/** Parts behind their lengths, so that no two different rows have the same additional data. */
function additionalData(parts: readonly string[]): Buffer {
  return Buffer.from(parts.map((part) => `${Buffer.byteLength(part)}:${part}`).join(''), 'utf8')
}

function encrypt(key: Buffer, plaintext: Buffer, context: Buffer): Buffer {
  const iv = random(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(context)
  return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** One value, one spelling: unused bits, padding and foreign characters would make other strings of it that open as well. */
function decode(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url')
  if (bytes.toString('base64url') !== text) throw new SealError('a sealed value was changed, or belongs to another place')
  return bytes
}

function decrypt(key: Buffer, sealed: Buffer, context: Buffer): Buffer {
  if (sealed.length < IV_BYTES + TAG_BYTES) throw new SealError('a sealed value is too short')
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES }).setAAD(context)
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
    return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()])
  } catch {
    throw new SealError('a sealed value was changed, or belongs to another place')
  }
}
