// J10: a tool that needs a stronger or more recent sign-in, and one that needs a wider scope. Real clients of both SDKs,
// a real OpenID provider, the gateway in a process of its own.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, beforeEach, describe, test } from 'node:test'
import { forgetful, sdk1, sdk2 } from '../support/asking-clients.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import type { MemoryProvider } from '../support/oauth-clients.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { CLIENT_SECRET } from '../support/openid-provider.ts'
import { MFA, PWD, strongProvider, type StrongProvider } from '../support/strong-provider.ts'
import { variants } from '../support/variants.ts'

const CLIENTS = [['SDK 1', sdk1], ['SDK 2, 2025-11-25', sdk2('legacy')], ['SDK 2, 2026-07-28', sdk2('modern')]] as const

for (const variant of variants()) {
  describe(`step-up on ${variant.name}`, () => {
    let gateway: RunningGateway
    let corp: StrongProvider
    let url = ''

    before(async () => {
      corp = await strongProvider()
      gateway = await startGateway({
        ...variant,
        config: {
          identityProviders: [{ id: 'corp', type: 'oidc', name: 'Corp', issuer: corp.issuer, clientId: 'lanyard', clientSecret: CLIENT_SECRET, acrValues: [PWD, MFA], claims: ['device'] }],
          scopeMapping: [{ scopes: ['mcp.write'], groups: ['engineering'] }, { scopes: ['mcp.read'], roles: ['Notes.Read'] }],
          rules: [
            { id: 'everything', effect: 'allow', groups: ['engineering', 'readers'] },
            { id: 'reading-needs-a-managed-device', effect: 'step-up', tools: ['read_note'], require: { claims: { device: ['managed'] }, maxAge: 3600 } },
            { id: 'writing-needs-two-factors', effect: 'step-up', groups: ['engineering'], tools: ['write_*'], require: { acrValues: [MFA] } },
            { id: 'deleting-needs-a-fresh-sign-in', effect: 'step-up', tools: ['delete_*'], require: { acrValues: [MFA], maxAge: 3600 } },
          ],
        },
      })
      url = `${gateway.issuer}/mcp/notes`
    })
    beforeEach(() => {
      corp.secondFactor = true
      corp.asked.length = 0
    })
    after(async () => {
      await gateway.close()
      await corp.close()
    })

    for (const [name, connect] of CLIENTS) {
      test(`${name} refreshes in answer to the challenge, is refused once, asks its user, and the call succeeds (RFC 9470 §3, §5)`, async () => {
        const provider = forgetful()
        const client = await connect(url, provider)
        assert.match(await client.call('list_notes'), /welcome/)
        assert.deepEqual(corp.asked.map((asked) => asked.get('acr_values')), [null])
        const before = provider.tokens()?.access_token
        assert.equal(await client.call('write_note', { title: 'strong', text: 'x' }), 'wrote strong')
        assert.deepEqual(corp.asked.map((asked) => asked.get('acr_values')), [null, MFA])
        assert.notEqual(provider.tokens()?.access_token, before)
        assert.equal(claimsOf(provider)['acr'], MFA)
        // Once more without any sign-in: what was proven holds.
        assert.equal(await client.call('write_note', { title: 'strong', text: 'y' }), 'wrote strong')
        assert.equal(corp.asked.length, 2)
        await recorded(gateway, ({ action, reason }) => action === 'token.refused' && reason === 'refreshed in answer to a challenge')
        await recorded(gateway, ({ action, tool, detail }) => action === 'step-up.requested' && tool === 'write_note' && String(detail?.['acr_values']) === MFA)
        await client.close()
      })

      test(`${name} lacks a scope: it asks for it, keeps what it had, and the call succeeds (RS-8, RFC 6750 §3.1)`, async () => {
        const provider = forgetful()
        Object.assign(provider.clientMetadata, { scope: 'mcp.read' })
        narrowFirst(provider)
        const client = await connect(url, provider)
        assert.equal(scopeOf(provider), 'mcp.notes.read')
        assert.equal(await client.call('write_note', { title: 'wide', text: 'x' }), 'wrote wide')
        assert.deepEqual(scopeOf(provider).split(' ').toSorted(), ['mcp.notes.read', 'mcp.write'])
        await client.close()
      })

      test(`${name} lacks a scope and a strong sign-in: one authorization brings both (RFC 9470 §3, RS-8)`, async () => {
        const provider = forgetful()
        Object.assign(provider.clientMetadata, { scope: 'mcp.read' })
        narrowFirst(provider)
        const redirect = provider.redirectToAuthorization.bind(provider)
        let authorizations = 0
        provider.redirectToAuthorization = (address) => ((authorizations += 1), redirect(address))
        const client = await connect(url, provider)
        assert.equal(await client.call('write_note', { title: 'both', text: 'x' }), 'wrote both')
        assert.equal(authorizations, 2)
        assert.deepEqual(corp.asked.map((asked) => asked.get('acr_values')), [null, MFA])
        assert.deepEqual(scopeOf(provider).split(' ').toSorted(), ['mcp.notes.read', 'mcp.write'])
        await recorded(gateway, ({ action, tool, detail }) => action === 'step-up.requested' && tool === 'write_note' && String(detail?.['acr_values']) === MFA && String(detail?.['scope']) === 'mcp.write')
        await client.close()
      })

      test(`${name} is told when the provider cannot give it, and not sent there again (RFC 9470 §5)`, async () => {
        corp.secondFactor = false
        const provider = forgetful()
        const client = await connect(url, provider)
        await assert.rejects(client.call('write_note', { title: 'weak', text: 'x' }))
        assert.equal(provider.callback().get('error'), 'unmet_authentication_requirements')
        await client.close()
        const asked = corp.asked.length
        const again = await connect(url, provider)
        assert.match(await again.call('list_notes'), /welcome/)
        await assert.rejects(again.call('write_note', { title: 'weak', text: 'x' }), /could not prove/)
        // A new sign-in for the new token, and none for the tool.
        assert.deepEqual(corp.asked.slice(asked).map((each) => each.get('acr_values')).filter((value) => value !== null), [])
        await again.close()
      })
    }

    for (const [name, connect] of CLIENTS) {
      test(`${name}: a scope that nobody gave the person is refused and says so, without a challenge (no loop)`, async () => {
        const provider = forgetful({ person: 'carol' })
        const client = await connect(url, provider)
        assert.equal(scopeOf(provider), 'mcp.read')
        assert.match(await client.call('list_notes'), /welcome/)
        const before = [provider.tokens()?.access_token, corp.asked.length]
        await assert.rejects(client.call('write_note', { title: 'x', text: 'x' }), /has not given you/)
        // Nor is anybody sent to sign in again for what they could not do afterwards.
        await assert.rejects(client.call('delete_note', { title: 'x' }), /has not given you/)
        assert.deepEqual([provider.tokens()?.access_token, corp.asked.length], before)
        await recorded(gateway, ({ action, tool, reason }) => action === 'call.denied' && tool === 'write_note' && /has not given you/.test(reason ?? ''))
        await client.close()
      })
    }

    test('RFC 9470 §3, §4: a client that reads the challenge passes all of it on, and the call succeeds', async () => {
      const provider = forgetful()
      narrowFirst(provider)
      const client = await sdk2('modern')(url, provider)
      const call = async (token: string) => {
        const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'read_note', arguments: { title: 'welcome' }, _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} } } }
        const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'read_note' }
        return fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
      }
      const token = provider.tokens()?.access_token ?? ''
      const refused = await call(token)
      assert.equal(refused.status, 401)
      const challenge = refused.headers.get('www-authenticate') ?? ''
      const told = Object.fromEntries([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, value]))
      assert.deepEqual([told['error'], told['max_age'], told['scope'], told['acr_values']], ['insufficient_user_authentication', '3600', 'mcp.notes.read', undefined])
      assert.equal(told['resource_metadata'], `${gateway.issuer}/.well-known/oauth-protected-resource/mcp/notes`)
      const claims = Buffer.from(told['claims'] ?? '', 'base64url').toString()
      assert.deepEqual(JSON.parse(claims), { id_token: { device: { essential: true, value: 'managed' } } })
      // The device is not managed, then it is.
      assert.equal((await authorize(provider, { max_age: told['max_age'] ?? '', claims, scope: told['scope'] ?? '' })).get('error'), 'unmet_authentication_requirements')
      const alice = corp.people.get('alice') ?? {}
      corp.people.set('alice', { ...alice, device: 'managed' })
      const answer = await authorize(provider, { max_age: told['max_age'] ?? '', claims, scope: told['scope'] ?? '' })
      corp.people.set('alice', alice)
      const form = new URLSearchParams({ grant_type: 'authorization_code', code: answer.get('code') ?? '', code_verifier: VERIFIER, redirect_uri: provider.redirectUrl, client_id: provider.clientInformation()?.client_id ?? '' })
      const issued = (await (await fetch(`${gateway.issuer}/token`, { method: 'POST', body: form })).json()) as { access_token: string }
      const allowed = await call(issued.access_token)
      assert.match(await allowed.text(), /Welcome to the demo company/)
      // The old token is what it was.
      assert.notEqual((await call(token)).status, 200)
      await client.close()
    })

    /** Asks for another authorization, as the client. @returns what the browser brings back */
    const authorize = async (provider: MemoryProvider, more: Readonly<Record<string, string>>): Promise<URLSearchParams> => {
      const basics = { response_type: 'code', client_id: provider.clientInformation()?.client_id ?? '', redirect_uri: provider.redirectUrl, code_challenge: createHash('sha256').update(VERIFIER).digest('base64url'), code_challenge_method: 'S256', resource: url }
      const page = await provider.browser.approve(`${gateway.issuer}/authorize?${new URLSearchParams({ ...basics, ...more }).toString()}`)
      return new URL(page.url).searchParams
    }

    test('2026-07-28: a client that opens pages is sent to one, and the same call goes on with the same token (RS-36, RS-37)', async () => {
      const provider = forgetful()
      const opened: string[] = []
      const client = await connectV2(url, provider, 'modern', async (address) => {
        opened.push(address)
        const page = await provider.browser.approve(address)
        assert.match(page.text, /Thank you/)
      })
      const before = provider.tokens()?.access_token
      assert.equal(await client.call('delete_note', { title: 'strong' }).then((said) => /deleted|no note/.test(said)), true)
      assert.equal(opened.length, 1)
      assert.ok(opened.every((address) => address.startsWith(`${gateway.issuer}/step-up?for=`) && !/alice|usr_|eyJ|lyd_/.test(address)))
      assert.equal(provider.tokens()?.access_token, before)
      assert.deepEqual(corp.asked.map((asked) => [asked.get('acr_values'), asked.get('max_age')]), [[null, null], [MFA, '3600']])
      await recorded(gateway, ({ action, outcome }) => action === 'step-up.granted' && outcome === 'success')
      await client.close()
    })

    test('2026-07-28: no page gives a scope, so who lacks one as well is challenged for both', async () => {
      const provider = forgetful()
      narrowFirst(provider)
      const opened: string[] = []
      const client = await connectV2(url, provider, 'modern', async (address) => void opened.push(address))
      await assert.rejects(client.call('delete_note', { title: 'both' }))
      assert.deepEqual([opened, corp.asked.map((asked) => asked.get('acr_values'))], [[], [null, MFA]])
      await client.close()
    })

    test('through a profile of several upstreams, the same: pages and challenges', async () => {
      const opened: string[] = []
      const pages = forgetful({ connect: false })
      const client = await connectV2(`${gateway.issuer}/mcp`, pages, 'modern', async (address) => {
        opened.push(address)
        assert.match((await pages.browser.approve(address)).text, /delete_note of Notes|Thank you/)
      })
      assert.match(await client.call('notes__delete_note', { title: 'none' }), /no note/)
      assert.equal(opened.length, 1)
      await client.close()
      const plain = await sdk2('modern')(`${gateway.issuer}/mcp`, forgetful({ connect: false }))
      assert.equal(await plain.call('notes__write_note', { title: 'profile', text: 'x' }), 'wrote profile')
      await plain.close()
    })

    test('a page that could not be satisfied is not opened again and again', async () => {
      corp.secondFactor = false
      const provider = forgetful()
      const opened: string[] = []
      const client = await connectV2(url, provider, 'modern', async (address) => {
        opened.push(address)
        assert.match((await provider.browser.approve(address)).text, /not enough/)
      })
      await assert.rejects(client.call('delete_note', { title: 'weak' }), /could not prove/)
      assert.equal(opened.length, 1)
      await client.close()
    })
  })
}

const VERIFIER = 'v'.repeat(43)

/** The first authorization asks for reading alone, as a client that was told no more. */
function narrowFirst(provider: MemoryProvider): void {
  const redirect = provider.redirectToAuthorization.bind(provider)
  let first = true
  provider.redirectToAuthorization = async (address) => {
    if (first) address.searchParams.set('scope', 'mcp.notes.read')
    first = false
    await redirect(address)
  }
}

function scopeOf(provider: MemoryProvider): string {
  return provider.tokens()?.scope ?? ''
}

function claimsOf(provider: MemoryProvider): Record<string, unknown> {
  return JSON.parse(Buffer.from(provider.tokens()?.access_token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
}
