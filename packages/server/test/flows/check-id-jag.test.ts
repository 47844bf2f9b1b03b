// What `lanyard check` says of ID-JAGs: whose keys can be had, who may ask for whom, and which upstreams can take them.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { checkIdJags } from '../../src/cli/check-id-jag.ts'
import { parseConfig } from '../../src/config/load.ts'
import { outbound } from '../../src/http/outbound.ts'

test('lanyard check finds the keys of trusted issuers, missing rules, and authorization servers that take ID-JAGs', async (t) => {
  const http = createServer((request, response) => {
    const documents: Readonly<Record<string, unknown>> = {
      '/.well-known/oauth-authorization-server': { issuer: url, jwks_uri: `${url}/jwks`, token_endpoint: `${url}/token` },
      '/jwks': { keys: [{ kty: 'EC', kid: 'k' }] },
      '/.well-known/oauth-protected-resource/mcp': { resource: `${url}/mcp`, authorization_servers: [url] },
    }
    const document = documents[request.url ?? '']
    response.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(document ?? {}))
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  t.after(async () => {
    http.close()
    http.closeAllConnections()
    await client.close()
  })
  const connector = { type: 'id-jag', clientId: 'lanyard', assertions: 'lanyard' }
  const config = parseConfig(
    stringify({
      issuer: 'https://lanyard.example.com',
      identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'https://idp.example.com', clientId: 'lanyard' }],
      clients: [{ id: 'assistant', name: 'Assistant', clientSecret: 's'.repeat(32), grantTypes: ['urn:ietf:params:oauth:grant-type:token-exchange'] }],
      idJag: {
        trustedIssuers: [{ id: 'there', issuer: url }, { id: 'gone', issuer: `${url}/gone` }],
        audiences: [{ issuer: 'https://auth.chat.example/', resources: ['https://mcp.chat.example/'], clients: { assistant: 'x' } }, { issuer: 'https://auth.other.example', resources: ['https://mcp.other.example'], clients: { assistant: 'x' } }],
      },
      tokenExchange: [{ id: 'chat', clients: ['assistant'], targets: ['https://auth.chat.example/'] }],
      upstreams: [{ id: 'chat', url: `${url}/mcp`, connector }, { id: 'lost', url: 'http://127.0.0.1:1/mcp', connector }],
    }),
    { file: 'lanyard.yaml', directory: '/etc/lanyard', environment: {} },
  )
  const findings = await checkIdJags(config, client)
  assert.deepEqual(
    findings.map(({ check, status }) => `${status} ${check}`),
    [`ok trusted issuer ${url}`, `failed trusted issuer ${url}/gone`, 'ok audience https://auth.chat.example/', 'warning audience https://auth.other.example', 'ok upstream chat', 'failed upstream lost'],
  )
  assert.match(findings[0]?.message ?? '', /1 keys verify its assertions; its people are those of "there"/)
  assert.match(findings[3]?.message ?? '', /no rule of tokenExchange lets assistant ask for it/)
})
