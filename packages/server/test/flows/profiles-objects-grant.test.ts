// What a grant was approved for stays what it is good for: a profile that grows later needs a new consent.
import assert from 'node:assert/strict'
import { eachCluster, type Cluster } from '../support/token-nodes.ts'

async function approvedReach(cluster: Cluster, grantId: string, reach: readonly string[]): Promise<void> {
  await cluster.db.query('UPDATE grants SET reach = $1 WHERE id = $2', [JSON.stringify(reach), grantId])
}

eachCluster('D06: a refresh token is worth nothing while its profile reaches more than was approved, on any node, and is not lost', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  // The profile reaches `notes`.
  for (const reach of [['tickets'], ['notes read_*'], []]) {
    await approvedReach(cluster, grantId, reach)
    for (const node of cluster.nodes) {
      const answer = await cluster.refresh(refreshToken, {}, node)
      assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_grant'], reach.join(' '))
    }
  }
  assert.equal((await cluster.events('token.refused')).at(-1)?.reason, 'the profile has grown since it was approved')
  assert.deepEqual((await cluster.db.query('SELECT revoked_at FROM grants')).map((row) => row['revoked_at']), [null])
  // It shrank: what is left was approved.
  await approvedReach(cluster, grantId, ['notes', 'tickets'])
  assert.equal((await cluster.refresh(refreshToken)).status, 200)
})

eachCluster('D06: a code is worth nothing when the profile grew between the consent and the token', async (cluster) => {
  const { form, grantId } = await cluster.approve()
  await approvedReach(cluster, grantId, ['tickets'])
  assert.equal((await cluster.nodes[0].post('/token', form)).body['error'], 'invalid_grant')
  await approvedReach(cluster, grantId, ['notes'])
  assert.equal((await cluster.nodes[1].post('/token', form)).status, 200)
})
