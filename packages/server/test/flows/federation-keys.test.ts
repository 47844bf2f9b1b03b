// The keys by which this gateway proves itself to Entra ID, as an operator sees them: there only where an app trusts the
// gateway, and rotated and revoked like all others.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { variants } from '../support/variants.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname
const PROVIDER = { id: 'entra', type: 'entra-id', tenant: '11111111-aaaa-4bbb-8ccc-000000000001', clientId: 'aaaaaaaa-0000-4000-8000-000000000001' }
const APP = { clientId: 'cccccccc-0000-4000-8000-000000000003', federatedCredential: { subject: 'lanyard' }, scope: 'api://cccccccc-0000-4000-8000-000000000003/access' }
const NOTES = { id: 'notes', url: 'https://notes.example/mcp', connector: { type: 'entra-obo', scopes: ['api://notes/read'], app: APP } }

interface Listed {
  readonly kid: string
  readonly algorithm: string
  readonly state: string
}

async function published(gateway: RunningGateway): Promise<readonly { readonly kid: string; readonly alg: string }[]> {
  return ((await (await fetch(`${gateway.issuer}/jwks`)).json()) as { keys: { kid: string; alg: string }[] }).keys
}

for (const variant of variants()) {
  test(`keys for Entra ID are made where an app trusts this gateway, and rotate and end like the others, on all nodes (${variant.name})`, async () => {
    const gateway = await startGateway({ ...variant, config: { identityProviders: [{ ...PROVIDER, clientSecret: 'x'.repeat(40) }], upstreams: [NOTES], profiles: [], rules: [] } })
    const directory = await mkdtemp(join(tmpdir(), 'lanyard-keys-'))
    try {
      const file = join(directory, 'lanyard.yaml')
      await writeFile(file, stringify({ issuer: gateway.issuer, dataDir: directory, store: gateway.store, keyEncryption: gateway.keyEncryption, identityProviders: [{ ...PROVIDER, clientSecret: 'x'.repeat(40) }] }))
      const keys = (...args: readonly string[]): Promise<{ readonly code: number; readonly out: string }> =>
        new Promise((resolve) => execFile(process.execPath, [BIN, 'keys', ...args, '--config', file, '--json'], (error, out) => resolve({ code: error === null ? 0 : Number(error.code), out })))
      const list = async (...args: readonly string[]): Promise<readonly Listed[]> => JSON.parse((await keys('list', ...args)).out) as Listed[]
      const rsa = async (): Promise<readonly string[]> => (await published(gateway)).filter(({ alg }) => alg === 'RS256').map(({ kid }) => kid)
      assert.equal((await rsa()).length, 2)
      const [access, before] = [await list(), await list('--federation')]
      assert.deepEqual(before.map(({ algorithm, state }) => `${algorithm} ${state}`).sort(), ['RS256 active', 'RS256 next'])
      const kid = (state: string): string => before.find((key) => key.state === state)?.kid ?? assert.fail(state)
      assert.equal((await keys('rotate', '--federation')).code, 1, 'nobody may have seen the next one yet')
      assert.deepEqual(JSON.parse((await keys('rotate', '--federation', '--force')).out), { rotated: true, active: kid('next') })
      // Every node follows: behind the proxy they take turns.
      for (let node = 0; node < gateway.nodes.length; node += 1) await eventually('three keys', async () => (await rsa()).length === 3)
      assert.equal((await keys('revoke', kid('active'), '--federation')).code, 0)
      for (let node = 0; node < gateway.nodes.length; node += 1) await eventually('it is gone', async () => !(await rsa()).includes(kid('active')))
      assert.deepEqual(await list(), access, 'those of access tokens are as they were')
      assert.equal((await keys('list', '--federation', '--assertions')).code, 2)
      await recorded(gateway, ({ action, detail }) => action === 'key.created' && detail?.['kid'] === kid('next'))
      for (const text of gateway.output) assert.doesNotMatch(text, /"level":"error"|PRIVATE/)
    } finally {
      await Promise.all([gateway.close(), rm(directory, { recursive: true, force: true })])
    }
  })

  test(`where no app trusts this gateway there are no such keys (${variant.name})`, async () => {
    const gateway = await startGateway({ ...variant, config: { identityProviders: [{ ...PROVIDER, clientSecret: 'x'.repeat(40) }], upstreams: [], profiles: [], rules: [] } })
    try {
      assert.deepEqual((await published(gateway)).map(({ alg }) => alg), ['ES256', 'ES256'])
    } finally {
      await gateway.close()
    }
  })
}
