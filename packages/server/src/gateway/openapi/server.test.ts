// What a call of a tool becomes on its way to the API: its own request, with the connector's credential for that and no other.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Upstream } from '../../upstreams/upstream.ts'
import { possession, newProofKey } from '../../upstreams/connectors/oauth/possession.ts'
import type { Contact } from '../call.ts'
import type { CallPolicy } from '../call-policy.ts'
import type { Answer, UpstreamRequest } from '../exchange.ts'
import type { OpenCall } from '../open-calls.ts'
import { sendWithCredential, type UpstreamCallDeps } from '../upstream-call.ts'
import type { ApiCatalogue } from './catalogue.ts'
import { loadTools } from './catalogue.ts'
import { memoryAnswer } from './memory-answer.ts'
import { withApiServers } from './server.ts'

const UPSTREAM: Upstream = { id: 'api', name: 'API', url: 'https://api.example/v1', connector: { type: 'oauth' }, readOnlyTools: [], timeoutMs: 1000, http: { maxBodyBytes: 1024, encodedSlashes: false, openApi: { document: 'https://api.example/openapi.json' } } }
const DOCUMENT = { openapi: '3.1.0', info: { title: 'API', version: '1' }, paths: { '/notes/{id}': { get: { operationId: 'read', parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }], responses: { 200: { description: 'fine' } } } } } }

function claims(proof = ''): Record<string, unknown> {
  return JSON.parse(Buffer.from(proof.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, unknown>
}

test('RFC 9449 §7, §9: a credential that is bound to a key is proven for the request to the API, once more with the nonce that it wants', async () => {
  const asked: UpstreamRequest[] = []
  const challenge: Answer = { ...memoryAnswer(401, undefined), headers: { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'n-1' } }
  const tools = await loadTools({ request: () => Promise.resolve({ status: 200, headers: new Headers(), body: JSON.stringify(DOCUMENT) }) }, { document: 'https://api.example/openapi.json' })
  const apis: ApiCatalogue = { tools: () => Promise.resolve(tools) }
  const forward = withApiServers({
    forward: { send: (_upstream, request) => Promise.resolve((asked.push(request), asked.length === 1 ? challenge : memoryAnswer(200, { ok: true }))) },
    apis,
    policy: { restriction: () => undefined } as unknown as CallPolicy,
    approvals: { call: () => Promise.reject(new Error('nobody is asked')) },
  })
  const open: OpenCall = { issued: { userId: 'u', clientId: 'c', grantId: 'g', kid: 'k', issuedAt: 1 }, endsAt: Infinity, stream: false, ended: undefined, stop: undefined }
  const standing = { application: { id: 'c', verified: true }, decisions: [], required: false, holdChanged: false }
  const contact = { caller: { user: { id: 'u', groups: [] }, clientId: 'c', standing }, profile: { id: 'api', upstreams: [UPSTREAM] }, upstream: UPSTREAM, open, address: '192.0.2.1' } as unknown as Contact
  const credential = { headers: { authorization: 'DPoP at' }, version: '1', possession: possession(await newProofKey(), 'at') }
  const connector = { perUser: true, credential: () => Promise.resolve(credential), refused: () => Promise.reject(new Error('nothing is refused')) }
  const deps = { forward, bridge: { isSame: () => true } } as unknown as UpstreamCallDeps
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'read', arguments: { id: '7' } } })
  const answer = await sendWithCredential(deps, connector, contact, credential, { method: 'POST', headers: { 'mcp-protocol-version': '2025-11-25' }, body, idleMs: 1000 })
  assert.ok(answer !== 'connection_required' && answer.status === 200)
  const proofs = asked.map(({ headers }) => claims(headers['dpop']))
  assert.deepEqual(proofs.map(({ htm, htu, nonce }) => [htm, htu, nonce]), [['GET', 'https://api.example/v1/notes/7', undefined], ['GET', 'https://api.example/v1/notes/7', 'n-1']])
  assert.notEqual(proofs[0]?.['jti'], proofs[1]?.['jti'])
  assert.deepEqual(asked.map(({ path, headers }) => [path, headers['authorization']]), [['/v1/notes/7', 'DPoP at'], ['/v1/notes/7', 'DPoP at']])
})
