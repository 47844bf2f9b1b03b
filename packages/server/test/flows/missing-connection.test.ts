// J3: a tool needs an account that the user has not connected. The client is told by the way that it knows, the user
// connects in the browser of their session, and the same call succeeds.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../support/oauth-clients.ts'
import { connectV1, connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'
import type { Browser } from '../support/browser.ts'

for (const variant of variants()) {
  describe(`a missing connection on ${variant.name}`, () => {
    let gateway: RunningGateway
    let url = ''
    before(async () => {
      gateway = await startGateway(variant)
      url = `${gateway.issuer}/mcp/tickets`
    })
    after(() => gateway.close())

    /** Signs in without connecting, and starts from nothing: what an earlier test connected is gone. */
    const unconnected = async (person = 'alice'): Promise<MemoryProvider> => {
      const provider = memoryProvider({ connect: false, person })
      const page = await provider.browser.approve(`${gateway.issuer}/login?return_to=/`, { person })
      const form = page.forms.find((candidate) => candidate.action.endsWith('/connections/tickets/disconnect'))
      if (form !== undefined) await provider.browser.submit(page, form)
      return provider
    }

    test('2026-07-28: an elicitation of mode url, and the same call goes on by itself (MRTR, RS-34, RS-36)', async () => {
      const provider = await unconnected()
      const opened: string[] = []
      const client = await connectV2(url, provider, 'modern', async (address) => {
        opened.push(address)
        await connectAt(provider.browser, address)
      })
      assert.deepEqual(await client.tools(), ['connect_account'])
      assert.match(await client.call('my_tickets'), /coffee machine/)
      assert.equal(opened.length, 1)
      // RS-37: the address names nobody and carries nothing that signs anybody in.
      assert.ok(opened.every((address) => address.startsWith(`${gateway.issuer}/connections/tickets?for=`) && !/alice|usr_|eyJ|lyd_/.test(address)))
      assert.deepEqual(await client.tools(), ['my_tickets', 'create_ticket'])
      assert.match(await client.call('connect_account'), /is connected/)
      await client.close()
    })

    test('2025-11-25: error -32042 with the address, and the session that began before goes on', async () => {
      const provider = await unconnected()
      const client = await connectV2(url, provider, 'legacy', () => Promise.resolve())
      assert.deepEqual(await client.tools(), ['connect_account'])
      const error = await client.call('my_tickets').then(() => undefined, (reason: Error & { code?: number; data?: { elicitations: { mode: string; url: string; elicitationId: string }[] } }) => reason)
      assert.equal(error?.code, -32_042)
      const [elicitation] = error?.data?.elicitations ?? []
      assert.equal(elicitation?.mode, 'url')
      await connectAt(provider.browser, elicitation?.url ?? '')
      assert.match(await client.call('my_tickets'), /coffee machine/)
      await client.close()
    })

    for (const [name, connect] of [['SDK 1', connectV1], ['SDK 2, 2026-07-28', (at: string, by: MemoryProvider) => connectV2(at, by, 'modern')]] as const) {
      test(`${name} without the capability: the link in plain words, as an error of the tool`, async () => {
        const provider = await unconnected()
        const client = await connect(url, provider)
        const text = await client.call('my_tickets')
        assert.match(text, /not connected/)
        await connectAt(provider.browser, /https?:\/\/\S+/.exec(text)?.[0] ?? '')
        assert.match(await client.call('my_tickets'), /coffee machine/)
        await client.close()
      })
    }

    test('somebody else who opens the link connects nothing, and is signed in to nothing (RS-36, RS-39, D04)', async () => {
      const provider = await unconnected()
      const client = await connectV2(url, provider, 'modern')
      const link = /https?:\/\/\S+/.exec(await client.call('my_tickets'))?.[0] ?? ''
      const bob = memoryProvider({ person: 'bob' })
      const page = await bob.browser.approve(link, { person: 'bob' })
      assert.equal(page.status, 403)
      assert.match(page.text, /for somebody else/)
      assert.match(await client.call('my_tickets'), /not connected/)
      assert.ok(gateway.events.some((event) => event.action === 'connection.failed' && event.reason === 'the link is for another person'))
      await connectAt(provider.browser, link)
      assert.match(await client.call('my_tickets'), /coffee machine/)
      await client.close()
    })
  })
}

/** Opens the connect page and connects: the person picks themselves at the ticket tracker too. */
async function connectAt(browser: Browser, address: string): Promise<void> {
  const page = await browser.approve(address)
  assert.equal(page.status, 200, page.text)
  assert.match(page.text, /is connected/)
}
