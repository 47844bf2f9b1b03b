// J1 with command-line clients as people install them: mcp-remote, MCP Inspector's CLI and mcpdo. Each, by dynamic
// registration and by metadata document: discover, register, sign in, consent, list, call, refresh, revoked.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { browser } from '../../support/browser.ts'
import { clientDocumentHost, type ClientDocumentHost } from '../../support/client-document.ts'
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

/** A client at its command line: lists the tools, and reads the note `welcome`; everything it printed. */
type CommandLine = (home: Home, url: string, documentUrl: string | undefined) => Promise<string>

const mcpRemote = (protocol: string): CommandLine => async (home, url, documentUrl) => {
  const output = await home.run('mcp-remote', [url, '--protocol', protocol, '--allow-http', ...(documentUrl === undefined ? [] : ['--client-metadata-url', documentUrl])], SESSION)
  return `${output.stdout}\n${output.stderr}`
}

const inspector = (era: string): CommandLine => async (home, url, documentUrl) => {
  const common = ['--cli', '--transport', 'http', '--server-url', url, '--protocol-era', era, '--format', 'json', ...(documentUrl === undefined ? [] : ['--client-metadata-url', documentUrl])]
  const listed = await home.run('mcp-inspector', [...common, '--method', 'tools/list'])
  const called = await home.run('mcp-inspector', [...common, '--method', 'tools/call', '--tool-name', 'read_note', '--tool-arg', 'title=welcome'])
  return [listed, called].map(({ stdout, stderr }) => `${stdout}\n${stderr}`).join('\n')
}

const mcpdo: CommandLine = async (home, url, documentUrl) => {
  const config = join(home.directory, 'mcp.json')
  await writeFile(config, JSON.stringify({ mcpServers: { gateway: { type: 'streamable-http', url } } }))
  if (documentUrl !== undefined) await writeFile(home.clientConfig, JSON.stringify({ cimd: { enabled: true, clientMetadataUrl: documentUrl } }))
  const pending = await home.run('mcpdo', ['connect', 'gateway', '--config', config, '--format', 'json'])
  const listed = await home.run('mcpdo', ['--connection', 'gateway', 'tools/list', '--format', 'json'])
  const called = await home.run('mcpdo', ['--connection', 'gateway', 'tools/call', 'read_note', 'title:=welcome', '--format', 'json'])
  await home.run('mcpdo', ['daemon', 'stop'])
  return [pending, listed, called].map(({ stdout, stderr }) => `${stdout}\n${stderr}`).join('\n')
}

const CLIENTS: readonly (readonly [string, CommandLine])[] = [
  ['mcp-remote, 2025 revisions', mcpRemote('legacy')],
  ['mcp-remote, newest revision', mcpRemote('auto')],
  ['MCP Inspector, legacy era', inspector('legacy')],
  ['MCP Inspector, modern era', inspector('modern')],
  ['mcpdo', mcpdo],
]

for (const variant of variants()) {
  describe(`command-line clients on ${variant.name}`, () => {
    let gateway: RunningGateway
    let documents: ClientDocumentHost
    before(async () => {
      documents = await clientDocumentHost()
      gateway = await startGateway({ ...variant, environment: documents.environment })
    })
    after(async () => {
      await gateway.close()
      await documents.close()
    })

    for (const [name, run] of CLIENTS) {
      for (const registration of ['dynamic registration', 'client ID metadata document'] as const) {
        test(`${name}, by ${registration}: signs in, lists, calls, refreshes, and is revoked`, async () => {
          const home = await makeHome()
          try {
            await everyStep(gateway, home, run, registration === 'dynamic registration' ? undefined : documents.clientId)
          } finally {
            await home.remove()
          }
        })
      }
    }
  })
}

async function everyStep(gateway: RunningGateway, home: Home, run: CommandLine, documentUrl: string | undefined): Promise<void> {
  const url = `${gateway.issuer}/mcp/notes`
  const seen = gateway.events.length
  const events = (action: string, reason?: string) => gateway.events.slice(seen).filter((event) => event.action === action && (reason === undefined || event.reason === reason))
  const useTools = async (): Promise<void> => {
    const output = await run(home, url, documentUrl)
    assert.match(output, /write_note/)
    assert.doesNotMatch(output, /delete_note/)
    assert.match(output, /Welcome to the demo company/)
  }

  await useTools()
  const [issued] = events('token.issued')
  assert.equal(issued?.clientId, documentUrl ?? events('client.registered')[0]?.clientId)
  assert.ok(events('call.allowed').every((event) => event.subject === issued?.subject && event.tool === 'read_note'))
  const asked = events('authorization.requested').length

  // The stored access token is worth nothing any more: the refresh token brings another, without a person.
  assert.ok((await home.spoilAccessTokens()) > 0)
  await useTools()
  assert.ok(events('token.refreshed').some((event) => event.clientId === issued?.clientId))
  assert.equal(events('authorization.requested').length, asked)

  // Ended by the person on their own page: the next use begins with a new sign-in.
  await endAccess(gateway)
  await useTools()
  assert.ok(events('token.refused').some((event) => event.reason === 'cut'))
  assert.ok(events('authorization.requested').length > asked)
}

/** Ends all that alice granted, on her own page. */
async function endAccess(gateway: RunningGateway): Promise<void> {
  const own = browser()
  await own.approve(`${gateway.issuer}/login?return_to=/`)
  for (;;) {
    const page = await own.open(`${gateway.issuer}/`)
    const form = page.forms.find((candidate) => /\/grants\/[^/]+\/revoke$/.test(candidate.action))
    if (form === undefined) return
    await own.submit(page, form)
  }
}
