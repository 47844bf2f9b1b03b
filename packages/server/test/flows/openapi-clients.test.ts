// An HTTP API and its document in front of real clients: whole processes, people who sign in, tokens for either address.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { stringify } from 'yaml'
import { tokenOf, withToken } from '../support/api-clients.ts'
import { API_DOCUMENT } from '../support/api-house.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { httpApi, type HttpApi } from '../support/http-api.ts'
import { mcpUpstream, type McpUpstream } from '../support/mcp-upstream.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { connectV1, connectV2, type ToolClient } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

const KEY = 'the-key-of-the-service'

for (const variant of variants()) {
  describe(`HTTP APIs on ${variant.name}`, () => {
    let gateway: RunningGateway
    let api: HttpApi
    let notes: McpUpstream
    let folder: string

    before(async () => {
      api = await httpApi()
      notes = await mcpUpstream()
      folder = await mkdtemp(join(tmpdir(), 'lanyard-openapi-'))
      const document = join(folder, 'issues.yaml')
      await writeFile(document, stringify(API_DOCUMENT))
      gateway = await startGateway({
        ...variant,
        config: {
          admins: { groups: ['it-admins'] },
          profiles: [{ id: 'work', upstreams: ['notes', 'issues'] }],
          upstreams: [{ id: 'notes', url: notes.url }, { id: 'issues', name: 'Issues', type: 'http', url: api.url, connector: { type: 'api-key', header: 'X-Api-Key', value: KEY }, openapi: document, operations: { exclude: ['* /admin'] } }],
          rules: [
            { id: 'engineering', effect: 'allow', groups: ['engineering'] },
            { id: 'sales-read', effect: 'allow', groups: ['sales'], tools: ['GET /issues/*', 'readIssue'] },
            { id: 'nobody-drops', effect: 'deny', tools: ['DELETE /protected/*'] },
          ],
        },
      })
    })
    after(async () => {
      await gateway.close()
      await api.close()
      await notes.close()
      await rm(folder, { recursive: true, force: true })
    })

    const clients: [string, (url: string) => Promise<ToolClient>][] = [
      ['SDK 2, revision 2026-07-28', (url) => connectV2(url, memoryProvider(), 'modern')],
      ['SDK 2, revision 2025-11-25', (url) => connectV2(url, memoryProvider(), 'legacy')],
      ['SDK 1', (url) => connectV1(url, memoryProvider())],
    ]
    for (const [name, connect] of clients) {
      test(`${name} signs in, lists the operations, calls them, and is told what the API says`, async () => {
        const client = await connect(`${gateway.issuer}/mcp/issues`)
        assert.deepEqual(await client.tools(), ['listIssues', 'createIssue', 'readIssue', 'deleteIssue', 'dropProtected'])
        assert.deepEqual(JSON.parse(await client.call('listIssues', { state: 'open', labels: ['a', 'b'] })), { method: 'GET', url: '/v1/issues?state=open&labels=a,b', body: '' })
        assert.equal(JSON.parse(await client.call('createIssue', { body: { title: 'New' } }))['body'], '{"title":"New"}')
        // A result with the output schema that was promised: the client checks it.
        assert.equal(JSON.parse(await client.call('readIssue', { id: 'team/admin' }))['url'], '/v1/issues/team%2Fadmin')
        const seen = api.requests.at(-1)
        assert.deepEqual([seen?.headers['x-api-key'], seen?.headers.authorization], [KEY, undefined])
        api.script = (_request, response) => void response.writeHead(409, { 'content-type': 'application/json' }).end('{"error":"there is one already"}')
        assert.match(await client.call('createIssue', { body: { title: 'New' } }), /answers 409[^]*there is one already/)
        api.script = () => false
        await assert.rejects(client.call('dropProtected', { id: '1' }), /No rule/)
        await client.close()
      })
    }

    for (const [name, connect] of clients) {
      test(`${name} finds the tools of an API beside those of MCP servers in a profile`, async () => {
        const client = await connect(`${gateway.issuer}/mcp/work`)
        const tools = await client.tools()
        assert.ok(['issues__listIssues', 'issues__deleteIssue', 'notes__read_note'].every((tool) => tools.includes(tool)), tools.join())
        assert.equal(JSON.parse(await client.call('issues__readIssue', { id: 'a/b' }))['url'], '/v1/issues/a%2Fb')
        assert.match(await client.call('notes__read_note', {}), /read_note/)
        await assert.rejects(client.call('issues__dropProtected', { id: '1' }), /No rule/)
        await client.close()
      })
    }

    test('a token for the address under /http reaches the API, one for /mcp does not, and rules are about addresses', async () => {
      const own = await tokenOf(gateway.issuer, 'bob', `${gateway.issuer}/http/issues`, 'mcp.read')
      const ask = (path: string, token: string, method = 'GET'): Promise<Response> => fetch(`${gateway.issuer}${path}`, { method, headers: { authorization: `Bearer ${token}` } })
      const answer = await ask('/http/issues/issues/7?full=1', own)
      assert.deepEqual([answer.status, await answer.json()], [200, { method: 'GET', url: '/v1/issues/7?full=1', body: '' }])
      assert.equal(api.requests.at(-1)?.headers['x-api-key'], KEY)
      assert.equal((await ask('/http/issues/other', own)).status, 403)
      const narrow = await ask('/http/issues/issues/7', own, 'DELETE')
      assert.equal(narrow.status, 403)
      const other = await tokenOf(gateway.issuer, 'bob', `${gateway.issuer}/mcp/issues`)
      assert.equal((await ask('/http/issues/issues/7', other)).status, 401)
      assert.equal((await fetch(`${gateway.issuer}/mcp/issues`, { method: 'POST', headers: { authorization: `Bearer ${own}` }, body: '{}' })).status, 401)
      await recorded(gateway, ({ action, tool, rule }) => action === 'call.allowed' && tool === 'GET /issues/7' && rule === 'sales-read')
    })

    test('administrators explain and try out rules about addresses, and what methods do', async () => {
      const dana = withToken(gateway.issuer, await tokenOf(gateway.issuer, 'dana', `${gateway.issuer}/api`))
      const explain = async (tool: string): Promise<unknown> => (await dana('/api/policy/explain', { method: 'POST', body: { user: 'usr_somebody', groups: ['engineering'], client: 'app', upstream: 'issues', tool } })).body['decision']
      assert.deepEqual(await explain('DELETE /PROTECTED/1'), { allow: false, effect: 'deny', rule: 'nobody-drops' })
      assert.deepEqual(await explain('DELETE /issues/1'), { allow: true, effect: 'allow', rule: 'engineering' })
      const { body } = await dana('/api/policy/simulate', { method: 'POST', body: { rules: [{ id: 'no-reading', effect: 'deny', tools: ['GET *'], when: { tool: { readOnly: true } } }, { id: 'no-writing', effect: 'deny', tools: ['GET *'], when: { tool: { readOnly: false } } }] } })
      const changed = (body['changes'] as { tool: string; after: { rule: string } }[]).find(({ tool }) => tool === 'GET /issues/7')
      assert.equal(changed?.after.rule, 'no-reading')
    })
  })
}
