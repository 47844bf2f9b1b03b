import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Standing } from '../approval/approval.ts'
import type { AuditEvent } from '../audit/event.ts'
import type { User } from '../identity/user.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Caller } from '../token/verify.ts'
import { accessCheck, type CheckAccess } from './access.ts'

const API = 'https://lanyard.example/api' as Resource
const DANA: User = { id: 'usr_dana', provider: 'corp', issuer: 'https://idp.example', subject: 'dana', groups: ['it-admins'], disabled: false }
const OPEN: Standing = { application: { id: 'ops', verified: true, by: 'administrator' }, required: false, holdChanged: false, decisions: [] }

function checkFor(standing: Standing): { readonly check: CheckAccess; readonly recorded: AuditEvent[] } {
  const recorded: AuditEvent[] = []
  const caller = { user: DANA, clientId: 'ops', scope: ['admin'], resource: API, standing } as unknown as Caller
  const check = accessCheck({
    issuer: 'https://lanyard.example',
    administration: { resource: API, groups: ['it-admins'] },
    sessions: { find: () => assert.fail('no session') } as never,
    verifier: { verify: () => Promise.resolve(caller) },
    proof: { required: false } as never,
    cutoffs: { fresh: true, isCut: () => false },
    audit: { begin: () => () => Promise.resolve(), record: (...events) => Promise.resolve(void recorded.push(...events)) },
    flood: () => ({ allowed: true }) as never,
  })
  return { check, recorded }
}

const REQUEST = new Request('https://lanyard.example/api/me', { headers: { authorization: 'Bearer token' } })
const CONTEXT = { reference: 'r', address: '192.0.2.1', params: {} } as never

test('a token of an application that was refused altogether is worth nothing at the JSON API, from then on', async () => {
  const refusing = (upstream: string): Standing => ({ ...OPEN, decisions: (['read', 'write'] as const).map((access) => ({ upstream, access, effect: 'refuse', digest: 'd', reason: 'No longer used' })) })
  for (const standing of [OPEN, refusing('tickets')]) assert.equal((await checkFor(standing).check(REQUEST, CONTEXT, 'admin')).clientId, 'ops')
  const { check, recorded } = checkFor(refusing('*'))
  await assert.rejects(check(REQUEST, CONTEXT, 'user'), { status: 401 })
  assert.deepEqual(recorded.map(({ action, reason }) => [action, reason]), [['token.refused', 'application_refused']])
})
