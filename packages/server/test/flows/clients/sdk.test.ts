// J1 and J3 with the official SDK's clients, unmodified: discover, register, sign in, consent, list, call, refresh, revoked.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clientDocumentHost, type ClientDocumentHost } from '../../support/client-document.ts'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { eventually } from '../../support/eventually.ts'
import { memoryProvider as providerOf, type MemoryProvider, type ProviderChoices } from '../../support/oauth-clients.ts'
import { connectV1, connectV2, type ToolClient } from '../../support/sdk-clients.ts'
import { leaks, secrets } from '../../support/secrets.ts'
import { variants } from '../../support/variants.ts'

/** A well-known client whose document the gateway pins, for when its host refuses to be fetched from. */
const PINNED_CLIENT = { clientMetadataUrl: 'https://claude.ai/oauth/claude-code-client-metadata', redirectUrl: 'http://localhost:53683/callback' }

/** Open inside the company, with a tool that a rule hides from everybody. */
const NOTES = { upstream: 'notes', tools: ['list_notes', 'read_note', 'write_note'], tool: 'read_note', args: { title: 'welcome' }, answered: /Welcome to the demo company/ }
/** Protected by OAuth of its own: the person's account there is connected in the same sitting. */
const TICKETS = { upstream: 'tickets', tools: ['my_tickets', 'create_ticket'], tool: 'my_tickets', args: {}, answered: /coffee machine/ }

const clients: [string, (url: string, provider: MemoryProvider) => Promise<ToolClient>][] = [
  ['SDK 2, revision 2026-07-28', (url, provider) => connectV2(url, provider, 'modern')],
  ['SDK 2, revision 2025-11-25', (url, provider) => connectV2(url, provider, 'legacy')],
  ['SDK 1', connectV1],
]

for (const variant of variants()) {
  describe(`official clients on ${variant.name}`, () => {
    let gateway: RunningGateway
    let documents: ClientDocumentHost
    const known = secrets()
    const memoryProvider = (choices: ProviderChoices = {}): MemoryProvider => providerOf({ ...choices, secrets: known })
    before(async () => {
      documents = await clientDocumentHost()
      gateway = await startGateway({ ...variant, environment: documents.environment })
    })
    after(async () => {
      await gateway.close()
      await documents.close()
    })

    for (const [name, connect] of clients) {
      for (const [registration, use] of [['dynamic registration', NOTES], ['client ID metadata document', TICKETS], ['a document of the built-in directory', NOTES]] as const) {
        test(`AS-1, ${name} with ${registration} at ${use.upstream}: signs in, lists and calls, refreshes, and is revoked`, async () => {
          const url = `${gateway.issuer}/mcp/${use.upstream}`
          const choices = { 'dynamic registration': {}, 'client ID metadata document': { clientMetadataUrl: documents.clientId }, 'a document of the built-in directory': PINNED_CLIENT }
          const provider = memoryProvider(choices[registration])
          const client = await connect(url, provider)
          assert.deepEqual(await client.tools(), use.tools)
          assert.match(await client.call(use.tool, use.args), use.answered)

          const first = provider.tokens()
          assert.ok(first?.refresh_token)
          provider.saveTokens({ ...first, access_token: 'expired' })
          assert.match(await client.call(use.tool, use.args), use.answered)
          const second = provider.tokens()
          assert.notEqual(second?.refresh_token, first.refresh_token)
          await recorded(gateway, ({ action, outcome }) => action === 'token.refreshed' && outcome === 'success')

          await revokeEverything(gateway, provider)
          const ask = (): Promise<Response> => fetch(url, { method: 'POST', headers: { authorization: `Bearer ${second?.access_token}` } })
          // One node ended the access; the others hear of it. Requests take turns between them.
          await eventually('every node refuses the token', async () => (await Promise.all(gateway.nodes.map(ask))).every(({ status }) => status === 401))
          assert.match((await ask()).headers.get('www-authenticate') ?? '', /error="invalid_token"/)
          await assert.rejects(client.call(use.tool, use.args))
          await client.close()
        })
      }
    }

    test('a tool that needs an account of the user works after one sitting, as that user (J2, J3)', async () => {
      const provider = memoryProvider()
      const client = await connectV2(`${gateway.issuer}/mcp/tickets`, provider, 'modern')
      assert.deepEqual(await client.tools(), ['my_tickets', 'create_ticket'])
      assert.match(await client.call('my_tickets'), /coffee machine/)
      await client.close()
      await recorded(gateway, ({ action, upstream }) => action === 'connection.created' && upstream === 'tickets')
    })

    test('the second client of the same browser needs no password: sign-in is asked for once', async () => {
      const first = memoryProvider()
      const one = await connectV2(`${gateway.issuer}/mcp/notes`, first, 'modern')
      const second = memoryProvider({ browser: first.browser, person: 'nobody' })
      const two = await connectV1(`${gateway.issuer}/mcp/notes`, second)
      assert.deepEqual(await two.tools(), await one.tools())
      await Promise.all([one.close(), two.close()])
    })

    test('bob sees the tools that policy allows him, and a hidden tool answers like an unknown one', async () => {
      const client = await connectV2(`${gateway.issuer}/mcp/notes`, memoryProvider({ person: 'bob' }), 'modern')
      assert.deepEqual(await client.tools(), ['list_notes', 'read_note'])
      const hidden = await client.call('write_note', { title: 'x', text: 'y' }).catch((error: Error) => error.message)
      const unknown = await client.call('no_such_tool', { title: 'x', text: 'y' }).catch((error: Error) => error.message)
      assert.equal(hidden.replaceAll('write_note', '?'), unknown.replaceAll('no_such_tool', '?'))
      assert.match(await client.call('read_note', { title: 'welcome' }), /Welcome/)
      await client.close()
    })

    test('dana, whom no rule allows, gets no token', async () => {
      await assert.rejects(connectV2(`${gateway.issuer}/mcp/notes`, memoryProvider({ person: 'dana' }), 'modern'))
      await recorded(gateway, ({ action, outcome }) => action === 'authorization.refused' && outcome === 'failure')
    })

    test('no token, code, verifier, cookie, key or upstream token of all these stands in the clear: in no output, column or error page', async () => {
      assert.ok(new Set(known.parts.values()).size >= 4 && known.parts.size > 50)
      assert.deepEqual(await leaks(known, gateway), [])
      // The search finds what is there: in the database, in what was printed, on a page.
      const [subject = ''] = gateway.events.flatMap((event) => event.subject ?? [])
      known.add('a name that is no secret', subject)
      known.page(subject)
      const found = await leaks(known, { ...gateway, output: [...gateway.output, subject] })
      for (const place of ['the output of a node', 'an error page', 'the column users.id', 'the column audit.subject']) assert.ok(found.includes(`a name that is no secret in ${place}`), found.join())
    })
  })
}

/** Revokes all that the person granted, on the person's own page. */
async function revokeEverything(gateway: RunningGateway, provider: MemoryProvider): Promise<void> {
  for (;;) {
    const page = await provider.browser.open(`${gateway.issuer}/`)
    const form = page.forms.find((candidate) => /\/grants\/[^/]+\/revoke$/.test(candidate.action))
    if (form === undefined) return
    await provider.browser.submit(page, form)
  }
}
