// The whole product behind each preset: a person signs in there with a real MCP client and calls a tool; and a service
// account with domain-wide delegation reaches Google as that person, and as nobody else whatever is asked for.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { exportPKCS8, type JWK } from 'jose'
import { stringify } from 'yaml'
import { tokenOf } from '../support/api-clients.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { addServiceAccount, CLIENT_ID, CLIENT_SECRET, DOMAIN, GMAIL_SCOPE, google, type Google } from '../support/google/google.ts'
import { mcpUpstream, type McpUpstream } from '../support/mcp-upstream.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { okta, CLIENT_ID as OKTA_ID, CLIENT_SECRET as OKTA_SECRET } from '../support/okta/okta.ts'
import { CLIENT_SECRET as SECRET } from '../support/openid-provider.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { KEYCLOAK, PING_ONE, shapedProvider } from '../support/shaped-provider.ts'
import { variants } from '../support/variants.ts'

const POOL = 'projects/123/locations/global/workloadIdentityPools/lanyard'

interface Party {
  readonly provider: Readonly<Record<string, unknown>>
  /** The group of alice that may use the tools. */
  readonly group: string
  close(): Promise<void>
}

const PEOPLE = { alice: { name: 'Alice', email: 'alice@corp.example', email_verified: true, groups: ['/engineering'] }, bob: { name: 'Bob', groups: ['/sales'] } }

const PRESETS: Readonly<Record<string, () => Promise<Party>>> = {
  async okta() {
    const emulator = await okta()
    return { provider: { id: 'okta', type: 'okta', issuer: emulator.origin, clientId: OKTA_ID, clientSecret: OKTA_SECRET }, group: 'engineering', close: () => emulator.close() }
  },
  async keycloak() {
    const provider = await shapedProvider(KEYCLOAK, PEOPLE)
    return { provider: { id: 'keycloak', type: 'keycloak', issuer: provider.issuer, clientId: 'lanyard', clientSecret: SECRET }, group: 'engineering', close: () => provider.close() }
  },
  async ping() {
    const provider = await shapedProvider(PING_ONE, PEOPLE)
    return { provider: { id: 'ping', type: 'ping', issuer: provider.issuer, clientId: 'lanyard', clientSecret: SECRET }, group: '/engineering', close: () => provider.close() }
  },
}

for (const variant of variants()) {
  for (const [name, start] of Object.entries(PRESETS)) {
    test(`${name} on ${variant.name}: a person signs in with the official client and calls a tool; somebody of another group sees none`, async () => {
      const [party, notes] = await Promise.all([start(), mcpUpstream()])
      const gateway = await startGateway({ ...variant, config: { identityProviders: [party.provider], upstreams: [{ id: 'notes', url: notes.url }], rules: [{ id: 'engineers', effect: 'allow', groups: [party.group], upstreams: ['notes'] }] } })
      try {
        const client = await connectV2(`${gateway.issuer}/mcp/notes`, memoryProvider({ person: 'alice' }), 'modern')
        const [tool] = await client.tools()
        assert.ok(tool)
        await client.call(tool)
        await client.close()
        await recorded(gateway, ({ action, outcome }) => action === 'call.allowed' && outcome === 'success')
        await assert.rejects(connectV2(`${gateway.issuer}/mcp/notes`, memoryProvider({ person: 'bob' }), 'modern'))
      } finally {
        await gateway.close()
        await Promise.all([party.close(), notes.close()])
      }
    })
  }

  describe(`Google Workspace on ${variant.name}`, () => {
    let gateway: RunningGateway
    let emulator: Google
    let notes: McpUpstream
    let folder: string

    before(async () => {
      ;[emulator, notes] = await Promise.all([google(), mcpUpstream()])
      folder = await mkdtemp(join(tmpdir(), 'lanyard-google-'))
      const keyFile = async (name: string): Promise<string> => {
        const account = await addServiceAccount(emulator, name)
        if (name === 'groups') account.groupsReader = true
        else account.delegated.add(GMAIL_SCOPE)
        const path = join(folder, `${name}.json`)
        await writeFile(path, JSON.stringify({ type: 'service_account', project_id: 'project', private_key_id: account.keys.file.kid, private_key: await exportPKCS8(account.keys.file.key), client_email: account.email, client_id: account.clientId, token_uri: `${emulator.origin}/token` }), { mode: 0o600 })
        return path
      }
      const [groups, gmail] = [await keyFile('groups'), await keyFile('gmail')]
      const keyless = await addServiceAccount(emulator, 'keyless')
      keyless.delegated.add(GMAIL_SCOPE)
      keyless.tokenCreators.add(`principal://iam.googleapis.com/${POOL}/subject/lanyard`)
      const document = join(folder, 'gmail.yaml')
      const userId = { name: 'userId', in: 'path', required: true, schema: { type: 'string' } }
      await writeFile(document, stringify({ openapi: '3.0.3', info: { title: 'Gmail', version: 'v1' }, paths: { '/users/{userId}/profile': { get: { operationId: 'getProfile', parameters: [userId], responses: { 200: { description: 'Profile' } } } } } }))
      gateway = await startGateway({
        ...variant,
        config: {
          identityProviders: [{ id: 'google', type: 'google-workspace', issuer: emulator.origin, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, domains: [DOMAIN], directory: { url: emulator.origin, serviceAccount: { key: `\${file:${groups}}` } } }],
          upstreams: [
            { id: 'notes', url: notes.url },
            { id: 'gmail', name: 'Gmail', type: 'http', url: `${emulator.origin}/gmail/v1`, openapi: document, connector: { type: 'google-delegation', serviceAccount: { key: `\${file:${gmail}}` }, scopes: [GMAIL_SCOPE] } },
            { id: 'keyless', type: 'http', url: `${emulator.origin}/gmail/v1`, connector: { type: 'google-delegation', serviceAccount: { email: keyless.email, tokenUrl: `${emulator.origin}/token`, iamUrl: emulator.origin, stsUrl: emulator.origin, workloadIdentity: { provider: `${POOL}/providers/lanyard` } }, scopes: [GMAIL_SCOPE] } },
          ],
          rules: [{ id: 'everybody', effect: 'allow', groups: [`engineering@${DOMAIN}`, `sales@${DOMAIN}`] }],
        },
      })
    })
    after(async () => {
      await gateway.close()
      await Promise.all([emulator.close(), notes.close()])
      await rm(folder, { recursive: true, force: true })
    })

    test('a person signs in with the official client and calls a tool that is Gmail’s, as themselves', async () => {
      for (const person of ['alice', 'bob']) {
        const client = await connectV2(`${gateway.issuer}/mcp/gmail`, memoryProvider({ person }), 'modern')
        assert.deepEqual(await client.tools(), ['getProfile'])
        assert.match(await client.call('getProfile', { userId: 'me' }), new RegExp(`"emailAddress":\\s*"${person}@${DOMAIN}"`))
        // Whatever the model names, the token is this person's.
        const other = person === 'alice' ? 'bob' : 'alice'
        const refused = await client.call('getProfile', { userId: `${other}@${DOMAIN}` })
        assert.match(refused, new RegExp(`Delegation denied for ${person}@${DOMAIN}`))
        assert.doesNotMatch(refused, /messagesTotal/)
        await client.close()
      }
      assert.deepEqual([...new Set([...emulator.access.values()].filter(({ by }) => by?.startsWith('gmail')).map(({ email }) => email))].sort(), [`alice@${DOMAIN}`, `bob@${DOMAIN}`])
    })

    test('without any key: the pool trusts the keys that this gateway publishes, and it still acts for the person alone', async () => {
      const ask = async (person: string): Promise<{ status: number; text: string }> => {
        const token = await tokenOf(gateway.issuer, person, `${gateway.issuer}/http/keyless`)
        const answer = await fetch(`${gateway.issuer}/http/keyless/users/me/profile`, { headers: { authorization: `Bearer ${token}` } })
        return { status: answer.status, text: await answer.text() }
      }
      const before = await ask('bob')
      assert.equal(before.status, 502)
      assert.match(before.text, /does not trust this gateway/)
      const { keys } = (await (await fetch(`${gateway.issuer}/jwks`)).json()) as { keys: JWK[] }
      emulator.pools.set(`${POOL}/providers/lanyard`, { issuer: gateway.issuer, keys })
      // What was refused is not asked for again for ten seconds, and that is of this person alone.
      const after = await ask('alice')
      assert.deepEqual([after.status, (JSON.parse(after.text) as { emailAddress: string }).emailAddress], [200, `alice@${DOMAIN}`])
    })

    test('nothing that a caller sends chooses in whose name Google is reached', async () => {
      const token = await tokenOf(gateway.issuer, 'bob', `${gateway.issuer}/http/gmail`)
      const ask = (path: string, headers: Readonly<Record<string, string>> = {}): Promise<Response> => fetch(`${gateway.issuer}/http/gmail${path}`, { headers: { authorization: `Bearer ${token}`, ...headers } })
      const stolen = [...emulator.access].find(([, { email }]) => email === `alice@${DOMAIN}`)?.[0] ?? ''
      const tricks: readonly [string, Readonly<Record<string, string>>][] = [
        ['/users/me/profile', { 'x-goog-authenticated-user-email': `alice@${DOMAIN}`, 'x-goog-iam-authorization-token': stolen, 'x-lanyard-user': 'alice', 'x-forwarded-user': `alice@${DOMAIN}` }],
        [`/users/me/profile?sub=alice%40${DOMAIN}&userId=alice%40${DOMAIN}`, {}],
        ['/users/me/profile', { cookie: 'lanyard_session=alice', from: `alice@${DOMAIN}` }],
      ]
      for (const [path, headers] of tricks) {
        const answer = await ask(path, headers)
        assert.deepEqual([answer.status, ((await answer.json()) as { emailAddress: string }).emailAddress], [200, `bob@${DOMAIN}`], path)
      }
      assert.equal((await ask(`/users/alice%40${DOMAIN}/profile`)).status, 403)
      // What bob's calls carried is bob's, each of them.
      const carried = emulator.seen.filter(({ path }) => path.startsWith('/gmail/')).slice(-4).map(({ headers }) => emulator.access.get((headers.authorization ?? '').slice(7))?.email)
      assert.deepEqual(carried, Array(4).fill(`bob@${DOMAIN}`))
      const mine = await fetch(`${gateway.issuer}/http/gmail/users/me/profile`, { headers: { authorization: `Bearer ${await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/http/gmail`)}` } })
      assert.equal(((await mine.json()) as { emailAddress: string }).emailAddress, `alice@${DOMAIN}`)
    })

    test('the same person is asked for nothing to connect, what was issued is recorded, and no token stands in the trail', async () => {
      await recorded(gateway, ({ action, upstream, detail }) => action === 'connection.refreshed' && upstream === 'gmail' && detail?.['connector'] === 'google-delegation')
      assert.ok(!gateway.output.some((line) => line.includes('ya29.') || line.includes('PRIVATE KEY')))
    })

    test('a person whose address is not verified is told so, and Google is asked for nobody', async () => {
      const alice = emulator.people.get('alice')
      assert.ok(alice)
      alice.emailVerified = false
      const token = await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/http/gmail`)
      const before = emulator.seen.filter(({ path }) => path.startsWith('/gmail/')).length
      const answer = await fetch(`${gateway.issuer}/http/gmail/users/me/profile`, { headers: { authorization: `Bearer ${token}` } })
      assert.equal(answer.status, 502)
      assert.match(await answer.text(), /told no verified address/)
      assert.equal(emulator.seen.filter(({ path }) => path.startsWith('/gmail/')).length, before)
      alice.emailVerified = true
      const again = await fetch(`${gateway.issuer}/http/gmail/users/me/profile`, { headers: { authorization: `Bearer ${await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/http/gmail`)}` } })
      assert.equal(again.status, 200)
    })
  })
}
