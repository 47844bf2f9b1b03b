// J15: the identity provider is down. Who is signed in goes on working; who is not gets a plain page and a way back.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { browser } from '../support/browser.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

for (const variant of variants()) {
  describe(`an identity provider that is down, on ${variant.name}`, () => {
    let gateway: RunningGateway
    before(async () => {
      // Asked again at every refresh: a provider that does not answer must change nothing.
      gateway = await startGateway({ ...variant, config: { sessions: { recheckMinutes: 0.001 } } })
    })
    after(() => gateway.close())

    const stop = (signal: NodeJS.Signals): void => {
      const pid = gateway.company.processes.identityProvider
      assert.ok(pid)
      process.kill(pid, signal)
    }

    test('calls and refreshes go on, new sign-ins get a page with a reference, and nothing piles up', async () => {
      const provider = memoryProvider()
      const client = await connectV2(`${gateway.issuer}/mcp/notes`, provider, 'modern')
      assert.match(await client.call('list_notes'), /welcome/)
      stop('SIGKILL')

      assert.match(await client.call('list_notes'), /welcome/)
      const tokens = provider.tokens()
      assert.ok(tokens)
      provider.saveTokens({ ...tokens, access_token: 'expired' })
      assert.match(await client.call('list_notes'), /welcome/)
      assert.notEqual(provider.tokens()?.refresh_token, tokens.refresh_token)
      await recorded(gateway, ({ action, subject }) => action === 'provider.degraded' && subject !== undefined)

      // The person's browser still has its session: a second application needs no sign-in.
      const second = await connectV2(`${gateway.issuer}/mcp/notes`, memoryProvider({ browser: provider.browser }), 'modern')
      assert.match(await second.call('list_notes'), /welcome/)

      // A node that the refresh did not go through may believe for two seconds that the provider is up.
      await new Promise((resolve) => setTimeout(resolve, 2100))
      const pages = await Promise.all(Array.from({ length: 20 }, () => browser().open(`${gateway.issuer}/login?return_to=/`)))
      for (const page of pages) {
        assert.equal(page.status, 503)
        assert.match(page.text, /Demo Company does not answer/)
        assert.ok(Number(page.headers.get('retry-after')) > 0)
      }
      const reference = /<code>([^<]+)<\/code>/.exec(pages[0]?.text ?? '')?.[1]
      await recorded(gateway, (event) => event.reference === reference && event.action === 'provider.degraded')
      assert.equal((await fetch(`${gateway.nodes[0]}/readyz`)).status, 200)
      await Promise.all([client.close(), second.close()])
    })
  })

  test(`a node starts while the identity provider and every upstream are down, on ${variant.name}`, async () => {
    const gateway = await startGateway({
      ...variant,
      config: {
        identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'http://127.0.0.1:9', clientId: 'lanyard', clientSecret: 'a secret that nobody asks for, yet' }],
        upstreams: [{ id: 'notes', url: 'http://127.0.0.1:9/mcp' }, { id: 'tickets', url: 'http://127.0.0.1:9/mcp', connector: { type: 'oauth' } }],
      },
    })
    try {
      const challenge = await fetch(`${gateway.issuer}/mcp/notes`, { method: 'POST' })
      assert.equal(challenge.status, 401)
      assert.match(challenge.headers.get('www-authenticate') ?? '', /resource_metadata=/)
      const page = await browser().open(`${gateway.issuer}/login?return_to=/`)
      assert.equal(page.status, 503)
    } finally {
      await gateway.close()
    }
  })
}
