// Notices on their way: signed webhooks and mail, tried again until they arrive, and never a secret or a second header.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { generate } from 'selfsigned'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { emailTarget, type EmailSettings } from '../../src/notices/email.ts'
import type { NoticeContent, Notices, NoticeTarget } from '../../src/notices/notice.ts'
import { outbox } from '../../src/notices/outbox.ts'
import { webhookTarget } from '../../src/notices/webhook.ts'
import { addNotices, outboxStore } from '../../src/store/notices.ts'
import { eventually } from '../support/eventually.ts'
import { mailHost, webhookReceiver, type MailHost, type WebhookReceiver } from '../support/notice-receivers.ts'
import { eachPair, type StorePair } from '../support/store-pair.ts'

const GATEWAY = 'https://lanyard.example'
const SECRET = 's'.repeat(32)
const CONTENT: NoticeContent = { type: 'approval.requested', summary: 'alice asks to use Editor (unverified)', facts: { request: 'apr_1', application: 'dyn_1', name: 'Editor', verified: false, needs: ['notes read'] } }
const MAIL = { from: 'lanyard@corp.example', to: ['admins@corp.example', 'it@corp.example'] }
const NOW = 1_795_000_000_000

let sender: Outbound
let key = ''
let cert = ''
before(async () => {
  sender = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  const pems = await generate([{ name: 'commonName', value: 'localhost' }], {
    algorithm: 'sha256',
    extensions: [{ name: 'basicConstraints', cA: true }, { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] }],
  })
  ;({ private: key, cert } = pems)
})
after(() => sender.close())

interface Office {
  readonly notices: Notices
  now: number
}

function office(pair: StorePair, targets: readonly NoticeTarget[], node: 'one' | 'two' = 'one'): Office {
  const made = { now: NOW }
  return Object.assign(made, { notices: outbox({ gateway: GATEWAY, targets, store: outboxStore(pair[node]), now: () => made.now }) })
}

async function write(pair: StorePair, { notices }: Office, content = CONTENT): Promise<void> {
  await pair.one.db.transaction((tx) => addNotices(tx, notices.compose(content)))
}

const events = async (pair: StorePair): Promise<readonly Record<string, unknown>[]> =>
  (await pair.db.query<{ event: string }>('SELECT event FROM audit ORDER BY seq')).map(({ event }) => JSON.parse(event) as Record<string, unknown>)

async function within<Closed extends { close(): Promise<void> }>(opened: Promise<Closed>, run: (value: Closed) => Promise<void>): Promise<void> {
  const value = await opened
  try {
    await run(value)
  } finally {
    await value.close()
  }
}

function eachHook(name: string, run: (pair: StorePair, hook: WebhookReceiver, made: Office) => Promise<void>): void {
  eachPair(name, async (pair) => {
    const made = { now: NOW }
    await within(webhookReceiver(SECRET, () => made.now), async (hook) => {
      const notices = outbox({ gateway: GATEWAY, targets: [webhookTarget({ url: hook.url, secret: SECRET }, sender)], store: outboxStore(pair.one), now: () => made.now })
      await run(pair, hook, Object.assign(made, { notices }))
    })
  })
}

eachHook('a webhook that fails is tried again, ever more slowly, until it has arrived once', async (pair, hook, made) => {
  hook.failures.push(500, 301, 404)
  await write(pair, made)
  await made.notices.sendDue()
  assert.deepEqual([hook.deliveries.length, hook.accepted.length, await pair.count('notices')], [1, 0, 1])
  await made.notices.sendDue()
  assert.equal(hook.deliveries.length, 1, 'not before its time')
  for (const delay of [2000, 4000, 8000]) {
    made.now += delay - 1
    await made.notices.sendDue()
    const before: number = hook.deliveries.length
    made.now += 1
    await made.notices.sendDue()
    assert.equal(hook.deliveries.length, before + 1, `after ${delay} ms`)
  }
  assert.deepEqual([hook.accepted.length, await pair.count('notices')], [1, 0])
  const { id, at, ...rest } = hook.accepted[0] ?? {}
  assert.deepEqual(rest, { type: 'approval.requested', gateway: GATEWAY, summary: CONTENT.summary, ...CONTENT.facts })
  assert.equal(at, new Date(NOW).toISOString())
  assert.deepEqual(new Set(hook.deliveries.map(({ headers }) => headers['webhook-id'])), new Set([id]))
  const [event, ...others] = await events(pair)
  assert.deepEqual([event?.['action'], event?.['reference'], others.length], ['notice.sent', id, 0])
})

eachHook('attack: a webhook that is replayed, changed or signed by somebody else is refused by whoever checks it as documented', async (pair, hook, made) => {
  await write(pair, made)
  await made.notices.sendDue()
  assert.equal(hook.accepted.length, 1)
  const [{ headers, body } = { headers: {}, body: '' }] = hook.deliveries
  const sent = { 'webhook-id': String(headers['webhook-id']), 'webhook-timestamp': String(headers['webhook-timestamp']), 'webhook-signature': String(headers['webhook-signature']) }
  const post = async (changes: object, text = body): Promise<string> => (await fetch(hook.url, { method: 'POST', body: text, headers: { ...sent, ...changes } })).text()
  assert.equal(await post({}), 'seen before')
  assert.equal(await post({}, body.replace('Editor', 'Other')), 'the signature does not match')
  assert.equal(await post({ 'webhook-id': 'ntc_other' }), 'the signature does not match')
  made.now += 301_000
  assert.equal(await post({}), 'too old')
  assert.equal(await post({ 'webhook-timestamp': String(Math.floor(made.now / 1000)) }), 'the signature does not match')
  // Without the secret nobody makes one.
  await within(webhookReceiver('o'.repeat(32), () => made.now), async (stranger) => {
    const other = office(pair, [webhookTarget({ url: stranger.url, secret: SECRET }, sender)])
    other.now = made.now
    await write(pair, other)
    await other.notices.sendDue()
    assert.deepEqual([stranger.deliveries.length, stranger.accepted.length], [1, 0])
  })
  assert.equal(hook.accepted.length, 1)
})

eachHook('redirects are not followed', async (pair, hook, made) => {
  hook.failures.push('redirect')
  await write(pair, made)
  await made.notices.sendDue()
  assert.equal(hook.deliveries.length, 1)
  assert.equal(await pair.count('notices'), 1)
  made.now += 10_000
  await made.notices.sendDue()
  assert.deepEqual([hook.deliveries.length, hook.accepted.length], [2, 1])
})

eachPair('a target that hangs keeps no other waiting', async (pair) => {
  await within(webhookReceiver(SECRET, () => NOW), async (other) => {
    const hung = await webhookReceiver(SECRET, () => NOW)
    hung.failures.push('hang')
    const made = office(pair, [hung, other].map(({ url }) => webhookTarget({ url, secret: SECRET }, sender)))
    await write(pair, made)
    const sending = made.notices.sendDue()
    await eventually('the other notice', () => other.accepted.length === 1 && hung.deliveries.length === 1)
    await hung.close()
    await sending
    assert.equal(await pair.count('notices'), 1)
  })
})

eachPair('of nodes that look at once, one sends each notice', async (pair) => {
  await within(webhookReceiver(SECRET, () => NOW), async (hook) => {
    const target = webhookTarget({ url: hook.url, secret: SECRET }, sender)
    const nodes = [office(pair, [target], 'one'), office(pair, [target], 'two')] as const
    for (let index = 0; index < 10; index += 1) await write(pair, nodes[0], { ...CONTENT, facts: { index: String(index) } })
    await Promise.all(Array.from({ length: 8 }, (_, index) => nodes[index % 2 === 0 ? 0 : 1].notices.sendDue()))
    assert.deepEqual(hook.accepted.map(({ index }) => String(index)).sort(), Array.from({ length: 10 }, (_, index) => String(index)))
    assert.equal(hook.deliveries.length, 10)
  })
})

eachPair('what cannot be delivered for a day is given up, and so is what has no target any more; both are recorded', async (pair) => {
  const made = office(pair, [webhookTarget({ url: 'http://127.0.0.1:9/', secret: SECRET }, sender)])
  await write(pair, made)
  let rounds = 0
  for (; (await pair.count('notices')) > 0; rounds += 1) {
    await made.notices.sendDue()
    made.now += 3600_000
  }
  assert.equal(rounds, 32)
  await write(pair, made)
  const emptied = office(pair, [])
  emptied.now = made.now
  await emptied.notices.sendDue()
  assert.equal(await pair.count('notices'), 0)
  assert.deepEqual((await events(pair)).map(({ action, reason }) => [action, reason]), [['notice.failed', 'unreachable'], ['notice.failed', 'it is no longer configured']])
  // The address may be a secret: it is nowhere.
  assert.equal(JSON.stringify(await pair.snapshot()).includes('127.0.0.1:9/'), false)
})

const mailTo = (host: MailHost, more: Partial<EmailSettings> = {}): NoticeTarget => emailTarget({ host: '127.0.0.1', port: host.port, tls: 'none', ...MAIL, ...more })

eachPair('a letter tells administrators, and is tried again when the mail host does not take it', async (pair) => {
  let busy = true
  await within(mailHost({ refuses: () => busy }), async (host) => {
    const made = office(pair, [mailTo(host)])
    await write(pair, made)
    await made.notices.sendDue()
    assert.deepEqual([host.letters.length, await pair.count('notices')], [0, 1])
    busy = false
    made.now += 2000
    await made.notices.sendDue()
    const [letter, ...others] = host.letters
    assert.deepEqual([letter?.from, letter?.to, others.length, await pair.count('notices')], [MAIL.from, MAIL.to, 0, 0])
    assert.match(letter?.text ?? '', /^Subject: Lanyard: alice asks to use Editor \(unverified\)\r$/m)
    assert.match(letter?.text ?? '', /^needs: notes read\r$/m)
    assert.match(letter?.text ?? '', /^verified: false\r$/m)
  })
})

eachPair('header injection: a name with lines of its own makes no header, no recipient and no second letter', async (pair) => {
  await within(mailHost(), async (host) => {
    const made = office(pair, [mailTo(host)])
    const names = ['x\r\nBcc: evil@evil.example', 'x\nContent-Type: text/html\n\n<b>', 'x\r\n.\r\nMAIL FROM:<evil@evil.example>', '\u2028Subject: other', `=?utf-8?q?=0ABcc:_evil@evil.example?=`, 'é'.repeat(300)]
    for (const name of names) await write(pair, made, { type: 'approval.requested', summary: `${name} asks to use ${name}`, facts: { name, [name]: 'x', list: [name] } })
    await made.notices.sendDue()
    assert.equal(host.letters.length, names.length)
    for (const { to, from, text } of host.letters) {
      assert.deepEqual([from, to], [MAIL.from, MAIL.to])
      const headers = text.slice(0, text.indexOf('\r\n\r\n')).replaceAll(/\r\n[ \t]+/g, ' ').split('\r\n').map((line) => line.slice(0, line.indexOf(':')).toLowerCase())
      assert.deepEqual([...headers].sort(), ['content-transfer-encoding', 'content-type', 'date', 'from', 'message-id', 'mime-version', 'subject', 'to'])
    }
  })
})

eachPair('mail goes by TLS or not at all: a host without it gets nothing, not even the password', async (pair) => {
  const login = { user: 'lanyard', password: 'mail-password' }
  await within(mailHost({ login }), async (plain) => {
    const made = office(pair, [mailTo(plain, { host: 'localhost', tls: 'starttls', ...login })])
    await write(pair, made)
    await made.notices.sendDue()
    assert.deepEqual([plain.letters, plain.logins, await pair.count('notices')], [[], [], 1])
  })
  await within(mailHost({ login, tls: { key, cert } }), async (secure) => {
    const made = office(pair, [mailTo(secure, { host: 'localhost', tls: 'starttls', ...login })])
    await write(pair, made)
    // A certificate that nobody trusts is no better.
    await made.notices.sendDue()
    assert.deepEqual([secure.letters, secure.logins], [[], []])
    const trusted = getCACertificates('default')
    try {
      setDefaultCACertificates([...trusted, cert])
      made.now += 60_000
      await made.notices.sendDue()
    } finally {
      setDefaultCACertificates(trusted)
    }
    assert.deepEqual([secure.letters.map((letter) => letter.secure), secure.logins], [[true], ['lanyard']])
  })
})

test('every notice has its own identifier, and one for each target', () => {
  const targets = ['a', 'b'].map((name): NoticeTarget => ({ name, send: async () => undefined }))
  const { compose } = outbox({ gateway: GATEWAY, targets, store: { takeDue: async () => [], finish: async () => undefined, postpone: async () => undefined }, now: () => NOW })
  const made = [...compose(CONTENT), ...compose(CONTENT)]
  assert.deepEqual([new Set(made.map(({ id }) => id)).size, made.map(({ target }) => target)], [4, ['a', 'b', 'a', 'b']])
})
