// Tokens after a challenge: the refresh that answers it is of no use and is told so, once; what the person proved since
// then stands with the grant, whatever the token says.
import assert from 'node:assert/strict'
import { scopeMapping } from '../../src/identity/scope-mapping.ts'
import { stepUpStore } from '../../src/store/step-ups.ts'
import { eachCluster, RESOURCE, type Cluster } from '../support/token-nodes.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import { client } from '../support/token-nodes.ts'
import { hash } from '../../src/oauth/secret.ts'

const stepUps = (cluster: Cluster) => stepUpStore({ db: cluster.db, audit: auditLog(cluster.db, () => undefined), changed: (tx, change) => recordChange(tx, change, () => undefined) })

const ask = (cluster: Cluster, grantId: string) =>
  stepUps(cluster).ask({ userId: 'usr_alice', clientId: 'app', resource: RESOURCE, grantId, requirement: { acrValues: ['urn:mfa'] }, scope: [] }, cluster.now, cluster.now)

eachCluster('RFC 9470 §5: the first refresh within a minute of a challenge is refused, on whichever node; the token stays good', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const other = await cluster.signIn()
  await ask(cluster, grantId)
  // The other grant was told nothing.
  assert.equal((await cluster.refresh(other.refreshToken)).status, 200)
  cluster.now += 59_000
  const refused = await cluster.refresh(refreshToken, {}, cluster.nodes[1])
  assert.deepEqual([refused.status, refused.body['error']], [400, 'invalid_grant'])
  assert.deepEqual((await cluster.events('token.refused')).map(({ reason, grantId: of }) => [reason, of]), [['refreshed in answer to a challenge', undefined]])
  const again = await cluster.refresh(refreshToken)
  assert.equal(again.status, 200)
  const [grant] = await cluster.db.query<{ revoked_at: number | null }>('SELECT revoked_at FROM grants WHERE id = $1', [grantId])
  assert.equal(grant?.revoked_at, null)
  await ask(cluster, grantId)
  cluster.now += 61_000
  assert.equal((await cluster.refresh(again.body['refresh_token'])).status, 200)
})

eachCluster('a stolen refresh token is noticed all the same (RFC 9700 §4.14.2)', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  assert.equal((await cluster.refresh(refreshToken)).status, 200)
  cluster.now += 61_000
  await ask(cluster, grantId)
  assert.equal((await cluster.refresh(refreshToken)).body['error'], 'invalid_grant')
  assert.equal((await cluster.events('token.reuse_detected')).length, 1)
})

eachCluster('RFC 9068 §2.2.1, RFC 9470 §6.2: token, caller and introspection name the sign-in; what was proven since counts', async (cluster) => {
  cluster.clients.set('tools', client('tools', { tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('s')] }))
  cluster.introspectors.set('tools', [RESOURCE])
  const seconds = Math.floor(cluster.now / 1000)
  const { accessToken, grantId } = await cluster.signIn({ acr: 'urn:pwd', authTime: seconds - 60, amr: ['pwd'] })
  const [one, two] = cluster.nodes
  const introspect = async () => {
    const { body } = await two.post('/introspect', { token: accessToken, client_id: 'tools', client_secret: 's' })
    return [body['acr'], body['auth_time'], body['amr']]
  }
  const claims = JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
  assert.deepEqual([claims['acr'], claims['auth_time'], claims['amr']], ['urn:pwd', seconds - 60, ['pwd']])
  assert.deepEqual(await introspect(), ['urn:pwd', seconds - 60, ['pwd']])
  assert.deepEqual((await one.tokens.verifier.verify(accessToken, RESOURCE)).authentication, { acr: 'urn:pwd', authTime: seconds - 60, amr: ['pwd'] })
  const proven = { acr: 'urn:mfa', authTime: seconds, amr: ['otp'], claims: { device: 'managed' } }
  await stepUps(cluster).raise({ id: grantId, userId: 'usr_alice', sessionId: 'ses' }, proven, cluster.now)
  assert.deepEqual(await introspect(), ['urn:mfa', seconds, ['otp']])
  assert.deepEqual((await one.tokens.verifier.verify(accessToken, RESOURCE)).authentication, proven)
})

eachCluster('RFC 6749 §5.1: whoever lost a group or a role gets tokens for what is left, and the token of before is worth no more', async (cluster) => {
  cluster.scopes = scopeMapping([{ scopes: ['mcp.read'], groups: ['*'] }, { scopes: ['mcp.write'], roles: ['Writer'] }])
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice !== undefined)
  cluster.users.set('usr_alice', { ...alice, roles: ['Writer'] })
  const { accessToken, refreshToken } = await cluster.signIn()
  const scopeOf = async (token: string) => (await cluster.nodes[1].tokens.verifier.verify(token, RESOURCE)).scope
  assert.deepEqual(await scopeOf(accessToken), ['mcp.read', 'mcp.write'])
  cluster.users.set('usr_alice', { ...alice, roles: [] })
  assert.deepEqual(await scopeOf(accessToken), ['mcp.read'])
  const less = await cluster.refresh(refreshToken)
  assert.equal(less.body['scope'], 'mcp.read')
  // The grant is as wide as it was: with the role comes the scope.
  cluster.users.set('usr_alice', { ...alice, roles: ['Writer'] })
  const more = await cluster.refresh(less.body['refresh_token'])
  assert.equal(more.body['scope'], 'mcp.read mcp.write')
  cluster.users.set('usr_alice', { ...alice, groups: [] })
  const none = await cluster.refresh(more.body['refresh_token'])
  assert.equal(none.status, 400, none.text)
  assert.deepEqual((await cluster.events('token.refused')).map(({ reason }) => reason), ['the person may hold none of the scopes'])
})
