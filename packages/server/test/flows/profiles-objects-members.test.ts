// For whom a profile is: for everybody else the MCP endpoint answers as where there is nothing, whatever they present.
import assert from 'node:assert/strict'
import { at, call, eachMcpCluster, legacy, initialize, modern, type Answer, type Cluster, type Sent } from '../support/mcp-nodes.ts'

const PROFILES = {
  profiles: [
    { id: 'team', name: 'Team', upstreams: ['notes'], groups: ['engineering'] },
    { id: 'u-anna', name: 'Private', upstreams: ['notes'], owner: 'usr_anna' },
  ],
}

async function everyNode(cluster: Cluster, sent: Sent): Promise<readonly Answer[]> {
  return Promise.all(cluster.nodes.map((node) => node.send(sent)))
}

async function assertNothingThere(cluster: Cluster, id: string, make: (token: string) => Sent, token: string): Promise<void> {
  const asked = cluster.notes.asked.length
  const answers = await everyNode(cluster, at(id, make(token)))
  const nothing = await everyNode(cluster, at('missing', make(token)))
  assert.deepEqual(answers.map(({ status, text }) => [status, text]), nothing.map(({ status, text }) => [status, text]))
  assert.deepEqual(answers.map(({ status }) => status), [404, 404])
  for (const { headers, text } of answers) assert.doesNotMatch(JSON.stringify(headers) + text, /Private|Team|www-authenticate/)
  assert.equal(cluster.notes.asked.length, asked, 'nothing goes upstream')
}

function bare(token: string, method: string): Sent {
  const { headers = {} } = modern(token, 'ping')
  return { method, headers }
}

const REQUESTS: readonly ((token: string) => Sent)[] = [
  (token) => call(token, 'read_note'),
  (token) => modern(token, 'tools/list'),
  (token) => modern(token, 'server/discover'),
  (token) => initialize(token),
  (token) => legacy(token, 'ping', undefined),
  (token) => bare(token, 'GET'),
  (token) => bare(token, 'DELETE'),
]

async function assertServed(cluster: Cluster, id: string, token: string): Promise<void> {
  for (const answer of await everyNode(cluster, at(id, call(token, 'read_note')))) assert.equal(answer.status, 200, answer.text)
}

eachMcpCluster('who leaves the groups of a profile finds nothing there on any node, and finds it again when they are back', async (cluster) => {
  const token = cluster.token({ profile: 'team' })
  await assertServed(cluster, 'team', token)
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice !== undefined)
  cluster.users.set('usr_alice', { ...alice, groups: ['sales'] })
  await cluster.revoke({ kind: 'user', key: 'usr_alice' })
  for (const make of REQUESTS) await assertNothingThere(cluster, 'team', make, token)
  // What she may still use is there.
  await assertServed(cluster, 'notes', cluster.token({ profile: 'notes' }))
  cluster.users.set('usr_alice', alice)
  await cluster.revoke({ kind: 'user', key: 'usr_alice' })
  await assertServed(cluster, 'team', token)
}, PROFILES)

eachMcpCluster('E06: another person’s profile is not there, even for a token that was issued for it', async (cluster) => {
  for (const make of REQUESTS) await assertNothingThere(cluster, 'u-anna', make, cluster.token({ profile: 'u-anna', userId: 'usr_alice' }))
  await assertServed(cluster, 'u-anna', cluster.token({ profile: 'u-anna', userId: 'usr_anna' }))
}, PROFILES)
