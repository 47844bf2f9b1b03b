// What people's identity providers gave, for whoever exchanges it: one caller in the cluster redeems the refresh token,
// which is good once.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { decodeJwt } from 'jose'
import { eventually } from '../support/eventually.ts'
import { CHECK_MS, eachIdentity, settingsOf, whoami, type IdentityCluster } from '../support/identity-nodes.ts'

async function signIn(cluster: IdentityCluster): Promise<string> {
  return (await whoami(cluster.nodes[0].browser())).user.id
}

eachIdentity('the tokens of the sign-in are served while they are good, and renewed before they end', async (cluster) => {
  const { idp, nodes } = cluster
  const userId = await signIn(cluster)
  const first = await nodes[1].providerTokens.current(userId)
  assert.deepEqual([first?.provider, first?.issuer, decodeJwt(first?.idToken ?? '').sub, idp.count('/token')], ['corp', idp.issuer, 'alice', 1])
  assert.equal(first?.accessToken, undefined)
  // They last five minutes here; what ends within one is renewed.
  cluster.ahead += 241_000
  idp.behave.person = { groups: ['sales'] }
  const second = await nodes[1].providerTokens.current(userId)
  assert.equal(idp.count('/token'), 2)
  assert.ok(second !== undefined && second.expiresAt > cluster.now() + 200_000 && second.idToken !== first?.idToken)
  // What the provider said with them counts like a check.
  assert.deepEqual((await nodes[0].store.findUser(userId))?.groups, ['sales'])
  assert.deepEqual(await nodes[0].providerTokens.current(userId), second)
  assert.equal(idp.count('/token'), 2)
})

eachIdentity('of 40 that want them at once, rechecks among them, one redeems the refresh token (RFC 9700 §4.14)', async (cluster) => {
  const { idp, nodes } = cluster
  const userId = await signIn(cluster)
  cluster.ahead += CHECK_MS + 1000
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const node = nodes[index % 2 === 0 ? 0 : 1]
      return index % 5 === 0 ? node.recheck.recheck(userId) : ((await node.providerTokens.current(userId))?.idToken ?? 'none')
    }),
  )
  const tokens = new Set(answers.filter((answer) => answer !== 'active'))
  assert.equal(tokens.size, 1)
  assert.equal(decodeJwt([...tokens][0] ?? '').sub, 'alice')
  assert.equal(idp.count('/token'), 2)
  assert.equal(idp.refreshTokens.size, 1)
})

eachIdentity('a provider that ended the sign-in ends the access here too, and whoever waits hears so', async (cluster) => {
  const { idp, nodes } = cluster
  const userId = await signIn(cluster)
  cluster.ahead += CHECK_MS
  idp.refreshTokens.clear()
  const answers = await Promise.all([0, 1, 0, 1].map((index) => nodes[index === 0 ? 0 : 1].providerTokens.current(userId)))
  assert.deepEqual(answers, [undefined, undefined, undefined, undefined])
  assert.deepEqual((await cluster.rows('sessions')).length, 0)
  assert.deepEqual((await cluster.events('subject.revoked')).map(({ subject }) => subject), [userId])
  assert.equal(idp.count('/token'), 2)
})

eachIdentity('a provider that does not answer says nothing of the person: the next caller asks again', async (cluster) => {
  const { idp, nodes } = cluster
  const userId = await signIn(cluster)
  cluster.ahead += CHECK_MS
  idp.behave.instead = (path, response: ServerResponse) => path === '/token' && response.writeHead(503).end() !== undefined
  await assert.rejects(nodes[0].providerTokens.current(userId), { name: 'ProviderUnavailable' })
  assert.equal((await cluster.rows('sessions')).length, 1)
  delete idp.behave.instead
  assert.ok((await nodes[1].providerTokens.current(userId))?.idToken)
})

eachIdentity('a new sign-in, a cutoff and a stranger: what was held before is served no more', async (cluster) => {
  const { nodes } = cluster
  const userId = await signIn(cluster)
  const before = await nodes[1].providerTokens.current(userId)
  await signIn(cluster)
  await eventually('the newer tokens', async () => {
    const now = await nodes[1].providerTokens.current(userId)
    return now !== undefined && now.idToken !== before?.idToken
  })
  await nodes[0].store.revokeSubject(userId, cluster.now(), { action: 'subject.revoked', outcome: 'success', subject: userId })
  await eventually('no tokens', async () => (await nodes[1].providerTokens.current(userId)) === undefined)
  assert.equal(await nodes[1].providerTokens.current('usr_nobody'), undefined)
})

eachIdentity('the access token is kept and served where a connector exchanges it, and renewed with the rest', async (cluster) => {
  const { idp } = cluster
  const node = await cluster.start([settingsOf(idp, { keepsAccessToken: true })])
  const userId = (await whoami(node.browser())).user.id
  const first = await node.providerTokens.current(userId)
  assert.ok(first?.accessToken?.startsWith('idp-at-') && first.idToken !== undefined)
  // An answer without its lifetime brings none that could be served.
  idp.behave.tokens = (body) => ({ ...body, expires_in: undefined })
  cluster.ahead += 241_000
  const second = await node.providerTokens.current(userId)
  assert.ok(second?.idToken !== undefined && second.idToken !== first?.idToken)
  assert.equal(second.accessToken, undefined)
})
