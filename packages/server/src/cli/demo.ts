import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { parseConfig, type Config } from '../config/load.ts'
import { start } from '../main.ts'
import { CommandFailed } from './command.ts'
import { stopOnSignal } from './serve.ts'

const PREFERRED_PORT = 8080

/** The demo company, as its package starts it; the package is not installed with the gateway. */
interface DemoPackage {
  startCompany(gateway: { readonly callback: string; readonly clientSecret: string }): Promise<DemoCompany>
}

interface DemoCompany {
  readonly issuer: string
  readonly notes: string
  readonly tickets: string
  close(): void
}

/** Runs the gateway in front of the demo company, on SQLite in a temporary folder that goes with it. */
export async function demo(options: { readonly port?: number }): Promise<void> {
  const port = options.port ?? ((await isFree(PREFERRED_PORT)) ? PREFERRED_PORT : await freePort())
  const issuer = new URL(`http://127.0.0.1:${port}`).origin
  const clientSecret = randomBytes(32).toString('base64url')
  const demoCompany = await demoPackage()
  const company = await demoCompany.startCompany({ callback: `${issuer}/login/corp/callback`, clientSecret })
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-demo-'))
  const end = (): void => {
    company.close()
    rmSync(directory, { recursive: true, force: true })
  }
  try {
    const running = await start(demoConfig({ issuer, port, clientSecret, company, directory }), { sink: () => undefined })
    console.log(welcome(issuer))
    stopOnSignal(() => running.close().finally(end))
  } catch (error) {
    end()
    throw error
  }
}

async function demoPackage(): Promise<DemoPackage> {
  try {
    const name = '@lanyard/demo'
    return (await import(name)) as DemoPackage
  } catch (cause) {
    throw new CommandFailed('The demo company is a package of its own: install @lanyard/demo, or run "npm start" in the repository.', { cause })
  }
}

interface DemoSettings {
  readonly issuer: string
  readonly port: number
  readonly clientSecret: string
  readonly company: DemoCompany
  readonly directory: string
}

function demoConfig({ issuer, port, clientSecret, company, directory }: DemoSettings): Config {
  const text = stringify({
    issuer,
    listen: `127.0.0.1:${port}`,
    dataDir: directory,
    outbound: { allow: ['127.0.0.0/8'] },
    identityProviders: [{ id: 'corp', name: 'Demo Company', type: 'oidc', issuer: company.issuer, clientId: 'lanyard', clientSecret }],
    upstreams: [
      { id: 'notes', name: 'Notes', url: company.notes, connector: { type: 'none' } },
      { id: 'tickets', name: 'Tickets', url: company.tickets, connector: { type: 'oauth' } },
    ],
    rules: [
      { id: 'engineering-everything', effect: 'allow', groups: ['engineering'], upstreams: ['notes', 'tickets'], tools: ['*'] },
      { id: 'sales-reads-notes', effect: 'allow', groups: ['sales'], upstreams: ['notes'], tools: ['list_notes', 'read_note'] },
      { id: 'it-admins-everything', effect: 'allow', groups: ['it-admins'], tools: ['*'] },
      { id: 'nobody-deletes-notes', effect: 'deny', upstreams: ['notes'], tools: ['delete_*'] },
    ],
    limits: { registrationsPerHour: 60, tokenRequestsPerMinute: 600 },
    admins: { groups: ['it-admins'] },
  })
  return parseConfig(text, { file: 'demo', directory, environment: {} })
}

function welcome(issuer: string): string {
  return `
Lanyard runs at ${issuer}

  Your access     ${issuer}/          (sign in there, see and end what you granted, build profiles of your own)
  MCP endpoints   ${issuer}/mcp/notes    team notes, open inside the company
                  ${issuer}/mcp/tickets  a ticket tracker with accounts of its own
                  ${issuer}/mcp          everything that you may use, behind one address

Sign in by picking a person; the demo has no passwords:

  alice  engineering  every tool of notes and tickets
  bob    sales        reads notes
  dana   it-admins    every tool of notes and tickets
  Nobody may delete notes: a rule hides that tool from everybody.

Paste one of these into a client, and it opens the browser:

  Claude Code    claude mcp add --transport http lanyard ${issuer}/mcp
  VS Code        code --add-mcp '{"name":"lanyard","type":"http","url":"${issuer}/mcp"}'
  Codex          codex mcp add lanyard --url ${issuer}/mcp
  MCP Inspector  npx @modelcontextprotocol/inspector --cli --transport http --server-url ${issuer}/mcp/tickets --method tools/list
  curl           curl -i -X POST ${issuer}/mcp/notes        (the challenge that a client starts from)

Everything lives in a temporary folder and ends with Ctrl-C.`
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

async function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
