// Checks what is this installation's own: key-encryption keys, store, and that the one opens the other.
import { existsSync } from 'node:fs'
import type { Config } from '../config/load.ts'
import { KeySourceError, readKeySource, type EncryptionKey } from '../keys/key-source.ts'
import { SealError, sealer } from '../keys/seal.ts'
import { keyRing } from '../keys/signing.ts'
import { auditLog } from '../store/audit-log.ts'
import type { Database } from '../store/database.ts'
import { keyStore } from '../store/keys.ts'
import { pendingMigrations } from '../store/migrate.ts'
import { storeError, storeName } from '../store/open.ts'
import { failed, ok, warning, type Finding } from './finding.ts'
import { openForReading } from './store.ts'

export function checkKeys(config: Config): readonly Finding[] {
  if (isStillToBeMade(config)) return [warning('key encryption', `${config.keyEncryption} does not exist yet; "lanyard serve" makes it`)]
  const keys = readKeys(config)
  if (typeof keys === 'string') return [failed('key encryption', keys, 'mend keyEncryption: one line "k1:" and 32 random bytes in base64url, readable by its owner alone')]
  const [current] = keys
  return [ok('key encryption', `${config.keyEncryption}, the current key is ${current?.id ?? 'unknown'}${keys.length > 1 ? ` of ${keys.length}` : ''}`)]
}

export async function checkStore(config: Config): Promise<readonly Finding[]> {
  const store = storeName(config.store)
  let db: Database | undefined
  try {
    db = openForReading(config)
    if (db === undefined) return [warning('store', `${store} does not exist yet; "lanyard serve" makes it`)]
    const pending = await pendingMigrations(db)
    if (pending.length > 0) return [warning('store', `${store} answers; its schema lacks ${pending.join(', ')}`, 'run "lanyard migrate", or start the gateway, which does it too')]
    return [ok('store', `${store} answers, its schema is up to date`), await checkSigningKeys(config, db)]
  } catch (error) {
    return [failed('store', storeError(config.store, error).message.replace(/^store /, ''), 'mend the setting "store", or start the database')]
  } finally {
    await db?.close()
  }
}

async function checkSigningKeys(config: Config, db: Database): Promise<Finding> {
  const store = keyStore({ db, audit: auditLog(db, () => undefined), changed: () => Promise.resolve() })
  const records = await store.all()
  if (records.length === 0) return warning('signing keys', 'there are none yet; "lanyard serve" makes them')
  const encryption = isStillToBeMade(config) ? `${config.keyEncryption} does not exist` : readKeys(config)
  const next = 'the store was made with another key-encryption key: bring that one back; a new one cannot open what is sealed'
  if (typeof encryption === 'string') return failed('signing keys', `they cannot be opened: ${encryption}`, next)
  try {
    // There are keys, so that opening the ring only reads.
    await keyRing({ store, sealer: sealer(encryption), algorithm: config.signing.algorithm, rotateAfterMs: 0, overlapMs: 0, now: Date.now })
    return ok('signing keys', `${records.filter((key) => key.state !== 'revoked').length} published, the active one opens`)
  } catch (error) {
    if (!(error instanceof SealError)) throw error
    return failed('signing keys', error.message, next)
  }
}

/** Only the embedded default is made where it is missing. */
function isStillToBeMade({ keyEncryption, generateKeyEncryptionKey }: Config): boolean {
  return generateKeyEncryptionKey && keyEncryption.startsWith('file:') && !existsSync(keyEncryption.slice('file:'.length))
}

function readKeys(config: Config): readonly EncryptionKey[] | string {
  try {
    return readKeySource(config.keyEncryption, false)
  } catch (error) {
    if (error instanceof KeySourceError) return error.message
    throw error
  }
}
