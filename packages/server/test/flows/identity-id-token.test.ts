// What an identity provider's answer must prove: each wrong answer from a provider that is right in everything else.
import assert from 'node:assert/strict'
import { SignJWT } from 'jose'
import { eachIdentity, referenceOf, whoami, type IdentityCluster } from '../support/identity-nodes.ts'
import { CLIENT_SECRET, signed, signingKey, type Behaviour, type Claims } from '../support/openid-provider.ts'

interface Wrong {
  readonly title: string
  readonly reason: RegExp
  readonly behave: (cluster: IdentityCluster) => Partial<Behaviour> | Promise<Partial<Behaviour>>
}

const claims = (title: string, reason: RegExp, change: (claims: Claims, cluster: IdentityCluster) => Claims): Wrong => ({
  title,
  reason,
  behave: (cluster) => ({ idToken: (own) => ({ ...own, ...change(own, cluster) }) }),
})
const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const seconds = (cluster: IdentityCluster): number => Math.floor(cluster.now() / 1000)

const WRONG: readonly Wrong[] = [
  claims('another issuer (OpenID Connect Core §3.1.3.7 no. 2)', /"iss"/, () => ({ iss: 'https://elsewhere.example' })),
  claims('the issuer with a slash', /"iss"/, ({ iss }) => ({ iss: `${String(iss)}/` })),
  claims('another audience (§3.1.3.7 no. 3)', /"aud"/, () => ({ aud: 'another-client' })),
  claims('no audience', /"aud"/, () => ({ aud: undefined })),
  claims('several audiences and no authorized party (§3.1.3.7 no. 4)', /audiences/, () => ({ aud: ['lanyard', 'another-client'] })),
  claims('another authorized party of several audiences (§3.1.3.7 no. 5)', /azp/, () => ({ aud: ['lanyard', 'another-client'], azp: 'another-client' })),
  claims('another authorized party of one audience (§3.1.3.7 no. 5)', /azp/, () => ({ azp: 'another-client' })),
  claims('another nonce (§3.1.3.7 no. 11)', /nonce/, () => ({ nonce: 'another' })),
  claims('no nonce', /nonce/, () => ({ nonce: undefined })),
  claims('an ID token that has expired (§3.1.3.7 no. 9)', /"exp"/, (_, cluster) => ({ exp: seconds(cluster) - 61 })),
  claims('no expiry', /"exp"/, () => ({ exp: undefined })),
  claims('an ID token from before the sign-in (§3.1.3.7 no. 10)', /iat is before/, (_, cluster) => ({ iat: seconds(cluster) - 120 })),
  claims('an ID token from the future', /iat is in the future/, (_, cluster) => ({ iat: seconds(cluster) + 120 })),
  claims('no time of issue', /"iat"/, () => ({ iat: undefined })),
  claims('an ID token that is not valid yet', /"nbf"/, (_, cluster) => ({ nbf: seconds(cluster) + 120 })),
  claims('no subject', /"sub"/, () => ({ sub: undefined })),
  claims('an empty subject', /sub is no identifier/, () => ({ sub: '' })),
  claims('a subject that is a number', /"sub"/, () => ({ sub: 7 })),
  claims('a subject of 256 characters (§2)', /sub is no identifier/, () => ({ sub: 'x'.repeat(256) })),
  claims('a subject with a control character', /sub is no identifier/, () => ({ sub: 'ali\u0000ce' })),
  claims('the hash of another access token (§3.1.3.8)', /at_hash/, () => ({ at_hash: 'AAAAAAAAAAAAAAAAAAAAAA' })),
  {
    title: 'groups by reference alone (§5.6.2)',
    reason: /by reference/,
    behave: () => ({ person: { sub: 'alice', _claim_names: { groups: 'src1' }, _claim_sources: { src1: { endpoint: 'https://graph.example' } } } }),
  },
  claims('more groups than anybody has', /too many groups/, () => ({ groups: Array.from({ length: 2001 }, (_, index) => `group-${index}`) })),
  { title: 'algorithm none (RFC 8725 §3.1)', reason: /signature/, behave: () => ({ sign: (own) => `${base64({ alg: 'none' })}.${base64(own)}.` }) },
  {
    title: 'HMAC with the client secret (RFC 8725 §3.1)',
    reason: /signature/,
    behave: () => ({ sign: (own) => new SignJWT(own).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(CLIENT_SECRET)) }),
  },
  {
    title: 'HMAC with the public key',
    reason: /signature/,
    behave: () => ({ sign: (own, { jwk, kid }) => new SignJWT(own).setProtectedHeader({ alg: 'HS256', kid }).sign(Buffer.from(JSON.stringify(jwk))) }),
  },
  { title: 'an algorithm that the provider does not name', reason: /"alg"/, behave: async () => ({ sign: async (own) => signed(own, await signingKey('es', 'ES256'), { alg: 'ES256' }) }) },
  { title: 'no signature', reason: /signature/, behave: () => ({ sign: async (own, key) => `${(await signed(own, key)).split('.').slice(0, 2).join('.')}.` }) },
  {
    title: 'claims that were changed after they were signed',
    reason: /signature/,
    behave: () => ({
      sign: async (own, key) => {
        const [header, , signature] = (await signed(own, key)).split('.')
        return `${header}.${base64({ ...own, sub: 'mallory' })}.${signature}`
      },
    }),
  },
  { title: 'the signature of another key of the same name', reason: /signature/, behave: async () => ({ sign: async (own, { kid }) => signed(own, await signingKey(kid)) }) },
  { title: 'the signature of an unknown key', reason: /signature/, behave: async () => ({ sign: async (own) => signed(own, await signingKey('unknown')) }) },
  { title: 'a key that the token brings along (RFC 8725 §3.10)', reason: /signature/, behave: async () => ({ sign: async (own, { kid }) => { const key = await signingKey(kid); return signed(own, key, { jwk: key.jwk }) } }) },
  { title: 'a critical header that nobody knows (RFC 7515 §4.1.11)', reason: /crit/, behave: () => ({ sign: async (own, key) => { const [, payload, signature] = (await signed(own, key)).split('.'); return `${base64({ alg: 'RS256', kid: key.kid, crit: ['x'], x: 1 })}.${payload}.${signature}` } }) },
  { title: 'no ID token', reason: /id_token/, behave: () => ({ tokens: (body) => ({ ...body, id_token: undefined }) }) },
  { title: 'an ID token that is none', reason: /JWT/, behave: () => ({ tokens: (body) => ({ ...body, id_token: 'junk' }) }) },
  { title: 'another subject at userinfo (§5.3.2)', reason: /"sub"/, behave: () => ({ onlyUserinfo: ['groups'], userinfo: (own) => ({ ...own, sub: 'bob' }) }) },
  { title: 'no subject at userinfo', reason: /"sub"/, behave: () => ({ onlyUserinfo: ['groups'], userinfo: (own) => ({ ...own, sub: undefined }) }) },
  { title: 'an authorization response of another issuer (RFC 9207 §2.4)', reason: /"iss"/, behave: () => ({ callback: (answer) => answer.set('iss', 'https://elsewhere.example') }) },
  { title: 'an authorization response without issuer (RFC 9207 §2.4)', reason: /"iss"/, behave: () => ({ callback: (answer) => answer.delete('iss') }) },
  { title: 'an authorization response without code', reason: /code/, behave: () => ({ callback: (answer) => answer.delete('code') }) },
  { title: 'another code', reason: /invalid_grant/, behave: () => ({ callback: (answer) => answer.set('code', 'guessed') }) },
  { title: 'a token next to the code', reason: /implicit/, behave: () => ({ callback: (answer) => answer.set('id_token', 'x') }) },
  { title: 'the refusal of the provider (RFC 6749 §4.1.2.1)', reason: /^provider: access_denied$/, behave: () => ({ callback: (answer) => { answer.delete('code'); answer.set('error', 'access_denied') } }) },
  { title: 'an error code with line breaks', reason: /^provider: an error that is no error code$/, behave: () => ({ callback: (answer) => answer.set('error', 'x\nforged log line') }) },
]

for (const { title, reason, behave } of WRONG) {
  eachIdentity(`nobody is signed in by ${title}`, async (cluster) => {
    const { idp, nodes } = cluster
    const right = { ...idp.behave }
    Object.assign(idp.behave, await behave(cluster))
    const visitor = nodes[0].browser()
    const page = await visitor.open('https://lanyard.example/whoami')
    assert.equal(page.status, 400, page.text)
    assert.equal(page.headers.getSetCookie().some((cookie) => cookie.includes('session')), false)
    assert.deepEqual([await cluster.rows('users'), await cluster.rows('sessions'), await cluster.rows('logins')], [[], [], []])
    const [failed, ...more] = await cluster.events('login.failed')
    assert.equal(more.length, 0)
    assert.match(failed?.reason ?? '', reason)
    assert.equal(failed?.reference, referenceOf(page.text))
    assert.equal((await cluster.events('login.started'))[0]?.reference, failed?.reference)
    assert.equal(page.text.includes(failed?.reason ?? ''), false, 'the page says why')
    // The twin: the same browser, the provider as it should be.
    for (const name of Object.keys(idp.behave)) Reflect.deleteProperty(idp.behave, name)
    Object.assign(idp.behave, right)
    assert.equal((await whoami(visitor)).user.subject, 'alice')
  })
}

eachIdentity('claims at the edge of what is allowed sign in', async (cluster) => {
  const { idp, nodes } = cluster
  for (const change of [
    { aud: ['lanyard'] },
    { aud: ['lanyard', 'friend'], azp: 'lanyard' },
    { azp: 'lanyard' },
    { exp: seconds(cluster) - 30 },
    { iat: seconds(cluster) + 30 },
    { sub: 'x'.repeat(255) },
    { at_hash: undefined },
    { auth_time: undefined },
  ]) {
    idp.behave.idToken = (own) => ({ ...own, ...change })
    await whoami(nodes[0].browser())
  }
  assert.equal((await cluster.events('login.failed')).length, 0)
})
