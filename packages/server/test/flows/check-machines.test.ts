// What `lanyard check` says of machines: the platforms that vouch for them, and the gateway's own accounts.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { kubernetes, spiffe } from '../support/platforms.ts'
import { json, upstreamEmulator } from '../support/upstream-emulator.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname

interface Finding {
  readonly check: string
  readonly status: string
  readonly message: string
}

function findings(file: string): Promise<readonly Finding[]> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [BIN, 'check', '--config', file, '--json'], { timeout: 30_000 }, (_error, out, err) => {
      if (out.startsWith('[')) resolve(JSON.parse(out) as Finding[])
      else reject(new Error(err))
    })
  })
}

test('platforms whose keys are found, or not; accounts of the gateway whose server is found, or not', async () => {
  const [cluster, domain, tickets] = await Promise.all([kubernetes(), spiffe('example.org'), upstreamEmulator()])
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-check-'))
  try {
    tickets.metadata = { authorization_endpoint: undefined, code_challenge_methods_supported: undefined, registration_endpoint: undefined }
    tickets.on.set('/.well-known/oauth-protected-resource/other', () => json({ resource: `${tickets.issuer}/other`, authorization_servers: [`${tickets.issuer}/nobody`] }))
    const tokenFile = join(directory, 'token')
    const workload = { grantTypes: ['client_credentials'], tokenEndpointAuthMethod: 'workload_identity' }
    const account = { type: 'client-credentials', clientId: 'lanyard', clientSecret: 's' }
    const file = join(directory, 'lanyard.yaml')
    const identity = { issuer: cluster.issuer, subject: 'system:serviceaccount:ci:deployer' }
    await writeFile(
      file,
      stringify({
        issuer: 'http://127.0.0.1:1',
        dataDir: directory,
        outbound: { allow: ['127.0.0.0/8'] },
        identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'http://127.0.0.1:1', clientId: 'lanyard' }],
        clients: [
          { ...workload, id: 'pod', name: 'Pod', owner: 'alice', workloadIdentities: [identity, { ...identity, subject: 'system:serviceaccount:ci:other' }] },
          { ...workload, id: 'svid', name: 'SVID', workloadIdentities: [{ issuer: 'spiffe://example.org', subject: 'spiffe://example.org/x/y', jwksUri: domain.bundle }] },
          { ...workload, id: 'lost', name: 'Lost', owner: 'alice', workloadIdentities: [{ issuer: `${tickets.issuer}/none`, subject: 'job:deploy' }] },
        ],
        upstreams: [
          { id: 'tickets', url: tickets.mcp, connector: account },
          { id: 'other', url: `${tickets.issuer}/other`, connector: account },
          { id: 'filed', url: tickets.mcp, connector: { type: 'client-credentials', clientId: 'lanyard', tokenEndpointAuthMethod: 'workload_identity', tokenFile, tokenEndpoint: `${tickets.issuer}/token` } },
        ],
      }),
    )
    const found = await findings(file)
    const of = (check: string): string[] => found.filter((finding) => finding.check === check && !finding.message.startsWith('reached')).map(({ status, message }) => `${status}: ${message}`)
    const shared = `warning: whoever may use it does so by one account of the gateway's own, "lanyard"`
    assert.deepEqual(of(`workloads of ${cluster.issuer}`), ['ok: 1 keys verify what it signs'])
    assert.equal(cluster.asked.filter((path) => path === '/openid/v1/jwks').length, 1)
    assert.deepEqual(of('workloads of spiffe://example.org'), ['ok: 2 keys verify what it signs'])
    assert.deepEqual(of(`workloads of ${tickets.issuer}/none`), ['failed: no keys were found by its metadata (RFC 8414, OpenID Connect Discovery)'])
    assert.deepEqual([of('client svid'), of('client pod')], [['warning: nobody answers for this machine'], []])
    assert.deepEqual(of('upstream tickets'), [shared, `ok: its authorization server is ${tickets.issuer}; Lanyard is known there by its configured clientId`])
    assert.equal(of('upstream other').some((line) => line.startsWith('failed: no authorization server was found')), true)
    assert.deepEqual(of('upstream filed'), [shared, `failed: ${tokenFile} cannot be read`])
    await writeFile(tokenFile, 'a.b.c')
    assert.ok((await findings(file)).some(({ check, status, message }) => check === 'upstream filed' && status === 'ok' && message === `the platform's token is in ${tokenFile}`))
    // Nothing was asked for a token.
    assert.equal(tickets.at('/token').length, 0)
  } finally {
    await rm(directory, { recursive: true, force: true })
    await Promise.all([cluster.close(), domain.close(), tickets.close()])
  }
})
