import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeJwt } from 'jose'
import { newProofKey, possession } from '../upstreams/connectors/oauth/possession.ts'
import type { Answer } from './exchange.ts'
import { withNonce } from './upstream-call.ts'

const answer = (status: number, headers: Readonly<Record<string, string>>): Answer => ({ status, headers, consume: () => Promise.resolve(), pipe: () => Promise.resolve(), cancel: () => undefined })

test('RFC 9449 §8.2, §9: of calls at once each is sent at most twice, and where each answer brings another nonce the next call is sent once', async () => {
  const bound = possession(await newProofKey(), 'token')
  let current = 'n1'
  let sent = 0
  const send = async (): Promise<Answer> => {
    sent += 1
    const { nonce } = decodeJwt(bound.prove('POST', 'https://rs.example/mcp', 0))
    await Promise.resolve()
    return nonce === current ? answer(200, {}) : answer(401, { 'dpop-nonce': current, 'www-authenticate': 'DPoP error="use_dpop_nonce"' })
  }
  const statuses = async (count: number): Promise<readonly number[]> => (await Promise.all(Array.from({ length: count }, () => withNonce(bound, send)))).map(({ status }) => status)
  assert.deepEqual([await statuses(5), sent], [[200, 200, 200, 200, 200], 10])
  assert.deepEqual([await statuses(5), sent], [[200, 200, 200, 200, 200], 15])
  const once = async (): Promise<Answer> => {
    sent += 1
    const { nonce } = decodeJwt(bound.prove('POST', 'https://rs.example/mcp', 0))
    const isGood = nonce === current
    current = `n${sent}`
    return answer(isGood ? 200 : 401, { 'dpop-nonce': current, ...(isGood ? {} : { 'www-authenticate': 'DPoP error="use_dpop_nonce"' }) })
  }
  current = 'another'
  for (let call = 0; call < 3; call += 1) assert.equal((await withNonce(bound, once)).status, 200)
  assert.equal(sent, 15 + 2 + 2)
})
