// What the store of signing keys promises, and the key ring on two nodes over it.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import type { KeyRecord, KeyStore } from '../../src/keys/key-store.ts'
import { sealer, SealError, type Sealer } from '../../src/keys/seal.ts'
import { KEEP_ENDED_MS, keyRing, openKeyRing, type KeyRing, type SigningAlgorithm } from '../../src/keys/signing.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { keyStore } from '../../src/store/keys.ts'
import { readAccessToken } from '../../src/token/access-token.ts'
import { eachPair, EVENT, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const ISSUER = 'https://lanyard.example'
const OVERLAP = 60_000

function record(kid: string, state: KeyRecord['state'] = 'next', since = 1): KeyRecord {
  return { kid, algorithm: 'ES256', state, publicJwk: '{}', privateJwk: `v1.k.${kid}` as Sealed, since }
}

async function states(store: KeyStore): Promise<Record<string, string>> {
  return Object.fromEntries((await store.all()).map((key) => [key.kid, key.state]))
}

async function twoKeys(pair: StorePair): Promise<KeyStore> {
  const store = keyStore(pair.one)
  await store.addFirst([record('a', 'active'), record('b')], [EVENT])
  return store
}

eachPair('addFirst: of 20 nodes that start at once, one makes the keys', async (pair) => {
  const added = await race(pair, (parts, index) => keyStore(parts).addFirst([record(`a${index}`, 'active'), record(`b${index}`)], [EVENT]))
  assert.equal(added.filter(Boolean).length, 1)
  assert.deepEqual(Object.values(await states(keyStore(pair.two))).sort(), ['active', 'next'])
  assert.deepEqual(await pair.actions(), ['logout'])
})

eachPair('rotate: of 20 at once one wins, and what it names must still be so', async (pair) => {
  const store = await twoKeys(pair)
  const change = (added: string) => ({ activeKid: 'a', nextKid: 'b', added: record(added), at: 5 })
  const won = await race(pair, (parts, index) => keyStore(parts).rotate(change(`c${index}`), [EVENT]))
  assert.equal(won.filter(Boolean).length, 1)
  const after = await states(store)
  assert.deepEqual([after['a'], after['b'], Object.keys(after).length], ['retired', 'active', 3])
  assert.equal((await store.all()).find((key) => key.kid === 'b')?.since, 5)
  assert.equal(await store.rotate({ activeKid: 'b', nextKid: 'nobody', added: record('z'), at: 6 }, [EVENT]), false)
  assert.deepEqual(await states(store), after)
  assert.deepEqual(pair.changes.map(({ kind, key }) => [kind, key]), [['signing-keys', 'b']])
  assert.equal((await pair.actions()).length, 2)
})

eachPair('revoke: a retired key ends, an active one is replaced, a next one is made anew: always one of each', async (pair) => {
  const store = await twoKeys(pair)
  const effects: object[] = []
  const revoke = (kid: string, added: string) => store.revoke({ kid, added: record(added), at: 7 }, (effect) => (effects.push(effect), [EVENT]))
  assert.equal(await revoke('nobody', 'x'), false)
  assert.equal(await revoke('b', 'c'), true)
  assert.deepEqual(await states(store), { a: 'active', b: 'revoked', c: 'next' })
  assert.equal(await revoke('a', 'd'), true)
  assert.deepEqual(await states(store), { a: 'revoked', b: 'revoked', c: 'active', d: 'next' })
  assert.equal(await revoke('a', 'e'), false, 'revoked before')
  assert.deepEqual(effects, [{ added: 'c' }, { activated: 'c', added: 'd' }])
  assert.deepEqual(pair.changes.map(({ kind, key }) => `${kind} ${key}`), ['key b', 'signing-keys b', 'key a', 'signing-keys a'])
})

eachPair('revoke and rotate at once, 20 of them: never without an active and a next key', async (pair) => {
  const store = await twoKeys(pair)
  for (let round = 0; round < 5; round += 1) {
    const now = await states(store)
    const kid = (state: string): string => Object.keys(now).find((name) => now[name] === state) ?? ''
    await race(pair, (parts, index) => {
      const mine = keyStore(parts)
      const added = record(`r${round}-${index}`)
      if (index % 3 === 0) return mine.rotate({ activeKid: kid('active'), nextKid: kid('next'), added, at: round }, [EVENT])
      return mine.revoke({ kid: kid(index % 3 === 1 ? 'active' : 'next'), added, at: round }, () => [EVENT])
    })
    const after = Object.values(await states(store))
    assert.deepEqual([after.filter((state) => state === 'active').length, after.filter((state) => state === 'next').length], [1, 1])
  }
})

eachPair('the database itself refuses a second active or next key', async (pair) => {
  await twoKeys(pair)
  for (const state of ['active', 'next']) {
    await assert.rejects(pair.db.query(`INSERT INTO signing_keys (kid, kind, algorithm, state, public_jwk, private_jwk, since) VALUES ('z', 'access', 'ES256', $1, '{}', '{}', 1)`, [state]), /unique/i)
  }
})

eachPair('keys: no change stays whose event cannot be written', async (pair) => {
  await rollsBack(pair, (parts) => keyStore(parts).addFirst([record('a', 'active'), record('b')], [EVENT]))
  await twoKeys(pair)
  await rollsBack(pair, (parts) => keyStore(parts).rotate({ activeKid: 'a', nextKid: 'b', added: record('c'), at: 5 }, [EVENT]))
  await rollsBack(pair, (parts) => keyStore(parts).revoke({ kid: 'a', added: record('c'), at: 5 }, () => [EVENT]))
})

eachPair('forgetRetired forgets retired and revoked keys of before, never one in use', async (pair) => {
  const store = await twoKeys(pair)
  await store.rotate({ activeKid: 'a', nextKid: 'b', added: record('c', 'next', 5), at: 5 }, [EVENT])
  await store.revoke({ kid: 'c', added: record('d', 'next', 1), at: 9 }, () => [EVENT])
  await store.forgetRetired(5)
  assert.equal(Object.keys(await states(store)).length, 4)
  await store.forgetRetired(6)
  assert.deepEqual(await states(store), { b: 'active', c: 'revoked', d: 'next' })
  await store.forgetRetired(100)
  assert.deepEqual(await states(store), { b: 'active', d: 'next' })
})

interface Clock {
  now: number
}

function ring(parts: StoreParts, secrets: Sealer, clock: Clock, algorithm: SigningAlgorithm = 'ES256'): Promise<KeyRing> {
  return keyRing({ store: keyStore(parts), sealer: secrets, algorithm, rotateAfterMs: 1_000_000, overlapMs: OVERLAP, now: () => clock.now })
}

function secretsOf(...ids: string[]): Sealer {
  return sealer(ids.map((id) => ({ id, key: KEYS.get(id) ?? assert.fail() })))
}

const KEYS = new Map(['k1', 'k2'].map((id) => [id, randomBytes(32)]))

function sign(keys: KeyRing, clock: Clock): string {
  const iat = Math.floor(clock.now / 1000)
  return keys.sign({ iss: ISSUER, sub: 'usr_1', aud: 'r', client_id: 'c', grant: 'g', scope: 'mcp.read', jti: 'j', iat, exp: iat + 900 }, 'at+jwt')
}

function kidOf(token: string): string {
  return String((JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as { kid: unknown }).kid)
}

/** Why a node refuses a token, or undefined when it takes it. */
function refusal(keys: KeyRing, token: string, clock: Clock): string | undefined {
  try {
    readAccessToken(token, { issuer: ISSUER, keys, now: clock.now })
    return undefined
  } catch (error) {
    return (error as { reason: string }).reason
  }
}

for (const algorithm of ['ES256', 'EdDSA'] as const) {
  eachPair(`RFC 7515: ${algorithm} signatures verify with another library against what /jwks publishes, and not when changed`, async (pair) => {
    const clock = { now: Date.now() }
    const keys = await ring(pair.one, secretsOf('k1'), clock, algorithm)
    const token = sign(keys, clock)
    const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(keys.jwks()), { issuer: ISSUER, typ: 'at+jwt' })
    assert.equal(payload.sub, 'usr_1')
    const published = keys.jwks().keys.find((key) => key.kid === protectedHeader.kid)
    assert.deepEqual([protectedHeader.alg, published?.alg, published?.use], [algorithm, algorithm, 'sig'])
    const [header = '', body = '', signature = ''] = token.split('.')
    const other = Buffer.from(JSON.stringify({ ...payload, sub: 'usr_2' })).toString('base64url')
    await assert.rejects(jwtVerify(`${header}.${other}.${signature}`, createLocalJWKSet(keys.jwks())), { code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' })
    assert.equal(refusal(keys, token, clock), undefined)
    assert.equal(refusal(keys, `${header}.${other}.${signature}`, clock), 'signature')
    assert.ok(body !== other)
  })
}

eachPair('RFC 7518 §3.3: an RS256 key signs what another library verifies, is published for signatures, and signs no access token; it is made when it is begun, once for all nodes', async (pair) => {
  const clock = { now: Date.now() }
  const open = (parts: StoreParts): Promise<KeyRing> => openKeyRing({ store: keyStore(parts, 'federation'), sealer: secretsOf('k1'), algorithm: 'RS256', rotateAfterMs: 1_000_000, overlapMs: OVERLAP, now: () => clock.now })
  const one = await open(pair.one)
  assert.deepEqual([one.jwks().keys, await keyStore(pair.two, 'federation').all()], [[], []])
  assert.throws(() => sign(one, clock), /no active signing key/)
  const rings = await race(pair, async (parts) => {
    const ring = await open(parts)
    await Promise.all([ring.begin(), ring.begin()])
    return ring
  }, 4)
  await one.begin()
  const records = await keyStore(pair.one, 'federation').all()
  assert.deepEqual(records.map(({ algorithm, state }) => `${algorithm} ${state}`).sort(), ['RS256 active', 'RS256 next'])
  for (const { privateJwk } of records) assert.ok(!privateJwk.includes('"d"') && privateJwk.startsWith('v1.k1.'), 'sealed')
  for (const ring of [one, ...rings]) {
    const token = sign(ring, clock)
    const { protectedHeader } = await jwtVerify(token, createLocalJWKSet(one.jwks()), { algorithms: ['RS256'] })
    const jwk = one.jwks().keys.find(({ kid }) => kid === protectedHeader.kid)
    assert.deepEqual([jwk?.kty, jwk?.alg, jwk?.use, Buffer.from(String(jwk?.n), 'base64url').length * 8], ['RSA', 'RS256', 'sig', 2048])
    assert.deepEqual(Object.keys(jwk ?? {}).filter((name) => ['d', 'p', 'q', 'dp', 'dq', 'qi'].includes(name)), [])
    const access = await keyRing({ store: keyStore(pair.two), sealer: secretsOf('k1'), algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: OVERLAP, now: () => clock.now })
    assert.equal(refusal(access, token, clock), 'kid')
    assert.equal(refusal(access, sign(access, clock), clock), undefined)
  }
  clock.now += OVERLAP
  assert.equal(await one.rotate({ force: false }), 'rotated')
  assert.equal(kidOf(sign(one, clock)), records.find(({ state }) => state === 'next')?.kid)
  assert.equal(one.jwks().keys.length, 3)
})

eachPair('maintenance makes first keys whose making failed', async (pair) => {
  const clock = { now: Date.now() }
  const keys = await openKeyRing({ store: keyStore(pair.one, 'federation'), sealer: secretsOf('k1'), algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: OVERLAP, now: () => clock.now })
  await keys.maintain()
  assert.equal(keys.jwks().keys.length, 2)
  assert.ok(kidOf(sign(keys, clock)))
})

eachPair('twelve nodes that start at once have one set of keys, and each verifies what each signs', async (pair) => {
  const clock = { now: Date.now() }
  const rings = await race(pair, (parts) => ring(parts, secretsOf('k1'), clock), 12)
  const published = rings.map((keys) => keys.jwks().keys.map((key) => String(key.kid)).sort().join())
  assert.equal(new Set(published).size, 1)
  assert.equal((await keyStore(pair.one).all()).length, 2)
  for (const one of rings) for (const two of rings) assert.equal(refusal(two, sign(one, clock), clock), undefined)
  assert.deepEqual(await pair.actions(), ['key.created', 'key.created'])
})

eachPair('keys of access tokens and keys of assertions are never the same, and neither is taken for the other', async (pair) => {
  const clock = { now: Date.now() }
  const options = { sealer: secretsOf('k1'), algorithm: 'ES256', rotateAfterMs: 1_000_000, overlapMs: OVERLAP, now: () => clock.now } as const
  const access = await keyRing({ ...options, store: keyStore(pair.one) })
  const assertion = await keyRing({ ...options, store: keyStore(pair.one, 'assertion') })
  assert.equal(new Set([...access.jwks().keys, ...assertion.jwks().keys].map(({ kid }) => kid)).size, 4)
  assert.equal(refusal(access, sign(access, clock), clock), undefined)
  assert.equal(refusal(access, sign(assertion, clock), clock), 'kid')
  const [before] = await keyStore(pair.two).all()
  assert.equal(await assertion.rotate({ force: true }), 'rotated')
  assert.deepEqual((await keyStore(pair.two).all())[0], before)
  assert.equal((await keyStore(pair.two, 'assertion').all()).length, 3)
  // What is sealed for one kind opens as no other.
  await pair.one.db.query("DELETE FROM signing_keys WHERE kind = 'access' AND state = 'active'")
  await pair.one.db.query("UPDATE signing_keys SET kind = 'access' WHERE kind = 'assertion' AND state = 'active'")
  await assert.rejects(keyRing({ ...options, store: keyStore(pair.one) }), SealError)
})

eachPair('rotation: the next key is published before it signs, the last one verifies after; others follow on reload', async (pair) => {
  const clock = { now: Date.now() }
  const one = await ring(pair.one, secretsOf('k1'), clock)
  const two = await ring(pair.two, secretsOf('k1'), clock)
  const old = sign(one, clock)
  const next = one.jwks().keys.map((key) => key.kid).find((kid) => kid !== kidOf(old))
  assert.equal(await one.rotate({ force: false }), 'too_early', 'nobody may have seen the next key yet')
  assert.equal(kidOf(sign(one, clock)), kidOf(old))
  clock.now += OVERLAP
  assert.equal(await one.rotate({ force: false }), 'rotated')
  assert.equal(kidOf(sign(one, clock)), next)
  assert.equal(one.jwks().keys.length, 3)
  // Before the other node heard of it: it knows the key since it was published, and signs with the one before.
  assert.equal(refusal(two, sign(one, clock), clock), undefined)
  assert.equal(refusal(one, sign(two, clock), clock), undefined)
  await two.reload()
  assert.equal(kidOf(sign(two, clock)), next)
  assert.equal(refusal(two, old, clock), undefined)
  assert.equal(await one.rotate({ force: false }), 'too_early')
  assert.equal(await one.rotate({ force: true }), 'rotated')
})

eachPair('rotation of 20 at once on two nodes: one step, and every node signs what every node verifies', async (pair) => {
  const clock = { now: Date.now() }
  const one = await ring(pair.one, secretsOf('k1'), clock)
  const two = await ring(pair.two, secretsOf('k1'), clock)
  clock.now += OVERLAP
  const results = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? one : two).rotate({ force: false })))
  assert.equal(results.filter((result) => result === 'rotated').length, 1, results.join())
  assert.equal((await keyStore(pair.one).all()).length, 3)
  await Promise.all([one.reload(), two.reload()])
  assert.equal(kidOf(sign(one, clock)), kidOf(sign(two, clock)))
})

eachPair('emergency: revoking the active key ends its tokens, and signing goes on with the next', async (pair) => {
  const clock = { now: Date.now() }
  const one = await ring(pair.one, secretsOf('k1'), clock)
  const two = await ring(pair.two, secretsOf('k1'), clock)
  const token = sign(one, clock)
  assert.equal(refusal(two, token, clock), undefined)
  assert.equal(await one.revoke(kidOf(token)), true)
  assert.equal(await one.revoke(kidOf(token)), false)
  assert.equal(await one.revoke('no-such-key'), false)
  await two.reload()
  for (const keys of [one, two]) {
    assert.equal(refusal(keys, token, clock), 'kid')
    assert.ok(!keys.jwks().keys.some((key) => key.kid === kidOf(token)))
    assert.equal(refusal(one, sign(keys, clock), clock), undefined)
  }
  assert.deepEqual((await pair.actions()).slice(2), ['key.revoked', 'key.activated', 'key.created'])
  assert.ok(pair.changes.some((change) => change.kind === 'key' && change.key === kidOf(token)))
})

eachPair('revoking the next key leaves one to rotate to, and revoking the active one at once by 20 leaves one to sign with', async (pair) => {
  const clock = { now: Date.now() }
  const one = await ring(pair.one, secretsOf('k1'), clock)
  const two = await ring(pair.two, secretsOf('k1'), clock)
  const next = (await one.list()).find((key) => key.state === 'next')?.kid ?? ''
  assert.equal(await two.revoke(next), true)
  clock.now += OVERLAP
  assert.equal(await one.rotate({ force: false }), 'rotated')
  const active = kidOf(sign(one, clock))
  const done = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? one : two).revoke(active)))
  assert.equal(done.filter(Boolean).length, 1)
  await Promise.all([one.reload(), two.reload()])
  assert.notEqual(kidOf(sign(one, clock)), active)
  assert.equal(kidOf(sign(one, clock)), kidOf(sign(two, clock)))
})

eachPair('maintain: rotates when it is time, keeps retired keys longer than tokens live, and a forgotten revoked key stays refused', async (pair) => {
  const clock = { now: Date.now() }
  const keys = await ring(pair.one, secretsOf('k1'), clock)
  const retired = sign(keys, clock)
  await keys.maintain()
  assert.equal(kidOf(sign(keys, clock)), kidOf(retired))
  clock.now += 1_000_001
  await keys.maintain()
  const revoked = sign(keys, clock)
  assert.notEqual(kidOf(revoked), kidOf(retired))
  await keys.revoke(kidOf(revoked))
  // The longest token that the configuration allows, signed in the last moment.
  clock.now += 3_660_000
  await keys.maintain()
  assert.notEqual(keys.publicKey(kidOf(retired)), undefined)
  assert.equal(refusal(keys, revoked, clock), 'kid')
  clock.now += KEEP_ENDED_MS
  await keys.maintain()
  await keys.reload()
  assert.deepEqual((await keys.list()).filter((key) => [kidOf(retired), kidOf(revoked)].includes(key.kid)), [])
  for (const token of [retired, revoked]) assert.equal(refusal(keys, token, clock), 'kid')
  assert.equal(refusal(keys, sign(keys, clock), clock), undefined)
})

eachPair('nothing private stands in clear in the database, and a private key opens in its own row alone', async (pair) => {
  const clock = { now: Date.now() }
  await ring(pair.one, secretsOf('k1'), clock)
  const everything = JSON.stringify(await pair.snapshot()).replaceAll('\\', '')
  assert.match(everything, /"x":"/)
  assert.doesNotMatch(everything, /"d":"/)
  const all = await keyStore(pair.one).all()
  const [first, second] = (['active', 'next'] as const).map((state) => all.find((key) => key.state === state))
  assert.ok(first && second)
  const opened = JSON.parse(secretsOf('k1').open(first.privateJwk, ['signing_keys', 'access', first.kid, 'private_jwk'])) as { d: string }
  assert.ok(opened.d.length > 40 && !everything.includes(opened.d))
  assert.throws(() => secretsOf('k1').open(first.privateJwk, ['signing_keys', 'access', second.kid, 'private_jwk']), SealError)
  await pair.db.query('UPDATE signing_keys SET private_jwk = $1', [second.privateJwk])
  await assert.rejects(ring(pair.one, secretsOf('k1'), clock), SealError)
})

eachPair('a node without the newest key-encryption key still learns what was revoked, and signs with what it has', async (pair) => {
  const clock = { now: Date.now() }
  const behind = await ring(pair.one, secretsOf('k1'), clock)
  const ahead = await ring(pair.two, secretsOf('k2', 'k1'), clock)
  assert.equal(await ahead.rotate({ force: true }), 'rotated', 'the next key was sealed under the old one')
  await behind.reload()
  const token = sign(behind, clock)
  assert.equal(await ahead.rotate({ force: true }), 'rotated')
  await assert.rejects(behind.reload(), SealError)
  assert.equal(kidOf(sign(behind, clock)), kidOf(token), 'retired, and verified everywhere for a while')
  assert.equal(refusal(ahead, sign(behind, clock), clock), undefined)
  assert.equal(refusal(behind, sign(ahead, clock), clock), undefined)
  await ahead.revoke(kidOf(token))
  await assert.rejects(behind.reload(), SealError)
  assert.equal(refusal(behind, token, clock), 'kid')
  assert.throws(() => sign(behind, clock), /no active signing key/)
  await assert.rejects(ring(pair.one, secretsOf('k1'), clock), SealError, 'it does not start')
})

test('a reload whose answer comes late never brings a revoked key back', async () => {
  const clock = { now: 1_000 }
  let rows: readonly KeyRecord[] = []
  const waiting: (() => void)[] = []
  let slow = false
  const store: KeyStore = {
    kind: 'access',
    all: async () => {
      const seen = rows
      if (slow) await new Promise<void>((resolve) => waiting.push(resolve))
      return seen
    },
    addFirst: async (keys) => ((rows = keys), true),
    rotate: async () => false,
    revoke: async ({ kid }) => ((rows = rows.map((key) => (key.kid === kid ? { ...key, state: 'revoked' } : key))), true),
    forgetRetired: async () => undefined,
  }
  const keys = await keyRing({ store, sealer: secretsOf('k1'), algorithm: 'ES256', rotateAfterMs: 1, overlapMs: 1, now: () => clock.now })
  const [, next] = rows
  assert.ok(next)
  slow = true
  const late = keys.reload()
  await new Promise((resolve) => setImmediate(resolve))
  await store.revoke({ kid: next.kid, added: next, at: 1 }, () => [])
  const newer = keys.reload()
  // The second one, were it asked at once, would be answered first.
  for (let turn = 0; turn < 5; turn += 1) {
    waiting.pop()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all([late, newer])
  assert.equal(keys.publicKey(next.kid), undefined)
})

eachPair('a table without an active key is refused at the start, not at the first token', async (pair) => {
  const clock = { now: Date.now() }
  await ring(pair.one, secretsOf('k1'), clock)
  await pair.db.query(`DELETE FROM signing_keys WHERE state = 'active'`)
  await assert.rejects(ring(pair.one, secretsOf('k1'), clock), /no active signing key/)
})
