import { closeSync, fchmodSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from 'node:fs'
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
// Standard base64 as well: what `openssl rand -base64 32` prints.
const LINE = /^([a-z0-9-]{1,32}):([A-Za-z0-9+/_-]{43})=?$/

/**
 * Reads key-encryption keys: `file:PATH` or `env:NAME`, one `id:base64` (or base64url) per line; the first is current.
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
    return readPrivately(path)
  } catch (error) {
    if (error instanceof KeySourceError) throw error
    if (!isCode(error, 'ENOENT') || !generate) throw new KeySourceError(`file:${path}: cannot be read`, { cause: error })
  }
  try {
    generateKeyFile(path)
    return readPrivately(path)
  } catch (error) {
    if (error instanceof KeySourceError) throw error
    throw new KeySourceError(`file:${path}: cannot be written`, { cause: error })
  }
}

function readPrivately(path: string): string {
  // Windows has no such mode bits.
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
    throw new KeySourceError(`file:${path}: others can read this file; allow its owner alone (chmod 600)`)
  }
  return readFileSync(path, 'utf8')
}

/** Complete or not there: of two processes that start at once one links its key, and both read that one. */
function generateKeyFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  const file = openSync(draft, 'wx', 0o600)
  try {
    fchmodSync(file, 0o600)
    // The identifier is as new as the key: what an earlier key sealed says that its key is missing.
    writeSync(file, `k${randomBytes(3).toString('hex')}:${randomBytes(KEY_BYTES).toString('base64url')}\n`)
    // What is sealed under it is synced to disk; the key must not be lost where that is kept.
    fsyncSync(file)
    linkSync(draft, path)
    syncFolder(dirname(path))
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error
  } finally {
    closeSync(file)
    unlinkSync(draft)
  }
}

function syncFolder(path: string): void {
  if (process.platform === 'win32') return
  const folder = openSync(path, 'r')
  fsyncSync(folder)
  closeSync(folder)
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function parseKeys(text: string, source: string): readonly EncryptionKey[] {
  const lines = text.split(/\s+/).filter((line) => line !== '')
  const keys = lines.map((line): EncryptionKey => {
    const [, id, encoded] = LINE.exec(line) ?? []
    const key = Buffer.from(encoded ?? '', 'base64')
    if (id === undefined || key.length !== KEY_BYTES) {
      throw new KeySourceError(`${source}: each line must be an identifier, a colon and 32 random bytes in base64, such as k1:$(openssl rand -base64 32)`)
    }
    if (new Set(key).size < 8) throw new KeySourceError(`${source}: the key ${id} is not random`)
    return { id, key }
  })
  if (keys.length === 0) throw new KeySourceError(`${source}: there is no key`)
  if (new Set(keys.map((key) => key.id)).size !== keys.length) throw new KeySourceError(`${source}: two keys have one identifier`)
  return keys
}
