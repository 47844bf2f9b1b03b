// A provider that does not answer, answers with something else, or changes its keys: who is signed in stays so (J15),
// nobody else gets in, and the page says what happened.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { exportJWK, generateKeyPair } from 'jose'
import type { Browser, Page } from '../support/browser.ts'
import { eventually } from '../support/eventually.ts'
import { eachIdentity, ISSUER, referenceOf, settingsOf, whoami, type IdentityCluster, type IdentityNode } from '../support/identity-nodes.ts'
import { signed, signingKey, type Claims } from '../support/openid-provider.ts'

const status = (code: number, body = '', type = 'application/json') => (response: ServerResponse): void => void response.writeHead(code, { 'content-type': type }).end(body)

/** A path of the provider answers like this, until it is told to stop. */
function answers(cluster: IdentityCluster, path: string, answer: (response: ServerResponse) => void): () => void {
  cluster.idp.behave.instead = (asked, response) => {
    if (asked !== path) return false
    answer(response)
    return true
  }
  return () => delete cluster.idp.behave.instead
}

async function assertUnavailable(cluster: IdentityCluster, node: IdentityNode, reason: RegExp): Promise<void> {
  const [users, sessions] = [await cluster.rows('users'), await cluster.rows('sessions')]
  const page = await node.browser().open(`${ISSUER}/whoami`)
  assert.equal(page.status, 503, page.text)
  assert.match(page.text, /Corp does not answer/)
  assert.match(page.text, /href="\/whoami"/)
  assert.equal(page.headers.get('retry-after'), '30')
  assert.equal(page.headers.get('cache-control'), 'no-store')
  const degraded = (await cluster.events('provider.degraded')).at(-1)
  assert.deepEqual([degraded?.outcome, degraded?.reference, degraded?.detail?.['provider']], ['failure', referenceOf(page.text), 'corp'])
  assert.match(degraded?.reason ?? '', reason)
  assert.equal(page.text.includes(degraded?.reason ?? ''), false)
  assert.deepEqual([await cluster.rows('users'), await cluster.rows('sessions')], [users, sessions])
}

eachIdentity('a provider that is down at the start: a page, and existing sessions go on (J15)', async (cluster) => {
  const visitor = cluster.nodes[0].browser()
  await whoami(visitor)
  const node = await cluster.start([settingsOf(cluster.idp)])
  const cookie = `__Host-lanyard_session=${visitor.cookies('lanyard.example').get('__Host-lanyard_session')}`
  const repaired = answers(cluster, '/.well-known/openid-configuration', status(500))
  const before = cluster.idp.count('/.well-known/openid-configuration')
  await assertUnavailable(cluster, node, /discovery/)
  assert.equal((await node.request('/whoami', { headers: { cookie } })).status, 200)
  for (let tries = 0; tries < 5; tries += 1) await assertUnavailable(cluster, node, /moment ago/)
  assert.equal(cluster.idp.count('/.well-known/openid-configuration') - before, 1, 'tries pile up behind the provider')
  assert.deepEqual(await cluster.rows('logins'), [])
  repaired()
  cluster.ahead += 3001
  await whoami(node.browser())
})

eachIdentity('a provider that cannot be connected to, and one that has gone since', async (cluster) => {
  const [known] = cluster.nodes
  await whoami(known.browser())
  const unknown = await cluster.start([settingsOf(cluster.idp)])
  await cluster.idp.close()
  await assertUnavailable(cluster, unknown, /discovery: unreachable/)
  // Where its metadata are known, the browser goes there and finds what it finds.
  assert.equal((await known.request('/whoami')).status, 303)
  await cluster.other.close()
})

/** Opens the sign-in and chooses where the account is. */
async function chooses(visitor: Browser, provider: string): Promise<Page> {
  const page = await visitor.open(`${ISSUER}/whoami`)
  const link = [...page.text.matchAll(/href="(\/login\?[^"]+)"/g)].map(([, href = '']) => href.replaceAll('&amp;', '&')).find((href) => href.includes(`provider=${provider}&`))
  return visitor.open(`${ISSUER}${link ?? ''}`)
}

eachIdentity('a provider that says nothing holds up nobody of another provider (X01, X02)', async (cluster) => {
  const held: ServerResponse[] = []
  cluster.other.behave.instead = (_path, response) => held.push(response) > 0
  const node = await cluster.start([settingsOf(cluster.idp), settingsOf(cluster.other, { id: 'second', name: 'Second' })], { deadlineMs: 2000 })
  let over = 0
  const stuck = Array.from({ length: 40 }, async () => {
    const page = await chooses(node.browser(), 'second')
    over += 1
    return page
  })
  // All forty wait for the second provider while these get in.
  await eventually('somebody waits for the second provider', () => held.length > 0)
  for (let person = 0; person < 5; person += 1) assert.equal((await chooses(node.browser(), 'corp')).status, 200)
  assert.equal(over, 0)
  const pages = await Promise.all(stuck)
  for (const page of pages) assert.deepEqual([page.status, /Second does not answer/.test(page.text)], [503, true])
  assert.equal(held.length, 1, 'one question for all of them')
  assert.equal((await cluster.rows('sessions')).length, 5)
  for (const response of held) response.destroy()
  delete cluster.other.behave.instead
  cluster.ahead += 30_001
  assert.equal((await chooses(node.browser(), 'second')).status, 200)
})

for (const [title, document, reason] of [
  ['of another issuer (OpenID Connect Discovery §4.3)', (own: Claims) => ({ ...own, issuer: 'https://elsewhere.example' }), /"issuer"/],
  ['of a longer issuer', (own: Claims) => ({ ...own, issuer: `${String(own['issuer'])}/x` }), /"issuer"/],
  ['without issuer', (own: Claims) => ({ ...own, issuer: undefined }), /"issuer"/],
  ['without keys', (own: Claims) => ({ ...own, jwks_uri: undefined }), /jwks_uri/],
  ['with a script as authorization endpoint', (own: Claims) => ({ ...own, authorization_endpoint: 'javascript:alert(1)' }), /authorization_endpoint/],
  ['with a token endpoint that is no address', (own: Claims) => ({ ...own, token_endpoint: '/token' }), /token_endpoint/],
] as const) {
  eachIdentity(`discovery ${title} is not believed`, async (cluster) => {
    cluster.idp.behave.metadata = document
    await assertUnavailable(cluster, cluster.nodes[0], reason)
    delete cluster.idp.behave.metadata
    cluster.ahead += 3001
    await whoami(cluster.nodes[0].browser())
  })
}

eachIdentity('what was discovered is used while it cannot be discovered again', async (cluster) => {
  const [node] = cluster.nodes
  await whoami(node.browser())
  const path = '/.well-known/openid-configuration'
  const before = cluster.idp.count(path)
  await whoami(node.browser())
  assert.equal(cluster.idp.count(path), before)
  cluster.ahead += 3600_001
  const repaired = answers(cluster, path, status(503, '<html>', 'text/html'))
  await whoami(node.browser())
  await whoami(node.browser())
  assert.equal(cluster.idp.count(path), before + 1)
  repaired()
  cluster.ahead += 3001
  await whoami(node.browser())
  assert.equal(cluster.idp.count(path), before + 2)
})

for (const [title, path, answer, reason] of [
  ['an error of the token endpoint', '/token', status(500, '{}'), /something else/],
  ['an OAuth error with status 503', '/token', status(503, '{"error":"server_error"}'), /503/],
  ['temporarily_unavailable', '/token', status(400, '{"error":"temporarily_unavailable"}'), /temporarily_unavailable/],
  ['too many requests', '/token', status(429), /429/],
  ['a page in place of a token', '/token', status(200, '<html>maintenance</html>', 'text/html'), /something else/],
  ['a page that says it is JSON', '/token', status(200, '<html>maintenance</html>'), /something else/],
  ['a connection that breaks', '/token', (response: ServerResponse) => void response.destroy(), /does not answer/],
  ['an endless answer', '/token', (response: ServerResponse) => void response.writeHead(200, { 'content-type': 'application/json' }).end(`{"a":"${'x'.repeat(1_200_000)}"}`), /too_large/],
  ['an error of the userinfo endpoint', '/userinfo', status(502), /something else/],
  ['keys that cannot be had', '/jwks', status(500), /keys of the identity provider: status 500/],
  ['keys that are none', '/jwks', status(200, '{"keys":[7]}'), /not a JWK set/],
  ['keys of two megabytes', '/jwks', (response: ServerResponse) => void response.writeHead(200).end(`{"keys":[],"x":"${'x'.repeat(2_000_000)}"}`), /too_large/],
] as const) {
  eachIdentity(`${title} at the way back: a page, nobody signed in, sessions go on (J15)`, async (cluster) => {
    const [elsewhere, node] = cluster.nodes
    const visitor = elsewhere.browser()
    await whoami(visitor)
    cluster.idp.behave.onlyUserinfo = ['groups']
    const repaired = answers(cluster, path, answer)
    await assertUnavailable(cluster, node, reason)
    assert.equal((await visitor.open(`${ISSUER}/whoami`)).status, 200)
    repaired()
    cluster.ahead += 30_001
    await whoami(node.browser())
  })
}

eachIdentity('a token endpoint that redirects is not followed', async (cluster) => {
  const { idp, other, nodes } = cluster
  const repaired = answers(cluster, '/token', (response) => void response.writeHead(307, { location: `${other.issuer}/token` }).end())
  await assertUnavailable(cluster, nodes[0], /something else.*307/)
  assert.deepEqual([idp.count('/token'), other.requests.length], [1, 0], 'the code went elsewhere')
  repaired()
  await whoami(nodes[0].browser())
})

eachIdentity('a provider that does not come to an end is not waited for', async (cluster) => {
  const held: ServerResponse[] = []
  const node = await cluster.start([settingsOf(cluster.idp)], { deadlineMs: 300 })
  const repaired = answers(cluster, '/token', (response) => void held.push(response))
  await assertUnavailable(cluster, node, /does not answer/)
  assert.equal(held.length, 1)
  repaired()
  await whoami(node.browser())
})

eachIdentity('a wrong registration at the provider is not "does not answer"', async (cluster) => {
  const node = await cluster.start([settingsOf(cluster.idp, { clientSecret: 'a-wrong-secret-of-the-same-length' })])
  const page = await node.browser().open(`${ISSUER}/whoami`)
  assert.equal(page.status, 400)
  assert.equal((await cluster.events('login.failed'))[0]?.reason, 'provider: invalid_client')
  await whoami(cluster.nodes[0].browser())
})

eachIdentity('keys are fetched once for many sign-ins, and once for many at a time (X04)', async (cluster) => {
  const { idp, nodes } = cluster
  await Promise.all(Array.from({ length: 5 }, () => whoami(nodes[0].browser())))
  await whoami(nodes[0].browser())
  assert.equal(idp.count('/jwks'), 1)
  cluster.ahead += 600_001
  await Promise.all(Array.from({ length: 5 }, () => whoami(nodes[0].browser())))
  assert.equal(idp.count('/jwks'), 2)
})

eachIdentity('a new key is fetched when it is first seen, an old one is good no more (X04)', async (cluster) => {
  const { idp, nodes } = cluster
  let old: Parameters<typeof signed>[1] | undefined
  idp.behave.sign = (claims, key) => signed(claims, (old ??= key))
  await whoami(nodes[0].browser())
  delete idp.behave.sign
  cluster.ahead += 30_001
  await idp.rotate()
  await Promise.all(Array.from({ length: 5 }, () => whoami(nodes[0].browser())))
  assert.equal(idp.count('/jwks'), 2)
  idp.behave.sign = (claims, key) => signed(claims, old ?? key)
  assert.equal((await nodes[0].browser().open(`${ISSUER}/whoami`)).status, 400)
  // A new key under the old name, and keys without names, are keys all the same.
  delete idp.behave.sign
  cluster.ahead += 30_001
  const next = await signingKey('same')
  const repaired = answers(cluster, '/jwks', status(200, JSON.stringify({ keys: [{ ...next.jwk, kid: undefined }] })))
  idp.behave.sign = (claims) => signed(claims, next, { kid: undefined })
  await whoami(nodes[0].browser())
  repaired()
})

eachIdentity('signatures of unknown keys fetch the keys once per cool-down (X04, J12)', async (cluster) => {
  const { idp, nodes } = cluster
  await whoami(nodes[0].browser())
  idp.behave.sign = async (claims) => signed(claims, await signingKey())
  const junk = async (): Promise<void> => assert.equal((await nodes[0].browser().open(`${ISSUER}/whoami`)).status, 400)
  cluster.ahead += 30_001
  await Promise.all([junk(), junk(), junk()])
  await junk()
  assert.equal(idp.count('/jwks'), 2)
  cluster.ahead += 29_000
  await junk()
  assert.equal(idp.count('/jwks'), 2)
  cluster.ahead += 1001
  await junk()
  assert.equal(idp.count('/jwks'), 3)
  delete idp.behave.sign
  await whoami(nodes[0].browser())
})

eachIdentity('known keys are used for an hour while newer ones cannot be had (X04)', async (cluster) => {
  const { idp, nodes } = cluster
  await whoami(nodes[0].browser())
  const repaired = answers(cluster, '/jwks', status(500))
  cluster.ahead += 3_500_000
  await whoami(nodes[0].browser())
  await whoami(nodes[0].browser())
  assert.equal(idp.count('/jwks'), 2)
  // Whether an unknown key is a new one cannot be told now: that is no refusal.
  idp.behave.sign = async (claims) => signed(claims, await signingKey())
  cluster.ahead += 30_001
  await assertUnavailable(cluster, nodes[0], /keys of the identity provider/)
  delete idp.behave.sign
  cluster.ahead += 100_000
  await assertUnavailable(cluster, nodes[0], /keys of the identity provider/)
  repaired()
  cluster.ahead += 30_001
  await whoami(nodes[0].browser())
})

eachIdentity('keys that are short, or two of one name, verify nothing (J12)', async (cluster) => {
  const { idp, nodes } = cluster
  const { publicKey, privateKey } = await generateKeyPair('RS256', { modulusLength: 2048 })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'twice', alg: 'RS256', use: 'sig' }
  const key = { key: privateKey, kid: 'twice' }
  idp.behave.sign = (claims) => signed(claims, key)
  const serve = (keys: readonly object[]): (() => void) => answers(cluster, '/jwks', status(200, JSON.stringify({ keys })))
  serve([jwk, { ...(await signingKey('twice')).jwk }])
  assert.equal((await nodes[0].browser().open(`${ISSUER}/whoami`)).status, 400)
  cluster.ahead += 600_001
  serve([{ ...jwk, n: Buffer.alloc(128, 0xc5).toString('base64url') }])
  assert.equal((await nodes[0].browser().open(`${ISSUER}/whoami`)).status, 400)
  cluster.ahead += 600_001
  serve([{ ...jwk, use: 'enc' }])
  assert.equal((await nodes[0].browser().open(`${ISSUER}/whoami`)).status, 400)
  cluster.ahead += 600_001
  serve([jwk])
  await whoami(nodes[0].browser())
})
