// J9: an application that nobody approved, from the first attempt of a real client to the end of its approval, in whole
// processes: the person waits, administrators are told by webhook and mail, decide by the API, and what they decide holds.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ask, asPerson, cookiesOf, signedIn, type Answered, type Ask } from '../support/api-clients.ts'
import { clientDocumentHost, type ClientDocumentHost } from '../support/client-document.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { mailHost, webhookReceiver, type MailHost, type WebhookReceiver } from '../support/notice-receivers.ts'
import { memoryProvider, type MemoryProvider } from '../support/oauth-clients.ts'
import { connectV1, connectV2, type ToolClient } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

const SECRET = 'w'.repeat(32)

interface Listed {
  readonly id: string
  readonly application: { readonly id: string; readonly name: string; readonly verified: boolean; readonly voucher?: string; readonly digest: string }
  readonly lookAlikes: readonly { readonly id: string; readonly name: string; readonly voucher?: string }[]
  readonly needs: readonly object[]
  readonly askedBy: { readonly name: string }
}

for (const variant of variants()) {
  describe(`approval of applications on ${variant.name}`, () => {
    let gateway: RunningGateway
    let documents: ClientDocumentHost
    let hook: WebhookReceiver
    let mail: MailHost
    let dana: Ask
    before(async () => {
      ;[documents, hook, mail] = await Promise.all([clientDocumentHost(), webhookReceiver(SECRET), mailHost()])
      hook.failures.push(500)
      gateway = await startGateway({
        ...variant,
        environment: documents.environment,
        config: {
          admins: { groups: ['it-admins'] },
          registration: { approval: 'required' },
          rules: [
            { id: 'engineering', effect: 'allow', groups: ['engineering'] },
            { id: 'writing', effect: 'approval', tools: ['write_*'] },
          ],
          notices: { webhooks: [{ url: hook.url, secret: SECRET }], email: { host: '127.0.0.1', port: mail.port, tls: 'none', from: 'lanyard@corp.example', to: ['admins@corp.example'] } },
        },
      })
      dana = await asPerson(gateway.issuer, 'dana')
    })
    after(async () => {
      await gateway.close()
      await Promise.all([documents.close(), hook.close(), mail.close()])
    })

    const queue = async (): Promise<readonly Listed[]> => (await dana('/api/approvals')).body['approvals'] as readonly Listed[]
    const act = (id: string, verb: string, body: object, who: Ask = dana): Promise<Answered> => who(`/api/approvals/${id}/${verb}`, { method: 'POST', body })
    const onApplication = (id: string, verb: string, body: object): Promise<Answered> => dana(`/api/applications/${encodeURIComponent(id)}/${verb}`, { method: 'POST', body })

    async function waiting(name: string): Promise<Listed> {
      let found: Listed | undefined
      await eventually(`${name} in the queue`, async () => (found = (await queue()).find(({ application }) => application.name === name)) !== undefined, 20_000)
      if (found === undefined) throw new Error('unreachable')
      return found
    }

    function named(name: string, person = 'alice'): MemoryProvider {
      const provider = memoryProvider({ person })
      Object.assign(provider.clientMetadata, { client_name: name })
      return provider
    }

    test('a client waits while nobody has decided, and its calls go through once it is approved; administrators are told', async () => {
      const provider = named('Claude')
      const connecting = connectV2(`${gateway.issuer}/mcp/notes`, provider, 'modern')
      connecting.catch(() => undefined)
      const request = await waiting('Claude')
      assert.equal(provider.tokens(), undefined)
      assert.deepEqual([request.application.verified, request.askedBy.name, request.needs], [false, 'Alice Andersson', [{ upstream: 'notes', access: 'read' }, { upstream: 'notes', access: 'write' }]])
      // F13: beside the name stands whose it is.
      assert.ok(request.lookAlikes.some(({ voucher }) => voucher === 'verified: claude.ai'), JSON.stringify(request.lookAlikes))
      await eventually('the webhook, which failed first', () => hook.accepted.some(({ request: id }) => id === request.id), 20_000)
      assert.ok(hook.deliveries.length > hook.accepted.length)
      await eventually('the letter', () => mail.letters.some(({ text }) => /Subject: Lanyard: Alice Andersson asks to use Claude \(unverified\)/.test(text)), 20_000)
      assert.equal((await act(request.id, 'approve', {})).status, 204)
      const client = await connecting
      assert.ok((await client.tools()).includes('list_notes'))
      await client.call('list_notes')
      await recorded(gateway, ({ action, application, verified, clientId }) => action === 'approval.granted' && application === clientId && verified === false)
      await client.close()
      // No secret leaves the house.
      const left = JSON.stringify([hook.deliveries.map(({ body }) => body), mail.letters])
      for (const secret of [provider.tokens()?.access_token, provider.tokens()?.refresh_token, SECRET]) assert.ok(secret !== undefined && !left.includes(secret))
    })

    test('a call that a rule leaves to an administrator fails, and succeeds when the same client tries it again after approval', async () => {
      const provider = named('Writer')
      const connecting = connectV2(`${gateway.issuer}/mcp/notes`, provider, 'modern')
      connecting.catch(() => undefined)
      assert.equal((await act((await waiting('Writer')).id, 'approve', {})).status, 204)
      const client = await connecting
      const write = (): Promise<string> => client.call('write_note', { title: 'approved', text: 'yes' })
      await assert.rejects(write(), /must approve this first/)
      await assert.rejects(write(), /must approve this first/)
      const asked = (await queue()).filter(({ application }) => application.name === 'Writer')
      assert.equal(asked.length, 1)
      assert.equal((await act(asked[0]?.id ?? '', 'approve', { groups: ['engineering'] })).status, 422)
      assert.equal((await act(asked[0]?.id ?? '', 'approve', {})).status, 204)
      assert.equal(await write(), 'wrote approved')
      assert.equal((await act(asked[0]?.id ?? '', 'withdraw', {})).status, 204)
      await assert.rejects(write(), /must approve this first/)
      await client.close()
    })

    test('a client that is refused is told why, and so is its next try', async () => {
      const provider = named('Refused')
      const connecting = connectV1(`${gateway.issuer}/mcp/notes`, provider)
      connecting.catch(() => undefined)
      const request = await waiting('Refused')
      assert.equal((await act(request.id, 'refuse', { reason: 'Use Claude instead' })).status, 204)
      await assert.rejects(connecting)
      for (let attempt = 0; attempt < 2; attempt += 1) {
        assert.deepEqual([provider.callback().get('error'), provider.callback().get('error_description')], ['access_denied', 'Use Claude instead'])
        await assert.rejects(connectV1(`${gateway.issuer}/mcp/notes`, provider))
      }
      assert.equal(provider.tokens(), undefined)
    })

    test('who is no administrator decides nothing, nor does another site with an administrator’s cookie (P-2, CSRF)', async () => {
      const provider = named('Attacked')
      const connecting = connectV1(`${gateway.issuer}/mcp/notes`, provider)
      connecting.catch(() => undefined)
      const request = await waiting('Attacked')
      const alice = await asPerson(gateway.issuer, 'alice')
      for (const [verb, body] of [['approve', {}], ['refuse', { reason: 'x' }]] as const) {
        assert.equal((await act(request.id, verb, body, alice)).status, 403)
        assert.equal((await ask(gateway.issuer, `/api/approvals/${request.id}/${verb}`, { method: 'POST', body })).status, 401)
      }
      assert.equal((await alice('/api/approvals')).status, 403)
      assert.equal((await alice(`/api/applications/${encodeURIComponent(request.application.id)}/approve`, { method: 'POST', body: { digest: request.application.digest } })).status, 403)
      const cookie = cookiesOf(await signedIn(gateway.issuer, 'dana'))
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }, {}]) {
        const sent = { method: 'POST', body: {}, headers: { ...cookie, ...headers } }
        assert.equal((await ask(gateway.issuer, `/api/approvals/${request.id}/approve`, sent)).status, 403, JSON.stringify(headers))
      }
      const form = await fetch(`${gateway.issuer}/api/approvals/${request.id}/approve`, { method: 'POST', headers: { ...cookie, origin: gateway.issuer }, body: new URLSearchParams({}) })
      assert.equal(form.status, 415)
      assert.equal(provider.tokens(), undefined)
      assert.ok((await queue()).some(({ id }) => id === request.id))
      // Of two administrators at once, one decides.
      const answers = await Promise.all([act(request.id, 'approve', {}), act(request.id, 'refuse', { reason: 'No' }), act(request.id, 'approve', {})])
      assert.deepEqual(answers.map(({ status }) => status).sort((a, b) => a - b), [204, 409, 409])
      await connecting.then((client) => client.close(), () => undefined)
      assert.equal((await act('apr_nothing', 'approve', {})).status, 404)
      assert.equal((await act(request.id, 'refuse', {})).status, 422)
    })

    test('an application is all of its clients: withdrawn, its tokens end at once; pinned and approved as it is, it is known by its document', async () => {
      const provider = memoryProvider({ person: 'alice', clientMetadataUrl: documents.clientId })
      const connecting = connectV2(`${gateway.issuer}/mcp/notes`, provider, 'legacy')
      connecting.catch(() => undefined)
      const request = await waiting('Flow test by document')
      assert.deepEqual([request.application.id, request.application.verified, request.application.voucher], [documents.clientId, true, `verified: ${new URL(documents.clientId).host}`])
      assert.equal((await act(request.id, 'approve', { groups: ['engineering'] })).status, 204)
      const client: ToolClient = await connecting
      await client.call('list_notes')
      const { applications } = (await dana('/api/applications')).body as { applications: { id: string; digest: string; decisions: { groups?: string[] }[] }[] }
      const own = applications.find(({ id }) => id === documents.clientId)
      assert.deepEqual([own?.digest, own?.decisions[0]?.groups], [request.application.digest, ['engineering']])
      assert.equal((await onApplication(documents.clientId, 'pin', { digest: 'another' })).status, 409)
      assert.equal((await onApplication(documents.clientId, 'pin', { digest: request.application.digest })).status, 204)
      const token = provider.tokens()?.access_token ?? ''
      const refresh = async (): Promise<string | undefined> => {
        const form = { grant_type: 'refresh_token', client_id: documents.clientId, refresh_token: provider.tokens()?.refresh_token ?? '' }
        const answer = (await (await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) })).json()) as { error?: string; access_token: string; refresh_token: string; token_type: string }
        if (answer.error === undefined) provider.saveTokens(answer)
        return answer.error
      }
      // For others only: neither calls nor refreshes, until it is for these again; the grant outlives that.
      assert.equal((await onApplication(documents.clientId, 'approve', { digest: request.application.digest, groups: ['sales'] })).status, 204)
      await eventually('the end of its calls', async () => (await ping(gateway, token)) === 403)
      await eventually('the end of its refreshes', async () => (await refresh()) === 'invalid_grant')
      assert.equal((await onApplication(documents.clientId, 'approve', { digest: request.application.digest })).status, 204)
      await eventually('its calls again', async () => (await ping(gateway, token)) === 200)
      await eventually('its refreshes again', async () => (await refresh()) === undefined)
      const withdrawn = await onApplication(documents.clientId, 'withdraw', {})
      assert.deepEqual([withdrawn.status, withdrawn.body['endedGrants']], [200, 1])
      await eventually('the end of its token', async () => (await ping(gateway, token)) === 401)
      assert.equal(await refresh(), 'invalid_grant')
      await assert.rejects(client.call('list_notes'))
      await client.close()
      assert.equal((await onApplication('https://nowhere.example/client', 'withdraw', {})).status, 404)
    })
  })
}

async function ping(gateway: RunningGateway, token: string): Promise<number> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' })
  const response = await fetch(`${gateway.issuer}/mcp/notes`, { method: 'POST', body, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' } })
  await response.body?.cancel()
  return response.status
}
