import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeJwt } from 'jose'
import { newProofKey, possession } from './possession.ts'

const newKey = await newProofKey()
const WANTED = { 'dpop-nonce': 'n1', 'www-authenticate': 'DPoP error="use_dpop_nonce"' }

test('RFC 9449 §9: of requests at once that were sent without the nonce, each is to be sent again, though the first answer brought it already', () => {
  const bound = possession(newKey, 'token')
  const sent = Array.from({ length: 3 }, () => bound.prove('POST', 'https://rs.example/mcp', 0))
  assert.deepEqual(sent.map((proof) => decodeJwt(proof)['nonce']), [undefined, undefined, undefined])
  assert.deepEqual(sent.map(() => bound.learn(401, WANTED)), [true, true, true])
  assert.equal(decodeJwt(bound.prove('POST', 'https://rs.example/mcp', 0))['nonce'], 'n1')
})

test('RFC 9449 §8.2: the newest nonce counts, whatever the answer is; what is refused for something else is not sent again', () => {
  const bound = possession(newKey, 'token')
  const nonce = (): unknown => decodeJwt(bound.prove('GET', 'https://rs.example/mcp?a=b#c', 0))['nonce']
  assert.deepEqual([bound.learn(200, { 'dpop-nonce': 'n2' }), nonce()], [false, 'n2'])
  assert.deepEqual([bound.learn(401, { 'dpop-nonce': 'n3', 'www-authenticate': 'DPoP error="invalid_token"' }), nonce()], [false, 'n3'])
  assert.deepEqual([bound.learn(401, { 'www-authenticate': WANTED['www-authenticate'] }), nonce()], [false, 'n3'])
  assert.deepEqual([bound.learn(401, { ...WANTED, 'dpop-nonce': 'x'.repeat(2000) }), nonce()], [false, 'n3'])
})

