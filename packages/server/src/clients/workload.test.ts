import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { SignJWT } from 'jose'
import { signer } from '../../test/support/client-nodes.ts'
import { gitHubActions, kubernetes, spiffe } from '../../test/support/platforms.ts'
import { outbound } from '../http/outbound.ts'
import { issuerKeys } from './issuer-keys.ts'
import { remoteKeys } from './remote-keys.ts'
import { workloads, type VerifyWorkload, type WorkloadIdentity } from './workload.ts'

const AUDIENCE = 'https://lanyard.example'
const [GITHUB, CLUSTER, DOMAIN] = await Promise.all([gitHubActions(), kubernetes(), spiffe('example.org')])
const WEB = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: false })
after(() => Promise.all([GITHUB.close(), CLUSTER.close(), DOMAIN.close(), WEB.close()]))

const job: WorkloadIdentity = { issuer: GITHUB.issuer, subject: 'repo:acme/app:ref:refs/heads/main', audience: AUDIENCE, claims: { repository_id: ['74'], event_name: ['push', 'workflow_dispatch'] } }
const pod: WorkloadIdentity = { issuer: CLUSTER.issuer, subject: 'system:serviceaccount:ci:deployer', audience: AUDIENCE, claims: { '/kubernetes.io/serviceaccount/uid': ['sa-uid-1'] } }
const svid: WorkloadIdentity = { issuer: DOMAIN.issuer, subject: 'spiffe://example.org/ns/ci/sa/*', audience: AUDIENCE, jwksUri: DOMAIN.bundle }

/** A node of its own: nothing is known of any platform. */
function node(now: () => number = Date.now): VerifyWorkload {
  return workloads(issuerKeys(WEB, remoteKeys(WEB, now), now), now)
}

async function failureOf(jwt: string, identities: readonly WorkloadIdentity[] = [job], verify = node()): Promise<string> {
  const found = await verify(identities, jwt)
  return typeof found === 'string' ? found : 'none'
}

const gitHub = (more: Readonly<Record<string, unknown>> = {}, header = {}): Promise<string> => GITHUB.sign(GITHUB.job('acme/app', { aud: AUDIENCE, ...more }), header)

test('a job of GitHub Actions, a pod of Kubernetes and a JWT-SVID are who their platform says (RFC 7523 §3)', async () => {
  const verify = node()
  const jwts = await Promise.all([gitHub(), CLUSTER.sign(CLUSTER.pod('ci', 'deployer', AUDIENCE)), DOMAIN.sign(DOMAIN.svid('/ns/ci/sa/job', AUDIENCE))])
  const found = await Promise.all(jwts.map((jwt) => verify([job, pod, svid], jwt)))
  assert.deepEqual(
    found.map((each) => (typeof each === 'string' ? each : [each.issuer, each.subject])),
    [[GITHUB.issuer, 'repo:acme/app:ref:refs/heads/main'], [CLUSTER.issuer, 'system:serviceaccount:ci:deployer'], ['spiffe://example.org', 'spiffe://example.org/ns/ci/sa/job']],
  )
  // RFC 7519 §2: a time may have a fraction of a second, which nobody stores.
  const exp = Math.floor(Date.now() / 1000) + 60
  const fraction = await verify([job], await gitHub({ exp: exp + 0.5 }))
  assert.equal(typeof fraction === 'string' ? fraction : fraction.expiresAt, exp)
  // A pod reads its token from a file until it is renewed: it comes again, as all of them may.
  assert.deepEqual(await Promise.all(jwts.map((jwt) => failureOf(jwt, [job, pod, svid], verify))), ['none', 'none', 'none'])
})

test('what a job says that does not fit is refused, and nothing else of it helps (C10)', async () => {
  const now = Math.floor(Date.now() / 1000)
  const wrong: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
    ['issuer', { iss: 'https://token.actions.githubusercontent.com' }],
    ['issuer', { iss: `${GITHUB.issuer}/` }],
    ['issuer', { iss: undefined }],
    ['audience', { aud: 'https://github.com/acme' }],
    ['audience', { aud: `${AUDIENCE}/` }],
    ['audience', { aud: [AUDIENCE, 'https://other.example'] }],
    ['audience', { aud: [] }],
    ['audience', { aud: undefined }],
    ['subject', { sub: 'repo:acme/app:ref:refs/heads/evil' }],
    ['subject', { sub: 'repo:acme-evil/app:ref:refs/heads/main' }],
    ['subject', { sub: 'REPO:acme/app:ref:refs/heads/main' }],
    ['claims', { sub: undefined }],
    ['claims', { exp: undefined }],
    ['claims', { repository_id: '75' }],
    ['claims', { repository_id: 74 }],
    ['claims', { event_name: undefined }],
    ['lifetime', { exp: now - 61, iat: now - 400 }],
    ['lifetime', { exp: now + 25 * 3600 }],
    ['lifetime', { iat: now + 120 }],
    ['lifetime', { nbf: now + 120 }],
  ]
  for (const [failure, more] of wrong) assert.equal(await failureOf(await gitHub(more)), failure, JSON.stringify(more))
  for (const more of [{ exp: now - 30 }, { aud: [AUDIENCE] }, { event_name: 'workflow_dispatch' }]) assert.equal(await failureOf(await gitHub(more)), 'none', JSON.stringify(more))
})

test('claims are compared where a JSON Pointer leads (RFC 6901), and what is inherited is no claim', async () => {
  const other = CLUSTER.pod('ci', 'deployer', AUDIENCE, { 'kubernetes.io': { namespace: 'ci', serviceaccount: { name: 'deployer', uid: 'another' } } })
  assert.equal(await failureOf(await CLUSTER.sign(other), [pod]), 'claims')
  const at = (name: string, value: string): WorkloadIdentity => ({ ...pod, claims: { [name]: [value] } })
  const good = await CLUSTER.sign(CLUSTER.pod('ci', 'deployer', AUDIENCE, { 'a/b': { '~c': 'd' } }))
  for (const [name, value, outcome] of [['/kubernetes.io/namespace', 'ci', 'none'], ['/a~1b/~0c', 'd', 'none'], ['kubernetes.io', 'ci', 'claims'], ['/kubernetes.io/constructor/name', 'Object', 'claims'], ['constructor', 'Object', 'claims'], ['/kubernetes.io/namespace/0', 'c', 'claims']] as const) {
    assert.equal(await failureOf(good, [at(name, value)]), outcome, name)
  }
})

test('another key, another algorithm, no signature and keys that the JWT brings along are refused (C10, G02)', async () => {
  const [evil, weak] = [await signer('key-1'), new TextEncoder().encode('x'.repeat(32))]
  const claims = GITHUB.job('acme/app', { aud: AUDIENCE })
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const good = await GITHUB.sign(claims)
  const [head = '', , signature = ''] = good.split('.')
  const forged = [
    await evil.sign(claims),
    await evil.sign(claims, { jwk: evil.jwk, jku: 'https://evil.example/jwks' }),
    await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'key-1' }).sign(weak),
    `${part({ alg: 'none' })}.${part(claims)}.`,
    `${head}.${part({ ...claims, exp: Number(claims.exp) + 1 })}.${signature}`,
    good.slice(0, -6),
  ]
  for (const jwt of forged) assert.equal(await failureOf(jwt), 'signature')
  for (const jwt of ['', 'x', 'a.b.c', '..', 'x'.repeat(20_000)]) assert.equal(await failureOf(jwt), 'malformed', jwt.slice(0, 10))
  assert.equal(await failureOf(good), 'none')
})

test('a JWT that was made for another purpose is none of a workload (RFC 8725 §3.11, G03)', async () => {
  for (const typ of ['at+jwt', 'oauth-id-jag+jwt', 'logout+jwt', 'dpop+jwt', 'client-authentication+jwt', 'application/jwt+x']) assert.equal(await failureOf(await gitHub({}, { typ })), 'type', typ)
  for (const typ of [undefined, 'JWT', 'jwt', 'JOSE']) assert.equal(await failureOf(await gitHub({}, { typ })), 'none', String(typ))
})

test('a JWT-SVID is of its trust domain, by the keys that sign JWT-SVIDs there (JWT-SVID §4)', async () => {
  const good = DOMAIN.svid('/ns/ci/sa/job', AUDIENCE)
  assert.equal(await failureOf(await DOMAIN.sign({ ...good, iss: 'https://spire.example' }), [svid]), 'none')
  assert.equal(await failureOf(await DOMAIN.sign(good, { kid: 'x509' }), [svid]), 'signature')
  assert.equal(await failureOf(await DOMAIN.sign({ ...good, sub: 'spiffe://example.org.evil/ns/ci/sa/job' }), [svid]), 'issuer')
  assert.equal(await failureOf(await DOMAIN.sign({ ...good, sub: 'spiffe://other.org/ns/ci/sa/job', iss: 'spiffe://example.org' }), [svid]), 'issuer')
  assert.equal(await failureOf(await DOMAIN.sign({ ...good, sub: 'spiffe://example.org/ns/prod/sa/job' }), [svid]), 'subject')
  // What its bundle is asked for signs nothing of another platform.
  assert.equal(await failureOf(await DOMAIN.sign({ ...good, iss: GITHUB.issuer, sub: job.subject }), [job]), 'claims')
})

test('keys are found once, anew for a key that is new, and while the platform does not answer those that are known stand', async () => {
  const platform = await gitHubActions()
  try {
    let now = Date.now()
    const verify = node(() => now)
    const identity = { ...job, issuer: platform.issuer }
    const sign = (): Promise<string> => platform.sign(platform.job('acme/app', { aud: AUDIENCE, iat: Math.floor(now / 1000), exp: Math.floor(now / 1000) + 300 }))
    for (let count = 0; count < 3; count += 1) assert.equal(await failureOf(await sign(), [identity], verify), 'none')
    assert.equal(platform.asked.filter((path) => path.endsWith('/jwks')).length, 1)
    now += 31_000
    await platform.rotate()
    assert.equal(await failureOf(await sign(), [identity], verify), 'none')
    platform.down = true
    assert.equal(await failureOf(await sign(), [identity], verify), 'none')
    assert.equal(await failureOf(await sign(), [identity], node(() => now)), 'keys cannot be fetched')
    platform.down = false
    assert.equal(await failureOf(await sign(), [identity], node(() => now)), 'none')
  } finally {
    await platform.close()
  }
})

test('pinned keys are asked of nobody', async () => {
  const platform = await kubernetes()
  try {
    const key = await signer('pinned', 'RS256')
    const identity: WorkloadIdentity = { ...pod, issuer: platform.issuer, jwks: { keys: [key.jwk] } }
    assert.equal(await failureOf(await key.sign(platform.pod('ci', 'deployer', AUDIENCE)), [identity]), 'none')
    assert.equal(await failureOf(await platform.sign(platform.pod('ci', 'deployer', AUDIENCE)), [identity]), 'signature')
    assert.deepEqual(platform.asked, [])
  } finally {
    await platform.close()
  }
})
