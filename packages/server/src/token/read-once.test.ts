import assert from 'node:assert/strict'
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { test } from 'node:test'
import { readingOnce } from './read-once.ts'

const NOW = 1_700_000_000_000

function signing(): { readonly asked: string[]; readonly keys: Parameters<typeof readingOnce>[0]['keys']; readonly token: (claims?: object) => string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const asked: string[] = []
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return {
    asked,
    keys: {
      publicKey(kid: string): { readonly algorithm: 'ES256'; readonly key: KeyObject } | undefined {
        asked.push(kid)
        return kid === 'k1' ? { algorithm: 'ES256', key: publicKey } : undefined
      },
    },
    token(claims = {}) {
      const at = NOW / 1000
      const input = `${part({ alg: 'ES256', typ: 'at+jwt', kid: 'k1' })}.${part({ iss: 'https://lanyard.example', sub: 'usr_1', aud: 'https://lanyard.example/mcp', client_id: 'app', grant: 'grt_1', scope: 'mcp.read', jti: 'jti_1', iat: at, exp: at + 60, ...claims })}`
      return `${input}.${sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
    },
  }
}

test('a signature is verified once, and the end of the token counts every time (RFC 9068 §4)', () => {
  const { asked, keys, token } = signing()
  const read = readingOnce({ issuer: 'https://lanyard.example', keys })
  const good = token()
  for (let time = 0; time < 5; time += 1) assert.equal(read(good, NOW)?.userId, 'usr_1')
  assert.equal(asked.length, 1)
  assert.equal(read(good, NOW + 59_999)?.grantId, 'grt_1')
  assert.equal(read(good, NOW + 60_000), undefined)
  assert.equal(read(token({ sub: 'usr_2' }), NOW)?.userId, 'usr_2')
})

test('what was refused is not remembered as good, nor taken for another', () => {
  const { asked, keys, token } = signing()
  const read = readingOnce({ issuer: 'https://lanyard.example', keys })
  const good = token()
  assert.ok(read(good, NOW))
  const forged = `${good.slice(0, -4)}AAAA`
  for (let time = 0; time < 2; time += 1) assert.equal(read(forged, NOW), undefined)
  assert.equal(asked.length, 3)
  assert.equal(read(token({ iss: 'https://other.example' }), NOW), undefined)
  assert.equal(read('', NOW), undefined)
})
