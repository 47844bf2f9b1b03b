import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { ConfigError, loadConfig, parseConfig, type Config, type Problem } from './load.ts'

const provider = { id: 'corp', type: 'oidc', issuer: 'https://idp.example.com', clientId: 'lanyard' }
const minimal = { issuer: 'https://lanyard.example.com', identityProviders: [provider] }

function parse(value: object | string, environment: Record<string, string> = {}): Config {
  return parseConfig(typeof value === 'string' ? value : stringify(value), { file: 'lanyard.yaml', directory: '/etc/lanyard', environment })
}

function problems(value: object | string, environment: Record<string, string> = {}): readonly Problem[] {
  try {
    parse(value, environment)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.problems
  }
  return assert.fail('the configuration was accepted')
}

/** Merged into the smallest configuration: the problems, as `path: message`. */
function mistakes(more: object): string[] {
  return problems({ ...minimal, ...more }).map(({ path, message }) => `${path}: ${message}`)
}

test('the smallest configuration gets its defaults, loopback among them (RS-13), paths relative to the file, and cannot be changed', () => {
  const config = parse(minimal)
  assert.equal(config.listen, '127.0.0.1:8080')
  assert.equal(config.store, 'sqlite:/etc/lanyard/data/lanyard.db')
  assert.equal(config.keyEncryption, 'file:/etc/lanyard/data/kek')
  assert.equal(config.generateKeyEncryptionKey, true)
  assert.equal(config.tokens.accessTokenSeconds, 900)
  assert.deepEqual(config.notes, ['no rule allows anything: every call is denied'])
  assert.throws(() => Object.assign(config, { issuer: 'https://evil.example' }), TypeError)
  assert.equal(parse({ ...minimal, store: 'sqlite::memory:' }).store, 'sqlite::memory:')
})

test('a protected server is one upstream at one address, its credential is for proxies that prove themselves, and there are proxies', () => {
  const upstreams = [{ id: 'notes', url: 'https://notes.internal/mcp' }, { id: 'weather', url: 'https://weather.internal/mcp', connector: { type: 'api-key', header: 'X-Api-Key', value: 'key' } }]
  const profiles = [{ id: 'one', upstreams: ['weather'] }, { id: 'two', upstreams: ['notes', 'weather'] }]
  const house = { upstreams, profiles, trustedProxies: ['10.0.0.1/32'] }
  const server = (id: string, profile: string, resource = `https://${id}.example.com/mcp`): object => ({ id, profile, resource })
  const found = (forwardAuth: readonly object[], more: object = {}): string[] => mistakes({ ...house, forwardAuth, ...more })
  const key = 'k'.repeat(32)
  assert.equal(parse({ ...minimal, ...house, forwardAuth: [server('a', 'notes'), server('b', 'weather'), server('c', 'one')], forwardAuthKey: key }).forwardAuth.length, 3)
  assert.equal(parse({ ...minimal, ...house, issuer: 'http://127.0.0.1:8080', forwardAuth: [server('b', 'weather')] }).forwardAuth[0]?.validatesHeaders, false)
  const credential = 'has a credential that goes to proxies alone: set forwardAuthKey, and let them send it'
  assert.deepEqual(found([server('a', 'notes'), server('b', 'weather'), server('c', 'one')]), [`forwardAuth.1.profile: ${credential}`, `forwardAuth.2.profile: ${credential}`])
  const none = 'must be an upstream that speaks MCP, or a profile of one'
  assert.deepEqual(found([server('a', 'absent'), server('b', 'two')], { forwardAuthKey: key }), [`forwardAuth.0.profile: ${none}`, `forwardAuth.1.profile: ${none}`])
  assert.deepEqual(found([server('a', 'notes')], { trustedProxies: [] }), ['forwardAuth: needs the setting trustedProxies: the networks of the proxies that may ask'])
  assert.deepEqual(found([server('a', 'notes'), server('a', 'notes')]), ['forwardAuth.1.id: is taken: another one has it', 'forwardAuth.1.resource: is taken: another one has it'])
  assert.match(found([server('a', 'notes', 'https://lanyard.example.com/mcp/notes')]).join(), /is an address of this gateway/)
  for (const resource of ['https://a.example.com/mcp?x=y', 'https://a.example.com/mcp#x', 'https://a@a.example.com/mcp', 'https://a.example.com/m%63p', 'https://a.example.com//mcp', 'https://a.example.com/mcp;x']) {
    assert.match(found([server('a', 'notes', resource)]).join(), /must be an address with a plain path/, resource)
  }
  assert.match(found([], { forwardAuthKey: 'short' }).join(), /at least 32 characters/)
  assert.match(mistakes({ upstreams: [{ id: 'notes', url: 'https://notes.internal/mcp', toolChanges: 'ignore' }] }).join(), /toolChanges/)
})

test('every mistake is reported at once, in order, each with the line of its key', () => {
  const text = `issuer: https://lanyard.example.com/
listen: 127.0.0.1:99999
surprise:
  deep: 1
identityProviders:
  - id: corp
    type: oidc
    issuer: https://idp.example.com
upstreams:
  - id: notes
    url: ftp://notes.example.com
    colour: red
  - { id: notes, url: "https://notes.example.com/mcp" }
profiles:
  - id: helpdesk
    upstreams: [tickets]
clients:
  - id: app
    name: App
    clientSecret: \${env:APP_SECRET}
    redirectUris: [https://app.example.com/callback]
limits:
  registrationsPerHour: 0
`
  assert.deepEqual(
    problems(text).map(({ line, path }) => [line, path]),
    [
      [1, 'issuer'],
      [2, 'listen'],
      [3, 'surprise'],
      [6, 'identityProviders.0.clientId'],
      [11, 'upstreams.0.url'],
      [12, 'upstreams.0.colour'],
      [13, 'upstreams.1.id'],
      [16, 'profiles.0.upstreams.0'],
      [20, ''],
      [23, 'limits.registrationsPerHour'],
    ],
  )
  assert.equal(parse({ ...minimal, listen: '127.0.0.1:9' }).listen, '127.0.0.1:9')
})

test('an empty file, a list, a text and a missing file are mistakes, not crashes', () => {
  assert.deepEqual(problems('').map(({ path, message }) => `${path}: ${message}`), ['issuer: is missing', 'identityProviders: is missing'])
  for (const text of ['- a', 'hello', '42', '---\nissuer: a\n---\nb: 1']) assert.ok(problems(text).length > 0, text)
  assert.throws(() => loadConfig('/nonexistent/lanyard.yaml'), { name: 'ConfigError', message: '/nonexistent/lanyard.yaml: cannot be read (ENOENT)' })
})

test('references: environment and files anywhere in a text, files relative to the configuration and without their last line break', () => {
  const directory = mkdtempSync(`${tmpdir()}/lanyard-config-`)
  writeFileSync(`${directory}/secret`, 'from-a-file\n')
  writeFileSync(`${directory}/lanyard.yaml`, stringify({ ...minimal, identityProviders: [{ ...provider, clientSecret: '${file:secret}', name: 'a ${env:NAME} b ${env:NAME}' }] }))
  const config = loadConfig(`${directory}/lanyard.yaml`, { NAME: 'Corp' })
  assert.equal(config.identityProviders[0]?.clientSecret, 'from-a-file')
  assert.equal(config.identityProviders[0]?.name, 'a Corp b Corp')
  rmSync(directory, { recursive: true })
})

test('a reference that leads nowhere is one mistake, and what it left behind is none', () => {
  const clients = [{ id: 'app', name: 'App', redirectUris: ['https://app.example.com/cb'], clientSecret: '${env:NO_SUCH}' }]
  assert.deepEqual(mistakes({ clients }), [': the environment has no NO_SUCH, or it is empty'])
  assert.deepEqual(problems({ ...minimal, clients }, { NO_SUCH: '' }).length, 1)
  assert.equal(parse({ ...minimal, clients }, { NO_SUCH: 'x'.repeat(32) }).clients[0]?.clientSecret, 'x'.repeat(32))
  clients[0]!.clientSecret = '${file:missing}'
  assert.deepEqual(mistakes({ clients }), [': /etc/lanyard/missing cannot be read or is empty'])
  for (const wrong of ['${NO_SUCH}', '${ENV:NO_SUCH}', '${env:}', '${vault:a}']) {
    clients[0]!.clientSecret = wrong
    assert.deepEqual(mistakes({ clients }), [': a reference is ${env:NAME} or ${file:PATH}'], wrong)
  }
})

test('what a reference brings is a value, never another reference or another setting', () => {
  const clientSecret = parse({ ...minimal, identityProviders: [{ ...provider, clientSecret: '${env:A}' }] }, { A: '${env:B}\nadmins: {}' }).identityProviders[0]?.clientSecret
  assert.equal(clientSecret, '${env:B}\nadmins: {}')
})

test('no value of the file or of the environment stands in a mistake', () => {
  const secret = 'S3cr3t-value-that-nobody-may-read'
  const environment = { SECRET: secret }
  const cases: string[] = [
    ...['issuer', 'listen', 'store', 'keyEncryption', 'dataDir: 1\nhosts'].map((key) => `${key}: ${secret}`),
    `issuer: https://user:${secret}@lanyard.example.com`,
    `store: postgres://user:${secret}#@host/db`,
    'keyEncryption: ${env:SECRET}',
    'issuer: ${env:SECRET}',
    '${env:SECRET}: 1',
    `clients: [{ id: a, name: a, clientSecret: *${secret} }]`,
    `clients: [{ id: a, name: a, clientSecret: "${secret}" x }]`,
    `clients: [{ id: a, name: a, clientSecret: @${secret} }]`,
    `clients: [{ id: a, name: a, clientSecret: ['${secret}'] }]`,
    `upstreams: [{ id: a, url: "https://a.example", connector: { type: "${secret}" } }]`,
    `clients: [{ id: a, name: a, tokenEndpointAuthMethod: "${secret}" }]`,
    `outbound: { allow: ["${secret}"] }`,
    `signing: { algorithm: "${secret}" }`,
    `clients: [{ id: a, name: a, redirectUris: ["${secret}"], resources: ["${secret}"] }]`,
    `issuer: https://${secret}.example/`,
    `profiles: [{ id: a, upstreams: ["${secret.toLowerCase()}"] }]`,
    `rules: [{ id: a, effect: allow, upstreams: ["${secret.toLowerCase()}"] }]`,
    `upstreams: [{ id: &s "${secret.toLowerCase()}", url: "https://a.example" }, { id: *s, url: "https://a.example" }]\nprofiles: [{ id: *s, upstreams: [] }]`,
  ]
  for (const text of cases) {
    const message = new ConfigError('f', problems(text, environment)).message
    assert.ok(!message.toLowerCase().includes(secret.toLowerCase()), `${text}\n${message}`)
    assert.match(message, /f/)
  }
})

test('YAML: doubled keys, unknown tags, alias bombs and aliases without an anchor are refused; honest anchors work', () => {
  const messages = (text: string): string => problems(text).map((problem) => `${problem.line}: ${problem.message}`).join()
  assert.match(messages('issuer: https://a.example\nissuer: https://b.example'), /^2: Map keys must be unique/)
  assert.match(messages('issuer: !env ISSUER'), /^1: Unresolved tag/)
  assert.match(messages('issuer: *nowhere'), /an alias/)
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x,x]', ...['b', 'c', 'd', 'e', 'f'].map((name, index) => `${name}: &${name} [${Array(10).fill(`*${'abcde'[index]}`).join()}]`)].join('\n')
  assert.match(messages(bomb), /aliases multiply/)
  assert.ok(problems('hosts: &a [*a]').length > 0)
  const config = parse(`issuer: &me https://lanyard.example.com\nidentityProviders:\n  - { id: corp, type: oidc, issuer: *me, clientId: a }`)
  assert.equal(config.identityProviders[0]?.issuer, config.issuer)
})

test('the name of a setting is a plain text: what was resolved inside of another one would be shown', () => {
  const secret = 'a-secret-that-nobody-sees'
  for (const text of ['? { clientSecret: "${env:SECRET}" }\n: x', '? ["${env:SECRET}"]\n: x', 'upstreams:\n  - ? { a: "${env:SECRET}" }\n    : 1', 'issuer: &a "${env:SECRET}"\n? *a\n: 1']) {
    const found = problems(text, { SECRET: secret })
    assert.deepEqual(found.map(({ message }) => message), ['the name of a setting must be a plain text'], text)
    assert.ok(found[0]?.line !== undefined)
    assert.ok(!JSON.stringify(found).includes(secret))
  }
  assert.equal(mistakes({ nonsense: 1 }).length, 1)
})

test('a reference in { } without quotes is told how to be written', () => {
  const text = (value: string): string => `${stringify(minimal)}upstreams:\n  - { id: weather, url: "https://w.example/mcp", connector: { type: api-key, header: X-Api-Key, value: ${value} } }`
  assert.match(problems(text('${env:WEATHER_KEY}'))[0]?.message ?? '', /stands in quotes/)
  assert.deepEqual(parse(text('Bearer some-key').replace('X-Api-Key', 'Authorization')).upstreams[0]?.connector, { type: 'api-key', header: 'Authorization', value: 'Bearer some-key' })
  assert.deepEqual(parse(text('"${env:WEATHER_KEY}"'), { WEATHER_KEY: 'k' }).upstreams[0]?.connector, { type: 'api-key', header: 'X-Api-Key', value: 'k' })
})

test('__proto__, constructor and the like are unknown settings like any other, and change nothing', () => {
  for (const key of ['__proto__', 'constructor', 'prototype', 'toString']) {
    assert.deepEqual(problems(`${stringify(minimal)}${key}: { polluted: true }`).map(({ path, message }) => `${path}: ${message}`), [`${key}: is not a setting`])
    assert.deepEqual(problems(`${stringify(minimal)}limits: { ${key}: { polluted: true } }`).map(({ path }) => path), [`limits.${key}`])
  }
  assert.equal('polluted' in {}, false)
})

test('issuer: an https origin, or http on a loopback address', () => {
  for (const good of ['https://lanyard.example.com', 'https://lanyard.example.com:8443', 'http://localhost:8080', 'http://127.0.0.1', 'http://127.8.9.1:1', 'http://[::1]:8080']) {
    assert.equal(parse({ ...minimal, issuer: good }).issuer, good)
  }
  for (const bad of [
    'https://lanyard.example.com/', 'https://lanyard.example.com/path', 'https://LANYARD.example.com', 'https://lanyard.example.com:443', 'lanyard.example.com',
    'http://lanyard.example.com', 'http://127.0.0.1.example.com', 'http://127.example.com', 'http://localhost.example.com', 'https://u:p@lanyard.example.com', 'https://lanyard.example.com?x', 'ftp://127.0.0.1', 'x:', '',
  ]) {
    assert.deepEqual(mistakes({ issuer: bad }).length, 1, bad)
  }
})

test('each field refuses what it cannot use', () => {
  const client = { id: 'app', name: 'App', redirectUris: ['https://app.example.com/cb'], tokenEndpointAuthMethod: 'none' }
  const upstream = { id: 'notes', url: 'https://notes.example.com/mcp' }
  const email = { host: 'mail.example.com', from: 'lanyard@example.com', to: ['admins@example.com'] }
  const cases: readonly [object, string][] = [
    [{ listen: '8080' }, 'listen'],
    [{ listen: '0.0.0.0:65536' }, 'listen'],
    [{ allowedOrigins: ['https://app.example.com/'] }, 'allowedOrigins.0'],
    [{ allowedOrigins: ['*'] }, 'allowedOrigins.0'],
    [{ trustedProxies: ['127.0.0.1'] }, 'trustedProxies.0'],
    [{ outbound: { allow: ['10.0.0.0/33'] } }, 'outbound.allow.0'],
    [{ store: 'mysql://host/db' }, 'store'],
    [{ store: 'postgres://user:pass/word@host/db', keyEncryption: 'env:KEK' }, 'store'],
    [{ store: 'postgres://user:p@host/db' }, 'store'],
    [{ keyEncryption: 'aws-kms:arn' }, 'keyEncryption'],
    [{ identityProviders: [] }, 'identityProviders'],
    [{ identityProviders: [{ ...provider, type: 'saml' }] }, 'identityProviders.0.type'],
    [{ identityProviders: [{ ...provider, id: 'Corp' }] }, 'identityProviders.0.id'],
    [{ identityProviders: [{ ...provider, clientSecret: '' }] }, 'identityProviders.0.clientSecret'],
    [{ identityProviders: [{ ...provider, acceptTokens: [''] }] }, 'identityProviders.0.acceptTokens.0'],
    [{ identityProviders: [{ ...provider, acceptIdTokens: 'all' }] }, 'identityProviders.0.acceptIdTokens'],
    [{ identityProviders: [provider, provider] }, 'identityProviders.1.id'],
    [{ registration: { approval: 'maybe' } }, 'registration.approval'],
    [{ registration: { changedApplications: 'forget' } }, 'registration.changedApplications'],
    [{ registration: { softwareStatements: { issuers: [{ issuer: 'https://s.example' }] } } }, 'registration.softwareStatements.issuers.0'],
    [{ registration: { softwareStatements: { issuers: [{ issuer: 'https://s.example', jwks: { keys: [{ kty: 'EC', d: 'x' }] } }] } } }, 'registration.softwareStatements.issuers.0.jwks.keys.0'],
    [{ notices: { webhooks: [{ url: 'http://hooks.example.com', secret: 's'.repeat(32) }] } }, 'notices.webhooks.0.url'],
    [{ notices: { webhooks: [{ url: 'https://a:b@hooks.example.com', secret: 's'.repeat(32) }] } }, 'notices.webhooks.0.url'],
    [{ notices: { webhooks: [{ url: 'https://hooks.example.com', secret: 'short' }] } }, 'notices.webhooks.0.secret'],
    [{ notices: { email: { ...email, to: [] } } }, 'notices.email.to'],
    [{ notices: { email: { ...email, from: 'a@b.example\r\nBcc: c@d.example' } } }, 'notices.email.from'],
    [{ notices: { email: { ...email, to: ['a@b.example, c@d.example'] } } }, 'notices.email.to.0'],
    [{ notices: { email: { ...email, tls: 'none' } } }, 'notices.email.tls'],
    [{ notices: { email: { ...email, user: 'u' } } }, 'notices.email.user'],
    [{ upstreams: [{ ...upstream, id: 'a__b' }] }, 'upstreams.0.id'],
    [{ upstreams: [{ ...upstream, id: '-a' }] }, 'upstreams.0.id'],
    [{ upstreams: [{ ...upstream, id: 'a'.repeat(64) }] }, 'upstreams.0.id'],
    [{ upstreams: [{ ...upstream, connector: { type: 'carrier-pigeon' } }] }, 'upstreams.0.connector.type'],
    [{ upstreams: [{ ...upstream, connector: { type: 'api-key', header: 'X Key', value: 'k' } }] }, 'upstreams.0.connector.header'],
    [{ upstreams: [{ ...upstream, connector: { type: 'api-key', header: 'Host', value: 'k' } }] }, 'upstreams.0.connector.header'],
    [{ upstreams: [{ ...upstream, connector: { type: 'api-key', header: 'Mcp-Session-Id', value: 'k' } }] }, 'upstreams.0.connector.header'],
    [{ upstreams: [{ ...upstream, connector: { type: 'api-key', header: 'X-Key', value: 'one\nX-User: admin' } }] }, 'upstreams.0.connector.value'],
    [{ upstreams: [{ ...upstream, connector: { type: 'oauth', clientSecret: 's' } }] }, 'upstreams.0.connector.clientSecret'],
    [{ upstreams: [{ ...upstream, timeoutSeconds: 0 }] }, 'upstreams.0.timeoutSeconds'],
    [{ upstreams: [upstream], profiles: [{ id: 'notes', upstreams: ['notes'] }] }, 'profiles.0.id'],
    [{ upstreams: [upstream], profiles: [{ id: 'p', upstreams: [] }] }, 'profiles.0.upstreams'],
    [{ upstreams: [upstream], profiles: [{ id: 'p', upstreams: ['notes'], groups: [] }] }, 'profiles.0.groups'],
    [{ upstreams: [upstream], profiles: [{ id: 'p', upstreams: ['notes'], tools: { tickets: ['read_*'] } }] }, 'profiles.0.tools.tickets'],
    [{ upstreams: [upstream], profiles: [{ id: 'p', upstreams: ['notes'], tools: { notes: [] } }] }, 'profiles.0.tools.notes'],
    [{ upstreams: [upstream], profiles: [{ id: 'everything', upstreams: ['notes'] }] }, 'profiles.0.id'],
    [{ upstreams: [upstream], profiles: [{ id: 'u-alice', upstreams: ['notes'] }] }, 'profiles.0.id'],
    [{ upstreams: [{ ...upstream, id: 'mcp' }] }, 'upstreams.0.id'],
    [{ upstreams: [upstream], rules: [{ id: 'r', effect: 'deny', upstreams: ['note'] }] }, 'rules.0.upstreams.0'],
    [{ rules: [{ id: 'r', effect: 'permit' }] }, 'rules.0.effect'],
    [{ rules: [{ id: 'r', effect: 'allow', groups: [] }] }, 'rules.0.groups'],
    [{ rules: [{ id: 'r', effect: 'deny', unless: { networks: ['office'] } }] }, 'rules.0.unless.networks.0'],
    [{ rules: [{ id: 'default', effect: 'allow' }] }, 'rules.0.id'],
    [{ rules: [{ id: 'r', effect: 'allow' }, { id: 'r', effect: 'deny' }] }, 'rules.1.id'],
    [{ clients: [{ ...client, id: 'https://app.example.com/client' }] }, 'clients.0.id'],
    [{ clients: [{ ...client, redirectUris: ['http://app.example.com/cb'] }] }, 'clients.0.redirectUris.0'],
    [{ clients: [{ ...client, redirectUris: ['https://app.example.com/cb#x'] }] }, 'clients.0.redirectUris.0'],
    [{ clients: [{ ...client, redirectUris: [] }] }, 'clients.0.redirectUris'],
    [{ clients: [{ ...client, grantTypes: ['password'] }] }, 'clients.0.grantTypes.0'],
    [{ clients: [{ ...client, clientSecret: 'x'.repeat(32) }] }, 'clients.0.clientSecret'],
    [{ clients: [{ ...client, tokenEndpointAuthMethod: 'client_secret_basic' }] }, 'clients.0.clientSecret'],
    [{ clients: [{ ...client, tokenEndpointAuthMethod: 'client_secret_post', clientSecret: 'short' }] }, 'clients.0.clientSecret'],
    [{ clients: [{ ...client, tokenEndpointAuthMethod: 'private_key_jwt' }] }, 'clients.0.jwks'],
    [{ clients: [{ ...client, tokenEndpointAuthMethod: 'private_key_jwt', jwks: { keys: [] } }] }, 'clients.0.jwks.keys'],
    [{ clients: [{ ...client, tokenEndpointAuthMethod: 'private_key_jwt', jwks: { keys: [{ kty: 'EC', d: 'x' }] } }] }, 'clients.0.jwks.keys.0'],
    [{ clients: [{ ...client, tokenEndpointAuthMethod: 'private_key_jwt', jwks: { keys: [{ kty: 'EC' }] }, jwksUri: 'https://a.example/jwks' }] }, 'clients.0.jwksUri'],
    [{ clients: [{ ...client, resources: ['https://other.example.com/mcp/notes'] }] }, 'clients.0.resources.0'],
    [{ clients: [{ ...client, resources: ['/mcp/notes'] }] }, 'clients.0.resources.0'],
    [{ clients: [{ ...client, resources: ['https://lanyard.example.com/mcpx'] }] }, 'clients.0.resources.0'],
    [{ limits: { tokenRequestsPerMinute: 1.5 } }, 'limits.tokenRequestsPerMinute'],
    [{ tokens: { accessTokenSeconds: 3601 } }, 'tokens.accessTokenSeconds'],
    [{ tokens: { refreshTokenDays: 0 } }, 'tokens.refreshTokenDays'],
    [{ sessions: { idleHours: 0 } }, 'sessions.idleHours'],
    [{ signing: { algorithm: 'none' } }, 'signing.algorithm'],
    [{ signing: { algorithm: 'HS256' } }, 'signing.algorithm'],
    [{ admins: { users: [] } }, 'admins.users'],
  ]
  for (const [more, path] of cases) assert.deepEqual(problems({ ...minimal, ...more }).map((problem) => problem.path), [path], JSON.stringify(more))
})

test('a machine authenticates, and only a machine has an owner, groups and scopes (RFC 6749 §4.4)', () => {
  const found = (client: object): string[] => mistakes({ clients: [{ id: 'job', name: 'Job', ...client }] })
  const secret = { clientSecret: 'x'.repeat(32) }
  const machine = { grantTypes: ['client_credentials'], ...secret, owner: 'alice', groups: ['jobs'], scopes: ['mcp.read', 'mcp.notes.write', 'admin'] }
  assert.deepEqual(parse({ ...minimal, clients: [{ id: 'job', name: 'Job', ...machine }] }).clients[0]?.groups, ['jobs'])
  assert.deepEqual(found({ ...machine, clientSecret: undefined, tokenEndpointAuthMethod: 'none' }), ['clients.0.grantTypes: client_credentials is for clients that authenticate: tokenEndpointAuthMethod is none'])
  assert.deepEqual(found({ ...machine, grantTypes: ['authorization_code', 'client_credentials'] }), ['clients.0.redirectUris: is missing: authorization_code sends the browser there'])
  const useless = 'is of no use without client_credentials among the grantTypes: a client that acts for people has theirs'
  assert.deepEqual(found({ ...secret, redirectUris: ['https://a.example/cb'], owner: 'alice', groups: [], scopes: ['mcp.read'] }), ['owner', 'groups', 'scopes'].map((setting) => `clients.0.${setting}: ${useless}`))
  assert.deepEqual(found({ ...machine, scopes: ['openid'] }), ['clients.0.scopes.0: must be admin, mcp.read, mcp.write, mcp.{upstream}.read or mcp.{upstream}.write'])
})

test('a workload is named by issuer, subject and an audience of its own, with keys that can be found (RFC 7523 §3)', () => {
  const github = { issuer: 'https://token.actions.githubusercontent.com', subject: 'repo:acme/app:**' }
  const svid = { issuer: 'spiffe://example.org', subject: 'spiffe://example.org/ns/ci/*', jwksUri: 'https://spire.example.com/bundle' }
  const client = { id: 'job', name: 'Job', grantTypes: ['client_credentials'], tokenEndpointAuthMethod: 'workload_identity' }
  const found = (workloadIdentities: unknown, more: object = {}): string[] => mistakes({ clients: [{ ...client, ...(workloadIdentities === undefined ? {} : { workloadIdentities }), ...more }] })
  const one = (more: object, of: object = github): string[] => found([{ ...of, ...more }]).map((mistake) => mistake.replace('clients.0.workloadIdentities.0.', ''))
  assert.equal(parse({ ...minimal, clients: [{ ...client, owner: 'alice', workloadIdentities: [{ ...github, claims: { repository_id: ['74'] } }, svid] }] }).clients[0]?.workloadIdentities?.length, 2)
  assert.deepEqual(found(undefined), ['clients.0.workloadIdentities: is missing: tokenEndpointAuthMethod is workload_identity'])
  assert.deepEqual(found([github], { tokenEndpointAuthMethod: 'private_key_jwt', jwksUri: 'https://a.example/jwks' }), ['clients.0.workloadIdentities: is of no use with tokenEndpointAuthMethod private_key_jwt'])
  assert.deepEqual(found([github], { grantTypes: ['refresh_token'] }), ['clients.0.grantTypes: must name client_credentials or urn:ietf:params:oauth:grant-type:jwt-bearer, or both: a workload stands for itself'])
  assert.deepEqual(one({ issuer: 'github' }), ['issuer: must be the issuer as it stands in iss, an http or https URL, or spiffe://{trust domain}'])
  assert.deepEqual(one({ subject: 'repo:acme*' }), ['subject: has a * that is not a whole segment between : or /'])
  assert.deepEqual(one({ audience: github.issuer }), ["audience: is the platform's own: name this gateway, and ask the platform for tokens with that audience"])
  assert.deepEqual(one({ jwksUri: 'https://a.example/jwks', jwks: { keys: [{ kty: 'EC' }] } }), ['jwksUri: and jwks exclude each other'])
  assert.deepEqual(one({ subject: 'spiffe://other.org/x/y' }, svid), ['subject: must begin with spiffe://example.org/'])
  assert.deepEqual(one({ jwksUri: undefined }, svid), ['jwksUri: is missing (or name jwks): where the bundle of the trust domain is'])
})

test('the connector of the gateway\'s own account needs what its way of authenticating takes, and nothing else', () => {
  const [rsa, ec] = [generateKeyPairSync('rsa', { modulusLength: 2048 }), generateKeyPairSync('ec', { namedCurve: 'P-256' })].map(({ privateKey }) => privateKey.export({ format: 'pem', type: 'pkcs8' }))
  const found = (connector: object): string[] => mistakes({ upstreams: [{ id: 'tickets', url: 'https://tickets.example.com/mcp', connector: { type: 'client-credentials', clientId: 'lanyard', ...connector } }] }).map((mistake) => mistake.replace('upstreams.0.connector.', ''))
  const keyed = { tokenEndpointAuthMethod: 'private_key_jwt', privateKey: rsa, keyId: 'k1', algorithm: 'PS256', issuer: 'https://as.example.com' }
  const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
  for (const connector of [{ clientSecret: 's', tokenEndpoint: 'https://as.example.com/token', audience: 'a', resource: 'r', scopes: ['s'] }, keyed, { tokenEndpointAuthMethod: 'workload_identity', tokenFile: '/var/run/token', grantType: jwtBearer }]) {
    const [upstream] = parse({ ...minimal, upstreams: [{ id: 'tickets', url: 'https://tickets.example.com/mcp', connector: { type: 'client-credentials', clientId: 'lanyard', ...connector } }] }).upstreams
    assert.equal(upstream?.connector.type, 'client-credentials')
  }
  assert.deepEqual(found({}), ['clientSecret: is missing: tokenEndpointAuthMethod is client_secret_basic'])
  assert.deepEqual(found({ ...keyed, clientSecret: 's' }), ['clientSecret: is of no use with tokenEndpointAuthMethod private_key_jwt'])
  assert.deepEqual(found({ clientSecret: 's', keyId: 'k1' }), ['keyId: is of no use without a privateKey'])
  assert.deepEqual(found({ ...keyed, privateKey: 'no key' }), ['privateKey: must be a private key in PEM without a passphrase'])
  assert.deepEqual(found({ ...keyed, privateKey: ec }), ['algorithm: is for keys of RSA: any other key has but one'])
  assert.deepEqual(found({ clientSecret: 's', grantType: jwtBearer }), ['grantType: needs the token of a platform: tokenEndpointAuthMethod workload_identity'])
  assert.deepEqual(found({ tokenEndpointAuthMethod: 'workload_identity' }), ['tokenFile: is missing: tokenEndpointAuthMethod is workload_identity'])
})

test('each field takes what it should', () => {
  const config = parse({
    ...minimal,
    listen: '[::]:8443',
    hosts: ['internal.example.com'],
    allowedOrigins: ['https://app.example.com', 'http://localhost:6274'],
    trustedProxies: ['10.0.0.0/8', 'fd00::/8'],
    store: 'postgresql://user:p%40ss@one.example.com:5432,two.example.com:5432/lanyard?sslmode=require',
    keyEncryption: 'env:KEK',
    upstreams: [{ id: 'notes', url: 'https://notes.example.com/mcp', connector: { type: 'oauth', clientId: 'a', clientSecret: 'b', scopes: ['read'] } }],
    profiles: [{ id: 'p', upstreams: ['notes'] }],
    rules: [{ id: 'r', effect: 'allow', upstreams: ['note*', 'notes'], clients: ['https://app.example.com/client'], unless: { networks: ['2001:db8::/32'] } }],
    clients: [
      { id: 'spa', name: 'SPA', tokenEndpointAuthMethod: 'none', redirectUris: ['com.example.app:/cb', 'http://127.0.0.1/cb'] },
      { id: 'rs', name: 'Resource server', clientSecret: 'x'.repeat(32), resources: ['https://lanyard.example.com/mcp/notes', 'https://lanyard.example.com/mcp'] },
      { id: 'jwt', name: 'Assertions', tokenEndpointAuthMethod: 'private_key_jwt', jwksUri: 'https://a.example/jwks', redirectUris: ['https://a.example/cb'] },
    ],
    registration: { approval: 'required', changedApplications: 'hold', softwareStatements: { issuers: [{ issuer: 'https://s.example', jwksUri: 'https://s.example/jwks' }], unknown: 'refuse' } },
    notices: {
      webhooks: [{ url: 'https://hooks.example.com/lanyard', secret: 's'.repeat(32) }, { url: 'http://127.0.0.1:9000/', secret: 's'.repeat(32) }],
      email: { host: 'localhost', port: 25, from: 'lanyard@example.com', to: ['admins@example.com'], tls: 'none' },
    },
    signing: { algorithm: 'EdDSA' },
    admins: { groups: ['it'] },
  })
  assert.equal(config.generateKeyEncryptionKey, false)
  assert.equal(config.keyEncryption, 'env:KEK')
  assert.deepEqual(config.notes, [])
})
