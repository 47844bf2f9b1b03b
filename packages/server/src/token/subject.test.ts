import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Standing } from '../approval/approval.ts'
import type { Client } from '../clients/client.ts'
import { Params } from '../http/params.ts'
import type { User } from '../identity/user.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Granted } from './grants/grant.ts'
import { subjectCheck } from './subject.ts'

const API = 'https://lanyard.example/api' as Resource
const CLIENT: Client = { id: 'ops', kind: 'pre-registered', name: 'Ops', redirectUris: [], grantTypes: [], tokenEndpointAuthMethods: ['client_secret_basic'], secretHashes: [], digest: 'd' }
const ALICE: User = { id: 'usr_alice', provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups: ['it'], disabled: false }
const OPEN: Standing = { application: { id: 'ops', verified: true, by: 'administrator' }, required: false, holdChanged: false, decisions: [] }

function check(standing: Standing, granted: Partial<Granted>): Promise<unknown> {
  const checked = subjectCheck({
    store: { revokeGrant: () => assert.fail('nothing is revoked') },
    users: { find: async () => ALICE },
    recheck: { recheck: async () => 'active' },
    approvals: { standing: async () => standing },
    cutoffs: { fresh: true, isCut: () => false },
    policy: { mayReach: () => assert.fail('there is no upstream') },
    profiles: { byResource: (resource) => (resource === API ? { id: 'api', name: 'API', upstreams: [], resource: API, scopes: ['admin'] } : undefined) },
    now: () => 0,
  })
  const authorization = { id: 'grt_1', userId: ALICE.id, clientId: 'ops', resource: API, scope: ['admin'] }
  return checked({ client: CLIENT, params: Params.from(new URLSearchParams()), context: { reference: 'r', address: '192.0.2.1', params: {} }, tell: () => undefined }, { authorization, scope: ['admin'], grantedAt: 0, recheck: false, ...granted })
}

test('an application that was refused altogether gets nothing that reaches no upstream either: no token of the JSON API, none for elsewhere', async () => {
  const refusing = (upstream: string): Standing => ({ ...OPEN, decisions: (['read', 'write'] as const).map((access) => ({ upstream, access, effect: 'refuse', digest: 'd', reason: 'No longer used' })) })
  for (const granted of [{}, { isElsewhere: true }] as const) {
    await check(OPEN, granted)
    await check(refusing('tickets'), granted)
    await assert.rejects(check(refusing('*'), granted), { code: 'invalid_grant', reason: 'refused by an administrator: No longer used' })
  }
})
