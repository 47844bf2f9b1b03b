import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse as parseYaml, stringify } from 'yaml'
import { ConfigError, parseConfig, type Config } from './load.ts'
import { providerSettings, upstreamSettings } from './settings.ts'

const CREDENTIALS = { clientId: 'c', clientSecret: 's' }
const GOOGLE = { id: 'google', type: 'google-workspace', domains: ['corp.example'], ...CREDENTIALS }
const OIDC = { id: 'corp', type: 'oidc', issuer: 'https://idp.example.com', ...CREDENTIALS }
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const KEY = { type: 'service_account', project_id: 'p', client_email: 'sa@p.iam.gserviceaccount.com', private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }), private_key_id: 'kid' }
const DELEGATION = { type: 'google-delegation', serviceAccount: { key: '${env:KEY}' }, scopes: ['https://www.googleapis.com/auth/gmail.readonly'] }
const gmail = (more: object = {}): object => ({ upstreams: [{ id: 'gmail', type: 'http', url: 'https://gmail.googleapis.com/gmail/v1', connector: { ...DELEGATION, ...more } }] })

function parse(more: object, key: unknown = KEY): Config {
  const file = stringify({ issuer: 'https://lanyard.example.com', identityProviders: [GOOGLE], rules: [{ id: 'all', effect: 'allow' }], ...more })
  return parseConfig(file, { file: 'lanyard.yaml', directory: '/etc/lanyard', environment: { KEY: typeof key === 'string' ? key : JSON.stringify(key) } })
}

function mistakes(more: object, key?: unknown): string {
  try {
    parse(more, key)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    assert.ok(!error.message.includes('PRIVATE KEY'), 'no key stands in a mistake')
    return error.problems.map(({ path, message }) => `${path}: ${message}`).join('\n')
  }
  return assert.fail('the configuration was accepted')
}

test('presets know what their product refuses or needs', () => {
  const config = parse({
    identityProviders: [
      GOOGLE,
      { id: 'org', type: 'okta', issuer: 'https://example.okta.com', ...CREDENTIALS },
      { id: 'custom', type: 'okta', issuer: 'https://example.oktapreview.com/oauth2/default', ...CREDENTIALS },
      { id: 'keycloak', type: 'keycloak', issuer: 'https://sso.example.com/auth/realms/corp', ...CREDENTIALS },
      { id: 'one', type: 'ping', issuer: 'https://auth.pingone.com.au/00000000-0000-4000-8000-000000000000/as', ...CREDENTIALS },
      { id: 'federate', type: 'ping', issuer: 'https://sso.example.com', ...CREDENTIALS },
      { id: 'own', type: 'ping', issuer: 'https://sso.example.org', scopes: ['openid', 'offline_access'], ...CREDENTIALS },
    ],
  })
  const found = Object.fromEntries(providerSettings(config).map((provider) => [provider.id, provider]))
  assert.deepEqual([found['google']?.issuer, found['google']?.offlineAccess, found['google']?.scopes], ['https://accounts.google.com', 'access_type', ['openid', 'profile', 'email']])
  assert.deepEqual(['org', 'custom', 'keycloak', 'one', 'federate', 'own'].map((id) => found[id]?.scopes.slice(-1)[0]), ['groups', 'offline_access', 'offline_access', 'offline_access', 'email', 'offline_access'])
  assert.ok(found['org']?.acrValues?.includes('phr'))
  assert.ok(Object.values(found).every((provider) => !Object.values(provider).includes(undefined as never)), 'nothing is undefined')
})

test('an issuer that the product never writes is a mistake, told in its words', () => {
  const issuer = (type: string, value: string): string => mistakes({ identityProviders: [{ id: 'x', type, issuer: value, ...CREDENTIALS }] })
  assert.match(issuer('okta', 'https://example-admin.okta.com'), /leave out -admin/)
  assert.match(issuer('okta', 'https://example.okta.com/'), /no slash at its end/)
  assert.match(issuer('okta', 'https://example.okta.com/oauth2/default/v1'), /must be https:\/\/example\.okta\.com/)
  assert.match(issuer('okta', 'https://example.okta.com/oauth2/default/.well-known/openid-configuration'), /must be https:\/\/example\.okta\.com/)
  assert.match(issuer('keycloak', 'https://sso.example.com'), /realms/)
  assert.match(issuer('ping', 'https://auth.pingone.eu/x/as/'), /no slash at its end/)
})

test('Google Workspace: who is let in must be said; groups by a claim, and strengths of a sign-in, it does not have', () => {
  const google = (more: object): string => mistakes({ identityProviders: [{ ...GOOGLE, ...more }] })
  assert.match(google({ domains: undefined }), /identityProviders\.0\.domains: is missing/)
  assert.match(google({ domains: [] }), /name the domains/)
  assert.match(google({ domains: ['Corp.Example'] }), /domains\.0: must be a domain in lower case/)
  assert.match(google({ domains: ['*'] }), /domains\.0/)
  assert.match(google({ groupsClaim: 'groups' }), /groupsClaim: is not a setting/)
  assert.match(google({ offlineAccess: 'scope' }), /offlineAccess: is not a setting/)
  assert.match(google({ acrValues: ['x'] }), /acrValues/)
  assert.match(google({ clientSecret: undefined }), /clientSecret: is missing/)
})

test('a service account is a key file or an address, and nothing that is neither', () => {
  const settings = (serviceAccount: object, key?: unknown): unknown => {
    const [upstream] = upstreamSettings(parse(gmail({ serviceAccount }), key))
    return upstream?.connector.type === 'google-delegation' ? upstream.connector.serviceAccount : undefined
  }
  const places = { stsUrl: 'https://sts.googleapis.com', iamUrl: 'https://iamcredentials.googleapis.com', metadataUrl: 'http://metadata.google.internal', tokenUrl: 'https://oauth2.googleapis.com/token' }
  assert.deepEqual(settings({ key: '${env:KEY}' }), { email: KEY.client_email, key: { id: 'kid', privateKey: KEY.private_key }, ...places })
  assert.deepEqual(settings({ key: '${env:KEY}' }, { ...KEY, token_uri: 'https://token.example/x' }), { email: KEY.client_email, key: { id: 'kid', privateKey: KEY.private_key }, ...places, tokenUrl: 'https://token.example/x' })
  assert.deepEqual(settings({ email: 'sa@p.iam.gserviceaccount.com' }), { email: 'sa@p.iam.gserviceaccount.com', ...places })
  assert.match(mistakes(gmail({ serviceAccount: {} })), /serviceAccount\.key: is missing/)
  const workloadIdentity = { provider: 'projects/1/locations/global/workloadIdentityPools/p/providers/v' }
  assert.deepEqual(settings({ email: 'sa@p.iam.gserviceaccount.com', workloadIdentity }), { email: 'sa@p.iam.gserviceaccount.com', ...places, workloadIdentity: { ...workloadIdentity, subject: 'lanyard' } })
  assert.match(mistakes(gmail({ serviceAccount: { key: '${env:KEY}', workloadIdentity } })), /workloadIdentity: is of no use with a key/)
  assert.match(mistakes(gmail({ serviceAccount: { email: 'sa@p.iam.gserviceaccount.com', workloadIdentity: { provider: '//iam.googleapis.com/x' } } })), /workloadIdentity\.provider/)
  const eddsa = { signing: { algorithm: 'EdDSA' }, ...gmail({ serviceAccount: { email: 'sa@p.iam.gserviceaccount.com', workloadIdentity } }), identityProviders: [{ ...GOOGLE, directory: { serviceAccount: { email: 'sa@p.iam.gserviceaccount.com', workloadIdentity } } }] }
  assert.equal(mistakes(eddsa).match(/needs signing\.algorithm ES256/g)?.length, 2)
  assert.match(mistakes(gmail({ serviceAccount: { key: '${env:KEY}', email: 'a@b.example' } })), /exclude each other/)
  for (const wrong of ['not json', { ...KEY, type: 'authorized_user' }, { ...KEY, private_key: 'x' }, { ...KEY, private_key_id: undefined }, { ...KEY, token_uri: 'file:///etc/passwd' }]) {
    assert.match(mistakes(gmail(), wrong), /serviceAccount\.key: must be the text of a service account key file/)
  }
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  assert.match(mistakes(gmail(), { ...KEY, private_key: elliptic }), /serviceAccount\.key/)
})

test('for whom a delegation acts is said: the provider of the domain, or people by name', () => {
  const of = (more: object): unknown => {
    const [upstream] = upstreamSettings(parse(more))
    return upstream?.connector.type === 'google-delegation' ? [upstream.connector.provider, upstream.connector.domains] : undefined
  }
  assert.deepEqual(of(gmail()), [{ id: 'google', issuer: 'https://accounts.google.com' }, ['corp.example']])
  assert.deepEqual(of(gmail({ domains: ['sub.corp.example'] })), [{ id: 'google', issuer: 'https://accounts.google.com' }, ['sub.corp.example']])
  const users = [{ provider: 'corp', subject: '1', address: 'a@corp.example' }]
  assert.deepEqual(of({ identityProviders: [OIDC], ...gmail({ users, domains: ['corp.example'] }) }), [undefined, ['corp.example']])
  assert.match(mistakes({ identityProviders: [OIDC], ...gmail() }), /connector\.users: is missing/)
  assert.match(mistakes({ identityProviders: [OIDC], ...gmail({ users }) }), /connector\.domains: is missing/)
  assert.match(mistakes({ identityProviders: [OIDC, GOOGLE], ...gmail({ provider: 'corp' }) }), /connector\.provider: must be an identity provider of the type google-workspace/)
  assert.match(mistakes({ identityProviders: [GOOGLE, { ...GOOGLE, id: 'other' }], ...gmail() }), /connector\.provider: is missing: there are several/)
  assert.match(mistakes(gmail({ users: [{ ...users[0], provider: 'nobody' }] })), /users\.0\.provider: there is no such/)
  assert.match(mistakes(gmail({ users: [{ ...users[0], provider: 'google', address: 'a@b@corp.example' }] })), /users\.0\.address/)
  assert.match(mistakes(gmail({ scopes: [] })), /scopes: name at least one/)
})

test('what the pages of setup show is what the gateway takes', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-presets-'))
  try {
    const key = join(directory, 'key.json')
    writeFileSync(key, JSON.stringify(KEY))
    const environment = Object.fromEntries(['GOOGLE_CLIENT_SECRET', 'OKTA_CLIENT_SECRET', 'KEYCLOAK_CLIENT_SECRET', 'PING_CLIENT_SECRET'].map((name) => [name, 's']))
    const blocks = ['setup/google-workspace.md', 'setup/okta.md', 'setup/keycloak.md', 'setup/ping.md', 'configuration.md'].flatMap((page) => {
      const text = readFileSync(new URL(`../../../../docs/${page}`, import.meta.url), 'utf8')
      return [...text.matchAll(/```yml\n([\s\S]*?)```/g)].map(([, block = '']) => ({ page, block: block.replaceAll(/\$\{file:[^}]+\}/g, `\${file:${key}}`) }))
    })
    assert.ok(blocks.length >= 7)
    for (const { page, block } of blocks) {
      const { identityProviders = [GOOGLE, OIDC], ...rest } = parseYaml(block) as { identityProviders?: object[] }
      const text = stringify({ issuer: 'https://lanyard.example.com', rules: [{ id: 'all', effect: 'allow' }], identityProviders, ...rest })
      assert.doesNotThrow(() => parseConfig(text, { file: page, directory, environment }), block)
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
