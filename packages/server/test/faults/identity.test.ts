// The identity provider is gone, silent, and back; names cannot be resolved.
import assert from 'node:assert/strict'
import { execFileSync, fork, type ChildProcess } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { parse } from 'yaml'
import { ask, type Tried } from './client.ts'
import { fault, house, pause, until, type House } from './house.ts'

/** No answer ever comes from here. */
const SILENT_RESOLVER = '127.0.0.153'

let all: House
let again: ChildProcess | undefined
let directory: string
const resolver = createSocket('udp4')
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lanyard-resolver-'))
  const wrapper = await silentResolver()
  all = await house({
    config: {
      // Asked again at every refresh: a provider that does not answer must change nothing.
      sessions: { recheckMinutes: 0.001 },
      rules: [{ id: 'everything', effect: 'allow' }],
    },
    lost: { id: 'lost', url: 'http://mcp.lost.example/mcp' },
    perNode: (index) => (index === 0 ? { wrapper } : {}),
  })
})
after(async () => {
  again?.kill()
  resolver.close()
  await all.close()
  await rm(directory, { recursive: true, force: true })
})

/** A command prefix under which every name is asked of a resolver that hears and says nothing; none where that needs rights that are not there. */
async function silentResolver(): Promise<readonly string[]> {
  const file = join(directory, 'resolv.conf')
  await writeFile(file, `nameserver ${SILENT_RESOLVER}\n`)
  const wrapper = ['unshare', '-m', 'sh', '-c', `mount --bind ${file} /etc/resolv.conf && exec "$@"`, 'sh']
  try {
    const [command = '', ...args] = wrapper
    execFileSync(command, [...args, 'true'], { stdio: 'ignore' })
    await new Promise<void>((resolve, reject) => resolver.once('error', reject).bind(53, SILENT_RESOLVER, resolve))
    return wrapper
  } catch {
    return []
  }
}

const stop = (signal: NodeJS.Signals): void => {
  const { identityProvider: pid } = all.gateway.company.processes
  assert.ok(pid)
  process.kill(pid, signal)
}
/** Opens the sign-in of a browser that nobody knows. */
const signInPage = async (node: string): Promise<{ status: number; ms: number; retry: number; text: string }> => {
  const startedAt = Date.now()
  const { status, headers, text } = await ask(node, `${all.gateway.issuer}/login?return_to=/`)
  return { status, ms: Date.now() - startedAt, retry: Number(headers.get('retry-after') ?? 0), text }
}

fault({ id: 'X01, X02', injected: 'the identity provider accepts connections and says nothing (SIGSTOP)', expected: 'calls and refreshes go on; sign-ins get a page within 10 s and then at once, with Retry-After; 40 at a time do not pile up' }, async () => {
  const alice = all.client('x01')
  await alice.signIn(all.one)
  stop('SIGSTOP')
  const calls: Tried[] = []
  for (const node of all.nodes) calls.push(await alice.call(node))
  const refreshed = await alice.refresh(all.one)
  assert.equal(refreshed.outcome, 'done', refreshed.text)
  for (const each of calls) assert.equal(each.outcome, 'done')
  assert.ok(refreshed.ms < 15_000 && calls.every(({ ms }) => ms < 1000))
  const pages = await Promise.all(Array.from({ length: 40 }, (_, index) => signInPage(all.nodes[index % 2] ?? '')))
  const longest = Math.max(...pages.map(({ ms }) => ms))
  for (const page of pages) assert.deepEqual([page.status, page.retry > 0], [503, true], page.text)
  assert.ok(longest < 12_000, `${longest} ms`)
  // Known by now to be down: nobody waits for it again.
  const next = await signInPage(all.one)
  assert.ok(next.status === 503 && next.ms < 1000, `${next.ms} ms`)
  for (const node of all.nodes) assert.equal((await fetch(`${node}/readyz`)).status, 200)
  stop('SIGCONT')
  const back = await until('a sign-in succeeds', async () => (await signInPage(all.one)).status === 303, 40_000)
  return `calls went on at once, the refresh after ${refreshed.ms} ms; 40 sign-in pages 503 within ${longest} ms, later ones in ${next.ms} ms; sign-ins again ${back} ms after it went on`
})

fault({ id: 'X03, X04', injected: 'the identity provider is killed and comes back as a new process with new keys, and 40 people sign in at once', expected: 'refused connections change nothing for who is signed in; all 40 get in, and the keys are fetched again' }, async () => {
  const alice = all.client('x03')
  await alice.signIn(all.two)
  stop('SIGKILL')
  assert.equal((await alice.call(all.one)).outcome, 'done')
  const refreshed = await alice.refresh(all.two)
  assert.equal(refreshed.outcome, 'done', refreshed.text)
  const page = await signInPage(all.two)
  assert.equal(page.status, 503)
  const config = parse(readFileSync(all.gateway.processes[0]?.config ?? '', 'utf8')) as { identityProviders: { clientSecret: string }[] }
  const { port } = new URL(all.gateway.company.issuer)
  again = fork(new URL('../../../demo/src/identity-provider.ts', import.meta.url), [`${all.gateway.issuer}/login/corp/callback`, config.identityProviders[0]?.clientSecret ?? ''], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: { ...process.env, PORT: port } })
  await new Promise((resolve) => again?.once('message', resolve))
  const startedAt = Date.now()
  await until('a sign-in succeeds', async () => (await Promise.all(all.nodes.map(signInPage))).every(({ status }) => status === 303), 40_000)
  // Keys that were fetched a moment ago are not fetched again for each signature that none of them made.
  const probe = all.client('x03-first')
  const tries = Array<string>()
  const signedIn = (): Promise<boolean> => probe.signIn(all.one).then(() => true, (error: Error) => (tries.push(error.message), false))
  await until('somebody gets in', async () => (await signedIn()) || (await pause(500), false), 40_000)
  const admitted = Date.now() - startedAt
  assert.ok(admitted < 35_000, `${admitted} ms`)
  const reasons = new Set(all.gateway.events.filter(({ action }) => action === 'login.failed').map(({ reason }) => reason))
  const others = await Promise.allSettled(Array.from({ length: 40 }, (_, index) => all.client(`x03-${index}`, { person: ['alice', 'bob', 'dana'][index % 3] ?? '' }).signIn(all.one)))
  assert.deepEqual(others.filter(({ status }) => status === 'rejected'), [])
  return `somebody got in ${(admitted / 1000).toFixed(1)} s after it was back (before that: ${[...reasons].join('; ')}); then 40 of 40 at once`
})

fault({ id: 'X29', injected: 'no name can be resolved: the resolver hears and says nothing, and 12 calls go to an upstream that is known by its name', expected: 'they fail in bounded time, and so does a client that is known by a document of a lost host; calls to other upstreams, sign-ins and refreshes go on meanwhile' }, async () => {
  const [alice, bob] = [all.client('x29'), all.client('x29-lost', { person: 'bob', profile: 'lost' })]
  await alice.signIn(all.one)
  await bob.signIn(all.one)
  const startedAt = Date.now()
  const lost = Array.from({ length: 12 }, () => bob.call(all.one))
  const document = ask(all.one, `${all.gateway.issuer}/authorize?${new URLSearchParams({ response_type: 'code', client_id: 'https://client.lost.example/client.json', redirect_uri: 'http://127.0.0.1:1/callback' }).toString()}`)
  await pause(300)
  const others: Tried[] = []
  for (let turn = 0; turn < 5; turn += 1) {
    others.push(await alice.call(all.one), await alice.refresh(all.one))
    await pause(300)
  }
  for (const each of others) assert.equal(each.outcome, 'done', each.text)
  const slowest = Math.max(...others.map(({ ms }) => ms))
  assert.ok(slowest < 2000, `${slowest} ms`)
  for (const each of await Promise.all(lost)) assert.equal(each.outcome, 'unavailable', each.text)
  const page = await document
  assert.ok(page.status >= 400 && page.status < 600, String(page.status))
  const ms = Date.now() - startedAt
  assert.ok(ms < 35_000, `${ms} ms`)
  assert.equal((await alice.call(all.one)).outcome, 'done')
  return `12 calls and a client document failed within ${(ms / 1000).toFixed(1)} s (${page.status}); everything else was answered meanwhile, within ${slowest} ms`
})

test('what the clients saw and what the database holds agree (I1 to I4), and no secret stands in the clear', async (t) => t.diagnostic(await all.verify()))
