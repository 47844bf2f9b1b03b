// `lanyard check` and the ways out: webhooks, mail, and what a server behind a proxy does without.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { mailHost, webhookReceiver } from '../support/notice-receivers.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname
const SECRET = 'a-secret-of-32-characters-at-least'

interface Finding {
  readonly check: string
  readonly status: string
  readonly message: string
  readonly next?: string
}

async function check(values: object, ...options: readonly string[]): Promise<readonly Finding[]> {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-check-'))
  try {
    const file = join(directory, 'lanyard.yaml')
    const common = { issuer: 'http://127.0.0.1:9', dataDir: directory, outbound: { allow: ['127.0.0.0/8'] }, identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'http://127.0.0.1:9', clientId: 'lanyard' }] }
    writeFileSync(file, stringify({ ...common, ...values }))
    const out = await new Promise<string>((resolve) => {
      execFile(process.execPath, [BIN, 'check', '--config', file, '--json', ...options], (_error, text, complaint) => resolve(text === '' ? complaint : text))
    })
    return JSON.parse(out) as Finding[]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const about = (findings: readonly Finding[], name: string): readonly string[] => findings.filter((finding) => finding.check.startsWith(name)).map(({ status, message }) => `${status}: ${message}`)

test('webhooks and mail are reached without anything being sent; what cannot be reached says what to do', async () => {
  const [hook, mail] = [await webhookReceiver(SECRET), await mailHost({ login: { user: 'lanyard', password: 'right' } })]
  const notices = { webhooks: [{ url: hook.url, secret: SECRET }, { url: 'http://127.0.0.1:9/gone', secret: SECRET }], email: { host: '127.0.0.1', port: mail.port, tls: 'none', user: 'lanyard', password: 'right', from: 'lanyard@example.com', to: ['admin@example.com'] } }
  try {
    const findings = await check({ notices })
    assert.deepEqual(about(findings, `webhook at ${new URL(hook.url).host}`), ['ok: answers'])
    assert.match(about(findings, 'webhook at 127.0.0.1:9').join(), /^failed: cannot be reached/)
    assert.deepEqual(about(findings, 'mail host'), [`ok: takes mail on port ${mail.port}, and knows the user`])
    assert.deepEqual([hook.accepted, mail.letters, mail.logins], [[], [], ['lanyard']])
    // An address may be a secret in itself.
    assert.ok(!JSON.stringify(findings).includes('/gone') && !JSON.stringify(findings).includes('/lanyard"') && !JSON.stringify(findings).includes(SECRET))
    const wrong = await check({ notices: { ...notices, email: { ...notices.email, password: 'wrong' } } })
    const finding = wrong.find((each) => each.check.startsWith('mail host'))
    assert.deepEqual([finding?.status, finding?.message], ['failed', 'it cannot be used: EAUTH'])
    assert.match(finding?.next ?? '', /notices\.email/)
  } finally {
    await Promise.all([hook.close(), mail.close()])
  }
})

test('asked to, it sends a notice that is signed and says that it is a test, and a mail', async () => {
  const [hook, other, mail] = [await webhookReceiver(SECRET), await webhookReceiver('another-secret-of-32-characters-long'), await mailHost()]
  try {
    const findings = await check({ notices: { webhooks: [hook, other].map(({ url }) => ({ url, secret: SECRET })), email: { host: '127.0.0.1', port: mail.port, tls: 'none', from: 'lanyard@example.com', to: ['admin@example.com'] } } }, '--send-notice')
    assert.match(about(findings, `webhook at ${new URL(hook.url).host}`).join(), /^ok: took the test notice ntc_/)
    assert.deepEqual(hook.accepted.map(({ type, gateway }) => [type, gateway]), [['test', 'http://127.0.0.1:9']])
    assert.deepEqual(about(findings, `webhook at ${new URL(other.url).host}`), ['failed: did not take the test notice: it answered 400'])
    assert.match(about(findings, 'mail host').join(), /^ok: took the test notice/)
    assert.deepEqual(mail.letters.map(({ to }) => to), [['admin@example.com']])
    assert.match(mail.letters[0]?.text ?? '', /This is a test of notices/)
  } finally {
    await Promise.all([hook.close(), other.close(), mail.close()])
  }
})

test('what a server behind a proxy does without is said, and which rules it is about', async () => {
  const config = {
    trustedProxies: ['127.0.0.1/32'],
    upstreams: ['plain', 'ruled', 'named'].map((id) => ({ id, url: 'http://127.0.0.1:9/mcp' })),
    profiles: [{ id: 'some-of-it', upstreams: ['named'], tools: { named: ['read_*'] } }],
    rules: [{ id: 'all', effect: 'allow' }, { id: 'no-deletes', effect: 'deny', upstreams: ['rul*'], tools: ['delete_*'] }, { id: 'readers', effect: 'deny', upstreams: ['ruled'], when: { tool: { destructive: true } } }],
    forwardAuth: [
      { id: 'one', resource: 'http://one.example/mcp', profile: 'plain', validatesHeaders: true },
      { id: 'two', resource: 'http://two.example/mcp', profile: 'ruled', validatesHeaders: true },
      { id: 'three', resource: 'http://three.example/mcp', profile: 'ruled' },
      { id: 'four', resource: 'http://four.example/mcp', profile: 'some-of-it', validatesHeaders: true },
    ],
  }
  const findings = await check(config)
  assert.match(about(findings, 'protected server one').join(), /^ok: http:\/\/one\.example\/mcp: lists show every tool/)
  assert.match(about(findings, 'protected server two').join(), /^warning: rule no-deletes, rule readers speak of single tools: .*lists show every tool/)
  assert.match(about(findings, 'protected server three').join(), /^warning: .*does not say that it compares headers/)
  assert.match(about(findings, 'protected server four').join(), /^warning: profile some-of-it speaks of single tools/)
})
