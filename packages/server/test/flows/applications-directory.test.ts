// The directory of known applications: what is pinned, by the product or by an administrator, and what is told and held
// back when the document that is fetched is another one.
import assert from 'node:assert/strict'
import { judge, type Judgement } from '../../src/approval/approval.ts'
import { decisions, type Decisions } from '../../src/approval/decisions.ts'
import { directoryEntries } from '../../src/clients/directory.ts'
import { directoryDigest } from '../../src/clients/metadata-document.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { approvalStore } from '../../src/store/applications.ts'
import { recordChange } from '../../src/store/changes.ts'
import { eachClientWorld, type ClientWorld } from '../support/client-nodes.ts'

const ID = 'https://app.example/oauth/client.json'
const CLAUDE = 'https://claude.ai/oauth/claude-code-client-metadata'
const DOCUMENT = { client_id: ID, client_name: 'App', redirect_uris: ['https://app.example/cb'] }
const PUBLIC = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none' }
const DANA = { userId: 'usr_dana', reference: 'r', address: '192.0.2.9' }
const HOUR = 3600_000

const serve = (world: ClientWorld, body: object, id = ID): unknown => world.web.pages.set(id, () => ({ body }))
const store = (world: ClientWorld) =>
  approvalStore({ db: world.db, audit: auditLog(world.db, () => undefined), changed: (tx, change) => recordChange(tx, change, (made) => world.hear(made)) })
const admin = (world: ClientWorld): Decisions => decisions(store(world), () => world.now)

/** Fetches the document again, on this node. */
async function look(world: ClientWorld, node: 0 | 1 = 0, id = ID): Promise<string> {
  world.now += HOUR
  return (await world.nodes[node].clients.find(id)).digest
}

async function judgedOn(world: ClientWorld, node: 0 | 1 = 0): Promise<Judgement> {
  return judge(await world.nodes[node].approvals.standing(ID), { upstream: 'notes', access: 'read' }, [])
}

async function known(world: ClientWorld): Promise<string> {
  serve(world, DOCUMENT)
  const client = await world.nodes[0].clients.find(ID)
  await world.nodes[0].approvals.used(client)
  return client.digest
}

eachClientWorld('what an administrator pinned and is something else now is told once, by whatever node fetches it first', async (world) => {
  const digest = await known(world)
  serve(world, { ...DOCUMENT, logo_uri: 'https://app.example/logo.png' })
  assert.equal(await look(world), digest)
  assert.equal(await admin(world).pin(ID, digest, DANA), 'done')
  await look(world)
  assert.deepEqual([await world.events('application.changed'), world.told], [[], []])
  serve(world, { ...DOCUMENT, redirect_uris: ['https://app.example/cb', 'https://evil.example/cb'] })
  const changed = await look(world)
  await look(world, 1)
  await look(world)
  const [event, ...others] = await world.events('application.changed')
  assert.deepEqual([event?.application, event?.verified, event?.detail?.['digest'], others.length], [ID, true, changed, 0])
  assert.equal((await world.db.query('SELECT id FROM notices')).length, 1)
  assert.deepEqual([world.told[0]?.type, world.told[0]?.facts['voucher']], ['application.changed', 'verified: app.example'])
  // Only told: the setting says no more.
  assert.deepEqual(await judgedOn(world, 1), { kind: 'approved' })
})

eachClientWorld('by setting it is held back on all nodes, until it is pinned as it is now, or is again what it was', async (world) => {
  world.approval.holdChanged = true
  const digest = await known(world)
  await admin(world).pin(ID, digest, DANA)
  for (const node of [0, 1] as const) assert.deepEqual(await judgedOn(world, node), { kind: 'approved' })
  serve(world, { ...DOCUMENT, client_name: 'Other' })
  const changed = await look(world, 1)
  for (const node of [0, 1] as const) assert.deepEqual(await judgedOn(world, node), { kind: 'unknown' })
  serve(world, DOCUMENT)
  await look(world, 1)
  for (const node of [0, 1] as const) assert.deepEqual(await judgedOn(world, node), { kind: 'approved' })
  serve(world, { ...DOCUMENT, client_name: 'Other' })
  await look(world)
  assert.deepEqual(await judgedOn(world), { kind: 'unknown' })
  assert.equal(await admin(world).pin(ID, changed, DANA), 'done')
  for (const node of [0, 1] as const) assert.deepEqual(await judgedOn(world, node), { kind: 'approved' })
})

eachClientWorld('an anonymous look at an address makes nothing known: a flood of them fills no table', async (world) => {
  for (let index = 0; index < 30; index += 1) {
    const id = `https://app${index}.example/client`
    serve(world, { ...DOCUMENT, client_id: id }, id)
    await world.nodes[0].clients.find(id)
  }
  assert.equal((await world.db.query('SELECT id FROM applications')).length, 0)
  await known(world)
  assert.equal((await world.db.query('SELECT id FROM applications')).length, 1)
})

eachClientWorld('the built-in directory names its applications and what they look like, and drift from it is recorded', async (world) => {
  const entries = directoryEntries()
  assert.ok(entries.length >= 8)
  for (const { id, name, voucher } of entries) assert.ok(name !== '' && voucher === `verified: ${new URL(id).host}` && directoryDigest(id) !== undefined, id)
  assert.equal(directoryDigest(ID), undefined)
  // It stands in while the host does not answer, and is then exactly that.
  assert.equal((await world.nodes[0].clients.find(CLAUDE)).digest, directoryDigest(CLAUDE))
  serve(world, { client_id: CLAUDE, client_name: 'Claude Code', redirect_uris: ['https://evil.example/cb'] }, CLAUDE)
  assert.notEqual(await look(world, 0, CLAUDE), directoryDigest(CLAUDE))
  // Nobody uses it: nobody is told.
  assert.deepEqual(world.told, [])
  serve(world, { client_id: CLAUDE, client_name: 'Claude Code', redirect_uris: ['http://localhost/callback', 'http://127.0.0.1/callback'], ...PUBLIC }, CLAUDE)
  assert.equal(await look(world, 0, CLAUDE), directoryDigest(CLAUDE))
  await world.nodes[0].approvals.used(await world.nodes[0].clients.find(CLAUDE))
  serve(world, { client_id: CLAUDE, client_name: 'Claude Code', redirect_uris: ['https://evil.example/cb'] }, CLAUDE)
  await look(world, 1, CLAUDE)
  assert.deepEqual(world.told.map(({ facts }) => facts['application']), [CLAUDE])
  assert.equal((await world.events('application.changed')).length, 1)
  assert.deepEqual((await world.events('client.updated')).slice(0, 1).map(({ clientId, reason }) => [clientId, reason]), [[CLAUDE, 'the document differs from the built-in directory']])
})
