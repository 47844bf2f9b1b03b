import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { idJagAudiences, makesAssertions, trustedIssuers } from './id-jag-settings.ts'
import { ConfigError, parseConfig, type Config } from './load.ts'

const minimal = { issuer: 'https://lanyard.example.com', identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'https://acme.okta.com', clientId: 'lanyard' }] }

function parse(more: object): Config {
  return parseConfig(stringify({ ...minimal, ...more }), { file: 'lanyard.yaml', directory: '/etc/lanyard', environment: {} })
}

function mistakes(more: object): readonly string[] {
  try {
    parse(more)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.problems.map(({ path, message }) => `${path}: ${message}`)
  }
  return assert.fail('the configuration was accepted')
}

const trusting = (...trusted: readonly object[]): object => ({ idJag: { trustedIssuers: trusted } })

test('the people of a trusted issuer are those of the identity provider of the same issuer, or its own (ID-JAG §3)', () => {
  assert.deepEqual(trustedIssuers(parse({})), [])
  const found = trustedIssuers(parse(trusting({ id: 'okta', issuer: 'https://acme.okta.com' }, { id: 'claude', issuer: 'https://identity.anthropic.com/issuers/acme', algorithms: ['ES256'], clients: ['https://claude.ai/client.json'] })))
  assert.deepEqual(found.map(({ provider }) => provider), ['corp', 'claude'])
  assert.deepEqual([found[1]?.algorithms, found[1]?.clients], [['ES256'], ['https://claude.ai/client.json']])
  assert.ok(found[0]?.algorithms.includes('RS256') === true && found[0].algorithms.every((name) => !/^HS|none/.test(name)))
  // Subjects may be equal in two tenants: there it is said by name alone.
  const tenants = trustedIssuers(parse(trusting({ id: 'a', issuer: 'https://acme.okta.com', tenant: 'a' }, { id: 'b', issuer: 'https://acme.okta.com', tenant: 'b', identityProvider: 'corp' })))
  assert.deepEqual(tenants.map(({ provider }) => provider), ['a', 'corp'])
})

test('nobody trusts themselves, one issuer twice, or symmetric keys (ID-JAG §7.3)', () => {
  const okta = { id: 'okta', issuer: 'https://acme.okta.com' }
  assert.match(mistakes(trusting({ id: 'self', issuer: 'https://lanyard.example.com' })).join(), /idJag\.trustedIssuers\.0\.issuer: is this gateway/)
  assert.match(mistakes(trusting(okta, { ...okta, id: 'other' })).join(), /idJag\.trustedIssuers\.1\.issuer: is taken/)
  assert.match(mistakes(trusting(okta, { ...okta, id: 'other', tenant: 'x' })).join(), /idJag\.trustedIssuers\.0\.tenant: is missing/)
  assert.match(mistakes(trusting({ ...okta, id: 'corp' })).join(), /idJag\.trustedIssuers\.0\.id: is taken/)
  assert.match(mistakes(trusting(okta, { id: 'okta', issuer: 'https://other.example' })).join(), /idJag\.trustedIssuers\.1\.id: is taken/)
  assert.match(mistakes(trusting({ ...okta, algorithms: ['HS256'] })).join(), /idJag\.trustedIssuers\.0\.algorithms/)
  assert.match(mistakes(trusting({ ...okta, issuer: 'acme' })).join(), /idJag\.trustedIssuers\.0\.issuer/)
  assert.match(mistakes(trusting({ ...okta, issuer: 'https://acme.okta.com/?x=y' })).join(), /no query/)
  assert.match(mistakes(trusting({ ...okta, identityProvider: 'nobody' })).join(), /no such identity provider/)
  assert.match(mistakes(trusting({ ...okta, linkByEmail: 'nobody' })).join(), /linkByEmail: there is no such identity provider/)
  assert.equal(trustedIssuers(parse(trusting({ ...okta, linkByEmail: 'corp' })))[0]?.linkByEmail, 'corp')
  assert.match(mistakes(trusting({ ...okta, issuer: 'https://other.example', identityProvider: 'corp' })).join(), /another issuer/)
  assert.match(mistakes(trusting({ ...okta, tenant: 'a', identityProvider: 'corp' }, { ...okta, id: 'b', tenant: 'b', identityProvider: 'corp' })).join(), /trustedIssuers\.1\.identityProvider: is taken/)
})

test('ID-JAGs are issued for authorization servers elsewhere alone, each named once (ID-JAG §7.3)', () => {
  const chat = { issuer: 'https://auth.chat.example/', resources: ['https://mcp.chat.example/'], clients: { assistant: 'x' } }
  const asking = (...audiences: readonly object[]): object => ({ idJag: { audiences } })
  const config = parse(asking({ ...chat, scopes: ['chat.read'], groups: ['engineering'], tenant: 'acme' }))
  assert.deepEqual(idJagAudiences(config), [{ ...chat, clients: new Map([['assistant', 'x']]), scopes: ['chat.read'], groups: ['engineering'], tenant: 'acme' }])
  assert.deepEqual([makesAssertions(config), makesAssertions(parse({}))], [true, false])
  assert.match(mistakes(asking({ ...chat, issuer: 'https://lanyard.example.com' })).join(), /idJag\.audiences\.0\.issuer: is this gateway/)
  assert.match(mistakes(asking(chat, chat)).join(), /idJag\.audiences\.1\.issuer: is taken/)
  assert.match(mistakes(asking({ ...chat, resources: ['https://lanyard.example.com/mcp/notes'] })).join(), /idJag\.audiences\.0\.resources\.0: is an address of this gateway/)
  assert.match(mistakes(asking({ ...chat, resources: [] })).join(), /resources: name at least one/)
  assert.match(mistakes(asking({ ...chat, clients: {} })).join(), /name at least one client/)
  assert.match(mistakes(asking({ ...chat, scopes: ['two words'] })).join(), /one printable word/)
})

test('a client that presents ID-JAGs alone needs no redirect URI', () => {
  const client = { id: 'assistant', name: 'Assistant', clientSecret: 's'.repeat(32), grantTypes: ['urn:ietf:params:oauth:grant-type:jwt-bearer'] }
  assert.equal(parse({ ...trusting({ id: 'okta', issuer: 'https://acme.okta.com' }), clients: [client] }).clients[0]?.id, 'assistant')
})
