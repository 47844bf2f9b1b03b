// Step-up where no protocol leads a person to a page: at HTTP APIs and behind a reverse proxy. Whoever knows RFC 9470
// follows the challenge, whoever knows OAuth alone refreshes and authorizes anew, and everybody else opens the page.
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { CHALLENGE, VERIFIER } from '../support/authorize-house.ts'
import { browser, type Browser } from '../support/browser.ts'
import { recorded, SCRIPT, startGateway, type RunningGateway } from '../support/gateway.ts'
import { httpApi, type HttpApi } from '../support/http-api.ts'
import { CLIENT_SECRET } from '../support/openid-provider.ts'
import { MFA, PWD, strongProvider, type StrongProvider } from '../support/strong-provider.ts'
import { variants } from '../support/variants.ts'

const [REDIRECT] = SCRIPT.redirectUris
const BOARD = 'http://board.example/mcp'
const PLAIN = 'http://plain.example/mcp'

interface Tokens {
  readonly access_token: string
  readonly refresh_token: string
  readonly scope: string
}

/** One client and its user's browser. */
interface Program {
  readonly browser: Browser
  /** @returns tokens, or the error that the browser brought back */
  authorize(more?: Readonly<Record<string, string>>): Promise<Tokens | string>
  refresh(token: string): Promise<Partial<Tokens> & { readonly error?: string }>
}

interface Told {
  readonly status: number
  readonly challenge: Readonly<Record<string, string>>
  readonly page: string | null
  readonly body: Readonly<Record<string, unknown>>
}

/** A place that is used with a token, and what of it needs a second factor. */
interface Place {
  readonly name: string
  readonly resource: string
  plain(token: string): Promise<Told>
  strong(token: string): Promise<Told>
}

for (const variant of variants()) {
  describe(`step-up at HTTP APIs and behind proxies, on ${variant.name}`, () => {
    let gateway: RunningGateway
    let corp: StrongProvider
    let api: HttpApi
    let places: readonly Place[] = []

    before(async () => {
      ;[corp, api] = await Promise.all([strongProvider(), httpApi()])
      gateway = await startGateway({
        ...variant,
        config: {
          identityProviders: [{ id: 'corp', type: 'oidc', name: 'Corp', issuer: corp.issuer, clientId: 'lanyard', clientSecret: CLIENT_SECRET, acrValues: [PWD, MFA] }],
          trustedProxies: ['127.0.0.1/32'],
          upstreams: [{ id: 'pay', name: 'The API', type: 'http', url: api.url }, { id: 'board', url: 'http://127.0.0.1:9/mcp', readOnlyTools: ['read_note'] }, { id: 'plain', url: 'http://127.0.0.1:9/mcp' }],
          scopeMapping: [{ scopes: ['mcp.write'], groups: ['engineering'] }, { scopes: ['mcp.read'], groups: ['readers'] }],
          rules: [
            { id: 'everything', effect: 'allow' },
            { id: 'strong', effect: 'step-up', upstreams: ['pay', 'board'], tools: ['POST /payments', 'pay'], require: { acrValues: [MFA] } },
            { id: 'strong-plain', effect: 'step-up', upstreams: ['plain'], tools: ['pay'], require: { acrValues: [MFA] } },
          ],
          forwardAuth: [{ id: 'board', resource: BOARD, profile: 'board', validatesHeaders: true }, { id: 'plain', resource: PLAIN, profile: 'plain' }],
        },
      })
      places = [apiPlace(gateway, 'an HTTP API'), boardPlace(gateway, 'a server behind a proxy')]
    })
    beforeEach(() => {
      corp.secondFactor = true
      corp.asked.length = 0
    })
    after(async () => {
      for (const each of [gateway, corp, api] as readonly (RunningGateway | StrongProvider | HttpApi | undefined)[]) await each?.close()
    })

    for (const index of [0, 1]) {
      const at = ['an HTTP API', 'a server behind a proxy'][index]
      const place = (): Place => places[index] ?? assert.fail('no place')

      test(`${at}: the challenge names what is needed, and whoever passes it on is let in (RFC 9470 §3, §4)`, async () => {
        const { resource, plain, strong } = place()
        const program = await programFor(gateway, resource)
        const tokens = await tokensOf(program.authorize())
        assert.equal((await plain(tokens.access_token)).status, 200)
        const told = await strong(tokens.access_token)
        assert.deepEqual([told.status, told.challenge['error'], told.challenge['acr_values'], told.challenge['scope']], [401, 'insufficient_user_authentication', MFA, tokens.scope])
        assert.equal(told.page, told.body['step_up_url'])
        const stronger = await tokensOf(program.authorize({ acr_values: told.challenge['acr_values'] ?? '', scope: told.challenge['scope'] ?? '' }))
        assert.equal((await strong(stronger.access_token)).status, 200)
        await recorded(gateway, ({ action, detail, resource: recordedAt }) => action === 'step-up.requested' && recordedAt === resource && String(detail?.['acr_values']) === MFA)
      })

      test(`${at}: whoever knows OAuth alone refreshes, is refused once, authorizes anew, and is let in (RFC 9470 §5)`, async () => {
        const { resource, strong } = place()
        const program = await programFor(gateway, resource)
        const tokens = await tokensOf(program.authorize())
        assert.equal((await strong(tokens.access_token)).status, 401)
        assert.equal((await program.refresh(tokens.refresh_token)).error, 'invalid_grant')
        // It asks for what it always asks for: what lacks is known here.
        const stronger = await tokensOf(program.authorize())
        assert.deepEqual(corp.asked.map((asked) => asked.get('acr_values')), [null, MFA])
        assert.equal((await strong(stronger.access_token)).status, 200)
      })

      test(`${at}: whoever follows no challenge opens the page, and the same token does (RS-36)`, async () => {
        const { resource, strong } = place()
        const program = await programFor(gateway, resource)
        const { access_token: token } = await tokensOf(program.authorize())
        const told = await strong(token)
        assert.ok(told.page?.startsWith(`${gateway.issuer}/step-up?for=`), String(told.page))
        // RFC 9470 §5: somebody else's sign-in proves nothing of this person.
        const other = await browser().approve(told.page ?? '', { person: 'bob' })
        assert.equal(other.status, 403)
        assert.equal((await strong(token)).status, 401)
        assert.match((await program.browser.approve(told.page ?? '')).text, /Thank you/)
        assert.equal((await strong(token)).status, 200)
      })

      test(`${at}: what the provider cannot give is said once, and not asked for again (no loop)`, async () => {
        corp.secondFactor = false
        const { resource, plain, strong } = place()
        const program = await programFor(gateway, resource)
        const { access_token: token } = await tokensOf(program.authorize())
        const told = await strong(token)
        assert.equal(await program.authorize({ acr_values: told.challenge['acr_values'] ?? '' }), 'unmet_authentication_requirements')
        const again = await strong(token)
        assert.deepEqual([again.status, again.page, again.challenge['error']], [403, null, undefined])
        assert.match(JSON.stringify(again.body), /could not prove/)
        assert.equal((await plain(token)).status, 200)
      })

      test(`${at}: one challenge names the sign-in and the scope, and one authorization brings both (RFC 9470 §3, RS-8)`, async () => {
        const { resource, plain, strong } = place()
        const program = await programFor(gateway, resource)
        const narrow = await tokensOf(program.authorize({ scope: 'mcp.read' }))
        assert.equal((await plain(narrow.access_token)).status, 200)
        const told = await strong(narrow.access_token)
        assert.deepEqual([told.status, told.challenge['error'], told.challenge['acr_values'], told.challenge['scope'], told.page], [401, 'insufficient_user_authentication', MFA, 'mcp.read mcp.write', null])
        // Also for a client that knows no scope of a challenge.
        const both = await tokensOf(program.authorize({ scope: 'mcp.read' }))
        assert.deepEqual(both.scope.split(' ').toSorted(), ['mcp.read', 'mcp.write'])
        assert.equal((await strong(both.access_token)).status, 200)
        assert.equal(corp.asked.length, 2)
      })

      test(`${at}: nobody signs in again for what they may not hold afterwards`, async () => {
        const { resource, strong } = place()
        const program = await programFor(gateway, resource, 'carol')
        const { access_token: token, scope } = await tokensOf(program.authorize())
        assert.equal(scope, 'mcp.read')
        const told = await strong(token)
        assert.deepEqual([told.status, told.challenge['error'], told.page], [403, undefined, null])
        assert.match(JSON.stringify(told.body), /has not given you/)
        assert.equal((await program.refresh((await tokensOf(program.authorize())).refresh_token)).error, undefined)
      })
    }

    test('a server that does not compare headers is opened by the one sign-in that meets every step-up there', async () => {
      const program = await programFor(gateway, PLAIN)
      const { access_token: token } = await tokensOf(program.authorize())
      const told = await forwarded(gateway, PLAIN, token)
      assert.deepEqual([told.status, told.challenge['acr_values']], [401, MFA])
      assert.match((await program.browser.approve(told.page ?? '')).text, /Thank you/)
      assert.equal((await forwarded(gateway, PLAIN, token)).status, 200)
    })
  })
}

async function tokensOf(answer: Promise<Tokens | string>): Promise<Tokens> {
  const tokens = await answer
  return typeof tokens === 'string' ? assert.fail(tokens) : tokens
}

async function programFor({ issuer }: RunningGateway, resource: string, person = 'alice'): Promise<Program> {
  const own = browser({ stop: (url) => url.startsWith(REDIRECT) })
  const metadata = { client_name: 'Program', redirect_uris: [REDIRECT], grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'none', application_type: 'native' }
  const registered = await fetch(`${issuer}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(metadata) })
  const { client_id: clientId } = (await registered.json()) as { client_id: string }
  const post = async (form: Record<string, string>): Promise<unknown> => (await fetch(`${issuer}/token`, { method: 'POST', body: new URLSearchParams({ ...form, client_id: clientId, resource }) })).json()
  return {
    browser: own,
    async authorize(more = {}) {
      const asked = new URLSearchParams({ response_type: 'code', client_id: clientId, redirect_uri: REDIRECT, code_challenge: CHALLENGE, code_challenge_method: 'S256', resource, ...more })
      const answer = new URL((await own.approve(`${issuer}/authorize?${asked.toString()}`, { person })).url).searchParams
      const code = answer.get('code')
      if (code === null) return answer.get('error') ?? 'no answer'
      return (await post({ grant_type: 'authorization_code', code, redirect_uri: REDIRECT, code_verifier: VERIFIER })) as Tokens
    },
    refresh: async (token) => (await post({ grant_type: 'refresh_token', refresh_token: token })) as Partial<Tokens> & { error?: string },
  }
}

function apiPlace(gateway: RunningGateway, name: string): Place {
  const send = async (token: string, method: string, path: string): Promise<Told> => toldBy(await fetch(`${gateway.issuer}/http/pay${path}`, { method, headers: { authorization: `Bearer ${token}` } }))
  return { name, resource: `${gateway.issuer}/http/pay`, plain: (token) => send(token, 'GET', '/payments'), strong: (token) => send(token, 'POST', '/payments') }
}

function boardPlace(gateway: RunningGateway, name: string): Place {
  const ask = (token: string, tool: string): Promise<Told> => forwarded(gateway, BOARD, token, { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': tool })
  return { name, resource: BOARD, plain: (token) => ask(token, 'read_note'), strong: (token) => ask(token, 'pay') }
}

/** As Traefik asks. */
async function forwarded({ nodes }: RunningGateway, resource: string, token: string, more: Readonly<Record<string, string>> = {}): Promise<Told> {
  const { host, pathname } = new URL(resource)
  return toldBy(await fetch(`${nodes[0]}/forward-auth`, { headers: { 'x-forwarded-method': 'POST', 'x-forwarded-host': host, 'x-forwarded-uri': pathname, authorization: `Bearer ${token}`, ...more } }))
}

async function toldBy(response: Response): Promise<Told> {
  const challenge = response.headers.get('www-authenticate') ?? ''
  const text = await response.text()
  return {
    status: response.status,
    challenge: Object.fromEntries([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, value])),
    page: response.headers.get('x-lanyard-step-up'),
    body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {},
  }
}
