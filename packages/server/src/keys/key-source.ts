import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'

/** A key-encryption key: 256 bits, and the name that sealed values remember it by. */
export interface EncryptionKey {
  readonly id: string
  readonly key: Buffer
}

/** The key-encryption keys cannot be used: the message says which setting, and never shows a key. */
export class KeySourceError extends Error {
  override readonly name = 'KeySourceError'
}

const KEY_BYTES = 32
const LINE = /^([a-z0-9-]{1,32}):([A-Za-z0-9_-]{43})$/

/**
 * Reads key-encryption keys: `file:PATH` or `env:NAME`, one `id:base64url` per line; the first is current.
 *
 * @param generate makes a missing file with a new key, readable by its owner alone: for the embedded default.
 * @throws KeySourceError
 */
export function readKeySource(source: string, generate: boolean, environment: NodeJS.ProcessEnv = process.env): readonly EncryptionKey[] {
  const [kind, name] = [source.slice(0, source.indexOf(':')), source.slice(source.indexOf(':') + 1)]
  if (kind === 'file') return parseKeys(readKeyFile(name, generate), source)
  if (kind !== 'env') throw new KeySourceError(`${source}: a key source is file:PATH or env:NAME`)
  const value = environment[name]
  if (value === undefined) throw new KeySourceError(`${source}: the environment has no ${name}`)
  return parseKeys(value, source)
}

function readKeyFile(path: string, generate: boolean): string {
  try {
    // Windows has no such mode bits.
    if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
      throw new KeySourceError(`file:${path}: others can read this file; allow its owner alone (chmod 600)`)
    }
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof KeySourceError) throw error
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    if (!missing || !generate) throw new KeySourceError(`file:${path}: cannot be read`, { cause: error })
  }
  const line = `k1:${randomBytes(KEY_BYTES).toString('base64url')}\n`
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  try {
    // `wx`: of two processes that start at once, one writes the key and the other reads it.
    writeFileSync(path, line, { mode: 0o600, flag: 'wx' })
    chmodSync(path, 0o600)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  return readFileSync(path, 'utf8')
}

function parseKeys(text: string, source: string): readonly EncryptionKey[] {
  const lines = text.split(/\s+/).filter((line) => line !== '')
  const keys = lines.map((line): EncryptionKey => {
    const [, id, encoded] = LINE.exec(line) ?? []
    const key = Buffer.from(encoded ?? '', 'base64url')
    if (id === undefined || key.length !== KEY_BYTES) {
      throw new KeySourceError(`${source}: each line must be an identifier, a colon and 32 random bytes in base64url`)
    }
    if (new Set(key).size < 8) throw new KeySourceError(`${source}: the key ${id} is not random`)
    return { id, key }
  })
  if (keys.length === 0) throw new KeySourceError(`${source}: there is no key`)
  if (new Set(keys.map((key) => key.id)).size !== keys.length) throw new KeySourceError(`${source}: two keys have one identifier`)
  return keys
}
