// J5: a person of a tenant of Entra ID, from sign-in to the day they leave: a real client of the official SDK, the gateway
// in a process of its own, an MCP server and Graph that trust Entra ID. The emulator's answers are those that Microsoft's
// own library accepts.
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { forgetful, sdk2 } from '../support/asking-clients.ts'
import { tokenOf } from '../support/api-clients.ts'
import { browser } from '../support/browser.ts'
import { addCertificate } from '../support/entra/certificate.ts'
import { entra, GATEWAY, GRAPH, MIDDLE, NOTES_API, TENANT, type Entra, type Person } from '../support/entra/entra.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { mcpUpstream, type McpUpstream } from '../support/mcp-upstream.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

const SECRETS = /client_secret|BEGIN (?:RSA )?PRIVATE/

for (const variant of variants()) {
  describe(`Entra ID on ${variant.name}`, () => {
    let idp: Entra
    let notes: McpUpstream
    /** One that asks for nothing. */
    let open: McpUpstream
    let gateway: RunningGateway
    /** What the MCP server demands of tokens, as JSON. */
    let demanded: object | undefined
    /** Tokens that it takes no more, and does not say why. */
    let stale: ReadonlySet<string | undefined> = new Set()

    before(async () => {
      idp = await entra()
      notes = await mcpUpstream()
      open = await mcpUpstream()
      const middle = await addCertificate(idp.apps.get(MIDDLE) ?? assert.fail())
      guard(notes, () => ({ demanded, stale }))
      gateway = await startGateway({
        ...variant,
        config: {
          identityProviders: [{ id: 'entra', type: 'entra-id', name: 'Contoso', tenant: TENANT, authority: idp.origin, graphUrl: idp.origin, clientId: GATEWAY, federatedCredential: { subject: 'lanyard' }, claims: ['tid'], acrValues: ['c9'] }],
          upstreams: [
            { id: 'notes', name: 'Notes', url: notes.url, connector: { type: 'entra-obo', scopes: [`api://${NOTES_API}/notes.read`] } },
            { id: 'open', name: 'Open', url: open.url },
            { id: 'graph', name: 'Graph', type: 'http', url: idp.origin, connector: { type: 'entra-obo', scopes: [`${GRAPH}/User.Read`], app: { clientId: MIDDLE, certificate: { certificate: middle.certificate, privateKey: middle.privateKey }, scope: `api://${MIDDLE}/access` } } },
          ],
          profiles: [{ id: 'desk', upstreams: ['notes', 'open'] }],
          rules: [
            { id: 'everybody', effect: 'allow', tools: ['*'] },
            { id: 'deleting', effect: 'step-up', tools: ['delete_note'], require: { acrValues: ['c9'] } },
          ],
        },
      })
      idp.apps.get(GATEWAY)?.federated.push({ issuer: gateway.issuer, subject: 'lanyard', audience: 'api://AzureADTokenExchange' })
    })
    afterEach(() => {
      demanded = undefined
      stale = new Set()
      idp.policies.clear()
      idp.guarded.clear()
      idp.evaluated.clear()
      for (const person of idp.tenants.get(TENANT)?.values() ?? []) delete person.revokedAt
    })
    after(async () => {
      await gateway.close()
      await Promise.all([idp.close(), notes.close(), open.close()])
    })

    const person = (name: string): Person => idp.tenants.get(TENANT)?.get(name) ?? assert.fail(name)
    const bearer = (): string => (notes.calls().at(-1)?.headers.authorization ?? '').replace('Bearer ', '')

    test('a client calls an MCP server and Graph in the name of the person, without connecting anything; no token of ours goes there (P-7)', async () => {
      const provider = forgetful()
      const client = await sdk2('modern')(`${gateway.issuer}/mcp/notes`, provider)
      assert.match(await client.call('read_note'), /"ran":"read_note"/)
      const sent = decodeJwt(bearer())
      assert.deepEqual([sent.aud, sent['oid'], sent['scp'], sent['xms_cc']], [NOTES_API, person('alice').oid, 'notes.read', ['cp1']])
      const tokens = idp.at(`/${TENANT}/oauth2/v2.0/token`).length
      await client.call('read_note')
      assert.equal(idp.at(`/${TENANT}/oauth2/v2.0/token`).length, tokens, 'the token is used until it is refused')
      await client.close()
      const graph = await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/http/graph`)
      const me = await fetch(`${gateway.issuer}/http/graph/v1.0/me`, { headers: { authorization: `Bearer ${graph}` } })
      assert.deepEqual([me.status, ((await me.json()) as { id: string }).id], [200, person('alice').oid])
      const obo = idp.at(`/${TENANT}/oauth2/v2.0/token`).findLast(({ form }) => form.get('requested_token_use') === 'on_behalf_of')
      assert.deepEqual([obo?.form.get('client_id'), obo?.form.has('client_secret'), decodeJwt(obo?.form.get('assertion') ?? '').aud, obo?.form.get('scope')], [MIDDLE, false, MIDDLE, `${GRAPH}/User.Read`])
      // Whose key signed: this gateway's, which the app at Entra ID trusts.
      const own = idp.at(`/${TENANT}/oauth2/v2.0/token`).find(({ form }) => form.get('client_id') === GATEWAY)
      assert.deepEqual([decodeJwt(own?.form.get('client_assertion') ?? '').iss, decodeJwt(own?.form.get('client_assertion') ?? '').aud], [gateway.issuer, 'api://AzureADTokenExchange'])
      const { alg, kid } = decodeProtectedHeader(own?.form.get('client_assertion') ?? '')
      const { keys } = (await (await fetch(`${gateway.issuer}/jwks`)).json()) as { keys: { kid: string; kty: string; alg: string; use: string }[] }
      assert.deepEqual([alg, keys.filter((key) => key.kid === kid).map(({ kty, use }) => `${kty} ${use}`)], ['RS256', ['RSA sig']])
      // It signs nothing else, and nothing else signs for it.
      assert.deepEqual([decodeProtectedHeader(graph).alg, keys.map((key) => key.alg).sort()], ['ES256', ['ES256', 'ES256', 'RS256', 'RS256']])
      for (const secret of ['"d":', 'PRIVATE']) assert.ok(!JSON.stringify(keys).includes(secret))
      await recorded(gateway, ({ action, upstream, detail }) => action === 'connection.refreshed' && upstream === 'graph' && detail?.['app'] === MIDDLE)
      for (const text of gateway.output) assert.doesNotMatch(text, SECRETS)
      for (const secret of [...idp.access.keys(), ...idp.refreshTokens.keys(), ...idp.assertions]) assert.ok(!gateway.output.some((text) => text.includes(secret)))
    })

    for (const [way, name, challenge] of [
      ['the upstream (insufficient_claims)', 'bob', () => void (demanded = { access_token: { acrs: { essential: true, value: 'c1' } } })],
      ['the token endpoint (interaction_required, 50079)', 'guest', () => void (idp.policies.set(NOTES_API, { context: 'c1', code: 50079 }), (stale = new Set(idp.access.keys())))],
    ] as const) {
      test(`a claims challenge of ${way} is a page for a client that opens pages; the person satisfies it, and the call goes on (RFC 9470, MCP URL elicitation)`, async () => {
        const provider = forgetful({ person: name })
        const visitor = provider.browser
        const opened: string[] = []
        const client = await connectV2(`${gateway.issuer}/mcp/notes`, provider, 'modern', async (url) => {
          opened.push(url)
          await visitor.approve(url, { person: name })
        })
        await client.call('read_note')
        challenge()
        const before = notes.calls().length
        assert.match(await client.call('read_note'), /"ran":"read_note"/)
        assert.equal(opened.length, 1)
        const asked = idp.at(`/${TENANT}/oauth2/v2.0/authorize`).at(-1)
        // As it was demanded, with what the gateway itself always says.
        assert.deepEqual(JSON.parse(asked?.query.get('claims') ?? '').access_token, { acrs: { essential: true, value: 'c1' }, xms_cc: { values: ['cp1'] } })
        assert.deepEqual(decodeJwt(bearer())['acrs'], ['c1'])
        assert.ok(notes.calls().length > before)
        await client.call('read_note')
        assert.equal(opened.length, 1, 'and is not asked again')
        await recorded(gateway, ({ action, detail }) => action === 'step-up.requested' && String(detail?.['acr_values']) === 'c1')
        await recorded(gateway, ({ action }) => action === 'step-up.granted')
        await client.close()
      })
    }

    test('a client that opens no pages is challenged, signs in anew with what was demanded, and the call succeeds (RFC 9470 §3)', async () => {
      const provider = forgetful()
      const client = await sdk2('legacy')(`${gateway.issuer}/mcp/notes`, provider)
      await client.call('read_note')
      const asked = idp.at(`/${TENANT}/oauth2/v2.0/authorize`).length
      demanded = { access_token: { acrs: { essential: true, value: 'c2' } } }
      assert.match(await client.call('read_note'), /"ran":"read_note"/)
      const again = idp.at(`/${TENANT}/oauth2/v2.0/authorize`)
      assert.equal(again.length, asked + 1)
      assert.deepEqual(JSON.parse(again.at(-1)?.query.get('claims') ?? '').access_token.acrs, { essential: true, value: 'c2' })
      await client.close()
    })

    test('an HTTP API: Graph’s challenge is told with the page that satisfies it, and the next request passes', async () => {
      const token = await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/http/graph`)
      const me = (): Promise<Response> => fetch(`${gateway.issuer}/http/graph/v1.0/me`, { headers: { authorization: `Bearer ${token}` } })
      assert.equal((await me()).status, 200)
      idp.guarded.set('/v1.0/me', 'c3')
      const refused = await me()
      const { step_up_url: page } = (await refused.json()) as { step_up_url: string }
      assert.deepEqual([refused.status, refused.headers.get('www-authenticate')?.includes('insufficient_user_authentication')], [401, true])
      const done = await browser().approve(page)
      assert.match(done.text, /Thank you/)
      assert.equal((await me()).status, 200)
      assert.deepEqual([...idp.access.values()].findLast(({ resource }) => resource === GRAPH)?.contexts, ['c3'])
    })

    test('tokens are used until a 401, not until they end: Graph evaluates continuously, and a renewed one passes (CAE)', async () => {
      const token = await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/http/graph`)
      const me = (): Promise<Response> => fetch(`${gateway.issuer}/http/graph/v1.0/me`, { headers: { authorization: `Bearer ${token}` } })
      assert.equal((await me()).status, 200)
      const before = idp.at('/v1.0/me').length
      // Whatever was issued before now is refused; the sign-in itself goes on.
      await eventually('the next second', () => Math.floor(Date.now() / 1000) > Math.max(...[...idp.access.values()].map(({ issuedAt }) => issuedAt)))
      const now = Math.floor(Date.now() / 1000)
      for (const access of idp.access.values()) if (access.grant !== undefined) Object.assign(access.grant, { at: now })
      idp.evaluated.set(person('alice').oid, now)
      assert.equal((await me()).status, 200)
      if (variant.nodes === 1) assert.equal(idp.at('/v1.0/me').length, before + 2, 'refused once, and sent again')
    })

    test('a rule asks for an authentication context in Entra ID’s own words, and takes it for the level of the sign-in (RFC 9470 §4)', async () => {
      const provider = forgetful({ person: 'bob' })
      const client = await sdk2('modern')(`${gateway.issuer}/mcp/notes`, provider)
      assert.match(await client.call('delete_note'), /"ran":"delete_note"/)
      const asked = idp.at(`/${TENANT}/oauth2/v2.0/authorize`).at(-1)?.query
      assert.deepEqual([JSON.parse(asked?.get('claims') ?? '').id_token, asked?.get('acr_values')], [{ acrs: { essential: true, value: 'c9' } }, null])
      assert.equal(decodeJwt(provider.tokens()?.access_token ?? '')['acr'], 'c9')
      await client.close()
    })

    test('in a profile one upstream that wants another sign-in keeps nobody from the others, and is asked for by its own tool', async () => {
      const provider = forgetful()
      idp.policies.set(NOTES_API, { context: 'c4', code: 50076 })
      stale = new Set(idp.access.keys())
      const opened: string[] = []
      const client = await connectV2(`${gateway.issuer}/mcp/desk`, provider, 'modern', async (url) => {
        opened.push(url)
        await provider.browser.approve(url)
      })
      const before = await client.tools()
      assert.ok(before.includes('open__read_note') && before.includes('notes__connect_account') && !before.includes('notes__read_note'), String(before))
      assert.match(await client.call('open__read_note'), /"ran":"read_note"/)
      assert.equal(opened.length, 0)
      await client.call('notes__connect_account')
      assert.equal(opened.length, 1)
      assert.ok((await client.tools()).includes('notes__read_note'))
      assert.match(await client.call('notes__read_note'), /"ran":"read_note"/)
      assert.equal(opened.length, 1)
      await client.close()
    })

    test('a client that connects while Entra ID demands more is challenged once, and connects (RFC 9470 §3)', async () => {
      const provider = forgetful()
      idp.policies.set(NOTES_API, { context: 'c5', code: 50076 })
      stale = new Set(idp.access.keys())
      const client = await sdk2('legacy')(`${gateway.issuer}/mcp/notes`, provider)
      assert.match(await client.call('read_note'), /"ran":"read_note"/)
      assert.deepEqual(decodeJwt(bearer())['acrs'], ['c5'])
      await client.close()
    })

    test('whoever leaves: their refresh token is refused (50173), and every session, grant and call ends here', async () => {
      const provider = forgetful()
      const client = await sdk2('legacy')(`${gateway.issuer}/mcp/notes`, provider)
      await client.call('read_note')
      const { access_token: token = '', refresh_token: refreshToken = '' } = provider.tokens() ?? {}
      person('alice').revokedAt = Math.floor(Date.now() / 1000) + 1
      // The upstream hears of it first, and refuses the token that it has.
      demanded = { access_token: { nbf: { essential: true, value: String(Math.floor(Date.now() / 1000) + 5) } } }
      await assert.rejects(client.call('read_note'))
      await recorded(gateway, ({ action, reason }) => action === 'subject.revoked' && reason === 'the identity provider ended the sign-in')
      await eventually('the token is refused', async () => (await fetch(`${gateway.issuer}/mcp/notes`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' })).status === 401)
      const refreshed = await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken, client_id: provider.clientInformation()?.client_id ?? '' }) })
      assert.deepEqual([refreshed.status, ((await refreshed.json()) as { error: string }).error], [400, 'invalid_grant'])
      await client.close().catch(() => undefined)
    })
  })
}

/** An MCP server that trusts Entra ID: it takes tokens for itself, and says what it demands besides. */
function guard(upstream: McpUpstream, says: () => { readonly demanded: object | undefined; readonly stale: ReadonlySet<string | undefined> }): void {
  upstream.script = ({ headers, message }, response) => {
    const token = /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1]
    const claims = token === undefined ? {} : decodeJwt(token)
    if (claims.aud !== NOTES_API || says().stale.has(token)) return void response.writeHead(401, { 'www-authenticate': 'Bearer realm="", error="invalid_token"' }).end()
    const wanted = says().demanded as { access_token: { acrs?: { value: string }; nbf?: { value: string } } } | undefined
    const context = wanted?.access_token.acrs?.value
    const since = Number(wanted?.access_token.nbf?.value ?? 0)
    const isMet = (context === undefined || (Array.isArray(claims['acrs']) && claims['acrs'].includes(context))) && Number(claims.iat) >= since
    if (wanted === undefined || isMet || message['method'] !== 'tools/call') return false
    response.writeHead(401, { 'www-authenticate': `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="${Buffer.from(JSON.stringify(wanted)).toString('base64')}"` }).end()
    return undefined
  }
}
