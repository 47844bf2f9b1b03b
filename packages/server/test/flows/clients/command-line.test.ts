// J1 with command-line clients as people install them: mcp-remote, MCP Inspector's CLI and mcpdo.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { makeHome, type Home } from '../../support/command-line.ts'
import { startGateway, type RunningGateway } from '../../support/gateway.ts'
import { variants } from '../../support/variants.ts'

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'flow', version: '1.0.0' } },
}
const READ_WELCOME = { jsonrpc: '2.0', id: 3, method: 'tools/call', params: { name: 'read_note', arguments: { title: 'welcome' } } }
const SESSION = [INITIALIZE, { jsonrpc: '2.0', method: 'notifications/initialized' }, { jsonrpc: '2.0', id: 2, method: 'tools/list' }, READ_WELCOME].map((message) => JSON.stringify(message))

for (const variant of variants()) {
  describe(`command-line clients on ${variant.name}`, () => {
    let gateway: RunningGateway
    let home: Home
    let url = ''
    before(async () => {
      gateway = await startGateway(variant)
      home = await makeHome()
      url = `${gateway.issuer}/mcp/notes`
    })
    after(async () => {
      await home.remove()
      await gateway.close()
    })

    for (const protocol of ['legacy', 'auto']) {
      test(`mcp-remote --protocol ${protocol} registers, signs in, lists and calls`, async () => {
        const output = await home.run('mcp-remote', [url, '--protocol', protocol, '--allow-http'], SESSION)
        assert.match(output.stdout, /"write_note"/, output.stderr)
        assert.doesNotMatch(output.stdout, /"delete_note"/)
        assert.match(output.stdout, /Welcome to the demo company/)
      })
    }

    for (const era of ['legacy', 'modern']) {
      test(`MCP Inspector's CLI, ${era} era, signs in and calls`, async () => {
        const call = ['--cli', '--transport', 'http', '--server-url', url, '--protocol-era', era, '--format', 'json']
        const listed = await home.run('mcp-inspector', [...call, '--method', 'tools/list'])
        assert.equal(listed.code, 0, listed.stderr + listed.stdout)
        assert.match(listed.stdout, /write_note/)
        assert.doesNotMatch(listed.stdout, /delete_note/)
        const called = await home.run('mcp-inspector', [...call, '--method', 'tools/call', '--tool-name', 'read_note', '--tool-arg', 'title=welcome'])
        assert.equal(called.code, 0, called.stderr + called.stdout)
        assert.match(called.stdout, /Welcome to the demo company/)
      })
    }

    test('mcpdo connects once and runs commands on the connection', async () => {
      const config = join(home.directory, 'mcp.json')
      await writeFile(config, JSON.stringify({ mcpServers: { gateway: { type: 'streamable-http', url } } }))
      const pending = await home.run('mcpdo', ['connect', 'gateway', '--config', config, '--format', 'json'])
      const authUrl = /"authUrl":\s*"([^"]+)"/.exec(pending.stdout)?.[1]
      if (authUrl !== undefined) await home.run('../../packages/server/test/support/fake-browser.ts', [authUrl])
      const called = await home.run('mcpdo', ['--connection', 'gateway', 'tools/call', 'read_note', 'title=welcome', '--format', 'json'])
      assert.match(called.stdout, /Welcome to the demo company/, pending.stdout + pending.stderr + called.stderr)
      await home.run('mcpdo', ['daemon', 'stop'])
    })

    test('everything that the clients did is in the audit trail, by the same person', () => {
      const issued = gateway.events.filter((event) => event.action === 'token.issued')
      assert.ok(issued.length >= 4)
      assert.equal(new Set(issued.map((event) => event.subject)).size, 1)
      assert.ok(gateway.events.some((event) => event.action === 'call.allowed' && event.tool === 'read_note'))
    })
  })
}
