// In whose name a service account reaches Google: the signed-in user's and nobody else's, whatever anybody says. Against
// the emulator of Google, whose answers Google's own library accepts.
import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { after, before, test } from 'node:test'
import { exportPKCS8 } from 'jose'
import type { AuditEvent, Recorder } from '../../src/audit/event.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import type { ServiceAccountSettings } from '../../src/identity/google/service-account.ts'
import type { User } from '../../src/identity/user.ts'
import { CredentialRefused, UpstreamUnavailable, type Connector } from '../../src/upstreams/connectors/connector.ts'
import { googleDelegation } from '../../src/upstreams/connectors/google-delegation.ts'
import type { GoogleDelegationSettings } from '../../src/upstreams/upstream.ts'
import { upstream } from '../support/connection-nodes.ts'
import { addServiceAccount, DOMAIN, GMAIL_SCOPE, google, GROUPS_SCOPE, json, type Google, type ServiceAccount } from '../support/google/google.ts'

const ISSUER = 'https://accounts.google.com'
const GMAIL = upstream('gmail', 'https://gmail.googleapis.com')

let emulator: Google
let account: ServiceAccount
let client: Outbound
before(async () => {
  emulator = await google()
  account = await addServiceAccount(emulator, 'gateway')
  account.delegated.add(GMAIL_SCOPE)
  client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
})
after(async () => {
  await client.close()
  await emulator.close()
})

const OWN = 'https://lanyard.example'
const PROVIDER = 'projects/123/locations/global/workloadIdentityPools/lanyard/providers/lanyard'
const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** As the gateway's own keys sign. */
function signJwt(payload: object, typ: string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${part({ alg: 'ES256', kid: 'own', typ })}.${part(payload)}`
  return `${input}.${sign('sha256', Buffer.from(input), { key: own.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

interface House {
  readonly connector: Connector
  readonly users: Map<string, User>
  readonly events: AuditEvent[]
  now: number
}

async function settings(more: Partial<GoogleDelegationSettings> & { readonly keyless?: true | 'federated' } = {}): Promise<GoogleDelegationSettings> {
  const { keyless, ...others } = more
  const key = keyless === undefined ? { key: { id: account.keys.file.kid, privateKey: await exportPKCS8(account.keys.file.key) } } : {}
  const places = { tokenUrl: `${emulator.origin}/token`, iamUrl: emulator.origin, metadataUrl: emulator.origin, stsUrl: emulator.origin }
  const federation = keyless === 'federated' ? { workloadIdentity: { provider: PROVIDER, subject: 'lanyard' } } : {}
  const serviceAccount: ServiceAccountSettings = { email: account.email, ...places, ...key, ...federation }
  return { type: 'google-delegation', serviceAccount, scopes: [GMAIL_SCOPE], provider: { id: 'google', issuer: ISSUER }, domains: [DOMAIN], users: [], ...others }
}

async function house(given?: Parameters<typeof settings>[0]): Promise<House> {
  const events: AuditEvent[] = []
  const audit: Recorder = { begin: (...made) => (events.push(...made), () => Promise.resolve()), record: async (...made) => void events.push(...made) }
  const users = new Map<string, User>()
  const person = (id: string, more: Partial<User>): void => void users.set(id, { id, provider: 'google', issuer: ISSUER, subject: id, groups: [], disabled: false, ...more })
  person('usr_alice', { email: `alice@${DOMAIN}`, emailVerified: true })
  person('usr_bob', { email: `bob@${DOMAIN}`, emailVerified: true })
  person('usr_typed', { email: `alice@${DOMAIN}` })
  person('usr_nameless', {})
  person('usr_elsewhere', { email: 'eve@other.example', emailVerified: true })
  person('usr_corp', { provider: 'corp', issuer: 'https://idp.example', email: `alice@${DOMAIN}`, emailVerified: true })
  person('usr_vouched', { issuer: 'https://claude.example', email: `alice@${DOMAIN}`, emailVerified: true })
  person('usr_ended', { email: `alice@${DOMAIN}`, emailVerified: true, disabled: true })
  const state = { now: Date.now() }
  emulator.now = () => state.now
  const connector = googleDelegation(await settings(given), { own: { issuer: OWN, sign: (payload, typ) => signJwt(payload, typ) }, outbound: client, users: { find: async (id) => users.get(id) }, audit, now: () => state.now })
  return Object.assign(state, { connector, users, events })
}

/** Whose mailbox a credential opens. */
async function mailbox({ connector }: House, userId: string): Promise<string> {
  const credential = await connector.credential(userId, GMAIL)
  assert.notEqual(credential, 'connection_required')
  const answer = await fetch(`${emulator.origin}/gmail/v1/users/me/profile`, { headers: credential === 'connection_required' ? {} : credential.headers })
  return ((await answer.json()) as { emailAddress: string }).emailAddress
}

const asked = (): number => emulator.at('/token').length

test('each user reaches Google under their own name, by a key file; one token serves all calls of one person', async () => {
  const at = await house()
  const before = asked()
  const found = await Promise.all(['usr_alice', 'usr_bob', 'usr_alice', 'usr_bob', 'usr_alice'].map((user) => mailbox(at, user)))
  assert.deepEqual(found, [`alice@${DOMAIN}`, `bob@${DOMAIN}`, `alice@${DOMAIN}`, `bob@${DOMAIN}`, `alice@${DOMAIN}`])
  assert.equal(asked() - before, 2)
  // Of two that are asked for at once, either may be there first.
  assert.deepEqual(at.events.map(({ action, subject, upstream: on, detail }) => `${action} ${subject} ${on} ${String(detail?.['serviceAccount'])}`).sort(), [
    `connection.refreshed usr_alice gmail ${account.email}`,
    `connection.refreshed usr_bob gmail ${account.email}`,
  ])
  assert.ok(!JSON.stringify(at.events).includes('ya29.'), 'no token in the audit trail')
  at.now += 56 * 60_000
  assert.equal(await mailbox(at, 'usr_alice'), `alice@${DOMAIN}`)
  assert.equal(asked() - before, 3, 'renewed before it ends')
})

test('nobody is taken for another: an address that is typed, of another domain, provider or issuer, or of nobody', async () => {
  const at = await house()
  const before = asked()
  for (const [user, reason] of [
    ['usr_typed', 'google: no verified address'],
    ['usr_nameless', 'google: no verified address'],
    ['usr_elsewhere', 'google: another domain'],
    ['usr_corp', 'google: another provider'],
    ['usr_vouched', 'google: another provider'],
    ['usr_ended', 'google: no user'],
    ['usr_unknown', 'google: no user'],
    ['machine:nightly', 'google: no user'],
  ] as const) {
    await assert.rejects(at.connector.credential(user, GMAIL), (error) => error instanceof CredentialRefused && error.reason === reason, user)
  }
  assert.equal(asked(), before, 'Google was asked for none of them')
  assert.equal(await mailbox(at, 'usr_alice'), `alice@${DOMAIN}`)
})

test('an address with a trick in it opens nothing, and the plain one does', async () => {
  const at = await house({ domains: [DOMAIN, 'other.example'] })
  const before = asked()
  for (const address of [`alice@${DOMAIN}@other.example`, `alice@other.example,bob@${DOMAIN}`, `"alice@${DOMAIN}"@other.example`, `alice@${DOMAIN} `, `alice@sub.${DOMAIN}`, `alice@${DOMAIN}.`, `<alice@${DOMAIN}>`, `@${DOMAIN}`]) {
    at.users.set('usr_trick', { id: 'usr_trick', provider: 'google', issuer: ISSUER, subject: 't', groups: [], disabled: false, email: address, emailVerified: true })
    await assert.rejects(at.connector.credential('usr_trick', GMAIL), CredentialRefused, address)
  }
  assert.equal(asked(), before)
  at.users.set('usr_trick', { id: 'usr_trick', provider: 'google', issuer: ISSUER, subject: 't', groups: [], disabled: false, email: `Alice@Corp.Example`, emailVerified: true })
  assert.equal(await mailbox(at, 'usr_trick'), `alice@${DOMAIN}`)
})

test('whose address changed gets a token for the new one; the old one is not used again', async () => {
  const at = await house()
  assert.equal(await mailbox(at, 'usr_alice'), `alice@${DOMAIN}`)
  const alice = at.users.get('usr_alice')
  assert.ok(alice)
  at.users.set('usr_alice', { ...alice, email: `bob@${DOMAIN}` })
  assert.equal(await mailbox(at, 'usr_alice'), `bob@${DOMAIN}`)
  const { email: _gone, ...without } = alice
  at.users.set('usr_alice', without)
  await assert.rejects(at.connector.credential('usr_alice', GMAIL), CredentialRefused)
})

test('users of another provider have the address that an administrator wrote down for them, and no other', async () => {
  const at = await house({ users: [{ provider: 'corp', subject: 'usr_corp', address: `bob@${DOMAIN}` }] })
  assert.equal(await mailbox(at, 'usr_corp'), `bob@${DOMAIN}`)
  at.users.set('usr_other', { id: 'usr_other', provider: 'corp', issuer: 'https://idp.example', subject: 'other', groups: [], disabled: false, email: `bob@${DOMAIN}`, emailVerified: true })
  await assert.rejects(at.connector.credential('usr_other', GMAIL), CredentialRefused)
})

test('keyless: IAM signs for the service account, asked by the identity of the machine', async () => {
  const machine = await addServiceAccount(emulator, 'machine')
  emulator.machine = machine.email
  const at = await house({ keyless: true })
  await assert.rejects(at.connector.credential('usr_alice', GMAIL), /Token Creator/)
  account.tokenCreators.add(machine.email)
  at.now += 11_000
  assert.equal(await mailbox(at, 'usr_alice'), `alice@${DOMAIN}`)
  assert.equal(await mailbox(at, 'usr_bob'), `bob@${DOMAIN}`)
  assert.equal(emulator.at('/computeMetadata/v1/instance/service-accounts/default/token').length, 1)
  emulator.machine = undefined
  await assert.rejects((await house({ keyless: true })).connector.credential('usr_alice', GMAIL), /Google Cloud alone/)
})

test('keyless elsewhere than on Google Cloud: this gateway says who it is by its own key, to a pool that trusts it alone', async () => {
  const at = await house({ keyless: 'federated' })
  const refused = async (reason: string): Promise<void> => {
    await assert.rejects(at.connector.credential('usr_alice', GMAIL), (error) => error instanceof CredentialRefused && error.reason === reason, reason)
    at.now += 10_001
  }
  await refused('google: not_trusted')
  const jwk = { ...own.publicKey.export({ format: 'jwk' }), kid: 'own', alg: 'ES256' }
  emulator.pools.set(PROVIDER, { issuer: 'https://elsewhere.example', keys: [jwk] })
  await refused('google: not_trusted')
  emulator.pools.set(PROVIDER, { issuer: OWN, keys: [jwk] })
  await refused('google: may_not_sign')
  account.tokenCreators.add('principal://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/lanyard/subject/lanyard')
  assert.equal(await mailbox(at, 'usr_alice'), `alice@${DOMAIN}`)
  assert.equal(await mailbox(at, 'usr_bob'), `bob@${DOMAIN}`)
  assert.equal(emulator.at('/v1/token').length, 3, 'the identity is kept for an hour')
  assert.equal(emulator.at('/v1/token').at(-1)?.form.get('scope'), 'https://www.googleapis.com/auth/cloud-platform')
})

test('what Google refuses is said in words that an administrator can act on, and is not asked for again at once', async () => {
  const at = await house({ scopes: [GMAIL_SCOPE, GROUPS_SCOPE] })
  const before = asked()
  const refusal = (error: unknown): boolean => error instanceof CredentialRefused && error.reason === 'google: not_delegated' && /Domain-wide delegation/.test(error.message)
  await assert.rejects(at.connector.credential('usr_alice', GMAIL), refusal)
  await assert.rejects(at.connector.credential('usr_alice', GMAIL), refusal)
  assert.equal(asked() - before, 1)
  account.delegated.add(GROUPS_SCOPE)
  at.now += 10_001
  assert.equal(await mailbox(at, 'usr_alice'), `alice@${DOMAIN}`)
  account.delegated.delete(GROUPS_SCOPE)

  const expect = async (reason: string, prepare: (house: House) => void, given?: Parameters<typeof settings>[0]): Promise<void> => {
    const other = await house(given)
    prepare(other)
    await assert.rejects(other.connector.credential('usr_alice', GMAIL), (error) => error instanceof CredentialRefused && error.reason === reason, reason)
  }
  const alice = emulator.people.get('alice')
  assert.ok(alice)
  alice.suspended = true
  await expect('google: unknown_user', () => undefined)
  alice.suspended = false
  await expect('google: bad_clock', ({ now }) => void (emulator.now = () => now + 3_700_000))
  const stranger = await addServiceAccount(emulator, 'stranger')
  const wrong = { email: account.email, key: { id: stranger.keys.file.kid, privateKey: await exportPKCS8(stranger.keys.file.key) }, tokenUrl: `${emulator.origin}/token`, iamUrl: emulator.origin, metadataUrl: emulator.origin, stsUrl: emulator.origin }
  await expect('google: bad_key', () => undefined, { serviceAccount: wrong })
  assert.equal(await mailbox(await house(), 'usr_alice'), `alice@${DOMAIN}`)
})

test('a server in trouble says nothing of the person: try again later', async () => {
  const at = await house()
  for (const status of [500, 503, 429, 302]) {
    emulator.instead = (_seen, response) => (json(response, status, {}), true)
    await assert.rejects(at.connector.credential('usr_alice', GMAIL), UpstreamUnavailable, String(status))
  }
  emulator.instead = (_seen, response) => (response.writeHead(200).end('<html>maintenance</html>'), true)
  await assert.rejects(at.connector.credential('usr_alice', GMAIL), UpstreamUnavailable)
  emulator.instead = () => false
  assert.equal(await mailbox(at, 'usr_alice'), `alice@${DOMAIN}`)
})

test('an API that answers 401 gets another token, and one that always does makes Google issue no more than two in half a minute', async () => {
  const at = await house()
  const first = await at.connector.credential('usr_alice', GMAIL)
  assert.notEqual(first, 'connection_required')
  const version = first === 'connection_required' ? '' : first.version
  const before = asked()
  await at.connector.refused('usr_alice', GMAIL, version)
  const second = await at.connector.credential('usr_alice', GMAIL)
  assert.notDeepEqual(second, first)
  // Who comes late with the old version changes nothing.
  await at.connector.refused('usr_alice', GMAIL, version)
  assert.deepEqual(await at.connector.credential('usr_alice', GMAIL), second)
  for (let call = 0; call < 5; call += 1) await at.connector.refused('usr_alice', GMAIL, second === 'connection_required' ? '' : second.version)
  assert.deepEqual(await at.connector.credential('usr_alice', GMAIL), second)
  assert.equal(asked() - before, 1)
})
