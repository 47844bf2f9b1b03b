// A mistake of the gateway's own is told as a fault, with its stack in the log: not as an outage that passes by itself.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StoreUnavailable } from '../../src/http/errors.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { needsPostgres } from '../support/databases.ts'
import { postgresUrl } from '../support/postgres.ts'

test('what Node calls a mistake within a transaction is no outage of the store, and what is said of a connection is one', needsPostgres, async (t) => {
  const database = await postgresUrl()
  const db = openPostgres(database.url)
  t.after(() => db.close().then(() => database.close()))
  const failing = (code: string): Promise<void> =>
    db.transaction(async () => {
      throw Object.assign(new TypeError('wrong'), { code })
    })
  for (const code of ['ERR_INVALID_ARG_TYPE', 'ERR_OSSL_BAD_DECRYPT', 'ERR_JWT_EXPIRED']) await assert.rejects(failing(code), (error) => error instanceof TypeError, code)
  for (const code of ['ECONNRESET', 'EAI_AGAIN', 'ETIMEDOUT', 'CONNECT_TIMEOUT', 'CONNECTION_CLOSED', 'ERR_STREAM_DESTROYED', 'ERR_SSL_WRONG_VERSION_NUMBER']) await assert.rejects(failing(code), (error) => error instanceof StoreUnavailable && error.code === code, code)
})
