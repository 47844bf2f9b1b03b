import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { ConfigError, parseConfig, type Config } from './load.ts'
import { providerSettings } from './settings.ts'
import { acceptedTokens, exchangeSettings } from './token-exchange-settings.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const provider = { id: 'corp', type: 'oidc', issuer: 'https://idp.example', clientId: 'lanyard' }
const agent = { id: 'agent', name: 'Agent', grantTypes: [EXCHANGE], clientSecret: 's'.repeat(32) }
const rule = { id: 'rule', clients: ['agent'], targets: ['https://lanyard.example.com/mcp/notes/'] }
const tickets = { id: 'tickets', url: 'https://tickets.example/mcp', connector: { type: 'oauth' } }

function parsed(values: Readonly<Record<string, unknown>>): Config {
  return parseConfig(stringify({ issuer: 'https://lanyard.example.com', identityProviders: [provider], clients: [agent], ...values }), { file: 'lanyard.yaml', directory: '/srv', environment: {} })
}

function problems(values: Readonly<Record<string, unknown>>): readonly string[] {
  try {
    parsed(values)
    return []
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.problems.map((problem) => JSON.stringify(problem))
  }
}

test('rules of exchange: addresses in the form of requests, access tokens alone unless others are named', () => {
  const config = parsed({ tokenExchange: [rule, { ...rule, id: 'corp', identityProvider: 'corp', audiences: ['api://lanyard'] }, { ...rule, id: 'all', clients: ['*'], targets: ['https://*.example/mcp/'] }] })
  assert.deepEqual(exchangeSettings(config), [
    { id: 'rule', clients: ['agent'], targets: ['https://lanyard.example.com/mcp/notes'] },
    { id: 'corp', clients: ['agent'], identityProvider: 'corp', audiences: ['api://lanyard'], tokenTypes: ['access_token'], targets: ['https://lanyard.example.com/mcp/notes'] },
    { id: 'all', clients: ['*'], targets: ['https://*.example/mcp/'] },
  ])
  assert.deepEqual(exchangeSettings(parsed({})), [])
})

test('mistakes in them are reported at their place', () => {
  const cases: readonly (readonly [Readonly<Record<string, unknown>>, string])[] = [
    [{ tokenExchange: [{ ...rule, clients: ['stranger'] }] }, 'must be one of the clients'],
    [{ tokenExchange: [{ ...rule, clients: [] }] }, 'name at least one'],
    [{ tokenExchange: [{ ...rule, targets: undefined }] }, 'targets'],
    [{ tokenExchange: [rule, rule] }, 'is taken'],
    [{ tokenExchange: [{ ...rule, audiences: ['x'] }] }, 'of no use without identityProvider'],
    [{ tokenExchange: [{ ...rule, identityProvider: 'other', audiences: ['x'] }] }, 'there is no such identity provider'],
    [{ tokenExchange: [{ ...rule, identityProvider: 'corp' }] }, 'is missing: whom'],
    [{ tokenExchange: [{ ...rule, scopes: ['admin'] }] }, 'must be mcp.read'],
    [{ tokenExchange: [{ ...rule, identityProvider: 'corp', audiences: ['x'], tokenTypes: ['saml2'] }] }, 'tokenTypes'],
    [{ clients: [{ id: 'agent', name: 'Agent', grantTypes: [EXCHANGE], tokenEndpointAuthMethod: 'none' }] }, 'for clients that authenticate'],
    [{ clients: [{ ...agent, id: 'provider:corp:x' }] }, 'is taken by applications that others vouch for'],
    [{ upstreams: [{ ...tickets, connector: { type: 'none' }, vending: {} }] }, 'of no use without accounts'],
    [{ upstreams: [{ ...tickets, connector: { type: 'api-key', header: 'X-Key', value: 'v' }, vending: {} }] }, 'of no use without accounts'],
    [{ upstreams: [{ ...tickets, url: 'https://tickets.example/mcp?x=1', vending: {} }] }, 'without query'],
    [{ upstreams: [{ ...tickets, vending: {} }, { ...tickets, id: 'again', vending: {} }] }, 'another upstream of the same url'],
    [{ upstreams: [{ ...tickets, vending: { maxSeconds: 10 } }] }, 'maxSeconds'],
    [{ upstreams: [{ ...tickets, connector: { type: 'token-exchange' } }] }, 'is missing (or name a resource)'],
    [{ upstreams: [{ ...tickets, connector: { type: 'token-exchange', audience: 'a', identityProvider: 'other' } }] }, 'there is no such identity provider'],
    [{ upstreams: [{ ...tickets, connector: { type: 'token-exchange', audience: 'a', issuer: 'https://as.example' } }] }, 'of no use without a clientId'],
    [{ upstreams: [{ ...tickets, connector: { type: 'token-exchange', audience: 'a', dpop: true } }] }, 'needs a clientId'],
  ]
  for (const [values, message] of cases) {
    const found = problems(values)
    assert.ok(found.some((problem) => problem.includes(message)), `${message}: ${found.join('; ')}`)
  }
  assert.deepEqual(problems({ tokenExchange: [rule], upstreams: [{ ...tickets, vending: {} }, { ...tickets, id: 'orders', connector: { type: 'token-exchange', audience: 'orders' } }, { ...tickets, id: 'bound', connector: { type: 'token-exchange', clientId: 'near', dpop: true } }] }), [])
})

test('what is accepted of whom, and what is kept for exchange', () => {
  const config = parsed({ identityProviders: [provider, { ...provider, id: 'open', acceptTokens: ['api://lanyard'] }, { ...provider, id: 'ids', acceptIdTokens: ['portal'] }] })
  assert.deepEqual([...acceptedTokens(config)], [['open', { audiences: ['api://lanyard'], idTokenClients: [] }], ['ids', { audiences: [], idTokenClients: ['portal'] }]])
  const keeps = (values: Readonly<Record<string, unknown>>): unknown => (providerSettings(parsed(values))[0] as { readonly keepsAccessToken?: boolean }).keepsAccessToken
  assert.equal(keeps({}), undefined)
  assert.equal(keeps({ upstreams: [{ ...tickets, connector: { type: 'token-exchange', audience: 'a' } }] }), true)
})
