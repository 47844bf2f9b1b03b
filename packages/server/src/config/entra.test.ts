import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { generate } from 'selfsigned'
import { entraId, entraObo } from './entra-schema.ts'

const TENANT = '11111111-aaaa-4bbb-8ccc-000000000001'
const APP = 'aaaaaaaa-0000-4000-8000-000000000001'
const provider = { id: 'entra', type: 'entra-id', tenant: TENANT, clientId: APP.toUpperCase(), clientSecret: 's' }

let pair: { certificate: string; privateKey: string }
before(async () => {
  const made = await generate([{ name: 'commonName', value: 'Lanyard' }], { keySize: 2048 })
  pair = { certificate: made.cert, privateKey: made.private }
})

function problems(schema: typeof entraId | typeof entraObo, value: object): string[] {
  return schema.safeParse(value).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? []
}

test('a tenant is one, or the endpoint of many with a list of those that may sign in', () => {
  const one = entraId.parse(provider)
  assert.deepEqual([one.issuer, one.clientId, one.entra.tenants, one.groupsClaim], [`https://login.microsoftonline.com/${TENANT}/v2.0`, APP, [TENANT], 'groups'])
  const many = entraId.parse({ ...provider, tenant: 'organizations', tenants: [TENANT] })
  assert.deepEqual([many.issuer, many.entra.tenants], ['https://login.microsoftonline.com/organizations/v2.0', [TENANT]])
  assert.match(problems(entraId, { ...provider, tenant: 'common' }).join(), /^tenants: is missing/)
  assert.match(problems(entraId, { ...provider, tenant: 'contoso.onmicrosoft.com' }).join(), /^tenant: must be the GUID/)
  assert.match(problems(entraId, { ...provider, tenants: [TENANT] }).join(), /^tenants: is of no use/)
})

test('an app proves itself in one way; certificate and key belong together', async () => {
  assert.deepEqual(entraId.parse({ ...provider, clientSecret: undefined, certificate: pair }).entra.credential, { type: 'certificate', ...pair })
  assert.deepEqual(entraId.parse({ ...provider, clientSecret: undefined, federatedCredential: { subject: 'lanyard' } }).entra.credential, { type: 'federated', subject: 'lanyard', audience: 'api://AzureADTokenExchange' })
  for (const given of [{ clientSecret: undefined }, { certificate: pair }]) assert.match(problems(entraId, { ...provider, ...given }).join(), /^certificate: name one of/)
  const other = await generate([{ name: 'commonName', value: 'Other' }], { keySize: 2048 })
  assert.match(problems(entraId, { ...provider, clientSecret: undefined, certificate: { ...pair, privateKey: other.private } }).join(), /^certificate.privateKey: is of another key/)
  assert.match(problems(entraId, { ...provider, clientSecret: undefined, certificate: { ...pair, certificate: 'x' } }).join(), /^certificate.certificate: must be a certificate/)
})

test('a sign-in brings a token for Graph, or groups beyond it are asked for as the app', () => {
  const scopes = ['openid', 'profile', 'offline_access', `api://${APP}/access`]
  assert.match(problems(entraId, { ...provider, scopes }).join(), /^scopes: name another resource/)
  assert.equal(entraId.parse({ ...provider, scopes, groupOverage: 'application' }).entra.overage, 'application')
  assert.match(problems(entraId, { ...provider, scopes: ['openid'] }).join(), /^scopes: must have openid and profile/)
})

test('a connector is for one resource (AADSTS28000), with an app of its own or without', () => {
  const connector = { type: 'entra-obo', scopes: ['https://graph.microsoft.com/User.Read', 'https://graph.microsoft.com/Mail.Read', 'offline_access'] }
  assert.deepEqual(entraObo.parse(connector), connector)
  assert.match(problems(entraObo, { ...connector, scopes: ['https://graph.microsoft.com/User.Read', `api://${APP}/read`] }).join(), /^scopes: must be scopes of one resource/)
  assert.match(problems(entraObo, { ...connector, scopes: ['openid'] }).join(), /^scopes: must be scopes of one resource/)
  const app = { clientId: APP, clientSecret: 's' }
  assert.deepEqual(entraObo.parse({ ...connector, app }), { ...connector, app: { clientId: APP, scope: `api://${APP}/.default`, credential: { type: 'secret', secret: 's' } } })
  assert.match(problems(entraObo, { ...connector, app: { clientId: APP } }).join(), /^certificate: name one of/)
})
