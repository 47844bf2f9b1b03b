// Approval where calls are made: what an administrator decided holds for the next call, whatever token it comes with.
import assert from 'node:assert/strict'
import type { RequestDecision } from '../../src/approval/approval-store.ts'
import { decisions, type Decisions } from '../../src/approval/decisions.ts'
import type { Rule } from '../../src/policy/policy.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { approvalStore } from '../../src/store/applications.ts'
import { recordChange } from '../../src/store/changes.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { eventually } from '../support/eventually.ts'
import { at, call, eachMcpCluster, errorOf, legacy, modern, RULES, toolNames, type Answer, type Cluster, type Sent } from '../support/mcp-nodes.ts'

const DANA = { userId: 'usr_dana', reference: 'r', address: '192.0.2.9' }

/** A third node, on which the administrator is: the two others hear of it. */
function parts({ db }: Cluster): StoreParts {
  return { db, audit: auditLog(db, () => undefined), changed: (tx, change) => recordChange(tx, change, () => undefined) }
}

const store = (cluster: Cluster) => approvalStore(parts(cluster))
const admin = (cluster: Cluster): Decisions => decisions(store(cluster), () => cluster.now)
const editor = { id: 'app', clientId: 'app', name: 'App', verified: false, digest: 'd1' }

async function decide(cluster: Cluster, decision: RequestDecision): Promise<void> {
  const [request] = await store(cluster).requests('pending', 10)
  assert.equal(await admin(cluster).decide(request?.id ?? '', decision, DANA), 'decided')
}

async function approveUpstream(cluster: Cluster, upstream: string, access: 'read' | 'write', groups?: readonly string[]): Promise<void> {
  const id = `apr_${upstream}_${access}`
  await store(cluster).ask({ id, key: `${id} ${String(groups)}`, kind: 'application', userId: 'usr_alice', content: { ...editor, resource: 'r', needs: [{ upstream, access }], person: 'alice' }, reference: '', createdAt: cluster.now }, { since: Number.MAX_SAFE_INTEGER, max: 100 }, [])
  await decide(cluster, { effect: 'approve', ...(groups === undefined ? {} : { groups }) })
}

const ask = (cluster: Cluster, tool: string, options: Parameters<Cluster['token']>[0] = {}, node = 0): Promise<Answer> => cluster.nodes[node === 0 ? 0 : 1].send(call(cluster.token({ clientId: 'app', ...options }), tool))
const isAllowed = (answer: Answer): boolean => answer.status === 200 && errorOf(answer.body).code === undefined

eachMcpCluster('an application that nobody approved sees nothing and calls nothing; approved, it does, on all nodes and with the same token', async (cluster) => {
  cluster.approval.required = true
  const answer = await ask(cluster, 'read_note')
  assert.equal(answer.status, 403)
  assert.match(String(errorOf(answer.body).message), /has not approved this application/)
  const list = await cluster.nodes[1].send(modern(cluster.token({ clientId: 'app' }), 'tools/list'))
  assert.equal(list.status, 403)
  assert.equal(cluster.notes.calls().length, 0)
  const [event] = await cluster.events('call.denied')
  assert.deepEqual([event?.rule, event?.clientId, event?.application, event?.verified], ['approval', 'app', 'app', false])
  await approveUpstream(cluster, 'notes', 'write')
  for (const node of [0, 1]) await eventually('the approval on this node', async () => isAllowed(await ask(cluster, 'read_note', {}, node)))
  assert.ok(toolNames((await cluster.nodes[1].send(modern(cluster.token({ clientId: 'app' }), 'tools/list'))).body).includes('read_note'))
  // Another application is another matter, and so is a configured one.
  assert.equal((await ask(cluster, 'read_note', { clientId: 'other' })).status, 403)
  cluster.applications.set('configured', { id: 'configured', kind: 'pre-registered', name: 'C', redirectUris: [], grantTypes: [], tokenEndpointAuthMethods: [], secretHashes: [], digest: 'd' })
  assert.ok(isAllowed(await ask(cluster, 'read_note', { clientId: 'configured' })))
})

eachMcpCluster('scope growth after approval: who was approved for reading does not write, whatever the token says', async (cluster) => {
  cluster.approval.required = true
  await approveUpstream(cluster, 'notes', 'read')
  await eventually('the approval', async () => isAllowed(await ask(cluster, 'read_note')))
  const before = cluster.notes.calls().length
  const answer = await ask(cluster, 'write_note', { scope: ['mcp.read', 'mcp.write'] })
  assert.equal(answer.status, 403)
  assert.equal(cluster.notes.calls().length, before)
  await approveUpstream(cluster, 'notes', 'write')
  await eventually('the approval to write', async () => isAllowed(await ask(cluster, 'write_note', { scope: ['mcp.read', 'mcp.write'] })))
})

eachMcpCluster('an upstream that was not approved stays closed to tokens that were issued for it', async (cluster) => {
  cluster.approval.required = true
  await approveUpstream(cluster, 'notes', 'write')
  await eventually('the approval', async () => isAllowed(await ask(cluster, 'read_note')))
  const elsewhere = await cluster.nodes[0].send({ ...call(cluster.token({ clientId: 'app', profile: 'weather' }), 'read_note'), path: '/mcp/weather' })
  assert.equal(elsewhere.status, 403)
  assert.equal(cluster.weather.asked.length, 0)
})

eachMcpCluster('an approval for other groups than the caller’s, or a refusal, ends calls at once', async (cluster) => {
  assert.ok(isAllowed(await ask(cluster, 'read_note')))
  await store(cluster).addApplication(editor, cluster.now)
  assert.equal(await admin(cluster).approve('app', 'd1', ['sales'], DANA), 'done')
  for (const node of [0, 1]) await eventually('the end of it', async () => (await ask(cluster, 'read_note', {}, node)).status === 403)
  assert.ok(isAllowed(await ask(cluster, 'read_note', { userId: 'usr_bob', scope: ['mcp.read'] })))
  assert.equal(await admin(cluster).approve('app', 'd1', undefined, DANA), 'done')
  await eventually('the approval for everybody', async () => isAllowed(await ask(cluster, 'read_note')))
  assert.equal(await admin(cluster).refuse('app', 'No longer', DANA), 0)
  for (const node of [0, 1]) await eventually('the refusal', async () => (await ask(cluster, 'read_note', {}, node)).status === 403)
})

eachMcpCluster('a pinned application that changed is held back, calls included, where the settings say so', async (cluster) => {
  await store(cluster).addApplication(editor, cluster.now)
  assert.equal(await admin(cluster).pin('app', 'd1', DANA), 'done')
  assert.ok(isAllowed(await ask(cluster, 'read_note')))
  await store(cluster).sawApplication({ ...editor, digest: 'd2' }, cluster.now, { events: [], notices: [] })
  for (const node of [0, 1]) await eventually('the change', async () => (await ask(cluster, 'read_note', {}, node)).status === 403)
  await store(cluster).sawApplication(editor, cluster.now, { events: [], notices: [] })
  await eventually('what it was', async () => isAllowed(await ask(cluster, 'read_note')))
})

const ASKING = [...RULES, { id: 'writes-need-approval', effect: 'approval' as const, tools: ['write_*'] }]

eachMcpCluster('a call that a rule leaves to an administrator asks for it once, and succeeds when it is tried again after approval', async (cluster) => {
  // It is listed: whoever uses it is told what to do.
  assert.ok(toolNames((await cluster.nodes[0].send(modern(cluster.token({ clientId: 'app' }), 'tools/list'))).body).includes('write_note'))
  const first = await ask(cluster, 'write_note')
  assert.match(String(errorOf(first.body).message), /must approve this first; the request is with them/)
  for (const node of [0, 1, 0, 1]) await ask(cluster, 'write_note', {}, node)
  await Promise.all(Array.from({ length: 6 }, (_, index) => ask(cluster, 'write_note', {}, index % 2)))
  const [request, ...others] = await store(cluster).requests('pending', 10)
  assert.deepEqual(others, [])
  assert.deepEqual([request?.kind, request?.userId, request?.content.id, request?.content.tool, request?.content.needs[0]?.upstream], ['call', 'usr_alice', 'app', 'write_note', 'notes'])
  assert.equal((await cluster.events('approval.requested')).length, 1)
  assert.deepEqual([...new Set((await cluster.events('call.denied')).map(({ rule }) => rule))], ['writes-need-approval'])
  assert.equal(cluster.notes.calls().length, 0)
  await decide(cluster, { effect: 'approve' })
  assert.ok(isAllowed(await ask(cluster, 'write_note')))
  assert.ok(isAllowed(await ask(cluster, 'write_note', {}, 1)))
  assert.equal((await cluster.events('call.allowed')).at(-1)?.rule, 'writes-need-approval')
  // For one person, application and tool; what no rule leaves to anybody goes on.
  const before = cluster.notes.calls().length
  for (const options of [{ userId: 'usr_anna' }, { clientId: 'other' }]) assert.ok(!isAllowed(await ask(cluster, 'write_note', options)))
  assert.equal(cluster.notes.calls().length, before)
  assert.ok(isAllowed(await ask(cluster, 'read_note', { userId: 'usr_anna' })))
  // What a denial forbids is asked of nobody.
  assert.ok(!isAllowed(await ask(cluster, 'delete_note')))
  assert.equal((await store(cluster).requests('pending', 10)).length, 2)
}, { rules: ASKING })

eachMcpCluster('a refused call is refused with the reason, each time', async (cluster) => {
  await ask(cluster, 'write_note')
  await decide(cluster, { effect: 'refuse', reason: 'Ask your team first' })
  for (const node of [0, 1]) assert.match(String(errorOf((await ask(cluster, 'write_note', {}, node)).body).message), /has refused this: Ask your team first/)
  assert.deepEqual(await store(cluster).requests('pending', 10), [])
  assert.equal(cluster.notes.calls().length, 0)
  // Withdrawn, it is as if nobody had decided: the next call asks again.
  const [decided] = await store(cluster).requests('refused', 10)
  assert.equal(await admin(cluster).withdrawCall(decided?.id ?? '', DANA), true)
  assert.equal(await admin(cluster).withdrawCall(decided?.id ?? '', DANA), false)
  assert.match(String(errorOf((await ask(cluster, 'write_note')).body).message), /must approve this first/)
  await decide(cluster, { effect: 'approve' })
  assert.ok(isAllowed(await ask(cluster, 'write_note')))
  const [approved] = await store(cluster).requests('approved', 10)
  assert.equal(await admin(cluster).withdrawCall(approved?.id ?? '', DANA), true)
  assert.match(String(errorOf((await ask(cluster, 'write_note', {}, 1)).body).message), /must approve this first/)
}, { rules: ASKING })

eachMcpCluster('F13: one person’s calls do not fill the queue', async (cluster) => {
  for (let index = 0; index < 60; index += 1) await ask(cluster, `write_${index}`)
  assert.equal((await store(cluster).requests('pending', 500)).length, 50)
  assert.match(String(errorOf((await ask(cluster, 'write_note')).body).message), /Too many/)
  await ask(cluster, 'write_note', { userId: 'usr_anna' })
  assert.equal((await store(cluster).requests('pending', 500)).length, 51)
}, { rules: ASKING })

const AGENT = 'software:https://software.example#agent-7'
const OF_ONE: readonly Rule[] = [
  { id: 'agents', effect: 'allow', clients: [AGENT] },
  { id: 'not-this-one', effect: 'deny', clients: ['dyn_2'] },
]

eachMcpCluster('a rule names an application and speaks of all its registrations; it may still name one of them', async (cluster) => {
  const software = { issuer: 'https://software.example', id: 'agent-7', digest: 'd', statement: 's' }
  for (const id of ['dyn_1', 'dyn_2', 'dyn_3']) cluster.applications.set(id, { id, kind: 'dynamic', name: 'Agent', redirectUris: [], grantTypes: [], tokenEndpointAuthMethods: [], secretHashes: [], digest: id, software })
  for (const clientId of ['dyn_1', 'dyn_3']) assert.ok(isAllowed(await ask(cluster, 'read_note', { clientId })), clientId)
  const before = cluster.notes.calls().length
  for (const clientId of ['dyn_2', 'dyn_4']) assert.equal((await ask(cluster, 'read_note', { clientId })).status, 404, clientId)
  assert.equal(cluster.notes.calls().length, before)
  const [allowed] = await cluster.events('call.allowed')
  assert.deepEqual([allowed?.clientId, allowed?.application, allowed?.verified], ['dyn_1', AGENT, true])
}, { rules: OF_ONE })

eachMcpCluster('prompts and resources are left to an administrator by rules that speak of everything', async (cluster) => {
  const prompt = (): Promise<Answer> => cluster.nodes[0].send(modern(cluster.token({ clientId: 'app' }), 'prompts/get', { name: 'a-prompt' }))
  assert.match(String(errorOf((await prompt()).body).message), /must approve this first/)
  const [request, ...others] = await store(cluster).requests('pending', 10)
  assert.deepEqual([request?.kind, request?.content.tool, others.length], ['call', '*', 0])
  await decide(cluster, { effect: 'approve' })
  // The upstream's own answer: it has no such method.
  assert.equal(errorOf((await prompt()).body).code, -32_601)
  // A tool is another matter.
  assert.ok(!isAllowed(await ask(cluster, 'read_note')))
}, { rules: [...RULES, { id: 'everything-needs-approval', effect: 'approval' }] })

eachMcpCluster('of a profile, the upstreams that the application was approved for are there, and the others are not', async (cluster) => {
  cluster.approval.required = true
  const token = cluster.token({ clientId: 'app', profile: 'team' })
  const send = (sent: Sent): Promise<Answer> => cluster.nodes[0].send(at('team', sent))
  assert.equal((await send(modern(token, 'tools/list'))).status, 403)
  await approveUpstream(cluster, 'notes', 'write')
  await eventually('the approval', async () => isAllowed(await send(call(token, 'notes__read_note'))))
  assert.deepEqual(toolNames((await send(modern(token, 'tools/list'))).body), ['notes__read_note', 'notes__write_note'])
  assert.ok(!isAllowed(await send(call(token, 'weather__read_note'))))
  assert.equal(cluster.weather.asked.length, 0)
  await approveUpstream(cluster, 'weather', 'read')
  await eventually('the other approval', async () => isAllowed(await send(call(token, 'weather__read_note'))))
  assert.ok(!isAllowed(await send(call(token, 'weather__write_note'))))
}, { profiles: [{ id: 'team', name: 'Team', upstreams: ['weather', 'notes'] }] })

eachMcpCluster('H05, O02: a name that no tool can have waits for nobody', async (cluster) => {
  const token = cluster.token({ clientId: 'app' })
  for (const name of ['archive\u0000note', 'x'.repeat(100_000)]) {
    const answer = await cluster.nodes[0].send(legacy(token, 'tools/call', { name, arguments: {} }))
    assert.deepEqual([answer.status, errorOf(answer.body).code], [200, -32602])
  }
  assert.deepEqual(await store(cluster).requests('pending', 10), [])
  assert.equal(errorOf((await cluster.nodes[0].send(legacy(token, 'tools/call', { name: 'read_note', arguments: {} }))).body).code, -32000)
  assert.deepEqual((await store(cluster).requests('pending', 10)).map(({ content }) => content.tool), ['read_note'])
}, { rules: [...RULES, { id: 'ask-first', effect: 'approval' }] })
