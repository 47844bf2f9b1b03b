// `lanyard check` tells an administrator what Entra ID will refuse before anybody signs in.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { stringify } from 'yaml'
import { checkEntra } from '../../src/cli/check-entra.ts'
import { checkProviders } from '../../src/cli/check-reach.ts'
import { parseConfig, type Config } from '../../src/config/load.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { addCertificate, type AppCertificate } from '../support/entra/certificate.ts'
import { entra, GATEWAY, GATEWAY_SECRET, MIDDLE, NOTES_API, TENANT, type Entra } from '../support/entra/entra.ts'

let idp: Entra
let sender: Outbound
let certificate: AppCertificate
before(async () => {
  idp = await entra()
  sender = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  certificate = await addCertificate(idp.apps.get(MIDDLE) ?? assert.fail())
})
after(async () => {
  await sender.close()
  await idp.close()
})

function config(provider: object = { clientSecret: '${env:SECRET}' }, secret = GATEWAY_SECRET): Config {
  const app = { clientId: MIDDLE, certificate: { certificate: certificate.certificate, privateKey: certificate.privateKey } }
  const file = stringify({
    issuer: 'https://lanyard.example.com',
    identityProviders: [{ id: 'entra', type: 'entra-id', tenant: TENANT, clientId: GATEWAY, authority: idp.origin, graphUrl: idp.origin, ...provider }],
    upstreams: [{ id: 'notes', url: 'https://notes.example.com/mcp', connector: { type: 'entra-obo', scopes: [`api://${NOTES_API}/notes.read`], app } }],
    rules: [{ id: 'all', effect: 'allow' }],
  })
  return parseConfig(file, { file: 'f', directory: '/', environment: { SECRET: secret } })
}

test('apps that Entra ID takes are well; a wrong secret is named with its number, and never shown', async () => {
  const well = await checkEntra(config(), sender)
  assert.deepEqual(well.map(({ check, status }) => [check, status]), [['app of entra', 'ok'], ['upstream notes', 'ok']])
  const wrong = await checkEntra(config(undefined, 'another-secret'), sender)
  assert.deepEqual(wrong.map(({ status }) => status), ['failed', 'ok'])
  assert.match(wrong[0]?.message ?? '', /invalid_client \(AADSTS7000215\)/)
  assert.ok(!JSON.stringify([...well, ...wrong]).includes('another-secret'))
  const federated = await checkEntra(config({ federatedCredential: { subject: 'lanyard' } }), sender)
  assert.deepEqual(federated.map(({ status }) => status), ['warning', 'ok'])
})

test('a certificate that is about to end is a warning, one that has ended a failure', async () => {
  const day = 86_400_000
  const at = async (days: number) => (await checkEntra(config(), sender, Date.now() + days * day)).filter(({ check }) => check === 'upstream notes').map(({ status }) => status)
  assert.deepEqual(await at(0), ['ok'])
  assert.deepEqual(await at(350), ['warning', 'ok'])
  assert.deepEqual(await at(400), ['failed', 'ok'])
})

test('the metadata of many tenants name a template, and are well', async () => {
  const many = await checkProviders(config({ clientSecret: '${env:SECRET}', tenant: 'organizations', tenants: [TENANT] }), sender)
  assert.deepEqual(many.map(({ status }) => status), ['ok'])
  const nowhere = await checkProviders(config({ clientSecret: '${env:SECRET}', tenant: '33333333-aaaa-4bbb-8ccc-000000000003' }), sender)
  assert.deepEqual(nowhere.map(({ status }) => status), ['failed'])
})
