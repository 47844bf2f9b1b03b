import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEVICE_CODE } from '../oauth/grant-type.ts'
import { parseClientMetadata } from './metadata.ts'

const RULES = { grantTypes: ['authorization_code', 'refresh_token', DEVICE_CODE], defaultMethod: 'none', allowSecrets: true } as const
const DEVICE = { client_name: 'Screen', grant_types: [DEVICE_CODE, 'refresh_token'] }

test('RFC 8628 §3.1, RFC 7591 §2: who is answered by no redirect needs no redirect URIs, and has no response type', () => {
  const { redirectUris, responseTypes, grantTypes, applicationType, name } = parseClientMetadata(DEVICE, RULES)
  assert.deepEqual([redirectUris, responseTypes, grantTypes, applicationType, name], [[], [], DEVICE.grant_types, 'native', 'Screen'])
  assert.deepEqual(parseClientMetadata({ ...DEVICE, redirect_uris: [] }, RULES).redirectUris, [])
  // mcp-remote names one all the same.
  assert.deepEqual(parseClientMetadata({ ...DEVICE, redirect_uris: ['http://127.0.0.1:1/cb'] }, RULES).redirectUris, ['http://127.0.0.1:1/cb'])
})

test('RFC 7591 §3.2.2: who is, does; and who names one, names a good one', () => {
  const refused = (input: object, code: string): void => assert.throws(() => parseClientMetadata(input, RULES), { code })
  refused({ client_name: 'Editor' }, 'invalid_redirect_uri')
  refused({ ...DEVICE, grant_types: ['authorization_code', DEVICE_CODE] }, 'invalid_redirect_uri')
  refused({ ...DEVICE, redirect_uris: ['javascript:alert(1)'] }, 'invalid_redirect_uri')
  refused({ redirect_uris: ['https://app.example/cb'], grant_types: ['refresh_token'] }, 'invalid_client_metadata')
  // Where devices are switched off.
  assert.throws(() => parseClientMetadata(DEVICE, { ...RULES, grantTypes: ['authorization_code', 'refresh_token'] }), { code: 'invalid_redirect_uri' })
  const both = parseClientMetadata({ ...DEVICE, grant_types: ['authorization_code', DEVICE_CODE], redirect_uris: ['https://app.example/cb'] }, RULES)
  assert.deepEqual([both.redirectUris, both.responseTypes], [['https://app.example/cb'], ['code']])
})

test('RFC 9126 §6: a client may say that its requests count only when it pushed them', () => {
  const of = (value: unknown) => parseClientMetadata({ redirect_uris: ['https://app.example/cb'], require_pushed_authorization_requests: value }, RULES).requirePushedAuthorizationRequests
  assert.deepEqual([of(true), of(false), of(undefined)], [true, undefined, undefined])
  assert.throws(() => of('yes'), { code: 'invalid_client_metadata' })
})
