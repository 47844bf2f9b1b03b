// RS-3, RS-5: what clients are told to ask for is the administrator's to say, and what lacks then is asked for later.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { forgetful, sdk1, sdk2 } from '../support/asking-clients.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import type { MemoryProvider } from '../support/oauth-clients.ts'
import { variants } from '../support/variants.ts'

const CLIENTS = [['SDK 1', sdk1], ['SDK 2, 2025-11-25', sdk2('legacy')], ['SDK 2, 2026-07-28', sdk2('modern')]] as const

for (const variant of variants()) {
  describe(`a baseline of reading alone, on ${variant.name}`, () => {
    let gateway: RunningGateway

    before(async () => {
      gateway = await startGateway({ ...variant, config: (issuer) => ({ baselineScope: ['mcp.read'], trustedProxies: ['127.0.0.1/32'], forwardAuth: [{ id: 'behind', resource: `${issuer.replace('127.0.0.1', 'localhost')}/behind`, profile: 'notes' }] }) })
    })
    after(() => gateway.close())

    test('RS-3, RS-5, RFC 8414 §2: the challenge, the metadata of every resource and that of the server name it', async () => {
      for (const path of ['/mcp/notes', '/mcp']) {
        const { status, headers } = await fetch(`${gateway.issuer}${path}`, { method: 'POST' })
        assert.deepEqual([status, headers.get('www-authenticate')], [401, `Bearer resource_metadata="${gateway.issuer}/.well-known/oauth-protected-resource${path}", scope="mcp.read"`])
      }
      for (const path of ['oauth-protected-resource', 'oauth-protected-resource/mcp', 'oauth-protected-resource/mcp/notes', 'oauth-protected-resource/forward-auth/behind', 'oauth-authorization-server', 'openid-configuration']) {
        const metadata = (await (await fetch(`${gateway.issuer}/.well-known/${path}`)).json()) as Record<string, unknown>
        assert.deepEqual(metadata['scopes_supported'], ['mcp.read'], path)
      }
      // The JSON API is no MCP server: its scope is its own.
      const api = (await (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/api`)).json()) as Record<string, unknown>
      assert.deepEqual(api['scopes_supported'], ['admin'])
    })

    for (const [name, connect] of CLIENTS) {
      test(`${name} begins with reading, and gets writing when a tool needs it (RS-8)`, async () => {
        const provider = forgetful()
        const client = await connect(`${gateway.issuer}/mcp/notes`, provider)
        assert.equal(provider.tokens()?.scope, 'mcp.read')
        assert.match(await client.call('list_notes'), /welcome/)
        assert.equal(await client.call('write_note', { title: 'later', text: 'x' }), 'wrote later')
        assert.deepEqual(provider.tokens()?.scope?.split(' ').toSorted(), ['mcp.read', 'mcp.write'])
        await recorded(gateway, ({ action, tool, reason }) => action === 'call.denied' && tool === 'write_note' && reason === 'this needs the scope mcp.write')
        await client.close()
      })
    }

    test('RFC 6749 §3.3: who names no scope gets the baseline; who names more gets more', async () => {
      for (const [asked, granted] of [[undefined, 'mcp.read'], ['mcp.write', 'mcp.write']] as const) {
        const provider = naming(asked)
        const client = await sdk2('modern')(`${gateway.issuer}/mcp/notes`, provider)
        assert.equal(provider.tokens()?.scope, granted)
        await client.close()
      }
    })
  })
}

/** Whatever its SDK was told to ask for, it asks for this. */
function naming(scope: string | undefined): MemoryProvider {
  const provider = forgetful()
  const redirect = provider.redirectToAuthorization.bind(provider)
  provider.redirectToAuthorization = (address) => {
    if (scope === undefined) address.searchParams.delete('scope')
    else address.searchParams.set('scope', scope)
    return redirect(address)
  }
  return provider
}
