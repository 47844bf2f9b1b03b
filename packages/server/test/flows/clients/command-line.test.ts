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

/** One tool of an upstream, and what is seen of it. */
interface Use {
  readonly upstream: string
  readonly tool: string
  readonly args: Readonly<Record<string, string>>
  readonly listed: RegExp
  readonly answered: RegExp
}

/** Open inside the company, with a tool that a rule hides from everybody. */
const NOTES: Use = { upstream: 'notes', tool: 'read_note', args: { title: 'welcome' }, listed: /write_note/, answered: /Welcome to the demo company/ }
/** Protected by OAuth of its own: the person's account there is connected in the same sitting. */
const TICKETS: Use = { upstream: 'tickets', tool: 'my_tickets', args: {}, listed: /create_ticket/, answered: /coffee machine/ }

/** A client at its command line: lists the tools, and calls one; everything it printed. */
type CommandLine = (home: Home, url: string, use: Use, documentUrl: string | undefined) => Promise<string>

const mcpRemote = (protocol: string): CommandLine => async (home, url, { tool, args }, documentUrl) => {
  const call = { jsonrpc: '2.0', id: 3, method: 'tools/call', params: { name: tool, arguments: args } }
  const lines = [INITIALIZE, { jsonrpc: '2.0', method: 'notifications/initialized' }, { jsonrpc: '2.0', id: 2, method: 'tools/list' }, call].map((message) => JSON.stringify(message))
  const output = await home.run('mcp-remote', [url, '--protocol', protocol, '--allow-http', ...(documentUrl === undefined ? [] : ['--client-metadata-url', documentUrl])], lines)
  return `${output.stdout}\n${output.stderr}`
}

const inspector = (era: string): CommandLine => async (home, url, { tool, args }, documentUrl) => {
  const common = ['--cli', '--transport', 'http', '--server-url', url, '--protocol-era', era, '--format', 'json', ...(documentUrl === undefined ? [] : ['--client-metadata-url', documentUrl])]
  const listed = await home.run('mcp-inspector', [...common, '--method', 'tools/list'])
  const called = await home.run('mcp-inspector', [...common, '--method', 'tools/call', '--tool-name', tool, ...Object.entries(args).flatMap(([name, value]) => ['--tool-arg', `${name}=${value}`])])
  return [listed, called].map(({ stdout, stderr }) => `${stdout}\n${stderr}`).join('\n')
}

const mcpdo: CommandLine = async (home, url, { tool, args }, documentUrl) => {
  const config = join(home.directory, 'mcp.json')
  await writeFile(config, JSON.stringify({ mcpServers: { gateway: { type: 'streamable-http', url } } }))
  if (documentUrl !== undefined) await writeFile(home.clientConfig, JSON.stringify({ cimd: { enabled: true, clientMetadataUrl: documentUrl } }))
  const pending = await home.run('mcpdo', ['connect', 'gateway', '--config', config, '--format', 'json'])
  const listed = await home.run('mcpdo', ['--connection', 'gateway', 'tools/list', '--format', 'json'])
  const called = await home.run('mcpdo', ['--connection', 'gateway', 'tools/call', tool, ...Object.entries(args).map(([name, value]) => `${name}:=${value}`), '--format', 'json'])
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
      for (const [registration, use] of [['dynamic registration', NOTES], ['client ID metadata document', TICKETS]] as const) {
        test(`${name}, by ${registration}, at ${use.upstream}: signs in, lists, calls, refreshes, and is revoked`, async () => {
          const home = await makeHome()
          try {
            await everyStep(gateway, home, (url, documentUrl) => run(home, url, use, documentUrl), use, registration === 'dynamic registration' ? undefined : documents.clientId)
          } finally {
            await home.remove()
          }
        })
      }
    }
  })
}

async function everyStep(gateway: RunningGateway, home: Home, run: (url: string, documentUrl: string | undefined) => Promise<string>, use: Use, documentUrl: string | undefined): Promise<void> {
  const url = `${gateway.issuer}/mcp/${use.upstream}`
  const seen = gateway.events.length
  const events = (action: string, reason?: string) => gateway.events.slice(seen).filter((event) => event.action === action && (reason === undefined || event.reason === reason))
  const useTools = async (): Promise<void> => {
    const output = await run(url, documentUrl)
    assert.match(output, use.listed)
    assert.doesNotMatch(output, /delete_note/)
    assert.match(output, use.answered)
  }

  await useTools()
  const [issued] = events('token.issued')
  assert.equal(issued?.clientId, documentUrl ?? events('client.registered')[0]?.clientId)
  assert.ok(events('call.allowed').every((event) => event.subject === issued?.subject && event.tool === use.tool))
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
