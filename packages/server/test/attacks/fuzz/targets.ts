// The parsers of what others send, each with what must hold whatever comes in.
import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { metadataDigest, parseClientMetadata } from '../../../src/clients/metadata.ts'
import { ConfigError, parseConfig } from '../../../src/config/load.ts'
import { McpError } from '../../../src/gateway/error.ts'
import { parseMessage } from '../../../src/gateway/message.ts'
import { operationOf } from '../../../src/gateway/operation.ts'
import { revisionOf } from '../../../src/gateway/revisions.ts'
import { eventParser, EventTooLarge, formatEvent, type StreamEvent } from '../../../src/gateway/sse.ts'
import { cookies } from '../../../src/http/cookies.ts'
import { plain } from '../../../src/http/page.ts'
import { Params } from '../../../src/http/params.ts'
import { checkClaims, checkFreshness, identityOf, type Claims } from '../../../src/identity/providers/oidc-claims.ts'
import { LoginRefused } from '../../../src/identity/providers/provider.ts'
import { stateSealer } from '../../../src/keys/seal.ts'
import { OAuthError } from '../../../src/oauth/error.ts'
import { matchRedirectUri, redirectClass } from '../../../src/oauth/redirect-uri.ts'
import { canonicalResource } from '../../../src/oauth/resource.ts'
import { formatScope, parseScope } from '../../../src/oauth/scope.ts'
import { AccessTokenError, readAccessToken } from '../../../src/token/access-token.ts'
import { challengeParameters } from '../../../src/upstreams/connectors/oauth/discovery.ts'
import { API_TARGETS } from './api-targets.ts'
import type { Target } from './fuzz.ts'

type ErrorClass = abstract new (...args: never[]) => Error

/** What the work returns, or undefined when it refused as it may. Whatever else it throws is a finding. */
function refusable<Value>(allowed: readonly ErrorClass[], work: () => Value): Value | undefined {
  try {
    return work()
  } catch (error) {
    if (allowed.some((type) => error instanceof type)) return undefined
    throw error
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const META = '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
const MESSAGE_WORDS = ['"jsonrpc":"2.0"', '"id":1', '"method":"tools/call"', '"params":{', '"name":"x"', '"uri":"x"', META, '"Method"', '"NAME"', '"_meta"', '"notifications":{"resourceSubscriptions":["a"]}', 'subscriptions/listen', 'resources/read', 'initialize', '"result":{}', '"error":{}']
const MESSAGES = [
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1.50}}}',
  `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","arguments":{},${META}}}`,
  '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
  '{"jsonrpc":"2.0","id":1,"result":{}}',
]

const message: Target = {
  name: 'message',
  seeds: MESSAGES,
  words: MESSAGE_WORDS,
  run(input) {
    const parsed = refusable([McpError], () => parseMessage(input))
    if (parsed === undefined) return
    // P-20: what is forwarded is what policy saw, for every parser that reads it afterwards.
    const printed = JSON.stringify(parsed.json)
    const again = parseMessage(Buffer.from(printed))
    assert.equal(JSON.stringify(again.json), printed)
    assert.deepEqual([again.kind, again.method, again.id], [parsed.kind, parsed.method, parsed.id])
    const plainly = JSON.parse(printed) as { method?: string; params?: { name?: unknown } }
    assert.equal(plainly.method ?? '', parsed.method)
    if (typeof parsed.params['name'] === 'string') assert.equal(plainly.params?.name, parsed.params['name'])
  },
}

/** The first lines are headers, the rest is the body. */
const revisions: Target = {
  name: 'revisions',
  seeds: MESSAGES.flatMap((body) => [`2026-07-28\ntools/call\nx\n${body}`, `2025-11-25\n\n\n${body}`, `\n\n=?base64?eA==?=\n${body}`]),
  words: [...MESSAGE_WORDS, '2026-07-28', '2025-06-18', '2027-01-01', '=?base64?', '?=', 'eA==', '=?BASE64?eA==?=', '\n'],
  run(input) {
    const [version = '', method = '', name = '', ...rest] = input.toString('utf8').split('\n')
    const parsed = refusable([McpError], () => parseMessage(Buffer.from(rest.join('\n'))))
    if (parsed === undefined) return
    const headers = Object.fromEntries([['mcp-protocol-version', version], ['mcp-method', method], ['mcp-name', name]].filter(([, value]) => value !== ''))
    const revision = refusable([McpError], () => revisionOf(headers, parsed))
    if (revision === undefined) return
    refusable([McpError], () => operationOf(parsed, revision))
    if (revision.era === 'legacy' || parsed.kind !== 'request') return
    // RS-18: whoever reads headers alone reads the same call.
    assert.equal(method.trim(), parsed.method)
    if (parsed.method === 'tools/call' && typeof parsed.params['name'] === 'string') {
      const encoded = /^=\?base64\?(.*)\?=$/i.exec(name.trim())?.[1]
      assert.equal(encoded === undefined ? name.trim() : Buffer.from(encoded, 'base64').toString(), parsed.params['name'])
    }
  },
}

function eventsOf(pieces: readonly Buffer[]): readonly StreamEvent[] | undefined {
  const events: StreamEvent[] = []
  return refusable([EventTooLarge, TypeError], () => {
    const parser = eventParser((event) => events.push(event))
    for (const piece of pieces) parser.push(piece)
    return events
  })
}

const sse: Target = {
  name: 'sse',
  seeds: ['event: message\ndata: {"a":1}\n\n', 'id: 1\r\ndata: a\r\ndata: b\r\n\r\n: comment\n\n', '\ufeffdata\n\nretry: 5\n\n', 'data: \u00e9\ud83d\ude00\r\rdata:x\n\n'],
  words: ['data:', 'data', 'id: ', 'event: message', 'retry: 1', '\n\n', '\r', '\r\n', ': ', '\ufeff', '\u00e9'],
  run(input) {
    const whole = eventsOf([input])
    const single = eventsOf(Array.from(input, (byte) => Buffer.from([byte])))
    // Half a character at the end is told when it ends, or never: whole events are the same.
    if (whole === undefined || single === undefined) return assert.equal(whole, single)
    assert.deepEqual(single, whole)
    const printed = whole.map(formatEvent).join('')
    assert.deepEqual(eventsOf([Buffer.from(printed)]), whole)
    for (const { data } of whole) assert.doesNotMatch(data ?? '', /\r/)
  },
}

const REGISTERED = ['https://app.example/cb', 'http://127.0.0.1/cb', 'http://localhost:3000/cb?x=1', 'http://[::1]:8080/', 'com.example.app:/cb']

const redirectUri: Target = {
  name: 'redirect-uri',
  seeds: [...REGISTERED, 'http://127.0.0.1:65535/cb', 'http://localhost/cb?x=1'],
  words: ['http://', 'https://', '127.0.0.1', 'localhost', '[::1]', ':80', ':99999', '@', '.evil.example', '%2e', '/..', '#', '?x=1', 'javascript:', '\\', '\u3002', '0x7f.1', 'com.example.app:'],
  run(input) {
    const value = input.toString('utf8')
    const kind = redirectClass(value)
    const matched = matchRedirectUri(value, REGISTERED)
    if (matched === undefined) return
    assert.notEqual(kind, undefined)
    if (REGISTERED.includes(value)) return
    // RFC 8252 §7.3: as browsers read it, a loopback URI that differs in its port alone.
    const url = new URL(value)
    assert.ok(['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname) && url.protocol === 'http:' && url.username === '', value)
    assert.ok(REGISTERED.some((uri) => URL.canParse(uri) && new URL(uri).hostname === url.hostname && new URL(uri).pathname === url.pathname && new URL(uri).search === url.search), value)
  },
}

const params: Target = {
  name: 'params',
  seeds: ['grant_type=refresh_token&refresh_token=x&scope=a+b', 'resource=a&resource=b&client_id=', 'a=%00&b=%F0%9F'],
  words: ['resource=', 'client_id=', '&', '=', '%00', '%u0041', '+', '%26', '%3D', ';'],
  run(input) {
    const read = refusable([OAuthError], () => Params.from(new URLSearchParams(input.toString('utf8'))))
    if (read === undefined) return
    const entries = read.entries()
    const names = entries.map(([name]) => name).filter((name) => name !== 'resource')
    assert.equal(new Set(names).size, names.length)
    for (const [, value] of entries) assert.ok(value !== '' && !value.includes('\0'))
    assert.deepEqual(Params.from(new URLSearchParams(entries)).entries(), entries)
  },
}

const metadata: Target = {
  name: 'client metadata',
  seeds: [
    '{"client_name":"App","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"none"}',
    '{"redirect_uris":["http://127.0.0.1/cb","app:/x"],"application_type":"native","grant_types":["authorization_code"],"scope":"a b","software_id":"x"}',
    '{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[{"kty":"EC","crv":"P-256","x":"a","y":"b"}]}}',
  ],
  words: ['"redirect_uris":', '"client_name":', '"jwks":{"keys":[{}]}', '"jwks_uri":"https://a.example/jwks"', '"private_key_jwt"', '"web"', '"d":"x"', '"__proto__":{"client_name":"x"}', '"client_uri":"http:"', '"token_endpoint_auth_methods_supported":["none"]', '"http://127.0.0.1"'],
  run(input) {
    const document = json(input.toString('utf8'))
    const parsed = refusable([OAuthError], () => parseClientMetadata(document, { grantTypes: ['authorization_code', 'refresh_token'], defaultMethod: 'none', allowSecrets: false }))
    if (parsed === undefined) return
    assert.ok(parsed.redirectUris.length > 0 && parsed.redirectUris.every((uri) => redirectClass(uri) !== undefined))
    assert.ok(parsed.applicationType === 'native' || parsed.redirectUris.every((uri) => redirectClass(uri) === 'https'))
    assert.ok(!parsed.tokenEndpointAuthMethods.some((method) => method.startsWith('client_secret')))
    assert.notEqual(plain(parsed.name), '')
    for (const key of parsed.jwks?.keys ?? []) assert.ok(!('d' in key) && !('k' in key))
    // What a store gives back is the same client.
    assert.equal(metadataDigest(JSON.parse(JSON.stringify(parsed)) as typeof parsed), metadataDigest(parsed))
  },
}

const ISSUER = 'https://lanyard.example'
const NOW = 1_795_000_000_000
const OWN = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const KEYS = { publicKey: (kid: string) => (kid === 'k1' ? { key: OWN.publicKey, algorithm: 'ES256' as const } : undefined) }
const CLAIMS = `{"iss":"${ISSUER}","sub":"usr_a","aud":"${ISSUER}/mcp/x","client_id":"app","scope":"mcp.read","iat":1795000000,"exp":1795000600,"jti":"j","grant":"grt_a"}`

function signed(header: string, payload: Buffer | string): string {
  const input = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`
  return `${input}.${sign('sha256', Buffer.from(input), { key: OWN.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

const HEADER = '{"typ":"at+jwt","alg":"ES256","kid":"k1"}'
const GOOD = signed(HEADER, CLAIMS)

const accessToken: Target = {
  name: 'access token',
  seeds: [GOOD, `${GOOD}.`, GOOD.slice(0, -3), signed('{"typ":"JWT","alg":"ES256","kid":"k1"}', CLAIMS)],
  words: ['.', '=', 'eyJ', Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url'), Buffer.from(HEADER).toString('base64url'), Buffer.from(CLAIMS).toString('base64url')],
  run(input) {
    const token = input.toString('latin1')
    const read = refusable([AccessTokenError], () => readAccessToken(token, { issuer: ISSUER, keys: KEYS, now: NOW }))
    assert.ok(read === undefined || token === GOOD, 'a token that nobody signed, or another spelling of one, is accepted')
  },
}

/** Claims that our own key signed, whatever they are: nothing but a whole token comes out. */
const accessTokenClaims: Target = {
  name: 'access token claims',
  seeds: [CLAIMS, CLAIMS.replace('"aud":"', '"aud":["').replace('/x"', '/x"]')],
  words: ['"exp":', '"nbf":1', '"aud":["a","b"]', '"amr":["pwd",1]', '"auth_time":0', '"acr":{}', '1e999', '"grant":""'],
  run(input) {
    const read = refusable([AccessTokenError], () => readAccessToken(signed(HEADER, input), { issuer: ISSUER, keys: KEYS, now: NOW }))
    if (read === undefined) return
    for (const value of [read.userId, read.clientId, read.grantId, read.jti]) assert.ok(typeof value === 'string' && value !== '')
    assert.ok(read.expiresAt * 1000 > NOW && read.issuedAt <= NOW / 1000 + 60 && Number.isFinite(read.expiresAt))
    assert.ok(typeof read.audience === 'string' && read.scope.every((scope) => typeof scope === 'string' && scope !== ''))
    assert.ok((read.amr ?? []).every((method) => typeof method === 'string'))
  },
}

const identityClaims: Target = {
  name: 'identity claims',
  seeds: [
    '{"iss":"https://idp.example","sub":"a","iat":1795000000,"groups":["x","y"],"name":"A","email":"a@b.example","auth_time":1795000000,"acr":"1","amr":["pwd"],"sid":"s"}',
    '{"iss":"https://idp.example","sub":"a","iat":1795000000,"groups":"x","_claim_names":{"groups":"src1"}}',
    // Found: a sign-in that is always fresh, and that no store could keep.
    '{"iss":"https://idp.example","sub":"a","iat":1795000000,"auth_time":1e999}',
  ],
  words: ['"groups":', '"sub":"', '"azp":"lanyard"', '"auth_time":-1', '"iat":"x"', '"_claim_names":{"groups":""}', '"preferred_username":"x"', '"\\u202e"', '"\\ud800"', '["a",["b"]]'],
  run(input) {
    const document = json(input.toString('utf8'))
    if (typeof document !== 'object' || document === null || Array.isArray(document)) return
    const claims = { iat: 1_795_000_000, ...document } as unknown as Claims
    if (typeof claims.sub !== 'string' || typeof claims.iss !== 'string') return
    const identity = refusable([LoginRefused], () => {
      checkClaims(claims, 'lanyard', NOW)
      checkFreshness(claims, { redirectUri: `${ISSUER}/x` }, NOW)
      return identityOf({ id: 'corp', groupsClaim: 'groups' }, claims, claims, { idToken: 'x' })
    })
    if (identity === undefined) return
    assert.ok(identity.subject !== '' && identity.subject.length <= 255)
    assert.ok(identity.groups.every((group) => typeof group === 'string' && group !== ''))
    assert.ok(identity.authTime === undefined || identity.authTime <= NOW / 1000 + 120)
    for (const shown of [identity.name, identity.email, identity.acr, identity.sid]) assert.ok(shown === undefined || (shown !== '' && shown === plain(shown, 320)))
    assert.deepEqual(JSON.parse(JSON.stringify(identity)), identity)
  },
}

const challenge: Target = {
  name: 'challenge',
  seeds: ['Bearer error="insufficient_scope", scope="a b", resource_metadata="https://a.example/x"', 'Basic realm="x, error=y", Bearer scope=z', 'Bearer error = "a\\"b"'],
  words: ['scope=', 'error=', '"', '\\"', '\\', ', ', ' = ', 'resource_metadata="', 'Bearer '],
  run(input) {
    const found = challengeParameters(input.toString('latin1'))
    for (const [name] of found) assert.ok(name !== '' && name === name.toLowerCase())
    // A value in quotes is read as a whole: nothing inside of it is a parameter.
    const value = input.toString('latin1').replace(/["\\]/g, '')
    const quoted = challengeParameters(`Bearer a="${value}", scope="s"`)
    assert.equal(quoted.get('scope'), 's')
    assert.equal(quoted.get('a'), value)
    assert.equal(quoted.size, 2)
  },
}

const SECRET = 'a-secret-that-no-mistake-may-show'

const configuration: Target = {
  name: 'configuration',
  seeds: [
    'issuer: https://lanyard.example\nidentityProviders:\n  - { id: corp, type: oidc, issuer: "https://idp.example", clientId: lanyard, clientSecret: "${env:SECRET}" }\n',
    'issuer: https://lanyard.example\nidentityProviders:\n  - id: corp\n    type: oidc\n    issuer: https://idp.example\n    clientId: lanyard\nupstreams:\n  - id: notes\n    url: https://notes.example/mcp\nrules:\n  - { id: all, effect: allow }\n',
    // Found: what was resolved in the name of a setting, and in some values, was shown.
    'issuer: https://${env:SECRET}.example/\nidentityProviders: []\n',
    'upstreams:\n  - { id: "${env:SECRET}", url: "https://a.example" }\n  - { id: "${env:SECRET}", url: "https://a.example" }\n',
    'issuer: https://lanyard.example\n? { clientSecret: "${env:SECRET}" }\n: x\n',
  ],
  words: ['issuer: ', 'upstreams:\n', '  - ', '&a ', '*a', '<<: *a', '${env:SECRET}', '${env:', '${file:/x}', '!!js/function', '!!binary ', '? ', '|\n', '{', '[', 'rules:', 'tokens: { accessTokenSeconds: 1 }', 'listen: ${env:SECRET}', 'hosts: ["${env:SECRET}"]', '\t'],
  run(input) {
    try {
      parseConfig(input.toString('utf8'), { file: 'lanyard.yaml', directory: '/nowhere', environment: { SECRET } })
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      assert.ok(error.problems.length > 0)
      assert.ok(!error.message.includes(SECRET), 'a mistake shows a secret')
      for (const { message: text } of error.problems) assert.ok(text !== '' && !text.includes('undefined'), text)
    }
  },
}

const SEALER = stateSealer([{ id: 'k1', key: Buffer.alloc(32, 1) }])
const SEALED = SEALER.seal('mcp session', ['a', 'b'], { x: 1 }, NOW + 1)

const sealedState: Target = {
  name: 'sealed state',
  seeds: [SEALED, SEALED.slice(3), 'k1.', SEALER.seal('other', ['a', 'b'], {}, NOW + 1)],
  words: ['k1.', '.', '=', 'A', 'k2.', '-', '_', '+', '/'],
  run(input) {
    const text = input.toString('latin1')
    const opened = SEALER.open('mcp session', ['a', 'b'], text, NOW)
    assert.ok(opened === undefined || text === SEALED, 'another text opens than was sealed')
  },
}

const COOKIES = cookies(ISSUER)

const smallOnes: Target = {
  name: 'scope, resource, cookie, text',
  seeds: ['mcp.read mcp.write', `${ISSUER}/mcp/x`, '__Host-lanyard_session=a; b=c', 'A\u202eB'],
  words: [' ', '"', '\\', '__Host-lanyard_session=', ';', 'https://', '/../', '%2e', ':443', '\u0300', '\u200b'],
  run(input) {
    const text = input.toString('utf8')
    const scope = parseScope(text)
    if (scope !== undefined) assert.deepEqual(parseScope(formatScope(scope)), scope)
    const resource = canonicalResource(text)
    if (resource !== undefined) assert.equal(canonicalResource(resource), resource)
    const shown = plain(text, 50)
    assert.equal(plain(shown, 50), shown)
    assert.doesNotMatch(shown, /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u)
    const header = input.toString('latin1').replace(/[^\x20-\x7e]/g, '')
    const request = new Request(ISSUER, { headers: { cookie: header } })
    const session = COOKIES.read(request, 'session')
    if (session !== undefined) assert.equal(header.split('__Host-lanyard_session=').length >= 2 && !session.includes(';'), true)
  },
}

export const TARGETS: readonly Target[] = [message, revisions, sse, redirectUri, params, metadata, accessToken, accessTokenClaims, identityClaims, challenge, configuration, sealedState, smallOnes, ...API_TARGETS]
