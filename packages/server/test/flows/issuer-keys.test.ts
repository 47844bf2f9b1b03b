// How the keys of trusted issuers are found: by metadata that is the issuer's own, or where an administrator said.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { issuerKeys, type IssuerKeys } from '../../src/clients/issuer-keys.ts'
import { remoteKeys } from '../../src/clients/remote-keys.ts'
import { outbound } from '../../src/http/outbound.ts'

interface Host {
  readonly url: string
  /** Answers by path; what is missing is a 404. */
  readonly answers: Map<string, unknown>
  readonly seen: string[]
  down: boolean
  now: number
  readonly keys: IssuerKeys
}

async function host(t: TestContext): Promise<Host> {
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    made.seen.push(path)
    const answer = made.answers.get(path)
    response.writeHead(made.down ? 503 : answer === undefined ? 404 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? {}))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  const clock = (): number => made.now
  const made: Host = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answers: new Map(),
    seen: [],
    down: false,
    now: Date.now(),
    keys: issuerKeys(client, remoteKeys(client, clock), clock),
  }
  t.after(async () => {
    server.close()
    server.closeAllConnections()
    await client.close()
  })
  return made
}

const SET = { keys: [{ kty: 'EC', kid: 'k1', crv: 'P-256', x: 'x', y: 'y' }] }

test('keys are found by the metadata of the issuer, inserted before its path or appended to it (RFC 8414 §3.1)', async (t) => {
  const { url, answers, seen, keys } = await host(t)
  const issuer = `${url}/issuers/acme`
  answers.set('/jwks', SET)
  answers.set('/issuers/acme/.well-known/openid-configuration', { issuer, jwks_uri: `${url}/jwks` })
  assert.deepEqual(await keys.find({ issuer }, 'k1'), SET)
  assert.deepEqual(seen, ['/.well-known/oauth-authorization-server/issuers/acme', '/issuers/acme/.well-known/openid-configuration', '/jwks'])
  assert.deepEqual(await Promise.all([keys.find({ issuer }, 'k1'), keys.find({ issuer }, undefined)]), [SET, SET])
  assert.equal(seen.length, 3, 'kept')
  const other = `${url}/issuers/other`
  answers.set('/.well-known/oauth-authorization-server/issuers/other', { issuer: other, jwks_uri: `${url}/jwks` })
  assert.deepEqual(await keys.find({ issuer: other }, 'k1'), SET)
})

test('metadata of another issuer proves nothing, nor does an address that is none (RFC 8414 §3.3)', async (t) => {
  const { url, answers, keys } = await host(t)
  answers.set('/jwks', SET)
  for (const [path, document] of [['a', { issuer: `${url}/a/`, jwks_uri: `${url}/jwks` }], ['b', { issuer: url, jwks_uri: `${url}/jwks` }], ['c', { issuer: `${url}/c`, jwks_uri: 'file:///etc/passwd' }], ['d', { issuer: `${url}/d` }]] as const) {
    answers.set(`/.well-known/oauth-authorization-server/${path}`, document)
    assert.equal(await keys.find({ issuer: `${url}/${path}` }, 'k1'), undefined, path)
  }
  assert.deepEqual(await keys.find({ issuer: `${url}/a`, jwksUri: `${url}/jwks` }, 'k1'), SET, 'an administrator may say where they are')
})

test('an issuer that does not answer is asked again after a moment, and its keys stand meanwhile', async (t) => {
  const made = await host(t)
  const { url: issuer, answers, seen, keys } = made
  assert.equal(await keys.find({ issuer }, 'k1'), undefined)
  const tries = seen.length
  answers.set('/.well-known/oauth-authorization-server', { issuer, jwks_uri: `${issuer}/jwks` })
  answers.set('/jwks', SET)
  assert.equal(await keys.find({ issuer }, 'k1'), undefined)
  assert.equal(seen.length, tries, 'not at once')
  made.now += 31_000
  assert.deepEqual(await keys.find({ issuer }, 'k1'), SET)
  made.down = true
  made.now += 3600_000 + 1000
  assert.deepEqual(await keys.find({ issuer }, 'k1'), SET)
  made.now += 7 * 3600_000
  assert.equal(await keys.find({ issuer }, 'k1'), undefined, 'a withdrawn key does not outlive an outage for ever')
})
