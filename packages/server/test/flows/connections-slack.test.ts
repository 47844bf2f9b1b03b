// Slack's Web API, as it answers: what is no standard OAuth is read as what it means, where an operator says that it is Slack.
import assert from 'node:assert/strict'
import { eachConnectionCluster, upstream, type Cluster } from '../support/connection-nodes.ts'
import { json, upstreamEmulator, type Emulator } from '../support/upstream-emulator.ts'

const USER_TOKEN = 'xoxe.xoxp-the-person'
const BOT_TOKEN = 'xoxb-the-bot-of-everybody'

interface Slack {
  readonly cluster: Cluster
  readonly slack: Emulator
  /** What it says when a code or a refresh token comes. */
  answer: Readonly<Record<string, unknown>>
  token(): Promise<string>
}

const GRANTED = {
  ok: true, access_token: BOT_TOKEN, token_type: 'bot', scope: 'commands', bot_user_id: 'U0BOT', app_id: 'A0', team: { id: 'T0', name: 'Team' },
  authed_user: { id: 'U1', scope: 'channels:read,chat:write', access_token: USER_TOKEN, token_type: 'user', expires_in: 43_200, refresh_token: 'xoxe-1-first' },
}

function each(name: string, run: (house: Slack) => Promise<void>, quirk: 'slack' | 'none' = 'slack'): void {
  eachConnectionCluster(name, async (cluster) => {
    const slack = await upstreamEmulator()
    const connector = { type: 'oauth', issuer: slack.issuer, clientId: '1.2', clientSecret: 'the-secret', scopes: ['channels:read', 'chat:write'], ...(quirk === 'none' ? {} : { quirk }) } as const
    const api = { ...upstream('slack', `${slack.issuer}/api`, connector), http: { maxBodyBytes: 1024, encodedSlashes: false } }
    cluster.upstreams = [api]
    // The Web API is no MCP server, and the metadata is that of the OpenID provider.
    for (const path of ['/api', '/.well-known/oauth-protected-resource/api', '/.well-known/oauth-protected-resource', '/.well-known/oauth-authorization-server']) slack.on.set(path, () => ({ status: 404 }))
    slack.on.set('/.well-known/openid-configuration', () => json({ issuer: slack.issuer, authorization_endpoint: `${slack.issuer}/openid/connect/authorize`, token_endpoint: `${slack.issuer}/api/openid.connect.token`, jwks_uri: `${slack.issuer}/openid/connect/keys`, token_endpoint_auth_methods_supported: ['client_secret_post', 'client_secret_basic'] }))
    const house: Slack = {
      cluster,
      slack,
      answer: GRANTED,
      async token() {
        const credential = await cluster.nodes[0].connector(api).credential('usr_alice', api)
        return credential === 'connection_required' ? credential : (credential.headers['authorization'] ?? '')
      },
    }
    slack.on.set('/api/oauth.v2.access', () => json(house.answer))
    try {
      await run(house)
    } finally {
      await slack.close()
    }
  })
}

each('a person’s own token is asked for by user_scope and taken from authed_user, never the bot’s (RFC 6749 §5.1)', async ({ cluster, slack, token }) => {
  const url = await cluster.nodes[0].begin('slack')
  assert.equal(`${url.origin}${url.pathname}`, `${slack.issuer}/oauth/v2/authorize`)
  assert.deepEqual([url.searchParams.get('user_scope'), url.searchParams.get('scope'), url.searchParams.get('resource'), url.searchParams.get('code_challenge_method')], ['channels:read,chat:write', null, null, 'S256'])
  assert.equal((await cluster.nodes[1].finish('slack', { code: 'a-code', state: url.searchParams.get('state') ?? '' })).status, 200)
  assert.equal(await token(), `Bearer ${USER_TOKEN}`)
  const [asked] = slack.at('/api/oauth.v2.access')
  assert.deepEqual([asked?.form.get('grant_type'), asked?.form.get('code'), (asked?.form.get('code_verifier') ?? '').length >= 43], ['authorization_code', 'a-code', true])
  assert.ok(!(await cluster.dump()).includes(BOT_TOKEN) && !(await cluster.dump()).includes(USER_TOKEN))
  assert.equal((await cluster.events('connection.created')).length, 1)
})

each('a refresh brings the token by itself, and the next refresh token', async (house) => {
  const { cluster, slack, token } = house
  await cluster.connected('slack')
  house.answer = { ok: true, access_token: 'xoxe.xoxp-second', token_type: 'user', scope: 'channels:read,chat:write', expires_in: 43_200, refresh_token: 'xoxe-1-second' }
  cluster.now += 12 * 3600_000
  assert.equal(await token(), 'Bearer xoxe.xoxp-second')
  assert.deepEqual(slack.at('/api/oauth.v2.access').map(({ form }) => form.get('refresh_token')), [null, 'xoxe-1-first'])
  // RFC 6749 §5.2: what ended, ended; whatever the status says.
  house.answer = { ok: false, error: 'invalid_refresh_token' }
  cluster.now += 12 * 3600_000
  assert.equal(await token(), 'connection_required')
  assert.equal(slack.at('/api/oauth.v2.access').at(-1)?.form.get('refresh_token'), 'xoxe-1-second')
})

each('an error with the status 200 is an error (RFC 6749 §5.2), and one that passes by ends nothing', async (house) => {
  const { cluster, token } = house
  const refused = async (answer: Slack['answer']): Promise<number> => {
    house.answer = answer
    const url = await cluster.nodes[0].begin('slack')
    return (await cluster.nodes[0].finish('slack', { code: 'a-code', state: url.searchParams.get('state') ?? '' })).status
  }
  const cases: readonly (readonly [Slack['answer'], number])[] = [
    [{ ok: false, error: 'invalid_code' }, 502],
    [{ ok: false, error: 'bad_client_secret' }, 502],
    [{ ok: false, error: 'a "new" error' }, 502],
    [{ ok: false, error: 'internal_error' }, 503],
    [{ ok: true, access_token: BOT_TOKEN, token_type: 'bot', authed_user: { id: 'U1' } }, 502],
    [{ ok: 'yes', access_token: USER_TOKEN, token_type: 'user' }, 503],
  ]
  for (const [answer, status] of cases) {
    assert.equal(await refused(answer), status, JSON.stringify(answer))
    assert.equal(await token(), 'connection_required')
  }
  assert.ok(!(await cluster.dump()).includes(BOT_TOKEN))
  assert.equal(await refused(GRANTED), 200)
  house.answer = { ok: false, error: 'ratelimited' }
  cluster.now += 12 * 3600_000
  await assert.rejects(token(), { name: 'UpstreamUnavailable' })
  house.answer = { ...GRANTED, authed_user: { ...GRANTED.authed_user, access_token: 'xoxe.xoxp-third' } }
  cluster.now += 60_000
  assert.equal(await token(), 'Bearer xoxe.xoxp-third')
})

each('without the quirk such answers are refused: nothing of a server is read in two ways', async ({ cluster, slack, token }) => {
  slack.on.set('/api/openid.connect.token', () => json({ ok: true, authed_user: GRANTED.authed_user }))
  const url = await cluster.nodes[0].begin('slack')
  assert.equal(url.pathname, '/openid/connect/authorize')
  assert.notEqual((await cluster.nodes[0].finish('slack', { code: 'a-code', state: url.searchParams.get('state') ?? '' })).status, 200)
  assert.equal(await token(), 'connection_required')
}, 'none')
