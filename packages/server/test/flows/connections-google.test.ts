// An account at Google of each user's own, by the connector `oauth`: refresh tokens come with access_type and a consent, a
// person may untick scopes, and parameters that Google does not know are left out. Against the emulator of Google.
import assert from 'node:assert/strict'
import { browser } from '../support/browser.ts'
import { CLUSTER_ISSUER, eachConnectionCluster, upstream, type Cluster, type Node, type Page } from '../support/connection-nodes.ts'
import { CLIENT_ID, CLIENT_SECRET, DOMAIN, GMAIL_SCOPE, google, type Google } from '../support/google/google.ts'

const CALENDAR = 'https://www.googleapis.com/auth/calendar.readonly'

function eachGoogle(name: string, run: (cluster: Cluster, emulator: Google) => Promise<void>): void {
  eachConnectionCluster(name, async (cluster) => {
    const emulator = await google()
    emulator.now = () => cluster.now
    const connector = { type: 'oauth', issuer: emulator.origin, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, scopes: ['openid', 'email', GMAIL_SCOPE, CALENDAR], offlineAccess: 'access_type' } as const
    cluster.upstreams = [{ ...upstream('gmail', `${emulator.origin}/gmail/v1`, connector), http: { maxBodyBytes: 1024, encodedSlashes: false } }]
    try {
      await run(cluster, emulator)
    } finally {
      await emulator.close()
    }
  })
}

/** The person's way through Google's pages and back. */
async function through(node: Node, url: URL, person = 'alice'): Promise<Page> {
  const stop = `${CLUSTER_ISSUER}/connections/gmail/callback?`
  const { url: back } = await browser({ stop: (to) => to.startsWith(stop) }).approve(url.href, { person })
  return node.finish('gmail', Object.fromEntries(new URL(back).searchParams))
}

async function mailbox(cluster: Cluster, node: Node, { origin }: Google): Promise<{ status: number; address: string | undefined }> {
  const [gmail] = cluster.upstreams
  assert.ok(gmail)
  const credential = await node.connector(gmail).credential('usr_alice', gmail)
  if (credential === 'connection_required') return { status: 0, address: undefined }
  const answer = await fetch(`${origin}/gmail/v1/users/me/profile`, { headers: credential.headers })
  return { status: answer.status, address: ((await answer.json()) as { emailAddress?: string }).emailAddress }
}

eachGoogle('Google is asked for offline access by type and consent, without resource, and refreshes', async (cluster, emulator) => {
  const [one, two] = cluster.nodes
  const url = await one.begin('gmail')
  assert.deepEqual(['access_type', 'prompt', 'resource', 'include_granted_scopes'].map((name) => url.searchParams.get(name)), ['offline', 'consent', null, null])
  assert.ok(!url.searchParams.get('scope')?.includes('offline_access'))
  assert.equal((await through(one, url)).status, 200)
  assert.deepEqual(await mailbox(cluster, one, emulator), { status: 200, address: `alice@${DOMAIN}` })
  const [created] = await cluster.events('connection.created')
  assert.equal(created?.detail?.['refreshable'], true)
  cluster.now += 3600_000
  assert.deepEqual(await mailbox(cluster, two, emulator), { status: 200, address: `alice@${DOMAIN}` })
  // A second time, Google gives a refresh token for the consent alone.
  assert.equal((await through(one, await one.begin('gmail'))).status, 200)
  assert.deepEqual((await cluster.events('connection.created')).map(({ detail }) => detail?.['refreshable']), [true, true])
})

eachGoogle('scopes that a person unticked are shown, asked for again, and may be done without', async (cluster, emulator) => {
  const [node] = cluster.nodes
  emulator.unticked.add(CALENDAR)
  const page = await through(node, await node.begin('gmail'))
  assert.equal(page.status, 200)
  assert.match(page.text, /connected in part/)
  assert.deepEqual([...page.text.matchAll(/<dd>([^<]+)<\/dd>/g)].map(([, scope]) => scope), [CALENDAR])
  assert.deepEqual((await cluster.events('connection.created'))[0]?.detail?.['notGiven'], [CALENDAR])
  // What was given works meanwhile.
  assert.equal((await mailbox(cluster, node, emulator)).status, 200)
  const fields = Object.fromEntries([...page.text.matchAll(/name="(\w+)" value="([^"]*)"/g)].map(([, name, value]) => [name ?? '', (value ?? '').replaceAll('&amp;', '&')]))
  emulator.unticked.clear()
  const again = await node.post('/connections/gmail', fields)
  assert.equal(again.status, 303, again.text)
  const whole = await through(node, new URL(again.location ?? ''))
  assert.match(whole.text, /is connected</)
  assert.equal((await cluster.events('connection.created'))[1]?.detail?.['notGiven'], undefined)
})

eachGoogle('a person who unticked what a call needs is refused by Google, and by nobody before it', async (cluster, emulator) => {
  const [node] = cluster.nodes
  emulator.unticked.add(GMAIL_SCOPE)
  assert.match((await through(node, await node.begin('gmail'))).text, /connected in part/)
  assert.equal((await mailbox(cluster, node, emulator)).status, 403)
  // Google names each scope that would do; what was asked for of them and not given is asked for again, and nothing else.
  const [gmail] = cluster.upstreams
  assert.ok(gmail)
  const asked = await node.oauth.stepUp('usr_alice', gmail, ['https://mail.google.com/', GMAIL_SCOPE])
  assert.deepEqual(asked, ['openid', 'email', GMAIL_SCOPE, CALENDAR])
  assert.equal(await node.oauth.stepUp('usr_alice', gmail, ['https://mail.google.com/', CALENDAR]), undefined)
  emulator.unticked.clear()
  await through(node, await node.begin('gmail'))
  assert.equal((await mailbox(cluster, node, emulator)).status, 200)
  assert.equal(await node.oauth.stepUp('usr_alice', gmail, ['https://mail.google.com/', GMAIL_SCOPE]), undefined, 'given now: another try brings no more')
})

eachGoogle('what the person revoked at Google needs a new connection', async (cluster, emulator) => {
  const [node] = cluster.nodes
  await through(node, await node.begin('gmail'))
  emulator.refreshTokens.clear()
  cluster.now += 3600_000
  assert.deepEqual(await mailbox(cluster, node, emulator), { status: 0, address: undefined })
  await through(node, await node.begin('gmail'))
  assert.equal((await mailbox(cluster, node, emulator)).status, 200)
})
