// The wiring: one table of routes with a rule each, health, hosts, and a start that waits for nobody.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { app, type App } from '../../src/app.ts'
import { keysRevoke, keysRotate } from '../../src/cli/keys.ts'
import { parseConfig, type Config } from '../../src/config/load.ts'
import { outbound } from '../../src/http/outbound.ts'
import { router } from '../../src/http/router.ts'
import { sealer, stateSealer } from '../../src/keys/seal.ts'
import { keyRing } from '../../src/keys/signing.ts'
import { start, StartError } from '../../src/main.ts'
import { keyStore } from '../../src/store/keys.ts'
import { livePolicy } from '../../src/policy/live-policy.ts'
import { ruleStore } from '../../src/store/rules.ts'
import { openStore, type Store } from '../../src/store/open.ts'
import { profileStore } from '../../src/store/profiles.ts'
import { storedProfiles } from '../../src/upstreams/stored-profiles.ts'

const ISSUER = 'https://lanyard.example'

function settings(more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    issuer: ISSUER,
    store: 'sqlite::memory:',
    identityProviders: [{ id: 'corp', name: 'Corp', type: 'oidc', issuer: 'https://idp.example', clientId: 'lanyard' }],
    upstreams: [
      { id: 'notes', url: 'https://notes.example/mcp' },
      { id: 'tickets', url: 'https://tickets.example/mcp', connector: { type: 'oauth' } },
    ],
    rules: [{ id: 'everything', effect: 'allow' }],
    ...more,
  }
}

function parsed(values: Readonly<Record<string, unknown>>, directory = '/nowhere', environment: NodeJS.ProcessEnv = {}): Config {
  return parseConfig(stringify(values), { file: 'lanyard.yaml', directory, environment })
}

interface Asked {
  readonly method?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

interface Wired {
  readonly app: App
  readonly store: Store
  readonly log: Readonly<Record<string, unknown>>[]
  readonly ask: (path: string, init?: Asked) => Promise<Response>
}

async function wired(run: (wired: Wired) => Promise<void>, options: { readonly config?: Record<string, unknown>; readonly store?: (store: Store) => Store } = {}): Promise<void> {
  const config = parsed(settings(options.config))
  const store = await openStore(config.store, { sink: () => undefined, now: Date.now, maxTokenLifetimeMs: 900_000 })
  const encryption = [{ id: 'k1', key: randomBytes(32) }]
  const secrets = sealer(encryption)
  const keys = await keyRing({ store: keyStore(store), sealer: secrets, algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: 1000, now: Date.now })
  const sender = outbound({ allow: [], discoveredLoopback: false, lookup: (_name, callback) => callback(new Error('no network'), []) })
  const log: Readonly<Record<string, unknown>>[] = []
  const stored = await storedProfiles(profileStore(store), store.feed)
  const rules = await livePolicy({ declared: config.rules, store: ruleStore(store), feed: store.feed, upstreams: [], log: () => undefined })
  const made = app({ config, store: options.store?.(store) ?? store, storedProfiles: stored, policy: rules, keys, sealer: secrets, state: stateSealer(encryption), outbound: sender, log: (line) => log.push(line), now: Date.now })
  const ask: Wired['ask'] = async (path, init = {}) => made.fetch(new Request(`${ISSUER}${path}`, { ...init, headers: { host: 'lanyard.example', ...init.headers } }), {})
  try {
    await run({ app: made, store, log, ask })
  } finally {
    made.close()
    await sender.close()
    await store.close().catch(() => undefined)
  }
}

test('every route is there once, with an access rule, and everything that the metadata names is among them', () =>
  wired(async ({ app: { routes }, ask }) => {
    const names = routes.map((route) => `${route.method} ${route.path}`)
    assert.equal(new Set(names).size, names.length)
    for (const route of routes) assert.ok(['public', 'client', 'session', 'flow', 'bearer', 'admin'].includes(route.access), route.path)
    const metadata = (await (await ask('/.well-known/oauth-authorization-server')).json()) as Record<string, unknown>
    for (const [name, value] of Object.entries(metadata)) {
      if (!name.endsWith('_endpoint') && name !== 'jwks_uri') continue
      assert.ok(routes.some((route) => `${ISSUER}${route.path}` === value), `${name} has no route`)
    }
  }))

test('a table with one route twice is refused at start', () =>
  wired(async ({ app: { routes } }) => {
    const options = { issuer: ISSUER, hosts: [], clientAddress: () => '192.0.2.1', log: () => undefined }
    router(routes, options)
    assert.throws(() => router([...routes, ...routes.slice(0, 1)], options), /two routes/)
  }))

test('who brings no credentials gets nothing from a route that is not public', () =>
  wired(async ({ app: { routes }, ask }) => {
    const guarded = routes.filter((route) => route.access !== 'public')
    assert.ok(guarded.length > 8)
    for (const route of guarded) {
      const path = route.path.replace(/:upstream/, 'tickets').replace(/:provider/, 'corp').replace(/:\w+/, 'x')
      const form = route.method === 'POST' ? { body: 'grant_type=authorization_code&token=x', headers: { 'content-type': 'application/x-www-form-urlencoded' } } : {}
      const response = await ask(path, { method: route.method, ...form })
      assert.ok(response.status >= 300 && response.status < 600, `${route.method} ${path} answered ${response.status}`)
      assert.doesNotMatch(response.headers.get('set-cookie') ?? '', /session=[^;]/, path)
    }
  }))

test('registration and metadata documents that are switched off are neither served nor named (AS-19)', () =>
  wired(
    async ({ app: { routes }, ask }) => {
      assert.equal(routes.some((route) => route.path.startsWith('/register')), false)
      const metadata = (await (await ask('/.well-known/oauth-authorization-server')).json()) as Record<string, unknown>
      assert.equal('registration_endpoint' in metadata, false)
      assert.equal(metadata['client_id_metadata_document_supported'], false)
      assert.equal((await ask('/register', { method: 'POST', body: '{}' })).status, 404)
    },
    { config: { registration: { dynamic: false, clientIdMetadataDocuments: false } } },
  ))

test('a name that is not served is refused everywhere but at the probes', () =>
  wired(async ({ ask }) => {
    for (const path of ['/', '/token', '/.well-known/oauth-authorization-server']) {
      assert.equal((await ask(path, { headers: { host: 'evil.example' } })).status, 421, path)
      assert.notEqual((await ask(path)).status, 421, path)
    }
    for (const path of ['/livez', '/readyz']) assert.equal((await ask(path, { headers: { host: '10.0.0.7:8080' } })).status, 200, path)
  }))

test('without its store a node lives and is not ready; maintenance fails task by task and is logged', () =>
  wired(async ({ ask, store, app: made, log }) => {
    assert.equal((await ask('/readyz')).status, 200)
    await made.maintain()
    assert.deepEqual(log, [])
    await store.close()
    assert.equal((await ask('/livez')).status, 200)
    const unready = await ask('/readyz')
    assert.equal(unready.status, 503)
    assert.equal(await unready.text(), 'the store does not answer\n')
    await made.maintain()
    assert.ok(log.length >= 6)
    for (const line of log) assert.match(String(line['message']), /^maintenance of .+ failed$/)
  }))

test('a node that does not know what was revoked is not ready', () =>
  wired(
    async ({ ask }) => {
      const unready = await ask('/readyz')
      assert.equal(unready.status, 503)
      assert.match(await unready.text(), /revocations/)
    },
    { store: (store) => ({ ...store, feed: Object.create(store.feed, { fresh: { value: false } }) as Store['feed'] }) },
  ))

/** A port of this machine at which nothing listens. */
async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function installation(run: (values: Record<string, unknown>, directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-app-'))
  const [own, idp, upstream] = [await closedPort(), await closedPort(), await closedPort()]
  const values = settings({
    issuer: `http://127.0.0.1:${own}`,
    listen: `127.0.0.1:${own}`,
    store: `sqlite:${directory}/lanyard.db`,
    dataDir: directory,
    outbound: { allow: ['127.0.0.0/8'] },
    identityProviders: [{ id: 'corp', name: 'Corp', type: 'oidc', issuer: `http://127.0.0.1:${idp}`, clientId: 'lanyard' }],
    upstreams: [{ id: 'notes', url: `http://127.0.0.1:${upstream}/mcp` }],
  })
  try {
    await run(values, directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const QUIET = { sink: () => undefined }

test('a node starts while identity provider and upstream are down, and says so to who signs in', () =>
  installation(async (values) => {
    const running = await start(parsed(values), QUIET)
    try {
      assert.equal((await fetch(`${running.address}/readyz`)).status, 200)
      assert.equal((await fetch(`${running.address}/`)).status, 200)
      const login = await fetch(`${running.address}/login`, { redirect: 'manual' })
      assert.equal(login.status, 503)
      assert.match(await login.text(), /Corp does not answer/)
    } finally {
      await running.close()
    }
    await assert.rejects(fetch(`${running.address}/livez`))
  }))

test('what keeps a node from starting is told in one line, and nothing stays open', () =>
  installation(async (values, directory) => {
    const fails = async (config: Config, isConfiguration: boolean, message: RegExp): Promise<void> => {
      await assert.rejects(start(config, QUIET), (error) => error instanceof StartError && error.isConfiguration === isConfiguration && message.test(error.message) && !error.message.includes('\n'))
    }
    const running = await start(parsed(values), QUIET)
    await fails(parsed(values), false, /cannot listen on 127\.0\.0\.1:\d+: another process listens there/)
    await running.close()
    await fails(parsed({ ...values, keyEncryption: 'env:LANYARD_NO_SUCH_KEY' }), true, /^keyEncryption: env:LANYARD_NO_SUCH_KEY/)
    await fails(parsed({ ...values, keyEncryption: `file:${directory}/other`, store: `sqlite:${directory}/lanyard.db` }), true, /keyEncryption|cannot be read/)
    const database = `postgres://lanyard:hunter2@127.0.0.1:${await closedPort()}/lanyard`
    await fails(parsed({ ...values, store: database, keyEncryption: `file:${directory}/kek` }), false, /^(?!.*hunter2).*127\.0\.0\.1.*ECONNREFUSED/)
    const again = await start(parsed(values), QUIET)
    await again.close()
  }))

test('keys that a command rotates and revokes reach a node that runs', () =>
  installation(async (values, directory) => {
    const file = join(directory, 'lanyard.yaml')
    writeFileSync(file, stringify(values))
    const running = await start(parsed(values, directory), QUIET)
    const published = async (): Promise<readonly string[]> => {
      const { keys } = (await (await fetch(`${running.address}/jwks`)).json()) as { readonly keys: readonly { readonly kid: string }[] }
      return keys.map((key) => key.kid)
    }
    const until = async (wanted: (kids: readonly string[]) => boolean): Promise<readonly string[]> => {
      for (const deadline = Date.now() + 8000; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 50))) {
        const kids = await published()
        if (wanted(kids)) return kids
      }
      return assert.fail('the node did not follow')
    }
    try {
      const before = await published()
      assert.equal(before.length, 2)
      await assert.rejects(keysRotate({ config: file, json: true }), /has not been published/)
      await keysRotate({ config: file, json: true, force: true })
      const after = await until((kids) => kids.length === 3)
      assert.ok(before.every((kid) => after.includes(kid)))
      const [revoked = ''] = before
      await keysRevoke(revoked, { config: file, json: true })
      await until((kids) => !kids.includes(revoked))
      await assert.rejects(keysRevoke(revoked, { config: file, json: true }), /there is no key/)
    } finally {
      await running.close()
    }
  }))
