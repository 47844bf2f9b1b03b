import assert from 'node:assert/strict'
import { test } from 'node:test'
import { authorizationServerMetadata, type MetadataFacts } from './metadata.ts'

const facts: MetadataFacts = {
  issuer: 'https://lanyard.example',
  grantTypes: ['authorization_code'],
  authMethods: ['none', 'client_secret_basic'],
  assertionAlgorithms: ['ES256'],
  signingAlgorithms: ['ES256'],
  dpopAlgorithms: ['ES256'],
  registration: { dynamic: true, clientIdMetadataDocuments: false },
}

test('what is switched off is absent, not null (RFC 8414 §2)', () => {
  const on = authorizationServerMetadata(facts)
  assert.equal(on['registration_endpoint'], 'https://lanyard.example/register')
  const off = authorizationServerMetadata({ ...facts, registration: { dynamic: false, clientIdMetadataDocuments: true } })
  assert.equal('registration_endpoint' in off, false)
  assert.deepEqual([on['client_id_metadata_document_supported'], off['client_id_metadata_document_supported']], [false, true])
})

test('algorithms of client assertions are named exactly when clients may use assertions (RFC 8414 §2)', () => {
  const member = 'token_endpoint_auth_signing_alg_values_supported'
  assert.equal(member in authorizationServerMetadata(facts), false)
  assert.deepEqual(authorizationServerMetadata({ ...facts, authMethods: ['private_key_jwt'] })[member], ['ES256'])
})

test('grant types and methods are those of the registries, and introspection is not for public clients (RFC 7662 §2.1)', () => {
  const metadata = authorizationServerMetadata({ ...facts, grantTypes: ['authorization_code', 'x'] })
  assert.deepEqual(metadata['grant_types_supported'], ['authorization_code', 'x'])
  assert.deepEqual(metadata['token_endpoint_auth_methods_supported'], ['none', 'client_secret_basic'])
  assert.deepEqual(metadata['introspection_endpoint_auth_methods_supported'], ['client_secret_basic'])
})
