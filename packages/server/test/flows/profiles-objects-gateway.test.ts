// Profiles at the MCP endpoint of whole nodes: what a token of one is good for, what a profile offers of an upstream, and
// that changes and deletions count at once, on every node.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { asPerson, tokenFor, tokenOf, type Ask } from '../support/api-clients.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { at, call, modern, toolNames, type Sent } from '../support/mcp-nodes.ts'
import { variants } from '../support/variants.ts'

interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

/** What a node may take to hear of a change. */
const BOUND_MS = 1000

for (const variant of variants()) {
  describe(`profiles at the MCP endpoint, on ${variant.name}`, () => {
    let gateway: RunningGateway
    let dana: Ask
    let alice: Ask

    before(async () => {
      const config = { admins: { groups: ['it-admins'] }, profiles: [{ id: 'readers', name: 'Readers', upstreams: ['notes'], tools: { notes: ['list_*', 'read_note'] } }] }
      gateway = await startGateway({ ...variant, config })
      dana = await asPerson(gateway.issuer, 'dana')
      alice = await asPerson(gateway.issuer, 'alice')
    })
    after(() => gateway.close())

    const publish = (id: string, more: object = {}, method: 'POST' | 'PUT' = 'POST') => dana(method === 'POST' ? '/api/profiles' : `/api/profiles/${id}`, { method, body: { ...(method === 'POST' ? { id } : {}), name: id, upstreams: ['notes'], ...more } })
    const address = (id: string): string => `${gateway.issuer}/mcp/${id}`

    /** One request to each node. */
    async function everyNode(sent: Sent): Promise<readonly Answer[]> {
      return Promise.all(gateway.nodes.map((node) => send(node, new URL(gateway.issuer).host, sent)))
    }

    async function assertStatus(sent: Sent, status: number, what = ''): Promise<void> {
      for (const answer of await everyNode(sent)) assert.equal(answer.status, status, `${what} ${JSON.stringify(answer.body)}`)
    }

    async function served(id: string): Promise<void> {
      await eventually(`${id} is served on every node`, async () => (await everyNode(at(id, modern('x', 'tools/list')))).every(({ status }) => status === 401))
    }

    test('G04: a token of one profile is worth nothing at another, at an upstream of it, or at none', async () => {
      assert.equal((await publish('one')).status, 201)
      assert.equal((await publish('two')).status, 201)
      await served('two')
      const tokens = { one: await tokenOf(gateway.issuer, 'alice', address('one')), two: await tokenOf(gateway.issuer, 'alice', address('two')), notes: await tokenOf(gateway.issuer, 'alice', address('notes')) }
      for (const [own, token] of Object.entries(tokens)) {
        for (const other of Object.keys(tokens)) await assertStatus(at(other, call(token, 'list_notes')), own === other ? 200 : 401, `${own} at ${other}`)
        await assertStatus({ ...call(token, 'list_notes'), path: '/mcp/missing' }, 404)
        await assertStatus({ ...call(token, 'list_notes'), path: '/mcp/everything' }, 404)
        const [everything] = await everyNode({ ...call(token, 'list_notes'), path: '/mcp' })
        assert.ok(everything?.status === 401 || everything?.status === 404)
      }
    })

    test('of an upstream a profile offers the tools that it names, in lists and in calls', async () => {
      const token = await tokenOf(gateway.issuer, 'alice', address('readers'))
      for (const { body } of await everyNode(at('readers', modern(token, 'tools/list')))) assert.deepEqual(toolNames(body), ['list_notes', 'read_note'])
      await assertStatus(at('readers', call(token, 'list_notes')), 200)
      for (const { body } of await everyNode(at('readers', call(token, 'write_note', { title: 't', text: 't' })))) assert.match(JSON.stringify(body), /Unknown tool: write_note/)
      await recorded(gateway, (event) => event.action === 'call.denied' && event.tool === 'write_note' && event.rule === 'profile')
      // The twin: alone, the upstream has it.
      const whole = await tokenOf(gateway.issuer, 'alice', address('notes'))
      const [answer] = await everyNode(at('notes', modern(whole, 'tools/list')))
      assert.ok(toolNames(answer?.body).includes('write_note'))
    })

    test('a tool that is taken out of a profile is called no more, and its tokens stay; what is added needs a new consent (D06)', async () => {
      assert.equal((await publish('team', { tools: { notes: ['list_notes', 'read_note'] } })).status, 201)
      await served('team')
      const token = await tokenOf(gateway.issuer, 'alice', address('team'))
      await assertStatus(at('team', call(token, 'list_notes')), 200)
      assert.equal((await publish('team', { tools: { notes: ['read_note'] } }, 'PUT')).status, 200)
      await eventually('no node knows the tool', async () => (await everyNode(at('team', call(token, 'list_notes')))).every(({ status, body }) => status === 200 && /Unknown tool/.test(JSON.stringify(body))), BOUND_MS)
      for (const { body } of await everyNode(at('team', modern(token, 'tools/list')))) assert.deepEqual(toolNames(body), ['read_note'])
      assert.equal((await publish('team', { tools: { notes: ['read_note', 'write_note'] } }, 'PUT')).status, 200)
      await eventually('the token ended on every node', async () => (await everyNode(at('team', call(token, 'read_note')))).every(({ status }) => status === 401), BOUND_MS)
      assert.match(await (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/mcp/team`)).text(), /"team"/)
      const next = await tokenOf(gateway.issuer, 'alice', address('team'))
      await assertStatus(at('team', modern(next, 'tools/list')), 200)
    })

    test('a profile that is deleted while it is called: a moment later no node serves it, and its tokens are worth nothing (Z08)', async () => {
      const made = await alice('/api/me/profiles', { method: 'POST', body: { name: 'Mine', upstreams: ['notes'] } })
      const id = String(made.body['id'])
      await served(id)
      const token = await tokenOf(gateway.issuer, 'alice', address(id))
      const bystander = await tokenOf(gateway.issuer, 'alice', address('notes'))
      const history: { readonly begunAt: number; readonly status: number }[] = []
      let deletedAt = Infinity
      const caller = async (node: string): Promise<void> => {
        while (Date.now() < deletedAt + BOUND_MS + 300) {
          const begunAt = Date.now()
          const { status } = await send(node, new URL(gateway.issuer).host, at(id, call(token, 'list_notes')))
          history.push({ begunAt, status })
        }
      }
      const deleter = async (): Promise<void> => {
        await eventually('calls are under way', () => history.filter(({ status }) => status === 200).length > 20)
        assert.equal((await alice(`/api/me/profiles/${id}`, { method: 'DELETE' })).status, 204)
        deletedAt = Date.now()
      }
      await Promise.all([...gateway.nodes.flatMap((node) => [caller(node), caller(node)]), deleter()])
      assert.deepEqual([...new Set(history.map(({ status }) => status))].filter((status) => ![0, 200, 401, 404].includes(status)), [])
      assert.deepEqual(history.filter(({ begunAt, status }) => begunAt > deletedAt + BOUND_MS && status !== 404), [])
      assert.ok(history.some(({ begunAt }) => begunAt > deletedAt + BOUND_MS))
      assert.equal((await tokenFor(gateway.issuer, 'alice', address(id))).error, 'invalid_target')
      await assertStatus(at('notes', call(bystander, 'list_notes')), 200)
    })

    test('a name that was deleted and given out again knows nothing of the tokens and consents of before', async () => {
      assert.equal((await publish('again')).status, 201)
      await served('again')
      const token = await tokenOf(gateway.issuer, 'alice', address('again'))
      await assertStatus(at('again', call(token, 'list_notes')), 200)
      assert.equal((await dana('/api/profiles/again', { method: 'DELETE' })).status, 204)
      assert.equal((await publish('again')).status, 201)
      await served('again')
      await assertStatus(at('again', call(token, 'list_notes')), 401)
      await assertStatus(at('again', call(await tokenOf(gateway.issuer, 'alice', address('again')), 'list_notes')), 200)
    })
  })
}

/** With the gateway's host name, which fetch does not send: nodes are asked one by one. */
function send(node: string, host: string, { path = '/mcp', headers = {}, body }: Sent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const given = Object.fromEntries(Object.entries({ ...headers, host }).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]))
    const asked = request(`${node}${path}`, { method: 'POST', headers: given }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: readBody(text) }))
      answer.on('error', () => resolve({ status: 0, body: {} }))
    })
    asked.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? resolve({ status: 0, body: {} }) : reject(error)))
    asked.end(body)
  })
}

/** The JSON-RPC answer, by itself or as the last message of a stream. */
function readBody(text: string): Readonly<Record<string, unknown>> {
  const data = text.startsWith('{') ? text : (text.match(/^data: (\{.*)$/gm)?.at(-1)?.slice('data: '.length) ?? '{}')
  return JSON.parse(data) as Readonly<Record<string, unknown>>
}
