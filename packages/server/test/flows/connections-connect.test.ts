// Connecting an account: who may start, who may finish, what the upstream's answer must prove, what is kept.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { eachConnectionCluster, upstream, type Cluster, type ClusterOptions } from '../support/connection-nodes.ts'
import { json, upstreamEmulator, type Emulator } from '../support/upstream-emulator.ts'

interface Upstreams {
  readonly tickets: Emulator
  /** A second upstream, of somebody else. */
  readonly evil: Emulator
}

function each(name: string, run: (cluster: Cluster, upstreams: Upstreams) => Promise<void>, options?: ClusterOptions): void {
  eachConnectionCluster(name, async (cluster) => {
    const [tickets, evil] = [await upstreamEmulator(), await upstreamEmulator()]
    cluster.upstreams = [upstream('tickets', tickets.mcp), upstream('evil', evil.mcp)]
    try {
      await run(cluster, { tickets, evil })
    } finally {
      await Promise.all([tickets.close(), evil.close()])
    }
  }, options)
}

const stateOf = (url: URL): string => url.searchParams.get('state') ?? ''

async function connectionCount(cluster: Cluster): Promise<number> {
  return (await cluster.db.query('SELECT * FROM connections')).length
}

each('an account is connected: code, PKCE and resource at both endpoints, one redirect URI (RFC 7636 §4.6, RFC 8707 §2, C-7)', async (cluster, { tickets }) => {
  const [node, other] = cluster.nodes
  const url = await node.begin('tickets')
  const asked = Object.fromEntries(url.searchParams)
  const redirectUri = `${cluster.issuer}/connections/tickets/callback`
  assert.deepEqual({ ...asked, state: '', code_challenge: '' }, { response_type: 'code', client_id: 'client-1', redirect_uri: redirectUri, state: '', code_challenge: '', code_challenge_method: 'S256', resource: tickets.mcp })
  assert.equal(tickets.at('/token').length, 0)
  // The other node finishes: nothing is kept in memory.
  const page = await other.finish('tickets', { code: 'a-code', state: stateOf(url) })
  assert.equal(page.status, 200)
  assert.match(page.text, /The tickets is connected/)
  const [{ form, headers } = assert.fail()] = tickets.at('/token')
  const verifier = form.get('code_verifier') ?? ''
  assert.equal(createHash('sha256').update(verifier).digest('base64url'), asked['code_challenge'])
  assert.deepEqual({ ...Object.fromEntries(form), code_verifier: '' }, { grant_type: 'authorization_code', code: 'a-code', redirect_uri: redirectUri, client_id: 'client-1', code_verifier: '', resource: tickets.mcp })
  // E05: what the browser sent to Lanyard stays here.
  assert.equal(headers.cookie, undefined)
  const credential = await other.connector(cluster.upstreams[0]!).credential('usr_alice', cluster.upstreams[0]!)
  assert.deepEqual(credential === 'connection_required' ? credential : credential.headers, { authorization: `Bearer ${tickets.secrets.find((secret) => secret.startsWith('access'))}` })
  assert.equal(await node.connector(cluster.upstreams[0]!).credential('usr_bob', cluster.upstreams[0]!), 'connection_required')
  assert.deepEqual((await cluster.events()).map(({ action, outcome, subject, upstream: at }) => [action, outcome, subject, at]), [
    ['connection.started', 'success', 'usr_alice', 'tickets'],
    ['connection.created', 'success', 'usr_alice', 'tickets'],
  ])
  const [started, created] = await cluster.events()
  assert.equal(started?.reference, created?.reference)
  assert.deepEqual([started?.address, created?.address], ['192.0.2.1', '192.0.2.1'])
})

each('nothing that is secret stands anywhere in clear (C-15, E08)', async (cluster, { tickets }) => {
  tickets.on.set('/register', () => json({ client_id: 'client-x', client_secret: 'the-registered-client-secret', token_endpoint_auth_method: 'client_secret_post' }, 201))
  const url = await cluster.nodes[0].begin('tickets')
  const attempts = await cluster.dump()
  await cluster.nodes[0].finish('tickets', { code: 'the-code', state: stateOf(url) })
  const { form } = tickets.at('/token')[0] ?? assert.fail()
  assert.equal(form.get('client_secret'), 'the-registered-client-secret')
  cluster.now += 3600_000
  tickets.on.set('/token', () => json({ error: 'invalid_request', error_description: tickets.secrets.join(' ') }, 400))
  await assert.rejects(cluster.nodes[0].oauth.credential('usr_alice', cluster.upstreams[0]!))
  tickets.on.delete('/token')
  const connected = await cluster.dump()
  assert.equal((await cluster.nodes[0].disconnect('tickets')).status, 303)
  assert.equal((await cluster.db.query('SELECT * FROM pending_revocations')).length, 1)
  const dump = `${attempts} ${connected} ${await cluster.dump()}`
  assert.equal(tickets.secrets.length, 2)
  for (const secret of [...tickets.secrets, 'the-registered-client-secret', 'the-code', stateOf(url), form.get('code_verifier') ?? 'no verifier']) {
    assert.ok(!dump.includes(secret), `${secret} stands in the database`)
  }
})

each('a state is used once, by one of many at once (C-18, P-6)', async (cluster, { tickets }) => {
  const url = await cluster.nodes[0].begin('tickets')
  const pages = await Promise.all(Array.from({ length: 20 }, (_, index) => cluster.nodes[index % 2]!.finish('tickets', { code: 'a-code', state: stateOf(url) })))
  assert.equal(pages.filter((page) => page.status === 200).length, 1)
  assert.equal(pages.filter((page) => page.status === 400).length, 19)
  assert.equal(tickets.at('/token').length, 1)
})

each('a state that is missing, unknown, repeated or older than ten minutes goes nowhere (C-18, P-6, D03)', async (cluster, { tickets }) => {
  const [node] = cluster.nodes
  const url = await node.begin('tickets')
  for (const query of ['code=x', 'code=x&state=', 'code=x&state=lyd_st_unknown', `code=x&state=${stateOf(url)}&state=y`]) {
    assert.equal((await node.get(`/connections/tickets/callback?${query}`)).status, 400, query)
  }
  cluster.now += 10 * 60_000
  assert.equal((await node.finish('tickets', { code: 'x', state: stateOf(url) })).status, 400)
  assert.equal(tickets.at('/token').length, 0)
  assert.equal(await connectionCount(cluster), 0)
  const again = await node.begin('tickets')
  cluster.now += 9 * 60_000
  assert.equal((await node.finish('tickets', { code: 'x', state: stateOf(again) })).status, 200)
})

each('only the session that started can finish: not another person, not another browser, not nobody (D04)', async (cluster, { tickets }) => {
  const [node] = cluster.nodes
  for (const session of ['bob', 'alice-elsewhere', 'nobody'] as const) {
    const url = await node.begin('tickets')
    const page = await node.finish('tickets', { code: 'a-code', state: stateOf(url) }, session)
    assert.equal(page.status, 403, session)
    assert.match((await cluster.events('connection.failed')).at(-1)?.reason ?? '', /another session/)
    // It is used up: the one who started cannot go on with an answer that went through other hands.
    assert.equal((await node.finish('tickets', { code: 'a-code', state: stateOf(url) })).status, 400)
  }
  assert.equal(tickets.at('/token').length, 0)
  assert.equal(await connectionCount(cluster), 0)
  await cluster.connected('tickets')
  assert.equal(await connectionCount(cluster), 1)
})

each('an answer at another upstream\'s callback goes nowhere: neither server sees the code (E01)', async (cluster, { tickets, evil }) => {
  const [node] = cluster.nodes
  // The evil upstream's server sent the browser on to the honest one, with the state of its own connection.
  const url = await node.begin('evil')
  assert.equal(url.searchParams.get('redirect_uri'), `${cluster.issuer}/connections/evil/callback`)
  assert.equal((await node.finish('tickets', { code: 'honest-code', state: stateOf(url), iss: tickets.issuer })).status, 403)
  // At its own callback the issuer gives it away.
  const second = await node.begin('evil')
  assert.equal((await node.finish('evil', { code: 'honest-code', state: stateOf(second), iss: tickets.issuer })).status, 502)
  assert.equal(tickets.at('/token').length + evil.at('/token').length, 0)
  assert.equal(await connectionCount(cluster), 0)
  await cluster.connected('evil')
  await cluster.connected('tickets')
})

each('the issuer of the answer is compared, without normalisation, before anything else of it is read (RFC 9207 §2.4, C-6)', async (cluster, { tickets }) => {
  const answers = async (supported: boolean | undefined, answer: Record<string, string>): Promise<number> => {
    tickets.metadata = { authorization_response_iss_parameter_supported: supported }
    cluster.now += 11 * 60_000
    const url = await cluster.nodes[0].begin('tickets')
    return (await cluster.nodes[0].finish('tickets', { state: stateOf(url), ...answer })).status
  }
  const { issuer } = tickets
  assert.equal(await answers(undefined, { code: 'c' }), 200)
  assert.equal(await answers(undefined, { code: 'c', iss: issuer }), 200)
  assert.equal(await answers(true, { code: 'c', iss: issuer }), 200)
  const redeemed = tickets.at('/token').length
  assert.equal(await answers(undefined, { code: 'c', iss: `${issuer}/` }), 502)
  assert.equal(await answers(true, { code: 'c' }), 502)
  assert.equal(await answers(true, { code: 'c', iss: 'https://evil.example' }), 502)
  // C-6: an error of another issuer is nobody's error.
  assert.equal(await answers(true, { error: 'access_denied', iss: 'https://evil.example' }), 502)
  assert.match((await cluster.events('connection.failed')).at(-1)?.reason ?? '', /iss/)
  assert.equal(tickets.at('/token').length, redeemed)
  assert.equal(await answers(true, { error: 'access_denied', iss: issuer }), 403)
  assert.equal((await cluster.events('connection.failed')).at(-1)?.reason, 'answer: access_denied')
})

each('a server that changed between question and answer gets no code (RFC 9700 §4.4)', async (cluster, { tickets, evil }) => {
  const [node, other] = cluster.nodes
  const url = await node.begin('tickets')
  tickets.resource = { authorization_servers: [evil.issuer] }
  const page = await other.finish('tickets', { code: 'a-code', state: stateOf(url) })
  assert.equal(page.status, 502)
  assert.match((await cluster.events('connection.failed')).at(-1)?.reason ?? '', /changed meanwhile/)
  assert.equal(tickets.at('/token').length + evil.at('/token').length, 0)
})

each('what the token endpoint answers must be a bearer token that fits a header; nothing of it becomes a 500', async (cluster, { tickets }) => {
  const good = { access_token: 'x', token_type: 'Bearer' }
  const bad: readonly (readonly [unknown, number, number])[] = [
    ['<html>', 200, 502],
    ['', 200, 502],
    ['null', 200, 502],
    [{ ...good, access_token: undefined }, 200, 502],
    [{ ...good, access_token: 'a\r\nx-evil: 1' }, 200, 502],
    [{ ...good, access_token: 'schlüssel' }, 200, 502],
    [{ ...good, token_type: 'mac' }, 200, 502],
    [{ ...good, token_type: 'DPoP' }, 200, 502],
    [{ ...good, expires_in: 'soon' }, 200, 502],
    [{ ...good, refresh_token: 7 }, 200, 502],
    [{ error: 'invalid_grant' }, 400, 502],
    [{ error: '<script>' }, 400, 502],
    ['busy', 503, 503],
    ['slow down', 429, 503],
  ]
  for (const [body, status, expected] of bad) {
    tickets.on.set('/token', () => ({ ...json(body, status), body: typeof body === 'string' ? body : JSON.stringify(body) }))
    const url = await cluster.nodes[0].begin('tickets')
    const page = await cluster.nodes[0].finish('tickets', { code: 'a-code', state: stateOf(url) })
    assert.equal(page.status, expected, JSON.stringify(body))
    assert.doesNotMatch(page.text, /script>/)
  }
  assert.equal(await connectionCount(cluster), 0)
  const failures = await cluster.events('connection.failed')
  assert.equal(failures.length, bad.length)
  assert.ok(failures.every(({ address }) => address === '192.0.2.1'))
  tickets.on.set('/token', () => json(good))
  await cluster.connected('tickets')
})

each('forms: the session\'s own token and our own origin, or nothing happens (P-3, M04)', async (cluster, { tickets }) => {
  const [node] = cluster.nodes
  await cluster.connected('tickets')
  const csrf = await node.csrf('tickets')
  const before = { attempts: tickets.at('/authorize').length, events: (await cluster.events()).length }
  const forged: readonly (readonly [Record<string, string>, Parameters<typeof node.post>[2], Record<string, string>, number])[] = [
    [{}, 'alice', {}, 403],
    [{ csrf: 'wrong' }, 'alice', {}, 403],
    [{ csrf: await node.csrf('tickets', 'bob') }, 'alice', {}, 403],
    [{ csrf: await node.csrf('tickets', 'alice-elsewhere') }, 'alice', {}, 403],
    [{ csrf: await node.csrf('evil') }, 'alice', {}, 403],
    [{ csrf }, 'alice', { origin: 'https://evil.example' }, 403],
    [{ csrf }, 'alice', { origin: 'null', 'sec-fetch-site': 'cross-site' }, 403],
    [{ csrf }, 'alice', { 'sec-fetch-site': 'cross-site' }, 403],
    [{ csrf }, 'alice', { 'sec-fetch-site': 'same-site' }, 403],
    [{ csrf }, 'alice', { 'content-type': 'application/json' }, 400],
    [{ csrf }, 'nobody', {}, 401],
  ]
  for (const [form, session, headers, status] of forged) {
    assert.equal((await node.post('/connections/tickets', form, session, headers)).status, status, JSON.stringify([form, session, headers]))
    assert.notEqual((await node.post('/connections/tickets/disconnect', form, session, headers)).status, 303)
  }
  assert.equal((await cluster.events()).length, before.events)
  assert.equal(await connectionCount(cluster), 1)
  assert.equal((await cluster.db.query('SELECT * FROM connection_attempts')).length, 0)
  // The token of one form is not that of the other.
  assert.equal((await node.post('/connections/tickets/disconnect', { csrf })).status, 403)
  assert.equal((await node.post('/connections/tickets', { csrf })).status, 303)
})

each('who may not use an upstream can neither start nor finish', async (cluster, { tickets }) => {
  const [node] = cluster.nodes
  const csrf = await node.csrf('tickets')
  const url = await node.begin('tickets')
  cluster.mayConnect = false
  assert.equal((await node.get('/connections/tickets')).status, 403)
  assert.equal((await node.post('/connections/tickets', { csrf })).status, 403)
  assert.equal((await node.finish('tickets', { code: 'c', state: stateOf(url) })).status, 403)
  assert.equal(tickets.at('/token').length, 0)
  assert.equal(await connectionCount(cluster), 0)
  cluster.mayConnect = true
  await cluster.connected('tickets')
})

each('a connect link is for the person whose application asked, and signs nobody in (RS-36, RS-37)', async (cluster) => {
  const [node, other] = cluster.nodes
  const link = new URL(node.connections.connectUrl('usr_alice', cluster.upstreams[0]!))
  assert.equal(link.origin, cluster.issuer)
  assert.ok(!decodeURIComponent(link.href).includes('usr_alice'))
  const path = `${link.pathname}${link.search}`
  assert.equal((await other.get(path, 'alice')).status, 200)
  assert.equal((await other.get(path, 'alice-elsewhere')).status, 200)
  const wrong = await other.get(path, 'bob')
  assert.equal(wrong.status, 403)
  assert.doesNotMatch(wrong.text, /<form/)
  const [event] = await cluster.events('connection.failed')
  assert.deepEqual([event?.subject, event?.reason], ['usr_bob', 'the link is for another person'])
  const stranger = await other.get(path, 'nobody')
  assert.equal(stranger.location, `/sign-in?return=${encodeURIComponent(path)}`)
  // Of another upstream, changed, or older than a day: no link.
  assert.equal((await other.get(path.replace('/tickets', '/evil'))).status, 400)
  assert.equal((await other.get(`${path.slice(0, -2)}xx`)).status, 400)
  cluster.now += 24 * 3600_000
  assert.equal((await other.get(path)).status, 400)
  assert.equal((await other.get('/connections/tickets')).status, 200)
})

each('afterwards the browser goes to a path of this gateway and nowhere else', async (cluster) => {
  const [node] = cluster.nodes
  for (const [wanted, expected] of [['/authorize/req_1', '/authorize/req_1'], ['https://evil.example', '/'], ['//evil.example', '/'], ['/\\evil.example', '/'], ['', '/']] as const) {
    const page = await node.post('/connections/tickets', { csrf: await node.csrf('tickets'), continue: wanted })
    const done = await node.finish('tickets', { code: 'c', state: stateOf(new URL(page.location ?? '')) })
    assert.deepEqual([done.status, done.location], [303, expected], wanted)
  }
})

each('there is nothing to connect at upstreams without accounts, or that do not exist', async (cluster) => {
  const [node] = cluster.nodes
  cluster.upstreams = [upstream('open', 'https://open.example/mcp', { type: 'none' }), upstream('weather', 'https://weather.example/mcp', { type: 'api-key', header: 'X-Api-Key', value: 'the-key' })]
  for (const name of ['open', 'weather', 'missing', '..%2f']) {
    for (const path of ['', '/callback?state=x', '/client.json']) assert.equal((await node.get(`/connections/${name}${path}`)).status, 404, name + path)
    assert.equal((await node.post(`/connections/${name}`, { csrf: 'x' })).status, 404)
  }
  const [open, weather] = cluster.upstreams as [typeof cluster.upstreams[0], typeof cluster.upstreams[0]]
  assert.deepEqual(await node.connector(open).credential('usr_alice', open), { headers: {}, version: '0' })
  assert.deepEqual(await node.connector(weather).credential('usr_alice', weather), { headers: { 'x-api-key': 'the-key' }, version: '0' })
  assert.deepEqual(await node.connections.missing('usr_alice', [open, weather]), [])
})

each('a profile misses the accounts that are not connected, or ended', async (cluster) => {
  const [node] = cluster.nodes
  const profile = { id: 'p', name: 'p', upstreams: cluster.upstreams, resource: 'https://lanyard.example/mcp/p' as never }
  const missing = async (user: string): Promise<string[]> => (await node.connections.missing(user, profile.upstreams)).map(({ id }) => id)
  assert.deepEqual(await missing('usr_alice'), ['tickets', 'evil'])
  await cluster.connected('tickets')
  assert.deepEqual(await missing('usr_alice'), ['evil'])
  // E06: another person's connection is nobody else's.
  assert.deepEqual(await missing('usr_bob'), ['tickets', 'evil'])
  assert.deepEqual(await node.connections.list('usr_bob'), [])
  assert.deepEqual((await node.connections.list('usr_alice')).map(({ upstream: { id }, state }) => [id, state]), [['tickets', 'active']])
  const record = (await node.store.find({ userId: 'usr_alice', upstream: 'tickets' })) ?? assert.fail()
  assert.equal(await node.store.needReconnect(record, { version: record.version }, cluster.now), true)
  assert.deepEqual(await missing('usr_alice'), ['tickets', 'evil'])
  assert.deepEqual((await node.connections.list('usr_alice')).map(({ state }) => state), ['reconnect_needed'])
})
