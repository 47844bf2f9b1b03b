// `lanyard check` tells an administrator what is missing at Google before anybody signs in.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { exportPKCS8 } from 'jose'
import { stringify } from 'yaml'
import { checkGoogle } from '../../src/cli/check-google.ts'
import { parseConfig, type Config } from '../../src/config/load.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { addServiceAccount, CLIENT_ID, CLIENT_SECRET, DOMAIN, GMAIL_SCOPE, google, type Google, type ServiceAccount } from '../support/google/google.ts'

let emulator: Google
let account: ServiceAccount
let sender: Outbound
before(async () => {
  emulator = await google()
  account = await addServiceAccount(emulator, 'gateway')
  sender = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
})
after(async () => {
  await sender.close()
  await emulator.close()
})

async function config(directory: boolean, keys = account): Promise<Config> {
  const key = JSON.stringify({ type: 'service_account', client_email: account.email, private_key: await exportPKCS8(keys.keys.file.key), private_key_id: keys.keys.file.kid, token_uri: `${emulator.origin}/token` })
  const serviceAccount = { key: '${env:KEY}' }
  const file = stringify({
    issuer: 'https://lanyard.example.com',
    identityProviders: [{ id: 'google', type: 'google-workspace', clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, domains: [DOMAIN], ...(directory ? { directory: { url: emulator.origin, serviceAccount } } : {}) }],
    upstreams: [{ id: 'gmail', type: 'http', url: 'https://gmail.googleapis.com/gmail/v1', connector: { type: 'google-delegation', serviceAccount, scopes: [GMAIL_SCOPE] } }],
    rules: [{ id: 'all', effect: 'allow' }],
  })
  return parseConfig(file, { file: 'f', directory: '/', environment: { KEY: key } })
}

test('groups that can be read and keys that Google takes are well; what is missing is named, with what to do', async () => {
  account.groupsReader = true
  const well = await checkGoogle(await config(true), sender)
  assert.deepEqual(well.map(({ check, status }) => [check, status]), [['groups of google', 'ok'], ['upstream gmail', 'ok']])

  account.groupsReader = false
  const [roleless] = await checkGoogle(await config(true), sender)
  assert.deepEqual([roleless?.status, /Groups Reader/.test(roleless?.message ?? '')], ['failed', true])

  const foreign = await checkGoogle(await config(true, await addServiceAccount(emulator, 'other')), sender)
  assert.deepEqual(foreign.map(({ status }) => status), ['failed', 'failed'])
  assert.match(foreign[1]?.message ?? '', /does not accept the key/)

  const [without] = await checkGoogle(await config(false), sender)
  assert.deepEqual([without?.status, without?.message.startsWith('nobody is in any group')], ['warning', true])
  assert.ok(!JSON.stringify([...well, ...foreign]).includes('PRIVATE KEY'))
})
