import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Standing } from '../../approval/approval.ts'
import type { AuditEvent } from '../../audit/event.ts'
import type { Client } from '../../clients/client.ts'
import { Params } from '../../http/params.ts'
import type { User } from '../../identity/user.ts'
import { OAuthError } from '../../oauth/error.ts'
import { policy, type Rule } from '../../policy/policy.ts'
import { apiKeyConnector } from '../../upstreams/connectors/api-key.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector, type Credential } from '../../upstreams/connectors/connector.ts'
import { profiles } from '../../upstreams/profiles.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Issued } from '../grants/grant.ts'
import { exchangeRules, type ExchangeRule } from './rules.ts'
import type { ExchangeSubject } from './subject.ts'
import { vend } from './vend.ts'

const NOW = 1_700_000_000_000
const AT = NOW / 1000
const ISSUER = 'https://lanyard.example'
const UPSTREAM: Upstream = { id: 'tickets', name: 'Tickets', url: 'https://tickets.example/mcp', connector: { type: 'oauth' }, readOnlyTools: [], timeoutMs: 1000, vending: { purpose: 'optional', maxSeconds: 300 } }
const CLIENT: Client = { id: 'agent', kind: 'pre-registered', name: 'Agent', redirectUris: [], grantTypes: [], tokenEndpointAuthMethods: ['client_secret_basic'], secretHashes: [], digest: 'd' }
const ALICE: User = { id: 'usr_alice', provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups: ['engineering'], disabled: false }
const RULE: ExchangeRule = { id: 'vend', clients: ['agent'], targets: [UPSTREAM.url] }
const CREDENTIAL: Credential = { headers: { authorization: 'Bearer the-token' }, version: '1', expiresAt: NOW + 3600_000, scope: 'tickets.read' }

interface World {
  readonly upstream: Upstream
  readonly client: Client
  readonly subject: Partial<ExchangeSubject>
  readonly connector: Partial<Connector>
  readonly credential: () => Promise<Credential>
  readonly rule: ExchangeRule
  readonly rules: readonly Rule[]
  readonly standing: Partial<Standing>
  readonly form: Readonly<Record<string, string>>
  readonly hold: readonly string[]
  readonly record: (events: readonly AuditEvent[]) => Promise<void>
}

async function ask(changes: Partial<World> = {}): Promise<{ readonly issued: Issued; readonly events: readonly AuditEvent[] }> {
  const events: AuditEvent[] = []
  const { upstream = UPSTREAM, client = CLIENT, rule = RULE, rules = [{ id: 'all', effect: 'allow' }], credential = () => Promise.resolve(CREDENTIAL) } = changes
  const record = async (...recorded: readonly AuditEvent[]): Promise<void> => {
    await changes.record?.(recorded)
    events.push(...recorded)
  }
  const standing: Standing = { application: { id: 'agent', verified: true, by: 'administrator' }, required: false, holdChanged: false, decisions: [], ...changes.standing }
  const target = vend({
    upstreams: [upstream],
    connector: () => ({ perUser: true, credential, refused: () => Promise.resolve(), ...changes.connector }),
    connections: { connectUrl: (userId, { id }, lacking = [], back = '') => `${ISSUER}/connections/${id}?for=${userId}&lacking=${lacking.join(',')}&back=${back}` },
    profiles: profiles(ISSUER, [upstream], []),
    policy: policy(rules),
    approvals: { standing: () => Promise.resolve(standing), used: () => Promise.resolve() },
    recorder: { record, begin: () => () => Promise.resolve() },
    now: () => NOW,
  })
  const params = Params.from(new URLSearchParams({ resource: UPSTREAM.url, ...changes.form }))
  const request = { client, params, context: { reference: 'ref', address: '192.0.2.1', params: {} }, tell: () => undefined }
  const subject: ExchangeSubject = { user: ALICE, authentication: {}, clientId: 'chat', grantId: 'grt_1', scope: ['mcp.write'], expiresAt: AT + 900, rules: exchangeRules([rule])('agent'), kind: 'lanyard access_token', ...changes.subject }
  if (!target.accepts(params)) throw new OAuthError('invalid_target', 'not accepted')
  const granted = await target.authorize(request, subject)
  const issued = await granted.issue({ accessToken: () => assert.fail('nothing is minted'), refreshToken: () => assert.fail('nothing is minted') }, (scope) => changes.hold ?? scope)
  return { issued, events }
}

async function refused(changes: Partial<World>, code: string, reason: RegExp): Promise<OAuthError> {
  const error: unknown = await ask(changes).then(() => undefined, (thrown: unknown) => thrown)
  assert.ok(error instanceof OAuthError, String(error))
  assert.equal(error.code, code, error.reason)
  assert.match(error.reason, reason)
  return error
}

test('what is vended lasts no longer than the cap, the subject token and the token itself, and is recorded first', async () => {
  const { issued, events } = await ask({ form: { purpose: 'the weekly report' } })
  assert.deepEqual(issued, { accessToken: 'the-token', expiresAt: AT + 300, scope: ['tickets.read'], tokenType: 'Bearer', issuedTokenType: 'urn:ietf:params:oauth:token-type:access_token' })
  assert.deepEqual([events.length, events[0]?.action, events[0]?.grantId, events[0]?.upstream, events[0]?.detail?.['purpose'], events[0]?.detail?.['expires_in']], [1, 'token.vended', 'grt_1', 'tickets', 'the weekly report', 300])
  assert.equal(JSON.stringify(events).includes('the-token'), false)
  assert.equal((await ask({ subject: { expiresAt: AT + 20 } })).issued.expiresAt, AT + 20)
  assert.equal((await ask({ credential: () => Promise.resolve({ ...(CREDENTIAL as object), expiresAt: NOW + 40_000 } as Credential) })).issued.expiresAt, AT + 40)
  await assert.rejects(ask({ record: () => Promise.reject(new Error('the store is gone')) }), /the store is gone/)
})

test('nothing is vended by an upstream that does not, by no rule, and to nobody whom nobody vouches for', async () => {
  const { vending: _vending, ...never } = UPSTREAM
  await refused({ upstream: never }, 'invalid_target', /not accepted/)
  await refused({ rule: { ...RULE, targets: ['https://other.example/mcp'] } }, 'invalid_target', /no rule/)
  await refused({ rule: { ...RULE, scopes: ['mcp.read'] } }, 'invalid_target', /no rule/)
  for (const kind of ['dynamic'] as const) await refused({ client: { ...CLIENT, kind } }, 'unauthorized_client', /unverified/)
  await refused({ form: { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' } }, 'invalid_target', /not accepted/)
})

test('policy must allow everything that the upstream has, and administrators the application', async () => {
  const all: Rule = { id: 'all', effect: 'allow' }
  await refused({ rules: [] }, 'invalid_target', /policy \(default\)/)
  await refused({ rules: [{ ...all, tools: ['read_*'] }] }, 'invalid_target', /policy/)
  await refused({ rules: [all, { id: 'no-deletes', effect: 'deny', tools: ['delete_*'] }] }, 'invalid_target', /policy \(no-deletes\)/)
  await refused({ rules: [all, { id: 'asks', effect: 'approval', tools: ['pay'] }] }, 'invalid_target', /policy \(asks\)/)
  await refused({ rules: [{ ...all, groups: ['sales'] }] }, 'invalid_target', /policy/)
  const stepUp = await refused({ rules: [all, { id: 'strong', effect: 'step-up', require: { acrValues: ['mfa'] } }] }, 'insufficient_user_authentication', /too weak/)
  assert.deepEqual(stepUp.members, { acr_values: 'mfa' })
  await ask({ rules: [all, { id: 'strong', effect: 'step-up', require: { acrValues: ['mfa'] } }], subject: { authentication: { acr: 'mfa' } } })
  await refused({ standing: { required: true, application: { id: 'agent', verified: true, by: 'host' } } }, 'invalid_target', /no administrator approved/)
})

test('the subject, and the person, must be able to write there', async () => {
  await refused({ subject: { scope: ['mcp.read'] } }, 'invalid_scope', /subject token/)
  await refused({ subject: { scope: ['mcp.notes.write'] } }, 'invalid_scope', /subject token/)
  await ask({ subject: { scope: ['mcp.tickets.write'] } })
  await refused({ hold: ['mcp.tickets.read'] }, 'invalid_scope', /the person/)
  await refused({ subject: { user: { ...ALICE, kind: 'machine' } } }, 'invalid_target', /machine/)
})

test('a credential that is nobody’s own, bound to Lanyard or no bearer token never leaves', async () => {
  await refused({ connector: apiKeyConnector({ header: 'authorization', value: 'Bearer shared' }) }, 'invalid_target', /no person’s own/)
  const possession = { prove: () => 'proof', learn: () => false }
  for (const credential of [{ headers: { authorization: 'DPoP x' }, version: '1', possession }, { headers: { authorization: 'Bearer x' }, version: '1', possession }, { headers: { cookie: 'x' }, version: '1' }, { headers: { authorization: 'Bearer x', 'x-tenant': 'y' }, version: '1' }] satisfies Credential[]) {
    await refused({ credential: () => Promise.resolve(credential) }, 'invalid_target', /bound to Lanyard/)
  }
})

test('what an account lacks is asked of its person, at an address that brings them back to the application', async () => {
  const none = await refused({ credential: () => Promise.resolve('connection_required') }, 'interaction_required', /not connected/)
  assert.equal(none.members['interaction_uri'], `${ISSUER}/connections/tickets?for=usr_alice&lacking=&back=`)
  const client = { ...CLIENT, redirectUris: ['https://agent.example/back'] }
  const form = { scope: 'tickets.read tickets.write', redirect_uri: 'https://agent.example/back', state: 's 1' }
  const lacking = await refused({ client, form }, 'interaction_required', /lacks a scope/)
  assert.equal(lacking.members['interaction_uri'], `${ISSUER}/connections/tickets?for=usr_alice&lacking=tickets.write&back=https://agent.example/back?state=s+1`)
  await refused({ client, form: { ...form, redirect_uri: 'https://agent.example/other' } }, 'invalid_request', /redirect_uri/)
  await ask({ form: { scope: 'tickets.read' } })
  await refused({ credential: () => Promise.reject(new UpstreamUnavailable('down')) }, 'temporarily_unavailable', /down/)
  await refused({ credential: () => Promise.reject(new CredentialRefused('ask your administrator', 'no such mailbox')) }, 'invalid_target', /no such mailbox/)
  await refused({ credential: () => Promise.reject(new SignInRequired('mfa', { acrValues: ['mfa'] })) }, 'insufficient_user_authentication', /./)
})

test('a purpose is asked for where the administrator wants one, and is one line', async () => {
  const upstream: Upstream = { ...UPSTREAM, vending: { purpose: 'required', maxSeconds: 300 } }
  await refused({ upstream }, 'invalid_request', /no purpose/)
  for (const purpose of ['a\nb', 'x'.repeat(257), '\u202e', '\u2028']) await refused({ upstream, form: { purpose } }, 'invalid_request', /purpose/)
  assert.equal((await ask({ upstream, form: { purpose: 'Überprüfung' } })).events[0]?.detail?.['purpose'], 'Überprüfung')
})
