// `lanyard setup`, as an administrator runs it: what it prints must be what the configuration takes and what the pages say.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { parseConfig } from '../../src/config/load.ts'
import type { Guide } from '../../src/cli/setup-guide.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname
const ISSUER = 'https://lanyard.example.com'
const KINDS = { okta: ['okta', 'OKTA_CLIENT_SECRET'], 'google-workspace': ['google', 'GOOGLE_CLIENT_SECRET'] } as const

function lanyard(...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], { cwd: tmpdir() }, (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }))
  })
}

for (const [kind, [id, secret]] of Object.entries(KINDS)) {
  test(`lanyard setup ${kind}: the redirect URI of this gateway, a snippet that the gateway takes, and the vendor's list as in the guide`, async () => {
    const { code, out, err } = await lanyard('setup', kind, '--issuer', ISSUER)
    assert.deepEqual([code, err], [0, ''])
    assert.ok(out.includes(`${ISSUER}/login/${id}/callback`))
    const guide = JSON.parse((await lanyard('setup', kind, '--issuer', `${ISSUER}/`, '--json')).out) as Guide
    assert.ok(out.includes(guide.title))
    const config = parseConfig(`issuer: ${ISSUER}\n${guide.snippet}\nrules: [{ id: all, effect: allow }]\n`, { file: 'lanyard.yaml', directory: '/', environment: { [secret]: 'a-secret' } })
    assert.deepEqual(config.identityProviders.map((provider) => [provider.id, provider.type, provider.clientSecret]), [[id, kind, 'a-secret']])
    const page = readFileSync(new URL(`../../../../${guide.page}`, import.meta.url), 'utf8')
    for (const { asked } of guide.vendor.asks) assert.ok(page.includes(asked.slice(0, 20)), asked)
    assert.ok(guide.vendor.asks.length >= 6)
    const named = await lanyard('setup', kind, '--issuer', ISSUER, '--id', 'corp')
    assert.ok(named.out.includes(`${ISSUER}/login/corp/callback`) && !named.out.includes(`/login/${id}/`))
  })
}

test('lanyard setup okta --only terraform and commands: to apply as they are', async () => {
  const { code, out } = await lanyard('setup', 'okta', '--issuer', ISSUER, '--only', 'terraform')
  assert.equal(code, 0)
  assert.match(out, /^terraform \{/)
  assert.match(out, /redirect_uris\s+= \["https:\/\/lanyard\.example\.com\/login\/okta\/callback"\]/)
  assert.equal(out.split('{').length, out.split('}').length)
  const { out: command } = await lanyard('setup', 'okta', '--issuer', ISSUER, '--only', 'commands')
  const body = JSON.parse(/-d '([\s\S]*)'/.exec(command)?.[1] ?? '') as { settings: { oauthClient: { redirect_uris: string[] } } }
  assert.deepEqual(body.settings.oauthClient.redirect_uris, [`${ISSUER}/login/okta/callback`])
})

test('with a configuration, lanyard setup knows its address, its resources and what each delegation needs, and shows no key', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-setup-'))
  try {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const key = join(directory, 'key.json')
    writeFileSync(key, JSON.stringify({ type: 'service_account', client_email: 'keyed@p.iam.gserviceaccount.com', private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }), private_key_id: 'k' }))
    const file = join(directory, 'lanyard.yaml')
    const gmail = { type: 'google-delegation', scopes: ['https://www.googleapis.com/auth/gmail.readonly'] }
    writeFileSync(file, stringify({
      issuer: 'https://gate.corp.example',
      identityProviders: [{ id: 'workspace', type: 'google-workspace', clientId: 'c', clientSecret: 's', domains: ['corp.example'] }],
      upstreams: [
        { id: 'notes', url: 'https://notes.corp.example/mcp' },
        { id: 'gmail', type: 'http', url: 'https://gmail.googleapis.com/gmail/v1', connector: { ...gmail, serviceAccount: { key: `\${file:${key}}` } } },
        { id: 'drive', type: 'http', url: 'https://www.googleapis.com/drive/v3', connector: { ...gmail, serviceAccount: { email: 'keyless@p.iam.gserviceaccount.com' } } },
        { id: 'docs', type: 'http', url: 'https://docs.googleapis.com/v1', connector: { ...gmail, serviceAccount: { email: 'federated@p.iam.gserviceaccount.com', workloadIdentity: { provider: 'projects/1/locations/global/workloadIdentityPools/p/providers/v' } } } },
        { id: 'calendar', type: 'http', url: 'https://www.googleapis.com/calendar/v3', connector: { type: 'oauth', issuer: 'https://accounts.google.com', clientId: 'c', clientSecret: 's' } },
      ],
      rules: [{ id: 'all', effect: 'allow' }],
    }))
    const { code, out, err } = await lanyard('setup', 'google-workspace', '--config', file)
    assert.deepEqual([code, err], [0, ''])
    for (const expected of ['https://gate.corp.example/login/workspace/callback', 'https://gate.corp.example/connections/calendar/callback', 'gmail: keyed@p.iam.gserviceaccount.com', 'scopes     https://www.googleapis.com/auth/gmail.readonly', 'add-iam-policy-binding keyless@p.iam.gserviceaccount.com --member "serviceAccount:$MACHINE"', 'add-iam-policy-binding federated@p.iam.gserviceaccount.com --member "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/subject/lanyard"']) assert.ok(out.includes(expected), expected)
    assert.ok(!out.includes('add-iam-policy-binding keyed@'))
    assert.ok(!out.includes('PRIVATE KEY'))
    const okta = await lanyard('setup', 'okta', '--config', file)
    assert.ok(okta.out.includes('https://gate.corp.example/mcp/notes') && !okta.out.includes('/mcp/gmail'))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})

test('what lanyard setup cannot do, it says: another provider, no address, nothing of that kind', async () => {
  const unknown = await lanyard('setup', 'acme', '--issuer', ISSUER)
  assert.equal(unknown.code, 2)
  assert.match(unknown.err, /okta/)
  const nowhere = await lanyard('setup', 'okta', '--config', join(tmpdir(), 'there-is-no-such-file.yaml'))
  assert.equal(nowhere.code, 1)
  assert.match(nowhere.err, /--issuer/)
  assert.equal((await lanyard('setup', 'google-workspace', '--issuer', ISSUER, '--only', 'terraform')).code, 1)
})
