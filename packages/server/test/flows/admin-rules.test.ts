// Rules by the JSON API: kept, explained and tried out, by administrators alone; calls of real clients obey them at once.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ask, asPerson, tokenOf, withToken, type Ask } from '../support/api-clients.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { connectV2, type ToolClient } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

const NO_READING = { id: 'no-reading', effect: 'deny', tools: ['read_note'] }

for (const variant of variants()) {
  describe(`rules on ${variant.name}`, () => {
    let gateway: RunningGateway
    let dana: Ask
    let alice: ToolClient
    let provider: ReturnType<typeof memoryProvider>

    before(async () => {
      gateway = await startGateway({ ...variant, config: { admins: { groups: ['it-admins'] } } })
      dana = withToken(gateway.issuer, await tokenOf(gateway.issuer, 'dana', `${gateway.issuer}/api`))
      provider = memoryProvider()
      alice = await connectV2(`${gateway.issuer}/mcp/notes`, provider, 'modern')
    })
    after(async () => {
      await alice.close()
      await gateway.close()
    })

    test('a rule that is added hides its tool from the next list and call on every node, and gives it back when it is deleted', async () => {
      assert.ok((await alice.tools()).includes('read_note'))
      const added = await dana('/api/rules', { method: 'POST', body: NO_READING })
      assert.deepEqual([added.status, added.body], [201, { rule: NO_READING, version: 1, declared: false }])
      await settled(async () => !(await alice.tools()).includes('read_note'))
      await assert.rejects(alice.call('read_note', { id: '1' }))
      await recorded(gateway, ({ action, rule, tool }) => action === 'call.denied' && rule === 'no-reading' && tool === 'read_note')
      const all = (await dana('/api/rules')).body['rules'] as { rule: { id: string }; declared: boolean }[]
      assert.deepEqual(all.map(({ rule, declared }) => [rule.id, declared]), [['engineering-everything', true], ['sales-reads-notes', true], ['nobody-deletes', true], ['no-reading', false]])
      assert.equal((await dana('/api/rules/no-reading', { method: 'DELETE' })).status, 204)
      await settled(async () => (await alice.tools()).includes('read_note'))
      assert.equal((await dana('/api/rules/no-reading')).status, 404)
      for (const action of ['rule.created', 'rule.deleted']) await recorded(gateway, (event) => event.action === action && event.rule === 'no-reading' && event.subject !== undefined)
    })

    test('X28: what is wrong is refused whole, with the place of each mistake, and the rules that there are go on deciding', async () => {
      const good = { id: 'good', effect: 'deny', tools: ['list_notes'] }
      const bad = [
        [{ id: 'x', effect: 'permit' }, '/rules/1/effect'],
        [{ id: 'x', effect: 'deny', unless: { networks: ['10.0.0.0/99'] } }, '/rules/1/unless/networks/0'],
        [{ id: 'x', effect: 'deny', when: { time: { timeZone: 'Europe/Atlantis' } } }, '/rules/1/when/time/timeZone'],
        [{ id: 'x', effect: 'step-up' }, '/rules/1/require'],
        [{ id: 'x', effect: 'deny', unless: {} }, '/rules/1/unless'],
        [{ id: 'x', effect: 'deny', upstreams: ['ntoes'] }, '/rules/1/upstreams/0'],
        [{ id: 'good', effect: 'allow' }, '/rules/1/id'],
        [{ id: 'nobody-deletes', effect: 'allow' }, '/rules/1/id'],
        [{ id: 'default', effect: 'allow' }, '/rules/1/id'],
      ] as const
      for (const [rule, pointer] of bad) {
        const refused = await dana('/api/rules', { method: 'PUT', body: { rules: [good, rule] } })
        assert.ok([409, 422].includes(refused.status), JSON.stringify(rule))
        assert.equal(refused.headers.get('content-type'), 'application/problem+json')
        assert.deepEqual((refused.body['errors'] as { pointer: string }[]).map((error) => error.pointer), [pointer], refused.text)
      }
      assert.equal((await dana('/api/rules', { method: 'PUT', body: '{' })).status, 400)
      assert.ok((await alice.tools()).includes('list_notes'))
      assert.deepEqual((await dana('/api/rules', { method: 'PUT', body: { rules: [good] } })).body, { added: 1, changed: 0, removed: 0 })
      await settled(async () => !(await alice.tools()).includes('list_notes'))
      assert.deepEqual((await dana('/api/rules', { method: 'PUT', body: { rules: [] } })).body, { added: 0, changed: 0, removed: 1 })
      await settled(async () => (await alice.tools()).includes('list_notes'))
    })

    test('a body with a NUL is refused, and no fault of the gateway on any store (H05)', async () => {
      assert.equal((await dana('/api/rules', { method: 'POST', body: { id: 'a\0b', effect: 'deny' } })).status, 400)
      assert.equal((await dana('/api/approvals/apr_1/refuse', { method: 'POST', body: { reason: 'a\0b' } })).status, 400)
      // What only looks like one is text.
      const plain = { id: 'plain', description: String.raw`a\u0000b`, effect: 'deny', tools: ['no_such_tool'] }
      assert.deepEqual((await dana('/api/rules', { method: 'POST', body: plain })).body['rule'], plain)
      assert.equal((await dana('/api/rules/plain', { method: 'DELETE' })).status, 204)
    })

    test('a rule is changed by who read its newest version', async () => {
      const rule = { id: 'quiet', effect: 'deny', tools: ['nothing'] }
      assert.equal((await dana('/api/rules', { method: 'POST', body: rule })).status, 201)
      assert.equal((await dana('/api/rules', { method: 'POST', body: rule })).status, 409)
      assert.equal((await dana('/api/rules/quiet', { method: 'PUT', body: { rule: { ...rule, description: 'first' }, version: 1 } })).body['version'], 2)
      assert.equal((await dana('/api/rules/quiet', { method: 'PUT', body: { rule: { ...rule, description: 'second' }, version: 1 } })).status, 409)
      assert.equal((await dana('/api/rules/other', { method: 'PUT', body: { rule, version: 1 } })).status, 422)
      assert.equal((await dana('/api/rules/nobody-deletes', { method: 'DELETE' })).status, 409)
      assert.equal(((await dana('/api/rules/quiet')).body['rule'] as { description: string }).description, 'first')
      assert.equal((await dana('/api/rules/quiet', { method: 'DELETE' })).status, 204)
    })

    test('who is no administrator reads and changes nothing, by session or from another site (M01, M04)', async () => {
      const bob = await asPerson(gateway.issuer, 'bob')
      const before = (await dana('/api/rules')).text
      for (const [path, method, body] of [['/api/rules', 'GET'], ['/api/rules', 'POST', NO_READING], ['/api/rules', 'PUT', { rules: [] }], ['/api/rules/x', 'DELETE'], ['/api/policy/explain', 'POST', {}], ['/api/policy/simulate', 'POST', { rules: [] }]] as const) {
        const sent = { method, ...(body === undefined ? {} : { body }) }
        assert.equal((await bob(path, sent)).body['type'], 'urn:lanyard:problem:not-an-administrator', `${method} ${path}`)
        assert.equal((await ask(gateway.issuer, path, sent)).status, 401)
      }
      const session = await asPerson(gateway.issuer, 'dana')
      const foreign = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }
      assert.equal((await session('/api/rules', { method: 'POST', body: NO_READING, headers: foreign })).status, 403)
      assert.equal((await session('/api/rules', { method: 'POST', body: JSON.stringify(NO_READING), headers: { 'content-type': 'text/plain' } })).status, 415)
      assert.equal((await dana('/api/rules')).text, before)
      await recorded(gateway, ({ action, reason }) => action === 'api.refused' && reason === 'not an administrator')
      // The twin: the same person from the gateway's own pages.
      assert.equal((await session('/api/rules', { method: 'POST', body: NO_READING })).status, 201)
      assert.equal((await session('/api/rules/no-reading', { method: 'DELETE' })).status, 204)
    })

    test('explain says of every rule why it matched or did not, and the decision is the one that a call gets', async () => {
      const user = gateway.events.find(({ action, upstream }) => action === 'call.denied' && upstream === 'notes')
      assert.ok(user?.subject !== undefined && user.clientId !== undefined)
      const question = { user: user.subject, client: user.clientId, upstream: 'notes', tool: 'delete_note' }
      // The rules of the tests before are gone on every node.
      await settled(async () => ((await dana('/api/policy/explain', { method: 'POST', body: question })).body['rules'] as unknown[]).length === 3)
      const { body } = await dana('/api/policy/explain', { method: 'POST', body: question })
      assert.deepEqual(body, {
        decision: { allow: false, effect: 'deny', rule: 'nobody-deletes' },
        rules: [
          { id: 'engineering-everything', effect: 'allow', matched: true, conditions: [{ name: 'groups', holds: true }, { name: 'upstreams', holds: true }, { name: 'tools', holds: true }] },
          { id: 'sales-reads-notes', effect: 'allow', matched: false, conditions: [{ name: 'groups', holds: false }, { name: 'upstreams', holds: true }, { name: 'tools', holds: false }] },
          { id: 'nobody-deletes', effect: 'deny', matched: true, conditions: [{ name: 'tools', holds: true }] },
        ],
      })
      await assert.rejects(alice.call('delete_note', { id: '1' }))
      const other = await dana('/api/policy/explain', { method: 'POST', body: { ...question, user: 'usr_nobody', groups: ['sales'], tool: 'read_note' } })
      assert.deepEqual((other.body['decision'] as { rule: string }).rule, 'sales-reads-notes')
      assert.equal((await dana('/api/policy/explain', { method: 'POST', body: { ...question, user: 'usr_nobody' } })).status, 422)
      assert.equal((await dana('/api/policy/explain', { method: 'POST', body: { ...question, upstream: 'nothing' } })).status, 422)
    })

    test('simulate tells which recorded calls other rules would have decided otherwise, and changes nothing', async () => {
      await alice.call('list_notes')
      await alice.call('list_notes')
      await recorded(gateway, ({ action, tool }) => action === 'call.allowed' && tool === 'list_notes')
      const rules = [{ id: 'no-lists', effect: 'deny', when: { tool: { readOnly: true } } }, { id: 'far-away', effect: 'deny', unless: { networks: ['127.0.0.0/8'] } }]
      const { status, body } = await dana('/api/policy/simulate', { method: 'POST', body: { rules } })
      assert.equal(status, 200)
      const changes = body['changes'] as { tool: string; calls: number; before: object; after: object }[]
      const list = changes.find(({ tool }) => tool === 'list_notes')
      assert.deepEqual([list?.before, list?.after], [{ effect: 'allow', rule: 'engineering-everything' }, { effect: 'deny', rule: 'no-lists' }])
      assert.ok((list?.calls ?? 0) >= 2)
      assert.equal(changes.some(({ tool }) => tool === 'delete_note'), false, 'was denied before')
      assert.ok((body['calls'] as number) > (body['changedCalls'] as number))
      assert.deepEqual((await dana('/api/policy/simulate', { method: 'POST', body: { rules: [] } })).body['changes'], [])
      assert.match(await alice.call('list_notes'), /\S/)
    })

    /** Other nodes hear of a change a moment later. */
    async function settled(isSo: () => Promise<boolean>): Promise<void> {
      await eventually('the change on every node', async () => {
        for (let times = 0; times < variant.nodes * 2; times += 1) if (!(await isSo())) return false
        return true
      })
    }
  })
}
