// `lanyard setup entra-id`: what it prints must be what the configuration takes, and what Graph takes.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { generate } from 'selfsigned'
import { stringify } from 'yaml'
import type { Guide } from '../../src/cli/setup-guide.ts'
import { parseConfig } from '../../src/config/load.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname
const ISSUER = 'https://lanyard.example.com'
const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

interface Manifest {
  readonly web: { readonly redirectUris: readonly string[] }
  readonly appRoles: readonly { readonly id: string; readonly value: string; readonly allowedMemberTypes: readonly string[] }[]
  readonly requiredResourceAccess: readonly { readonly resourceAccess: readonly unknown[] }[]
}

function lanyard(...args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [BIN, ...args], { cwd: tmpdir() }, (error, out, err) => (error === null && err === '' ? resolve(out) : reject(new Error(err))))
  })
}

test('lanyard setup entra-id: a snippet that the gateway takes, and the gallery’s list as in the guide', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-setup-'))
  try {
    const made = await generate([{ name: 'commonName', value: 'Lanyard' }], { keySize: 2048 })
    writeFileSync(join(directory, 'lanyard.crt'), made.cert)
    writeFileSync(join(directory, 'lanyard.key'), made.private)
    const guide = JSON.parse(await lanyard('setup', 'entra-id', '--issuer', ISSUER, '--json')) as Guide
    const snippet = guide.snippet.replaceAll('/etc/lanyard', directory)
    const config = parseConfig(`issuer: ${ISSUER}\n${snippet}\nrules: [{ id: all, effect: allow }]\n`, { file: 'lanyard.yaml', directory: '/', environment: {} })
    const [provider] = config.identityProviders
    assert.ok(provider?.type === 'entra-id')
    assert.deepEqual([provider.id, provider.entra.credential.type], ['entra', 'certificate'])
    assert.deepEqual(config.scopeMapping.map(({ roles, scopes }) => [roles, scopes]), [[['mcp.read'], ['mcp.read']], [['mcp.write'], ['mcp.write']]])
    const page = readFileSync(new URL(`../../../../${guide.page}`, import.meta.url), 'utf8')
    for (const { asked } of guide.vendor.asks) assert.ok(page.includes(asked.slice(0, 20)), asked)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('the manifest has the redirect URI and an app role for each scope, with identifiers that stay; commands make it and use it', async () => {
  const print = async () => JSON.parse(await lanyard('setup', 'entra-id', '--issuer', ISSUER, '--only', 'values')) as Manifest
  const manifest = await print()
  assert.deepEqual(manifest.web.redirectUris, [`${ISSUER}/login/entra/callback`])
  assert.deepEqual(manifest.appRoles.map(({ value, allowedMemberTypes }) => [value, allowedMemberTypes]), [['mcp.read', ['User', 'Application']], ['mcp.write', ['User', 'Application']]])
  for (const { id } of manifest.appRoles) assert.match(id, GUID)
  assert.deepEqual(await print(), manifest)
  const terraform = await lanyard('setup', 'entra-id', '--issuer', ISSUER, '--only', 'terraform')
  for (const { id, value } of manifest.appRoles) assert.ok(terraform.includes(id) && terraform.includes(`"${value}"`))
  assert.equal(terraform.split('{').length, terraform.split('}').length)
  const commands = await lanyard('setup', 'entra-id', '--issuer', ISSUER, '--id', 'corp', '--only', 'commands')
  assert.match(commands, /--id corp --only values > manifest\.json\naz rest --method POST .*--body @manifest\.json/)
  const credential = JSON.parse(/--parameters '(.*)'/.exec(commands)?.[1] ?? '') as Record<string, unknown>
  assert.deepEqual(credential, { name: 'lanyard', issuer: ISSUER, subject: 'lanyard', audiences: ['api://AzureADTokenExchange'] })
})

test('with a configuration: roles for its upstreams, and the permissions that each needs', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-setup-'))
  try {
    const file = join(directory, 'lanyard.yaml')
    const app = { clientId: 'cccccccc-0000-4000-8000-000000000003', clientSecret: 'kept-to-itself' }
    writeFileSync(file, stringify({
      issuer: 'https://gate.corp.example',
      identityProviders: [{ id: 'contoso', type: 'entra-id', tenant: '11111111-aaaa-4bbb-8ccc-000000000001', clientId: 'aaaaaaaa-0000-4000-8000-000000000001', clientSecret: 'kept-to-itself' }],
      upstreams: [
        { id: 'graph', type: 'http', url: 'https://graph.microsoft.com', connector: { type: 'entra-obo', scopes: ['https://graph.microsoft.com/Mail.Read'] } },
        { id: 'notes', url: 'https://notes.corp.example/mcp', connector: { type: 'entra-obo', scopes: ['api://bbbbbbbb-0000-4000-8000-000000000002/read'], app } },
      ],
      rules: [{ id: 'all', effect: 'allow' }],
    }))
    const out = await lanyard('setup', 'entra-id', '--config', file)
    assert.ok(out.includes('https://gate.corp.example/login/contoso/callback') && out.includes('"mcp.notes.write"'))
    assert.ok(out.includes('graph: https://graph.microsoft.com/Mail.Read, of Lanyard'))
    assert.ok(out.includes(`notes: api://bbbbbbbb-0000-4000-8000-000000000002/read, of ${app.clientId}; and api://${app.clientId}/.default, of Lanyard`))
    assert.ok(!out.includes('kept-to-itself'))
  } finally {
    rmSync(directory, { recursive: true })
  }
})
