// RFC 9449 end to end with the official SDK's own proofs: bound tokens from sign-in to call, with and without nonces, and
// of no use to whoever steals them.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { DpopSession } from '@modelcontextprotocol/client'
import { decodeJwt } from 'jose'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../../support/oauth-clients.ts'
import { connectV2 } from '../../support/sdk-clients.ts'
import { variants } from '../../support/variants.ts'

interface ProvingProvider extends MemoryProvider {
  dpop(): Promise<DpopSession>
}

async function provingProvider(): Promise<{ readonly provider: ProvingProvider; readonly session: DpopSession }> {
  const session = await DpopSession.create()
  return { session, provider: { ...memoryProvider(), dpop: () => Promise.resolve(session) } }
}

for (const variant of variants()) {
  for (const requireNonce of [false, true]) {
    describe(`DPoP on ${variant.name}, nonces ${requireNonce ? 'required' : 'accepted'}`, () => {
      let gateway: RunningGateway
      before(async () => (gateway = await startGateway({ ...variant, config: { dpop: { requireNonce } } })))
      after(() => gateway.close())

      for (const era of ['modern', 'legacy'] as const) {
        test(`SDK 2, ${era}: signs in, lists, calls and refreshes with proofs of its own (RFC 9449 §5, §7, §8)`, async () => {
          const { provider, session } = await provingProvider()
          const client = await connectV2(`${gateway.issuer}/mcp/notes`, provider, era)
          assert.match(await client.call('read_note', { title: 'welcome' }), /Welcome/)
          const first = provider.tokens()
          assert.equal(first?.token_type, 'DPoP')
          assert.deepEqual(decodeJwt(first.access_token)['cnf'], { jkt: session.thumbprint })
          provider.saveTokens({ ...first, access_token: 'expired' })
          assert.ok((await client.tools()).includes('read_note'))
          assert.notEqual(provider.tokens()?.refresh_token, first.refresh_token)
          await recorded(gateway, ({ action, outcome }) => action === 'token.refreshed' && outcome === 'success')
          await assertUseless(gateway, provider)
          await client.close()
        })
      }
    })
  }

  describe(`DPoP required on ${variant.name}`, () => {
    let gateway: RunningGateway
    before(async () => (gateway = await startGateway({ ...variant, config: { dpop: { required: true } } })))
    after(() => gateway.close())

    test('the metadata says so, a client without proofs gets no token, one with proofs does (RFC 9728 §2, RFC 9449 §5)', async () => {
      const url = `${gateway.issuer}/mcp/notes`
      const metadata = (await (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/mcp/notes`)).json()) as Record<string, unknown>
      assert.equal(metadata['dpop_bound_access_tokens_required'], true)
      await assert.rejects(connectV2(url, memoryProvider(), 'modern'), /DPoP/)
      const { provider } = await provingProvider()
      const client = await connectV2(url, provider, 'modern')
      assert.match(await client.call('read_note', { title: 'welcome' }), /Welcome/)
      await client.close()
    })
  })
}

/** Whoever has the tokens and not the key gets nothing for them. */
async function assertUseless(gateway: RunningGateway, provider: MemoryProvider): Promise<void> {
  const tokens = provider.tokens()
  const thief = await DpopSession.create()
  const url = `${gateway.issuer}/mcp/notes`
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' })
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
  const attempts = [
    { authorization: `Bearer ${tokens?.access_token}` },
    { authorization: `DPoP ${tokens?.access_token}` },
    { authorization: `DPoP ${tokens?.access_token}`, dpop: await thief.buildProof({ htm: 'POST', htu: url, accessToken: tokens?.access_token ?? '' }) },
  ]
  for (const stolen of attempts) assert.equal((await fetch(url, { method: 'POST', headers: { ...headers, ...stolen }, body })).status, 401)
  const form = { grant_type: 'refresh_token', client_id: provider.clientInformation()?.client_id ?? '', refresh_token: tokens?.refresh_token ?? '' }
  const refreshed = await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) })
  assert.deepEqual([refreshed.status, ((await refreshed.json()) as { error: string }).error], [400, 'invalid_grant'])
}
