// What the store of codes, grants and refresh tokens promises: each once, on all nodes, or not at all.
import assert from 'node:assert/strict'
import type { Authorization } from '../../src/authorize/authorization.ts'
import type { Resource } from '../../src/oauth/resource.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { tokenStore } from '../../src/store/tokens.ts'
import type { NewGrant, NewRefreshToken } from '../../src/token/token-store.ts'
import { eachPair, EVENT, hashed, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000
const DAY = 86_400
const RESOURCE = 'https://lanyard.example/mcp/notes' as Resource

async function addGrant(pair: StorePair, id = 'grt_1', more: { created?: number; code?: string; expires?: number } = {}): Promise<void> {
  const created = more.created ?? NOW
  await pair.db.query(
    `INSERT INTO grants (id, user_id, client_id, resource, scope, auth_time, acr, amr, created_at, last_used_at) VALUES ($1, 'usr_1', 'app', $2, 'mcp.read mcp.write', $3, 'urn:mfa', '["pwd","otp"]', $3, $3)`,
    [id, RESOURCE, created],
  )
  await pair.db.query('INSERT INTO codes (hash, grant_id, redirect_uri, code_challenge, expires_at) VALUES ($1, $2, $3, $4, $5)', [
    hashed(more.code ?? `code of ${id}`), id, 'https://app.example/cb', 'challenge', more.expires ?? created + 60,
  ])
}

function token(name: string, generation = 0, grantId = 'grt_1'): NewRefreshToken {
  return { hash: hashed(name), family: hashed(`family of ${grantId}`), grantId, generation, issuedAt: NOW, expiresAt: NOW + 30 * DAY }
}

const redeem = (parts: StoreParts, refreshToken?: NewRefreshToken, grantId = 'grt_1') =>
  tokenStore(parts).consumeCode({ hash: hashed(`code of ${grantId}`), grantId, at: NOW + 5, ...(refreshToken === undefined ? {} : { refreshToken }) }, [EVENT])

const rotate = (parts: StoreParts, from: string, to: NewRefreshToken, at = NOW + 10) =>
  tokenStore(parts).rotate({ hash: hashed(from), used: { at, requestDigest: hashed('request'), successor: `sealed ${to.hash}` as Sealed }, successor: to }, [EVENT])

const UNUSED = 'refresh_tokens WHERE used_at IS NULL'

eachPair('a code is read back as it was written, and says when it was consumed', async (pair) => {
  await addGrant(pair)
  const expected = {
    hash: hashed('code of grt_1'),
    authorization: { id: 'grt_1', userId: 'usr_1', clientId: 'app', resource: RESOURCE, scope: ['mcp.read', 'mcp.write'], authTime: NOW, acr: 'urn:mfa', amr: ['pwd', 'otp'] },
    redirectUri: 'https://app.example/cb',
    codeChallenge: 'challenge',
    expiresAt: NOW + 60,
    consumed: false,
    grantedAt: NOW,
  }
  const store = tokenStore(pair.two)
  assert.deepEqual(await store.findCode(hashed('code of grt_1')), expected)
  assert.equal(await store.findCode(hashed('another')), undefined)
  assert.equal(await redeem(pair.one), 'consumed')
  assert.deepEqual(await store.findCode(hashed('code of grt_1')), { ...expected, consumed: true })
  assert.equal(await pair.count('refresh_tokens'), 0)
})

eachPair('RFC 6749 §4.1.2: of 20 redemptions at once one consumes the code, and adds the one refresh token', async (pair) => {
  await addGrant(pair)
  const results = await race(pair, (parts, index) => redeem(parts, token(`t${index}`)))
  assert.equal(results.filter((result) => result === 'consumed').length, 1)
  assert.equal(results.filter((result) => result === 'spent').length, 19)
  assert.equal(await pair.count('refresh_tokens'), 1)
  assert.deepEqual(await pair.actions(), ['logout'])
  assert.equal(await redeem(pair.two, token('late')), 'spent')
})

eachPair('a code is consumed for its own grant alone, and never when the grant has ended', async (pair) => {
  await addGrant(pair)
  await addGrant(pair, 'grt_2')
  const store = tokenStore(pair.one)
  assert.equal(await store.consumeCode({ hash: hashed('code of grt_1'), grantId: 'grt_2', at: NOW }, [EVENT]), 'spent')
  assert.equal((await store.findCode(hashed('code of grt_1')))?.consumed, false)
  await store.revokeGrant('grt_1', NOW, [EVENT])
  assert.equal(await redeem(pair.two, token('t')), 'ended')
  assert.deepEqual([await pair.count('refresh_tokens'), await pair.count('codes WHERE consumed_at IS NOT NULL')], [0, 0])
  assert.equal(await redeem(pair.two, token('u', 0, 'grt_2'), 'grt_2'), 'consumed')
})

eachPair('redeeming and revoking at once: afterwards no token of an ended grant is left, whoever was first', async (pair) => {
  for (let round = 0; round < 6; round += 1) {
    const id = `grt_${round}`
    await addGrant(pair, id)
    const [result, revoked] = await Promise.all([redeem(pair.one, token(`t${round}`, 0, id), id), tokenStore(pair.two).revokeGrant(id, NOW, [EVENT])])
    assert.equal(revoked, true)
    assert.ok(result === 'consumed' || result === 'ended', result)
    assert.equal(await tokenStore(pair.one).findRefreshToken(hashed(`t${round}`)), undefined)
  }
  assert.equal(await pair.count('refresh_tokens'), 0)
})

eachPair('RFC 9700 §4.14.2: of 20 rotations at once one wins; the grant has one token that can be used', async (pair) => {
  await addGrant(pair)
  await redeem(pair.one, token('t0'))
  const won = await race(pair, (parts, index) => rotate(parts, 't0', token(`next${index}`, 1)))
  assert.equal(won.filter(Boolean).length, 1)
  assert.equal(await pair.count(UNUSED), 1)
  assert.equal(await pair.count('refresh_tokens'), 2)
  const winner = `next${won.indexOf(true)}`
  const store = tokenStore(pair.two)
  assert.deepEqual((await store.findRefreshToken(hashed('t0')))?.used, { at: NOW + 10, requestDigest: hashed('request'), successor: `sealed ${hashed(winner)}` })
  const fresh = await store.findRefreshToken(hashed(winner))
  assert.deepEqual([fresh?.generation, fresh?.family, fresh?.issuedAt, fresh?.expiresAt, fresh?.used, fresh?.createdAt], [1, hashed('family of grt_1'), NOW, NOW + 30 * DAY, undefined, NOW])
  assert.equal((await pair.actions()).length, 2)
})

eachPair('rotating counts as use of the grant; a used, unknown or foreign token does not rotate', async (pair) => {
  await addGrant(pair)
  await addGrant(pair, 'grt_2')
  await redeem(pair.one, token('t0'))
  assert.equal(await rotate(pair.one, 't0', token('t1', 1)), true)
  assert.deepEqual((await pair.db.query<{ last_used_at: number }>(`SELECT last_used_at FROM grants WHERE id = 'grt_1'`)).map((row) => row.last_used_at), [NOW + 10])
  const before = await pair.snapshot()
  assert.equal(await rotate(pair.two, 't0', token('t2', 1)), false)
  assert.equal(await rotate(pair.two, 'nobody', token('t3', 1)), false)
  const { grants: _now, ...after } = await pair.snapshot()
  const { grants: _then, ...expected } = before
  assert.deepEqual(after, expected)
  assert.equal(await rotate(pair.two, 't1', token('t4', 2)), true)
})

eachPair('rotating and revoking at once: no token survives, whoever was first', async (pair) => {
  for (let round = 0; round < 6; round += 1) {
    const id = `grt_${round}`
    await addGrant(pair, id)
    await redeem(pair.one, token(`t${round}`, 0, id), id)
    await Promise.all([rotate(pair.one, `t${round}`, token(`n${round}`, 1, id)), tokenStore(pair.two).revokeGrant(id, NOW, [EVENT])])
    for (const name of [`t${round}`, `n${round}`]) assert.equal(await tokenStore(pair.one).findRefreshToken(hashed(name)), undefined)
    assert.equal(await tokenStore(pair.one).findFamily(hashed(`family of ${id}`)), undefined)
    assert.equal(await rotate(pair.one, `n${round}`, token(`m${round}`, 2, id)), false)
  }
  assert.equal(await pair.count('refresh_tokens'), 0)
})

eachPair('the database itself refuses a second usable refresh token of a grant', async (pair) => {
  await addGrant(pair)
  await redeem(pair.one, token('t0'))
  await assert.rejects(
    pair.db.query(`INSERT INTO refresh_tokens (hash, family, grant_id, generation, created_at, expires_at) VALUES ('h', 'f', 'grt_1', 1, 1, 2)`),
    /unique/i,
  )
})

eachPair('RFC 7009 §2: of 20 revocations of a grant one ends it, and tells all nodes', async (pair) => {
  await addGrant(pair)
  await addGrant(pair, 'grt_2')
  await redeem(pair.one, token('t0'))
  await redeem(pair.one, token('u0', 0, 'grt_2'), 'grt_2')
  await rotate(pair.one, 't0', token('t1', 1))
  const ended = await race(pair, (parts) => tokenStore(parts).revokeGrant('grt_1', NOW + 20, [EVENT]))
  assert.equal(ended.filter(Boolean).length, 1)
  assert.deepEqual(pair.changes.map(({ kind, key }) => [kind, key]), [['grant', 'grt_1']])
  assert.equal((await pair.actions()).length, 4)
  // Its own tokens are gone, used or not, and nobody else's.
  assert.equal(await pair.count('refresh_tokens'), 1)
  const store = tokenStore(pair.two)
  assert.deepEqual([await store.findGrant('grt_1'), await store.findRefreshToken(hashed('t0')), await store.findFamily(hashed('family of grt_1'))], [undefined, undefined, undefined])
  assert.equal((await store.findGrant('grt_2'))?.authorization.id, 'grt_2')
  assert.equal((await store.findFamily(hashed('family of grt_2')))?.authorization.id, 'grt_2')
  assert.equal((await store.findRefreshToken(hashed('u0')))?.authorization.userId, 'usr_1')
  assert.equal(await store.revokeGrant('no such grant', NOW, [EVENT]), false)
})

eachPair('tokens: no change stays whose event cannot be written', async (pair) => {
  await addGrant(pair)
  await rollsBack(pair, (parts) => redeem(parts, token('t0')))
  await redeem(pair.one, token('t0'))
  await rollsBack(pair, (parts) => rotate(parts, 't0', token('t1', 1)))
  await rollsBack(pair, (parts) => tokenStore(parts).revokeGrant('grt_1', NOW, [EVENT]))
  assert.equal(await rotate(pair.two, 't0', token('t1', 1)), true, 'and afterwards it goes as if nothing had been')
})

eachPair('prune: used tokens after their time, expired ones, codes a day later, and grants that nothing is left of', async (pair) => {
  await addGrant(pair)
  await redeem(pair.one, token('t0'))
  await rotate(pair.one, 't0', token('t1', 1))
  await addGrant(pair, 'never redeemed', { created: NOW - 3 * DAY })
  await addGrant(pair, 'young', { expires: NOW - 2 * DAY })
  const store = tokenStore(pair.two)
  const left = async () => ({ grants: (await pair.db.query<{ id: string }>('SELECT id FROM grants ORDER BY id')).map((row) => row.id), codes: await pair.count('codes'), tokens: await pair.count('refresh_tokens') })
  await store.prune({ usedBefore: NOW + 10, expiredBefore: NOW })
  assert.deepEqual(await left(), { grants: ['grt_1', 'young'], codes: 1, tokens: 2 })
  await store.prune({ usedBefore: NOW + 11, expiredBefore: NOW })
  assert.equal(await store.findRefreshToken(hashed('t0')), undefined)
  assert.equal((await store.findFamily(hashed('family of grt_1')))?.authorization.id, 'grt_1', 'a used token whose row is gone still leads to its grant')
  await store.prune({ usedBefore: 0, expiredBefore: NOW + 60 + 30 * DAY })
  assert.deepEqual(await left(), { grants: [], codes: 0, tokens: 0 })
})

const started = (id: string, more: Partial<Authorization> = {}): NewGrant => ({
  authorization: { id, userId: 'usr_1', clientId: 'app', resource: RESOURCE, scope: ['mcp.read'], authTime: NOW, ...more },
  at: NOW,
})

eachPair('RFC 8693 §4.1: a grant that begins at the token endpoint is read back with its end, its parents, its actor and its key', async (pair) => {
  await addGrant(pair, 'grt_parent')
  const grant = started('grt_new', { expiresAt: NOW + 600, parents: ['grt_parent'], actor: { sub: 'agent', act: { sub: 'other' } }, jkt: 'thumb' })
  const plain = started('grt_plain')
  assert.equal(await tokenStore(pair.one).startGrant(grant, [EVENT]), 'started')
  assert.equal(await tokenStore(pair.one).startGrant({ ...plain, refreshToken: token('fresh', 0, 'grt_plain') }, [EVENT]), 'started')
  assert.deepEqual(await tokenStore(pair.two).findGrant('grt_new'), { authorization: grant.authorization, createdAt: NOW })
  assert.deepEqual((await tokenStore(pair.two).findRefreshToken(hashed('fresh')))?.authorization, plain.authorization)
  assert.equal(await pair.count('audit'), 2)
})

eachPair('G10: a grant ends with any of those that it came of, and none begins after their end', async (pair) => {
  await addGrant(pair, 'grt_a')
  await addGrant(pair, 'grt_b')
  const store = tokenStore(pair.one)
  assert.equal(await store.startGrant(started('grt_child', { parents: ['grt_b', 'grt_a'] }), []), 'started')
  assert.notEqual(await store.findGrant('grt_child'), undefined)
  await store.revokeGrant('grt_a', NOW, [])
  assert.equal(await tokenStore(pair.two).findGrant('grt_child'), undefined)
  assert.notEqual(await tokenStore(pair.two).findGrant('grt_b'), undefined)
  assert.equal(await tokenStore(pair.two).startGrant(started('grt_late', { parents: ['grt_b', 'grt_a'] }), [EVENT]), 'ended')
  assert.equal(await tokenStore(pair.two).startGrant(started('grt_in_time', { parents: ['grt_b'] }), []), 'started')
  assert.equal(await pair.count("grants WHERE id = 'grt_late'"), 0)
  assert.equal(await pair.count('audit'), 0)
})

eachPair('no grant begins for somebody who is disabled', async (pair) => {
  const add = (id: string, disabled: number) => pair.db.query("INSERT INTO users (id, provider, issuer, subject, groups, disabled, checked_at, created_at) VALUES ($1, 'corp', 'i', $1, '[]', $2, 1, 1)", [id, disabled])
  await add('usr_off', 1)
  await add('usr_on', 0)
  assert.equal(await tokenStore(pair.one).startGrant(started('grt_off', { userId: 'usr_off' }), [EVENT]), 'ended')
  assert.equal(await tokenStore(pair.one).startGrant(started('grt_on', { userId: 'usr_on' }), [EVENT]), 'started')
  assert.equal(await pair.count('grants'), 1)
  assert.equal(await pair.count('audit'), 1)
})

eachPair('G10: of grants that begin and the end of what they come of, at once on two nodes, none is left that lives', async (pair) => {
  await addGrant(pair, 'grt_parent')
  const [one, two] = [tokenStore(pair.one), tokenStore(pair.two)]
  const begun = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      if (index === 20) return two.revokeGrant('grt_parent', NOW, []).then(() => 'revoked')
      return (index % 2 === 0 ? one : two).startGrant(started(`grt_${index}`, { parents: ['grt_parent'] }), [EVENT])
    }),
  )
  const count = begun.filter((outcome) => outcome === 'started').length
  assert.ok(begun.every((outcome) => outcome === 'started' || outcome === 'ended' || outcome === 'revoked'))
  // Whoever began is found, was recorded, and does not live.
  assert.equal(await pair.count("grants WHERE id <> 'grt_parent'"), count)
  assert.equal(await pair.count('audit'), count)
  for (let index = 0; index < 40; index += 1) assert.equal(await one.findGrant(`grt_${index}`), undefined)
})

eachPair('a grant that others come of counts as used, and one question asks for many grants', async (pair) => {
  await addGrant(pair, 'grt_parent')
  const [{ last_used_at: before } = { last_used_at: 0 }] = await pair.db.query<{ last_used_at: number }>("SELECT last_used_at FROM grants WHERE id = 'grt_parent'")
  const store = tokenStore(pair.one)
  const late = { ...started('grt_child', { parents: ['grt_parent'] }), at: before + 3600 }
  assert.equal(await store.startGrant(late, [EVENT]), 'started')
  assert.equal(await pair.count(`grants WHERE id = 'grt_parent' AND last_used_at = ${before + 3600}`), 1)
  const found = await Promise.all(['grt_parent', 'grt_child', 'grt_none', "grt_'; --", 'grt_parent'].map((id) => store.findGrant(id)))
  assert.deepEqual(found.map((grant) => grant?.authorization.id), ['grt_parent', 'grt_child', undefined, undefined, 'grt_parent'])
})
