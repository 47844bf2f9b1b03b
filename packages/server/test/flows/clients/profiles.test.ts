// J2 and J3 for profiles of several upstreams, with the official SDK's clients, unmodified: one flow connects what is
// missing, one token covers all of it, and what was left out is connected when a tool needs it.
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { startCompany, type Company } from '../../../../demo/src/company.ts'
import { asPerson } from '../../support/api-clients.ts'
import type { Browser, Page } from '../../support/browser.ts'
import { eventually } from '../../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../../support/oauth-clients.ts'
import { connectV1, connectV2, type ToolClient } from '../../support/sdk-clients.ts'
import { variants } from '../../support/variants.ts'

const clients: [string, (url: string, provider: MemoryProvider) => Promise<ToolClient>][] = [
  ['SDK 2, revision 2026-07-28', (url, provider) => connectV2(url, provider, 'modern')],
  ['SDK 2, revision 2025-11-25', (url, provider) => connectV2(url, provider, 'legacy')],
  ['SDK 1', connectV1],
]
const NOTES = ['list_notes', 'read_note', 'write_note']
const TICKETS = ['my_tickets', 'create_ticket']
const named = (upstream: string, tools: readonly string[]): readonly string[] => tools.map((tool) => `${upstream}__${tool}`)

for (const variant of variants()) {
  describe(`profiles of several upstreams on ${variant.name}`, () => {
    let company: Company
    let silent: Server
    let gateway: RunningGateway

    before(async () => {
      company = await startCompany({ callback: 'http://127.0.0.1:1/unused', clientSecret: 'not-used-by-anybody-here-at-all!' })
      silent = createServer((_request, response) => void response.writeHead(503).end())
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
      gateway = await startGateway({ ...variant, config: configOf(company, silent) })
    })
    after(async () => {
      await gateway?.close()
      company?.close()
      silent?.close()
    })

    /** Ends what alice granted and connected, so that each test begins with nothing. */
    async function nothing(person: Browser): Promise<void> {
      for (;;) {
        const page = await person.open(`${gateway.issuer}/`)
        const form = page.forms.find(({ action }) => /\/(?:revoke|disconnect)$/.test(action))
        if (form === undefined) return
        await person.submit(page, form)
      }
    }

    for (const [name, connect] of clients) {
      test(`J2, ${name}: one flow connects two accounts, one token calls the tools of three upstreams`, async () => {
        const provider = memoryProvider()
        const client = await connect(`${gateway.issuer}/mcp/engineering`, provider)
        assert.deepEqual(new Set(await client.tools()), new Set([...named('notes', NOTES), ...named('tickets', TICKETS), ...named('helpdesk', TICKETS)]))
        assert.match(await client.call('notes__read_note', { title: 'welcome' }), /Welcome to the demo company/)
        assert.match(await client.call('tickets__my_tickets'), /coffee machine/)
        assert.match(await client.call('helpdesk__my_tickets'), /coffee machine/)
        // P-6: each upstream's provider answered at a redirect URI of its own.
        for (const upstream of ['tickets', 'helpdesk']) assert.ok(provider.browser.visited.some((url) => url.startsWith(`${gateway.issuer}/connections/${upstream}/callback?`)), upstream)
        await client.close()
        await nothing(provider.browser)
      })
    }

    test('J3: an account that was left out in the flow is connected when a tool needs it, and its neighbours work meanwhile', async () => {
      const provider = memoryProvider({ connect: false })
      const opened: string[] = []
      const client = await connectV2(`${gateway.issuer}/mcp/engineering`, provider, 'modern', async (url) => {
        opened.push(url)
        await provider.browser.approve(url)
      })
      assert.match(await client.call('notes__read_note', { title: 'welcome' }), /Welcome/)
      await recorded(gateway, ({ action }) => action === 'authorization.granted')
      await client.call('tickets__my_tickets').catch((error: unknown) => String(error))
      await eventually('the client was sent to connect', () => opened.length > 0)
      assert.match(opened[0] ?? '', new RegExp(`^${gateway.issuer}/connections/tickets\\?for=`))
      assert.match(await client.call('tickets__my_tickets'), /coffee machine/)
      await client.close()
      await nothing(provider.browser)
    })

    test('/mcp is everything that the caller may use: all upstreams for alice, some tools of one for bob', async () => {
      const provider = memoryProvider({ connect: false })
      const alice = await connectV2(`${gateway.issuer}/mcp`, provider, 'modern')
      const tools = await alice.tools()
      for (const tool of named('notes', NOTES)) assert.ok(tools.includes(tool), tools.join(' '))
      assert.match(await alice.call('notes__read_note', { title: 'welcome' }), /Welcome/)
      const bob = await connectV2(`${gateway.issuer}/mcp`, memoryProvider({ person: 'bob' }), 'modern')
      assert.deepEqual(await bob.tools(), named('notes', ['list_notes', 'read_note']))
      await assert.rejects(bob.call('notes__write_note', { title: 'x', text: 'y' }), /notes__write_note/)
      await Promise.all([alice.close(), bob.close()])
      const metadata = (await (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/mcp`)).json()) as { resource: string }
      assert.equal(metadata.resource, `${gateway.issuer}/mcp`)
      assert.equal(((await (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource`)).json()) as { resource: string }).resource, metadata.resource)
      // G04: a token for everything is worth nothing at one of it.
      const token = provider.tokens()?.access_token ?? ''
      assert.equal((await fetch(`${gateway.issuer}/mcp/notes`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })).status, 401)
      await nothing(provider.browser)
    })

    test('a service that does not answer ends no flow: the others are connected, and their tools work', async () => {
      const provider = walking(async (person, page) => {
        assert.match(page.text, /Connect your Silent account/)
        const back = await pressed(person, page, '/connections/silent')
        assert.match(back.text, /Silent was not connected\.<\/strong> The service does not answer at the moment/)
        return back
      })
      const client = await connectV2(`${gateway.issuer}/mcp/mixed`, provider, 'modern')
      assert.ok((await client.tools()).includes('tickets__my_tickets'))
      assert.match(await client.call('tickets__my_tickets'), /coffee machine/)
      await recorded(gateway, ({ action, upstream }) => action === 'connection.failed' && upstream === 'silent')
      await client.close()
      await nothing(provider.browser)
    })

    test('J13: a profile of one’s own offers the tools that were chosen, under one address', async () => {
      const ask = await asPerson(gateway.issuer, 'alice')
      const made = await ask('/api/me/profiles', { method: 'POST', body: { name: 'Mine', upstreams: ['notes', 'tickets'], tools: { tickets: ['my_*'] } } })
      assert.equal(made.status, 201, made.text)
      const address = String(made.body['address'])
      await eventually('it is served', async () => (await Promise.all(gateway.nodes.map(() => fetch(address, { method: 'POST' })))).every(({ status }) => status === 401))
      const provider = memoryProvider()
      const client = await connectV2(address, provider, 'modern')
      assert.deepEqual(new Set(await client.tools()), new Set([...named('notes', NOTES), 'tickets__my_tickets']))
      assert.match(await client.call('tickets__my_tickets'), /coffee machine/)
      await assert.rejects(client.call('tickets__create_ticket', { title: 'x' }), /tickets__create_ticket/)
      assert.equal((await ask(`/api/me/profiles/${String(made.body['id'])}`, { method: 'DELETE' })).status, 204)
      await eventually('no node serves it', async () => (await Promise.all(gateway.nodes.map(() => fetch(address, { method: 'POST' })))).every(({ status }) => status === 404))
      await assert.rejects(client.call('tickets__my_tickets'))
      await client.close()
      await nothing(provider.browser)
    })
  })
}

function configOf(company: Company, silent: Server): Readonly<Record<string, unknown>> {
  const port = (silent.address() as AddressInfo).port
  return {
    upstreams: [
      { id: 'notes', name: 'Notes', url: company.notes },
      { id: 'tickets', name: 'Tickets', url: company.tickets, connector: { type: 'oauth' } },
      { id: 'helpdesk', name: 'Help desk', url: company.tickets, connector: { type: 'oauth' } },
      { id: 'silent', name: 'Silent', url: `http://127.0.0.1:${port}/mcp`, connector: { type: 'oauth' } },
    ],
    profiles: [
      { id: 'engineering', name: 'Engineering', upstreams: ['notes', 'tickets', 'helpdesk'] },
      { id: 'mixed', name: 'Mixed', upstreams: ['silent', 'notes', 'tickets'] },
    ],
    rules: [
      { id: 'engineering-everything', effect: 'allow', groups: ['engineering'] },
      { id: 'sales-reads-notes', effect: 'allow', groups: ['sales'], upstreams: ['notes'], tools: ['list_notes', 'read_note'] },
      { id: 'nobody-deletes', effect: 'deny', tools: ['delete_*'] },
    ],
  }
}

/** A provider whose browser approves, meets the account that fails as the test says, connects the next, and leaves out the first. */
function walking(first: (person: Browser, page: Page) => Promise<Page>): MemoryProvider {
  const provider = memoryProvider()
  const { browser } = provider
  let answer = new URLSearchParams()
  return {
    ...provider,
    async redirectToAuthorization(url) {
      let page = await signedIn(browser, url.href)
      const consent = page.forms.find(({ buttons }) => buttons.some(([name]) => name === 'decision'))
      assert.ok(consent, page.text)
      page = await first(browser, await browser.submit(page, consent, { decision: 'approve' }))
      page = await signedIn(browser, page, '/connections/tickets')
      const skip = page.forms.find(({ buttons }) => buttons.some(([name, value]) => name === 'skip' && value === 'silent'))
      assert.ok(skip, page.text)
      page = await browser.submit(page, skip, { skip: 'silent' })
      answer = new URL(page.url).searchParams
    },
    callback: () => answer,
  }
}

async function pressed(person: Browser, page: Page, path: string): Promise<Page> {
  const form = page.forms.find(({ action }) => new URL(action).pathname === path)
  assert.ok(form, page.text)
  return person.submit(page, form)
}

/** Opens an address, or presses a button, and signs in as alice wherever that is asked for. */
async function signedIn(person: Browser, from: Page | string, path = ''): Promise<Page> {
  let page = typeof from === 'string' ? await person.open(from) : await pressed(person, from, path)
  for (let form = signInForm(page); form !== undefined; form = signInForm(page)) page = await person.submit(page, form, { login: 'alice' })
  return page
}

function signInForm(page: Page): Page['forms'][number] | undefined {
  return page.forms.find(({ buttons }) => buttons.some(([name, value]) => name === 'login' && value === 'alice'))
}
