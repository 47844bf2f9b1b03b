// AuthZEN 1.0 in both directions: Lanyard decides for MCP servers that ask, and asks a decision point of somebody else.
import assert from 'node:assert/strict'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { ask, tokenOf, withToken, type Answered } from '../support/api-clients.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, SCRIPT, startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { connectV1, connectV2, type ToolClient } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

const SECRET = 's'.repeat(40)
const basic = (id: string, secret = SECRET): Readonly<Record<string, string>> => ({ authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` })

const RULES = [
  { id: 'engineering', effect: 'allow', groups: ['engineering'], upstreams: ['notes'] },
  { id: 'strong', effect: 'step-up', tools: ['delete_note'], require: { acrValues: ['mfa'], maxAge: 300 } },
  { id: 'office', effect: 'deny', tools: ['read_note'], unless: { networks: ['203.0.113.0/24'] } },
  { id: 'ask-first', effect: 'approval', tools: ['archive_note', 'share_note', 'export_note'] },
  { id: 'destroyers', effect: 'deny', when: { tool: { destructive: true } }, tools: ['write_note'] },
]

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  describe(`Lanyard as a decision point on ${variant.name}`, () => {
    let gateway: RunningGateway
    let alice: { readonly subject: string; readonly clientId: string }
    const evaluate = (body: unknown, headers = basic('notes-server'), path = '/access/v1/evaluation'): Promise<Answered> => ask(gateway.issuer, path, { method: 'POST', body, headers })
    const question = (tool: string, more: Readonly<Record<string, unknown>> = {}, context: Readonly<Record<string, unknown>> = {}) => ({
      subject: { type: 'user', id: alice.subject },
      action: { name: 'call' },
      resource: { type: 'tool', id: tool, properties: { upstream: 'notes', annotations: { readOnlyHint: true } } },
      context: { client_id: alice.clientId, ip_address: '203.0.113.9', ...context },
      ...more,
    })

    before(async () => {
      gateway = await startGateway({
        ...variant,
        config: (issuer) => ({
          rules: RULES,
          admins: { groups: ['it-admins'] },
          clients: [SCRIPT, ...['notes', 'tickets'].map((name) => ({ id: `${name}-server`, name, clientSecret: SECRET, tokenEndpointAuthMethod: 'client_secret_basic', resources: [`${issuer}/mcp/${name}`] }))],
        }),
      })
      await (await connectV2(`${gateway.issuer}/mcp/notes`, memoryProvider(), 'modern')).close()
      const granted = gateway.events.find(({ action }) => action === 'authorization.granted')
      alice = { subject: granted?.subject ?? '', clientId: granted?.clientId ?? '' }
    })
    after(() => gateway.close())

    test('its metadata names the endpoints, and a decision is a boolean (AuthZEN 1.0 §6, §9)', async () => {
      const { body: metadata } = await ask(gateway.issuer, '/.well-known/authzen-configuration')
      assert.deepEqual(metadata, { policy_decision_point: gateway.issuer, access_evaluation_endpoint: `${gateway.issuer}/access/v1/evaluation`, access_evaluations_endpoint: `${gateway.issuer}/access/v1/evaluations` })
      const allowed = await evaluate(question('list_notes'), { ...basic('notes-server'), 'x-request-id': 'r-1' })
      assert.deepEqual([allowed.status, allowed.body, allowed.headers.get('x-request-id')], [200, { decision: true }, 'r-1'])
      await recorded(gateway, ({ action, rule, clientId, subject, tool }) => action === 'access.evaluated' && rule === 'engineering' && clientId === 'notes-server' && subject === alice.subject && tool === 'list_notes')
    })

    test('conditions are about what the server says of the call, and groups about what is known here', async () => {
      assert.deepEqual((await evaluate(question('read_note'))).body, { decision: true })
      assert.deepEqual((await evaluate(question('read_note', {}, { ip_address: '198.51.100.1' }))).body, { decision: false, context: { reason: 'denied' } })
      assert.equal((await evaluate(question('read_note', {}, { ip_address: undefined }))).body['decision'], false)
      assert.deepEqual((await evaluate(question('delete_note'))).body, { decision: false, context: { reason: 'insufficient_user_authentication', acr_values: 'mfa', max_age: 300 } })
      assert.deepEqual((await evaluate(question('delete_note', {}, { acr: 'mfa', auth_time: Math.floor(Date.now() / 1000) }))).body, { decision: true })
      assert.deepEqual((await evaluate(question('write_note'))).body, { decision: true })
      // What is not said is the worst.
      assert.equal((await evaluate(question('write_note', { resource: { type: 'tool', id: 'write_note', properties: { upstream: 'notes' } } }))).body['decision'], false)
      // E06: a group that is claimed makes nobody a member of it, and nobody is somebody else.
      for (const subject of [{ type: 'user', id: 'usr_nobody', properties: { groups: ['engineering'] } }, { type: 'group', id: alice.subject }]) {
        assert.equal((await evaluate(question('list_notes', { subject }))).body['decision'], false)
      }
    })

    test('what an administrator must approve is put before them, and allowed once they did (AuthZEN 1.0 §6)', async () => {
      const dana = withToken(gateway.issuer, await tokenOf(gateway.issuer, 'dana', `${gateway.issuer}/api`))
      const waiting = async () => (await dana('/api/approvals')).body['approvals'] as { id: string; tool: string; askedBy: { id: string }; application: { clientId: string }; resource: string }[]
      // A list is asked for, and nobody uses most of it; nor does who says so want anybody to be asked.
      const list = await evaluate({ evaluations: [question('archive_note'), question('list_notes')] }, basic('notes-server'), '/access/v1/evaluations')
      assert.deepEqual(list.body, { evaluations: [{ decision: false, context: { reason: 'approval_required' } }, { decision: true }] })
      assert.deepEqual((await evaluate(question('archive_note', {}, { request_approval: false }))).body, { decision: false, context: { reason: 'approval_required' } })
      assert.deepEqual(await waiting(), [])
      // Of many that ask at once, one request waits.
      const answers = await Promise.all(Array.from({ length: 8 }, () => evaluate(question('archive_note'))))
      for (const { body } of answers) assert.deepEqual(body, { decision: false, context: { reason: 'approval_required', approval: 'requested' } })
      const [request, ...others] = await waiting()
      assert.deepEqual([request?.tool, request?.askedBy.id, request?.application.clientId, request?.resource, others.length], ['archive_note', alice.subject, alice.clientId, `${gateway.issuer}/mcp/notes`, 0])
      await recorded(gateway, ({ action, tool, subject, address }) => action === 'approval.requested' && tool === 'archive_note' && subject === alice.subject && address === '203.0.113.9')
      assert.equal((await dana(`/api/approvals/${request?.id}/approve`, { method: 'POST', body: {} })).status, 204)
      assert.deepEqual((await evaluate(question('archive_note'))).body, { decision: true })
      assert.deepEqual((await evaluate({ evaluations: [question('archive_note')] }, basic('notes-server'), '/access/v1/evaluations')).body, { evaluations: [{ decision: true }] })
      await recorded(gateway, ({ action, tool, outcome, detail }) => action === 'access.evaluated' && tool === 'archive_note' && outcome === 'success' && detail?.['approval'] === 'approved')
      // A refusal says why, and a list may ask when it says so.
      assert.equal((await evaluate({ evaluations: [question('share_note', {}, { request_approval: true })] }, basic('notes-server'), '/access/v1/evaluations')).status, 200)
      const [second] = await waiting()
      assert.equal(second?.tool, 'share_note')
      assert.equal((await dana(`/api/approvals/${second?.id}/refuse`, { method: 'POST', body: { reason: 'Not outside' } })).status, 204)
      assert.deepEqual((await evaluate(question('share_note'))).body, { decision: false, context: { reason: 'approval_refused', message: 'Not outside' } })
      // Nobody else's, and for no server that the client does not stand for.
      assert.deepEqual((await evaluate(question('archive_note', {}, { client_id: 'another' }))).body['decision'], false)
      assert.deepEqual((await evaluate(question('export_note'), basic('tickets-server'))).body, { decision: false, context: { reason: 'denied' } })
      assert.ok(!(await waiting()).some(({ tool }) => tool === 'export_note'))
    })

    test('an application that an administrator refused may do nothing, as at the gateway itself; what is said of it stands in the trail', async () => {
      const dana = withToken(gateway.issuer, await tokenOf(gateway.issuer, 'dana', `${gateway.issuer}/api`))
      const applications = (await dana('/api/applications')).body['applications'] as { id: string; clientId: string }[]
      const { id = '' } = applications.find(({ clientId }) => clientId === alice.clientId) ?? {}
      const at = (verb: string): string => `/api/applications/${encodeURIComponent(id)}/${verb}`
      assert.deepEqual((await evaluate(question('list_notes'))).body, { decision: true })
      assert.equal((await dana(at('refuse'), { method: 'POST', body: { reason: 'Not here' } })).status, 200)
      const upstream = question('', { resource: { type: 'upstream', id: 'notes' } })
      for (const asked of [question('list_notes'), question('archive_note'), upstream]) assert.deepEqual((await evaluate(asked)).body, { decision: false, context: { reason: 'denied' } })
      await recorded(gateway, ({ action, rule, outcome, tool }) => action === 'access.evaluated' && rule === 'approval' && outcome === 'failure' && tool === 'list_notes')
      assert.equal((await dana(at('withdraw'), { method: 'POST', body: {} })).status, 200)
      for (const asked of [question('list_notes'), upstream]) assert.deepEqual((await evaluate(asked)).body, { decision: true })
    })

    test('who stands for another server, or cannot authenticate, learns nothing of this one', async () => {
      assert.deepEqual((await evaluate(question('list_notes'), basic('tickets-server'))).body, { decision: false, context: { reason: 'denied' } })
      assert.equal((await evaluate(question('list_notes'), basic('notes-server', 'wrong'))).status, 401)
      assert.equal((await evaluate(question('list_notes'), {})).status, 401)
      assert.equal((await evaluate(question('list_notes'), basic(alice.clientId, ''))).status, 401)
      for (const body of [{}, { ...question('t'), subject: 'alice' }, { ...question('t'), subject: { type: 'user', id: 'a\0b' } }, [], 'x']) assert.equal((await evaluate(body)).status, 400, JSON.stringify(body))
      assert.equal((await evaluate('{', basic('notes-server'))).status, 400)
      assert.equal((await ask(gateway.issuer, '/access/v1/evaluation', { method: 'POST', body: 'a=b', headers: { ...basic('notes-server'), 'content-type': 'application/x-www-form-urlencoded' } })).status, 400)
    })

    test('several at once share what they have in common, and end where they are told to (AuthZEN 1.0 §7)', async () => {
      const { resource, ...common } = question('list_notes')
      const of = (...tools: string[]) => tools.map((id) => ({ resource: { ...resource, id } }))
      const all = (body: object) => evaluate(body, basic('notes-server'), '/access/v1/evaluations')
      const decisions = ({ body }: Answered): boolean[] => (body['evaluations'] as { decision: boolean }[]).map(({ decision }) => decision)
      assert.deepEqual(decisions(await all({ ...common, evaluations: of('list_notes', 'delete_note', 'read_note') })), [true, false, true])
      assert.deepEqual(decisions(await all({ ...common, evaluations: of('list_notes', 'delete_note', 'read_note'), options: { evaluations_semantic: 'deny_on_first_deny' } })), [true, false])
      assert.deepEqual(decisions(await all({ ...common, evaluations: of('delete_note', 'list_notes', 'read_note'), options: { evaluations_semantic: 'permit_on_first_permit' } })), [false, true])
      assert.equal((await all({ ...common, evaluations: of(...Array.from({ length: 101 }, () => 't')) })).status, 400)
      assert.deepEqual((await all(question('list_notes'))).body, { decision: true })
    })
  })

  describe(`a decision point of somebody else, on ${variant.name}`, () => {
    let point: DecisionPoint
    let gateway: RunningGateway
    let client: ToolClient

    before(async () => {
      point = await decisionPoint()
      gateway = await startGateway({ ...variant, config: { externalPolicy: { url: point.url, token: 'pep-token', timeoutSeconds: 0.5, cacheSeconds: 0.3 } } })
      client = await connectV1(`${gateway.issuer}/mcp/notes`, memoryProvider())
    })
    after(async () => {
      await client.close()
      await gateway.close()
      point.close()
    })

    test('is asked after our own rules allow, and only then; what it denies never reaches the upstream', async () => {
      point.answer = { decision: true }
      assert.match(await client.call('list_notes'), /\S/)
      const [asked] = point.asked
      assert.equal(asked?.headers.authorization, 'Bearer pep-token')
      const { subject, action, resource, context } = JSON.parse(asked?.body ?? '{}') as { subject: { id: string; properties: object }; action: object; resource: object; context: Record<string, unknown> }
      assert.match(subject.id, /^usr_/)
      assert.deepEqual([subject.properties, action], [{ groups: ['engineering'] }, { name: 'call' }])
      assert.deepEqual(resource, { type: 'tool', id: 'list_notes', properties: { upstream: 'notes', annotations: { readOnly: true, destructive: false, idempotent: false, openWorld: true }, data_classes: [] } })
      assert.equal(context['ip_address'], '127.0.0.1')
      const before = point.asked.length
      await assert.rejects(client.call('delete_note', { id: '1' }), /Unknown tool/)
      assert.equal(point.asked.length, before, 'our own rules had denied it')
      point.answer = { decision: false }
      await assert.rejects(client.call('write_note', { title: 'x', text: 'y' }), /does not allow this/)
      await recorded(gateway, ({ action: recordedAction, rule, tool }) => recordedAction === 'call.denied' && rule === 'external' && tool === 'write_note')
      assert.equal(gateway.events.some(({ action: recordedAction, tool }) => recordedAction === 'call.allowed' && tool === 'write_note'), false)
    })

    test('lists do not wait for it', async () => {
      const before = point.asked.length
      assert.ok((await client.tools()).includes('write_note'))
      assert.equal(point.asked.length, before)
    })

    test('an answer is believed for as long as it is configured, and one that is no clear yes in time is no', async () => {
      await expired()
      point.answer = { decision: true }
      await client.call('list_notes')
      const before = point.asked.length
      point.answer = { decision: false }
      assert.match(await client.call('list_notes'), /\S/)
      assert.equal(point.asked.length, before, 'was asked a moment ago')
      await eventually('the end of what was believed', () => client.call('list_notes').then(() => false, () => true))
      for (const answer of [{ decision: 'true' }, { decision: 1 }, {}, [], 'yes', 'status 500', 'redirect', 'silence'] as const) {
        point.answer = answer
        await expired()
        await assert.rejects(client.call('list_notes'), /cannot be found out/, JSON.stringify(answer))
      }
      // Nothing of that is believed any longer than it lasts.
      point.answer = { decision: true }
      assert.match(await client.call('list_notes'), /\S/)
    })

    const expired = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 350))
  })
}

interface DecisionPoint {
  readonly url: string
  answer: unknown
  readonly asked: { readonly headers: IncomingHttpHeaders; readonly body: string }[]
  close(): void
}

async function decisionPoint(): Promise<DecisionPoint> {
  const asked: DecisionPoint['asked'] = []
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      asked.push({ headers: request.headers, body: Buffer.concat(chunks).toString() })
      if (point.answer === 'silence') return
      const [status, headers] = point.answer === 'redirect' ? [302, { location: `${point.url}/other` }] : [point.answer === 'status 500' ? 500 : 200, { 'content-type': 'application/json' }]
      response.writeHead(status, headers).end(JSON.stringify(point.answer))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const point: DecisionPoint = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/access/v1/evaluation`,
    answer: { decision: true },
    asked,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
  return point
}
