// Who may call: every refusal beside the same request that succeeds, and nothing of a refused one reaches the upstream.
import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { connect } from 'node:net'
import { eventually } from '../support/eventually.ts'
import { call, eachMcpCluster, errorOf, ISSUER, legacy, initialize, modern, REFUSED_PER_MINUTE, type Answer, type Cluster, type Sent } from '../support/mcp-nodes.ts'

const METADATA = `resource_metadata="${ISSUER}/.well-known/oauth-protected-resource/mcp/notes"`

function challenge({ headers }: Answer): string {
  return headers['www-authenticate'] ?? ''
}

function withHeaders(sent: Sent, headers: Record<string, string | undefined>): Sent {
  const merged = Object.fromEntries(Object.entries({ ...sent.headers, ...headers }).filter(([, value]) => value !== undefined)) as Record<string, string>
  return { ...sent, headers: merged }
}

async function assertAllowed(cluster: Cluster, sent: Sent = call(cluster.token(), 'read_note')): Promise<void> {
  const before = cluster.notes.calls().length
  const answer = await cluster.nodes[0].send(sent)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(errorOf(answer.body).code, undefined, answer.text)
  assert.equal(cluster.notes.calls().length, before + 1)
}

async function assertUnauthorized(cluster: Cluster, sent: Sent, reason: string, node = cluster.nodes[0]): Promise<void> {
  const asked = cluster.notes.asked.length
  const before = (await cluster.events('token.refused')).length
  const answer = await node.send(sent)
  assert.equal(answer.status, 401, `${reason}: ${answer.text}`)
  assert.match(challenge(answer), /^Bearer error="invalid_token", error_description="[^"]+", /)
  assert.ok(challenge(answer).includes(METADATA))
  assert.equal(cluster.notes.asked.length, asked, 'nothing goes upstream')
  const events = await cluster.events('token.refused')
  assert.equal(events.length, before + 1)
  assert.equal(events.at(-1)?.reason, reason)
}

eachMcpCluster('a request without a token is told where to get one, and for which scope (RFC 9728 §5.1, RFC 6750 §3.1, RS-1, RS-2, RS-3, RS-4, RS-5)', async (cluster) => {
  const sent = call(cluster.token(), 'read_note')
  const answer = await cluster.nodes[0].send(withHeaders(sent, { authorization: undefined }))
  assert.equal(answer.status, 401)
  assert.equal(challenge(answer), `Bearer ${METADATA}, scope="mcp.read mcp.write"`)
  assert.equal(answer.headers['cache-control'], 'no-store')
  assert.equal(cluster.notes.asked.length, 0)
  const metadata = await cluster.nodes[0].send({ method: 'GET', path: '/.well-known/oauth-protected-resource/mcp/notes' })
  assert.equal(metadata.body['resource'], `${ISSUER}/mcp/notes`)
  assert.deepEqual(metadata.body['authorization_servers'], [ISSUER])
  await assertAllowed(cluster, sent)
})

eachMcpCluster('the token is read from the Authorization header alone (RFC 6750 §2.1, RS-11, A11)', async (cluster) => {
  const token = cluster.token()
  const sent = call(token, 'read_note')
  const bare = withHeaders(sent, { authorization: undefined })
  for (const path of [`/mcp/notes?access_token=${token}`, `/mcp/notes?token=${token}`]) assert.equal((await cluster.nodes[0].send({ ...bare, path })).status, 401)
  for (const headers of [{ cookie: `access_token=${token}` }, { 'x-authorization': `Bearer ${token}` }, { 'proxy-authorization': `Bearer ${token}` }]) {
    assert.equal((await cluster.nodes[0].send(withHeaders(bare, headers))).status, 401)
  }
  for (const authorization of [`Basic ${token}`, token, `Bearer ${token}, Bearer ${token}`, 'Bearer', `Bearer ${token} x`, `DPoP ${token}`, `Bearer "${token}"`]) {
    const answer = await cluster.nodes[0].send(withHeaders(bare, { authorization }))
    assert.equal(answer.status, 401, authorization.slice(0, 20))
    assert.match(challenge(answer), /error="invalid_token"/)
  }
  assert.equal(cluster.notes.asked.length, 0)
  await assertAllowed(cluster, withHeaders(bare, { authorization: `bearer ${token}` }))
  await assertAllowed(cluster, { ...sent, path: '/mcp/notes?access_token=nonsense' })
})

eachMcpCluster('a token for one resource is worth nothing at another, also when its caller is known (RS-6, G04)', async (cluster) => {
  const notes = cluster.token({ profile: 'notes' })
  const weather = cluster.token({ profile: 'weather' })
  await assertAllowed(cluster, call(notes, 'read_note'))
  assert.equal((await cluster.nodes[0].send({ ...call(weather, 'read_note'), path: '/mcp/weather' })).status, 200)
  await assertUnauthorized(cluster, call(weather, 'read_note'), 'audience')
  const elsewhere = await cluster.nodes[0].send({ ...call(notes, 'read_note'), path: '/mcp/weather' })
  assert.equal(elsewhere.status, 401)
  assert.ok(challenge(elsewhere).includes(`${ISSUER}/.well-known/oauth-protected-resource/mcp/weather"`))
  assert.equal(cluster.weather.calls().length, 1)
  await assertAllowed(cluster, call(notes, 'read_note'))
})

eachMcpCluster('forged tokens are refused: types, algorithms, keys, claims, times (RFC 9068 §4, RFC 8725 §3.1, G02, G03, G05, G07)', async (cluster) => {
  const at = Math.floor(cluster.now / 1000)
  const claims = { iss: ISSUER, sub: 'usr_alice', aud: `${ISSUER}/mcp/notes`, client_id: 'app', scope: 'mcp.read mcp.write', iat: at, exp: at + 600, jti: 'jti_1', grant: 'grt_1' }
  const good = cluster.sign(claims)
  await assertAllowed(cluster, call(good, 'read_note'))
  const [header = '', payload = '', signature = ''] = good.split('.')
  const kid = (JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string }).kid
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signed = (head: object): string => {
    const input = `${encode(head)}.${payload}`
    return `${input}.${sign('sha256', Buffer.from(input), { key: own.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
  }
  const publicPem = cluster.nodes[0].keys.publicKey(kid)?.key.export({ format: 'pem', type: 'spki' }).toString() ?? ''
  const hmacInput = `${encode({ alg: 'HS256', typ: 'at+jwt', kid })}.${payload}`
  const jwk = own.publicKey.export({ format: 'jwk' })
  const forged: [string, string][] = [
    [cluster.sign(claims, 'JWT'), 'typ'],
    [cluster.sign(claims, 'logout+jwt'), 'typ'],
    [cluster.sign(claims, 'oauth-id-jag+jwt'), 'typ'],
    [`${encode({ alg: 'none', typ: 'at+jwt', kid })}.${payload}.${signature}`, 'alg'],
    [`${encode({ alg: 'none', typ: 'at+jwt' })}.${payload}.`, 'malformed'],
    [`${hmacInput}.${createHmac('sha256', publicPem).update(hmacInput).digest('base64url')}`, 'alg'],
    [signed({ alg: 'ES256', typ: 'at+jwt', kid }), 'signature'],
    [signed({ alg: 'ES256', typ: 'at+jwt', kid: '../../etc/passwd' }), 'kid'],
    [signed({ alg: 'ES256', typ: 'at+jwt', kid: `x' OR '1'='1` }), 'kid'],
    [signed({ alg: 'ES256', typ: 'at+jwt', kid: '__proto__' }), 'kid'],
    [signed({ alg: 'ES256', typ: 'at+jwt', jwk }), 'kid'],
    [signed({ alg: 'ES256', typ: 'at+jwt', kid: 'mine', jku: cluster.notes.url, x5u: cluster.notes.url, jwk }), 'kid'],
    [signed({ alg: 'ES256', typ: 'at+jwt', kid, crit: ['exp'] }), 'malformed'],
    [`${header}.${encode({ ...claims, sub: 'usr_bob' })}.${signature}`, 'signature'],
    [good.slice(0, -2), 'signature'],
    [`${good}AA`, 'signature'],
    [`${header}.${payload}`, 'malformed'],
    [cluster.sign({ ...claims, iss: undefined }), 'issuer'],
    [cluster.sign({ ...claims, iss: `${ISSUER}/` }), 'issuer'],
    [cluster.sign({ ...claims, aud: undefined }), 'audience'],
    [cluster.sign({ ...claims, aud: [claims.aud, `${ISSUER}/mcp/weather`] }), 'audience'],
    [cluster.sign({ ...claims, aud: `${claims.aud}/` }), 'audience'],
    [cluster.sign({ ...claims, exp: at }), 'expired'],
    [cluster.sign({ ...claims, exp: undefined }), 'malformed'],
    [cluster.sign({ ...claims, nbf: at + 120 }), 'not_yet_valid'],
    [cluster.sign({ ...claims, iat: at + 120 }), 'not_yet_valid'],
    [cluster.sign({ ...claims, sub: 'usr_nobody' }), 'unknown_user'],
    ['not-a-token', 'malformed'],
  ]
  for (const [token, reason] of forged) await assertUnauthorized(cluster, call(token, 'read_note'), reason)
  await assertAllowed(cluster, call(cluster.sign({ ...claims, aud: [claims.aud], nbf: at + 30 }), 'read_note'))
})

eachMcpCluster('a token is verified once and still ends with its time, its user and its grant, on both nodes (RS-6, C12)', async (cluster) => {
  const token = cluster.token({ grantId: 'grt_ends', userId: 'usr_anna' })
  const other = cluster.token({ userId: 'usr_alice' })
  for (const node of cluster.nodes) assert.equal((await node.send(call(token, 'read_note'))).status, 200)
  await cluster.revoke({ kind: 'grant', key: 'grt_ends' })
  for (const node of cluster.nodes) await assertUnauthorized(cluster, call(token, 'read_note'), 'cut', node)
  await assertAllowed(cluster, call(other, 'read_note'))
  cluster.now += 900_000
  await assertUnauthorized(cluster, call(other, 'read_note'), 'expired')
  const fresh = cluster.token()
  await assertAllowed(cluster, call(fresh, 'read_note'))
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice)
  cluster.users.set('usr_alice', { ...alice, disabled: true })
  await cluster.revoke({ kind: 'user', key: 'usr_alice' })
  for (const node of cluster.nodes) await assertUnauthorized(cluster, call(fresh, 'read_note'), 'disabled', node)
})

eachMcpCluster('a user whose groups change while their token is verified is not remembered as they were', async (cluster) => {
  const token = cluster.token()
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice)
  let go = (): void => undefined
  const held = new Promise<void>((resolve) => (go = resolve))
  let reading = false
  cluster.beforeUser = async () => {
    cluster.beforeUser = () => Promise.resolve()
    reading = true
    await held
  }
  const found = cluster.users.get.bind(cluster.users)
  const first = cluster.nodes[0].send(call(token, 'write_note'))
  await eventually('the user is read', () => reading)
  // The read that is under way finds the old groups, and the change is announced before it returns.
  cluster.users.get = () => {
    cluster.users.get = found
    return alice
  }
  cluster.users.set('usr_alice', { ...alice, groups: ['sales'] })
  await cluster.revoke({ kind: 'user', key: 'usr_alice' })
  go()
  assert.equal(errorOf((await first).body).code, undefined)
  const next = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.equal(errorOf(next.body).message, 'Unknown tool: write_note')
  assert.equal(errorOf((await cluster.nodes[0].send(call(token, 'read_note'))).body).code, undefined)
})

eachMcpCluster('revocation closes streams that are open, on both nodes, and nobody else notices (C12)', async (cluster) => {
  cluster.notes.script = ({ method, message }, response) => {
    if (method !== 'GET' && message['method'] !== 'subscriptions/listen') return false
    const acknowledged = { jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: {} }
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(method === 'GET' ? ': open\n\n' : `data: ${JSON.stringify(acknowledged)}\n\n`)
    return undefined
  }
  const token = cluster.token({ grantId: 'grt_stream' })
  const other = cluster.token({ grantId: 'grt_other' })
  const opened = await cluster.nodes[0].send(initialize(token))
  const session = String(opened.headers['mcp-session-id'])
  const get = (node: 0 | 1) => cluster.nodes[node].open({ ...legacy(token, 'GET', {}, session), method: 'GET', body: '' })
  const listen = (bearer: string) => cluster.nodes[1].open(modern(bearer, 'subscriptions/listen', { notifications: { toolsListChanged: true } }))
  const streams = [await get(0), await get(1), await listen(token)]
  const kept = await listen(other)
  for (const stream of [...streams, kept]) {
    assert.equal(stream.status, 200, stream.text())
    await stream.until((text) => text.includes(':'))
  }
  await cluster.revoke({ kind: 'grant', key: 'grt_stream' })
  for (const stream of streams) assert.equal(await stream.ended, 'cut')
  const left = (): number => cluster.notes.asked.filter((asked) => asked.left).length
  await eventually('the upstream is left alone by the sessions', () => left() === 2)
  // Both listened to one stream of the upstream: it is left when nobody hears it any more.
  assert.equal(kept.message.destroyed, false)
  assert.equal(left(), 2)
  kept.leave()
  await eventually('the upstream is left alone', () => left() === 3)
})

eachMcpCluster('a listening stream ends with the token that it was opened with (RS-6, X18)', async (cluster) => {
  cluster.notes.script = ({ message }, response) => {
    if (message['method'] !== 'subscriptions/listen') return false
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': open\n\n')
    return undefined
  }
  const stream = await cluster.nodes[0].open(modern(cluster.token(), 'subscriptions/listen', { notifications: { toolsListChanged: true } }))
  assert.equal(stream.status, 200)
  cluster.now += 899_000
  const later = await cluster.nodes[0].open(modern(cluster.token(), 'subscriptions/listen', { notifications: { toolsListChanged: true } }))
  cluster.now += 2000
  assert.equal(await stream.ended, 'cut')
  assert.equal(later.message.destroyed, false)
  later.leave()
})

eachMcpCluster('a call under way ends when its grant is revoked, and is told so (C12)', async (cluster) => {
  cluster.notes.script = ({ message }) => (message['method'] === 'tools/call' ? undefined : false)
  const token = cluster.token({ grantId: 'grt_call' })
  const answer = cluster.nodes[1].send(call(token, 'read_note'))
  await eventually('the tool runs', () => cluster.notes.calls().length === 1)
  await cluster.revoke({ kind: 'grant', key: 'grt_call' })
  assert.equal((await answer).status, 401)
  assert.match(challenge(await answer), /error="invalid_token"/)
  await eventually('the upstream is left', () => cluster.notes.calls()[0]?.left === true)
  assert.equal((await cluster.events('call.finished'))[0]?.reason, 'ended: revoked')
})

eachMcpCluster('a node that cannot know what was revoked answers nobody, whether it knows them or not (X07, X23)', async (cluster) => {
  const token = cluster.token()
  await assertAllowed(cluster, call(token, 'read_note'))
  cluster.fresh = false
  for (const bearer of [token, cluster.token()]) {
    const answer = await cluster.nodes[0].send(call(bearer, 'read_note'))
    assert.equal(answer.status, 503)
    assert.equal(answer.headers['retry-after'], '2')
  }
  assert.equal(cluster.notes.calls().length, 1)
  cluster.fresh = true
  await assertAllowed(cluster, call(token, 'read_note'))
})

eachMcpCluster('who cannot be checked is not let in: 503, not 401 and never anonymous (H17)', async (cluster) => {
  cluster.beforeUser = () => Promise.reject(new Error('the database is away'))
  const token = cluster.token()
  const answer = await cluster.nodes[0].send(call(token, 'read_note'))
  assert.equal(answer.status, 503)
  assert.equal(answer.headers['retry-after'], '5')
  assert.doesNotMatch(answer.text, /database/)
  assert.equal(cluster.notes.asked.length, 0)
  cluster.beforeUser = () => Promise.resolve()
  await assertAllowed(cluster, call(token, 'read_note'))
})

eachMcpCluster('addresses are compared byte for byte, and unknown ones fall to nothing wider (H18)', async (cluster) => {
  const sent = call(cluster.token(), 'read_note')
  for (const path of ['/mcp/', '/mcp/NOTES', '/mcp/notes/', '/mcp/n%6ftes', '/mcp/notes%2f', '/mcp/nothing', '/mcp//notes', '/mcp/../mcp/notes', '/mcp/notes;x', '/mcp/%00', '/mcp/__proto__', '/mcp/n\u00f6tes']) {
    const answer = await cluster.nodes[0].send({ ...sent, path: encodeURI(path).replaceAll('%25', '%') })
    assert.equal(answer.status, 404, path)
    assert.equal(answer.headers['www-authenticate'], undefined)
  }
  assert.equal(cluster.notes.asked.length, 0)
  assert.equal((await cluster.nodes[0].send({ ...sent, path: '/mcp' })).status, 401, 'everything is another resource')
  await assertAllowed(cluster, { ...sent, path: '/mcp/notes?x=1' })
})

eachMcpCluster('other methods are refused with those that are served (RS-16, RS-40)', async (cluster) => {
  const sent = call(cluster.token(), 'read_note')
  for (const method of ['PUT', 'PATCH', 'OPTIONS', 'HEAD', 'TRACE', 'PROPFIND']) {
    const answer = await cluster.nodes[0].send({ ...sent, method })
    assert.equal(answer.status, 405, method)
    assert.equal(answer.headers['allow'], 'POST, GET, DELETE')
  }
  // RS-40: there are no streams and no sessions but those of the 2025 revisions.
  for (const method of ['GET', 'DELETE']) {
    const answer = await cluster.nodes[0].send({ ...modern(cluster.token(), 'ping'), method, body: '' })
    assert.equal(answer.status, 405)
    assert.equal(answer.headers['allow'], 'POST')
  }
  assert.equal(cluster.notes.asked.length, 0)
  await assertAllowed(cluster, sent)
})

eachMcpCluster(
  'pages of unknown origins and rebound names reach nothing (RS-12, H15)',
  async (cluster) => {
    const sent = call(cluster.token(), 'read_note')
    for (const origin of ['https://evil.example', 'null', 'https://lanyard.example.evil.example', 'http://lanyard.example', 'https://app.example:444', 'https://app.example, https://evil.example', '']) {
      const answer = await cluster.nodes[0].send(withHeaders(sent, { origin }))
      assert.equal(answer.status, 403, origin)
      assert.equal(answer.headers['access-control-allow-origin'], undefined)
    }
    for (const host of ['evil.example', 'lanyard.example:8080', '127.0.0.1', 'lanyard.example.']) {
      assert.equal((await cluster.nodes[0].send(withHeaders(sent, { host, 'x-forwarded-host': 'lanyard.example' }))).status, 421, host)
    }
    assert.equal((await cluster.nodes[0].send({ ...withHeaders(sent, { authorization: undefined, cookie: 'session=x' }) })).status, 401)
    assert.equal(cluster.notes.asked.length, 0)
    for (const origin of [ISSUER, 'https://app.example']) {
      await assertAllowed(cluster, withHeaders(sent, { origin }))
      const answer = await cluster.nodes[0].send(withHeaders(sent, { origin }))
      assert.equal(answer.headers['access-control-allow-origin'], origin)
      assert.equal(answer.headers['access-control-allow-credentials'], undefined)
      assert.equal(answer.headers['vary'], 'Origin')
      // A browser must be able to read why it is refused.
      const refused = await cluster.nodes[0].send(withHeaders(sent, { origin, authorization: undefined }))
      assert.equal(refused.status, 401)
      assert.match(String(refused.headers['access-control-expose-headers']), /WWW-Authenticate.*DPoP-Nonce/)
    }
    const preflight = { method: 'OPTIONS', headers: { origin: 'https://app.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, content-type, dpop, mcp-method, mcp-param-region, x-other' } }
    const allowed = await cluster.nodes[0].send(preflight)
    assert.equal(allowed.status, 204)
    const names = String(allowed.headers['access-control-allow-headers']).toLowerCase().split(', ')
    // RFC 9449 §8: so must the nonce of the next proof; and arguments that are repeated in headers (P-9) have the names of their tools.
    for (const name of ['authorization', 'content-type', 'dpop', 'mcp-method', 'mcp-param-region']) assert.ok(names.includes(name), name)
    assert.ok(!names.includes('x-other'))
    const denied = await cluster.nodes[0].send({ ...preflight, headers: { ...preflight.headers, origin: 'https://evil.example' } })
    assert.equal(denied.status, 403)
    assert.equal(denied.headers['access-control-allow-headers'], undefined)
  },
  { allowedOrigins: ['https://app.example'] },
)

eachMcpCluster('requests that two parsers could read as different ones are refused by the first (RFC 9112 §6.1, HTTP request smuggling)', async (cluster) => {
  const token = cluster.token()
  const { headers, body } = call(token, 'read_note')
  const lines = Object.entries({ host: 'lanyard.example', ...headers }).map(([name, value]) => `${name}: ${value}`)
  const length = Buffer.byteLength(String(body))
  const raw = (more: readonly string[], payload = String(body)): string => [`POST /mcp/notes HTTP/1.1`, ...lines, ...more, '', payload].join('\r\n')
  const smuggled = `GET /mcp/weather HTTP/1.1\r\nhost: lanyard.example\r\n\r\n`
  const attacks = [
    raw([`content-length: ${length}`, 'transfer-encoding: chunked']),
    raw([`content-length: ${length}`, `content-length: ${length + 5}`]),
    raw([`content-length: +${length}`]),
    raw([`content-length : ${length}`]),
    raw(['transfer-encoding: chunked, identity'], `0\r\n\r\n${smuggled}`),
    raw(['transfer-encoding: xchunked'], `0\r\n\r\n${smuggled}`),
    raw(['transfer-encoding:\x0bchunked'], `0\r\n\r\n${smuggled}`),
    raw(['transfer-encoding: chunked'], `${length.toString(16)};\n${String(body)}\r\n0\r\n\r\n`),
    raw([`content-length: ${length}`]).replaceAll('\r\n', '\n'),
    raw(['x-folded: a', ' b', `content-length: ${length}`]),
  ]
  for (const attack of attacks) assert.match(await overSocket(cluster.nodes[0].address, attack), /^HTTP\/1\.1 400 /, JSON.stringify(attack.slice(-160)))
  assert.equal(cluster.notes.asked.length + cluster.weather.asked.length, 0)
  assert.match(await overSocket(cluster.nodes[0].address, raw([`content-length: ${length}`, 'connection: close'])), /^HTTP\/1\.1 200 /)
  assert.match(await overSocket(cluster.nodes[0].address, raw(['transfer-encoding: chunked', 'connection: close'], `${length.toString(16)}\r\n${String(body)}\r\n0\r\n\r\n`)), /^HTTP\/1\.1 200 /)
  assert.equal(cluster.notes.calls().length, 2)
})

/** Writes bytes as they are, and reads until the other side ends. */
function overSocket(address: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(address)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(Number(port), hostname, () => socket.write(bytes, 'latin1'))
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
  })
}

eachMcpCluster('a flood of refused tokens is refused to its end, does not fill the audit trail, and costs a good token nothing (O05)', async (cluster) => {
  const [node] = cluster.nodes
  const garbage = (index: number): Sent => call(`garbage${index}`, 'read_note')
  for (let index = 0; index < REFUSED_PER_MINUTE + 20; index += 1) assert.equal((await node.send(garbage(index))).status, 401)
  assert.equal((await cluster.events('token.refused')).length, REFUSED_PER_MINUTE)
  // A good one that was never seen before, from the same network.
  await assertAllowed(cluster)
  cluster.now += 61_000
  await assertUnauthorized(cluster, garbage(0), 'malformed')
  assert.equal(cluster.notes.calls().length, 1)
})
