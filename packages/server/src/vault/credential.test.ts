import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { SealError, sealer } from '../keys/seal.ts'
import type { Sealed } from '../oauth/secret.ts'
import { vault, type OAuthCredential } from './credential.ts'

const key = { id: 'k1', key: randomBytes(32) }
const credential: OAuthCredential = { accessToken: 'the-access-token', refreshToken: 'the-refresh-token', expiresAt: 7, refreshAt: 6, scope: 'a b', issuer: 'https://as.example', clientId: 'c', account: 'x' }

test('a credential opens for its user and upstream alone', () => {
  const { seal, open } = vault(sealer([key]))
  const sealed = seal('usr_a', 'tickets', credential)
  assert.deepEqual(open('usr_a', 'tickets', sealed), credential)
  for (const [user, upstream] of [['usr_b', 'tickets'], ['usr_a', 'notes'], ['usr_a ', 'tickets'], ['tickets', 'usr_a'], ['', 'usr_atickets'], ['usr_at', 'ickets']] as const) {
    assert.throws(() => open(user, upstream, sealed), SealError, `${user} ${upstream}`)
  }
})

test('nothing of a credential stands in what is stored, and no two are alike', () => {
  const { seal } = vault(sealer([key]))
  const [first, second] = [seal('u', 't', credential), seal('u', 't', credential)]
  assert.notEqual(first, second)
  const bytes = Buffer.concat(first.split('.').map((part) => Buffer.from(part, 'base64url'))).toString('latin1') + first
  for (const value of ['the-access-token', 'the-refresh-token', 'as.example']) assert.ok(!bytes.includes(value))
})

test('a changed credential, or one of an unknown key, does not open', () => {
  const { seal, open } = vault(sealer([key]))
  const sealed = seal('u', 't', credential)
  const [format = '', id = '', wrapped = '', body = ''] = sealed.split('.')
  const flipped = (part: string): string => `${part.startsWith('A') ? 'B' : 'A'}${part.slice(1)}`
  for (const changed of [[format, id, flipped(wrapped), body], [format, id, wrapped, flipped(body)], [format, 'k2', wrapped, body], ['v2', id, wrapped, body], [format, id, wrapped], [format, id, wrapped, body, body]]) {
    assert.throws(() => open('u', 't', changed.join('.') as Sealed), SealError)
  }
  assert.throws(() => vault(sealer([{ id: 'k1', key: randomBytes(32) }])).open('u', 't', sealed), SealError)
  // After a rotation the former key still opens.
  assert.deepEqual(vault(sealer([{ id: 'k2', key: randomBytes(32) }, key])).open('u', 't', sealed), credential)
})
