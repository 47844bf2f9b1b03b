// What the documentation shows must be what the gateway takes.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse as parseYaml } from 'yaml'
import { ConfigError, parseConfig } from './load.ts'
import { schema } from './schema.ts'

const page = readFileSync(new URL('../../../../docs/configuration.md', import.meta.url), 'utf8')
const environment = { PDP_TOKEN: 'f', CORP_CLIENT_SECRET: 'a', WEATHER_KEY: 'b', REPORTING_SECRET: 'c'.repeat(32), WEBHOOK_SECRET: 'd'.repeat(32), MAIL_PASSWORD: 'e', PROXY_KEY: 'g'.repeat(32), BILLING_SECRET: 'h' }

function examples(): string[] {
  return [...page.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] ?? '')
}

test('the examples of docs/configuration.md are one configuration together', () => {
  assert.ok(examples().length >= 4)
  const text = `issuer: https://lanyard.example.com\n${examples().join('\n')}`
  const config = parseConfig(text, { file: 'docs/configuration.md', directory: '/etc/lanyard', environment })
  assert.deepEqual(config.identityProviders.map(({ id, clientSecret }) => [id, clientSecret]), [['corp', 'a']])
  assert.equal(config.clients[0]?.clientSecret, environment.REPORTING_SECRET)
  assert.deepEqual(config.rules.map((rule) => rule.effect), ['allow', 'deny'])
  assert.deepEqual(config.notes, [])
})

test('the example of README.md is a configuration, and nothing of it goes unserved', () => {
  const [, text = ''] = /```yaml\n(.*?)```/s.exec(readFileSync(new URL('../../../../README.md', import.meta.url), 'utf8')) ?? []
  const config = parseConfig(text, { file: 'lanyard.yaml', directory: '/etc/lanyard', environment })
  assert.deepEqual([config.upstreams.length, config.notes], [2, []])
})

test('the examples of docs/machine-clients.md are configurations', () => {
  const text = readFileSync(new URL('../../../../docs/machine-clients.md', import.meta.url), 'utf8')
  const found = [...text.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] ?? '')
  assert.equal(found.length, 2)
  for (const example of found) {
    const config = parseConfig(`issuer: https://lanyard.example.com\nidentityProviders: [{ id: corp, type: oidc, issuer: https://idp.example.com, clientId: lanyard }]\nupstreams: [{ id: notes, url: https://notes.example.com/mcp }]\n${example.replace('{ keys: [...] }', '')}`, { file: 'f', directory: '/', environment: {} })
    assert.deepEqual([config.clients.length, config.clients[0]?.owner], [1, 'alice@example.com'])
  }
})

test('each of their secrets is missed when the environment lacks it', () => {
  const text = `issuer: https://lanyard.example.com\n${examples().join('\n')}`
  assert.throws(
    () => parseConfig(text, { file: 'f', directory: '/', environment: {} }),
    (error) => error instanceof ConfigError && Object.keys(environment).every((name) => error.message.includes(name)) && error.problems.length === Object.keys(environment).length,
  )
})

test('every setting of the schema stands in docs/configuration.md, with its default', () => {
  for (const key of Object.keys(schema.shape).filter((name) => !['admins', 'scim'].includes(name))) {
    assert.match(page, new RegExp(`(\`|^)${key}(\`|:|\\.)`, 'm'), `${key} is not documented`)
  }
  const row = /^\| `([\w.]+)` \| `?([^|`]+)`? \|/gm
  const defaults = schema.parse({ issuer: 'https://a.example', identityProviders: [{ id: 'a', type: 'oidc', issuer: 'https://b.example', clientId: 'c' }] })
  let compared = 0
  for (const [, name = '', shown = ''] of page.matchAll(row)) {
    const value: unknown = name.split('.').reduce<unknown>((object, part) => (object as Record<string, unknown> | undefined)?.[part], defaults)
    if (value === undefined) continue
    if (typeof value === 'string' && shown.trim() === 'required') continue
    assert.deepEqual(parseYaml(shown.trim()), value, name)
    compared += 1
  }
  assert.ok(compared > 8, `${compared} defaults compared`)
})

test('the example of the design, without what this version does not serve', () => {
  const text = `
issuer: https://lanyard.example.com
listen: 127.0.0.1:8080
trustedProxies: [127.0.0.1/32]
dataDir: ./data
store: sqlite:./data/lanyard.db
keyEncryption: file:./data/kek
outbound:
  allow: [127.0.0.0/8]
identityProviders:
  - id: corp
    type: oidc
    issuer: https://idp.example.com
    clientId: lanyard
    clientSecret: \${env:CORP_CLIENT_SECRET}
    groupsClaim: groups
    acceptTokens: []
registration: { dynamic: true, clientIdMetadataDocuments: true, approval: none }
upstreams:
  - id: notes
    url: https://notes.internal.example.com/mcp
    connector: { type: none }
  - id: tickets
    url: https://tickets.example.com/mcp
    connector: { type: oauth }
  - id: weather
    url: https://weather.example.com/mcp
    connector: { type: api-key, header: X-Api-Key, value: "\${env:WEATHER_KEY}" }
profiles:
  - id: engineering
    name: Engineering
    upstreams: [notes, tickets]
rules:
  - id: engineering-everything
    effect: allow
    groups: [engineering]
    clients: ["*"]
    upstreams: [notes, tickets]
    tools: ["*"]
  - id: no-deletes-outside-office
    effect: deny
    tools: ["delete_*"]
    unless: { networks: [203.0.113.0/24] }
limits: { registrationsPerHour: 5, tokenRequestsPerMinute: 60 }
admins: { groups: [it-admins] }
scim: { tokens: [{ provider: corp, token: "\${env:SCIM_TOKEN}" }] }
`
  const config = parseConfig(text, { file: 'f', directory: '/srv', environment: { ...environment, SCIM_TOKEN: 's' } })
  assert.equal(config.store, 'sqlite:/srv/data/lanyard.db')
  assert.equal(config.generateKeyEncryptionKey, true)
  assert.equal(config.notes.length, 1, 'scim')
})

test('the examples of docs/http-apis.md are configurations', () => {
  const guide = readFileSync(new URL('../../../../docs/http-apis.md', import.meta.url), 'utf8')
  const found = [...guide.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] ?? '')
  assert.equal(found.length, 3)
  for (const example of found) {
    const text = `issuer: https://lanyard.example.com\nidentityProviders: [{ id: corp, type: oidc, issuer: https://idp.example.com, clientId: lanyard }]\n${example}`
    const config = parseConfig(text, { file: 'docs/http-apis.md', directory: '/etc/lanyard', environment: { CRM_KEY: 'a', GRAPH_SECRET: 'b', SLACK_SECRET: 'c' } })
    assert.deepEqual([config.upstreams[0]?.type, config.rules.length, config.notes], ['http', 1, []])
  }
})
