// `lanyard check` and its neighbours, as an operator runs them.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { startGateway } from '../support/gateway.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

function lanyard(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }))
  })
}

interface Finding {
  readonly check: string
  readonly status: string
  readonly message: string
  readonly next?: string
}

async function check(file: string): Promise<{ readonly code: number; readonly findings: ReadonlyMap<string, Finding> }> {
  const { code, out } = await lanyard('check', '--config', file, '--json')
  return { code, findings: new Map((JSON.parse(out) as Finding[]).map((finding) => [`${finding.check} ${finding.status}`, finding])) }
}

async function inFolder(run: (directory: string, write: (values: object) => string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-check-'))
  try {
    await run(directory, (values) => {
      const file = join(directory, 'lanyard.yaml')
      writeFileSync(file, stringify(values))
      return file
    })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

test('a running gateway with the demo company passes every check; one wrong address fails its own check alone', async () => {
  const gateway = await startGateway()
  try {
    await inFolder(async (directory, write) => {
      const values = {
        issuer: gateway.issuer,
        dataDir: directory,
        outbound: { allow: ['127.0.0.0/8'] },
        identityProviders: [{ id: 'corp', type: 'oidc', issuer: gateway.company.issuer, clientId: 'lanyard' }],
        upstreams: [
          { id: 'notes', url: gateway.company.notes },
          { id: 'tickets', url: gateway.company.tickets, connector: { type: 'oauth' } },
        ],
        rules: [],
      }
      const good = await check(write(values))
      const failures = [...good.findings.values()].filter((finding) => finding.status === 'failed')
      assert.deepEqual([good.code, failures], [0, []])
      for (const name of ['identity provider corp', 'upstream notes', 'upstream tickets', 'authorization server', 'endpoint /mcp/notes', 'endpoint /mcp/tickets']) {
        assert.ok(good.findings.has(`${name} ok`), name)
      }
      const wrong = { ...values, upstreams: [{ id: 'notes', url: `${gateway.company.issuer}/elsewhere` }, { ...values.upstreams[1], connector: { type: 'none' } }] }
      const bad = await check(write(wrong))
      assert.equal(bad.code, 1)
      assert.match(bad.findings.get('upstream notes failed')?.message ?? '', /404/)
      assert.match(bad.findings.get('upstream tickets failed')?.next ?? '', /oauth/)
      assert.ok(bad.findings.has('identity provider corp ok'))
      // What this file names and the running gateway does not serve is seen from outside.
      const other = await check(write({ ...values, upstreams: [...values.upstreams, { id: 'unknown', url: gateway.company.notes }] }))
      assert.equal(other.code, 1)
      assert.ok(other.findings.has('endpoint /mcp/unknown failed') && other.findings.has('endpoint /mcp/notes ok'))
    })
  } finally {
    await gateway.close()
  }
})

test('the check makes nothing, and says what is missing and what to do', () =>
  inFolder(async (directory, write) => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const nobody = `http://127.0.0.1:${port}`
    const values = { issuer: nobody, dataDir: `${directory}/data`, identityProviders: [{ id: 'corp', type: 'oidc', issuer: nobody, clientId: 'lanyard' }], upstreams: [{ id: 'notes', url: `${nobody}/mcp` }], rules: [] }
    const refused = await check(write(values))
    assert.equal(refused.code, 1)
    assert.match(refused.findings.get('upstream notes failed')?.next ?? '', /outbound\.allow/)
    const file = write({ ...values, outbound: { allow: ['127.0.0.0/8'] } })
    const { code, findings } = await check(file)
    assert.equal(code, 1)
    for (const name of ['key encryption warning', 'store warning', 'identity provider corp failed', 'upstream notes failed', 'public metadata warning']) assert.ok(findings.has(name), name)
    for (const finding of findings.values()) if (finding.status === 'failed') assert.ok(finding.next !== undefined, finding.check)
    assert.match(findings.get('upstream notes failed')?.message ?? '', /nothing answers there/)
    for (const command of [['keys', 'list'], ['keys', 'rotate'], ['keys', 'revoke', 'x']]) {
      const ran = await lanyard(...command, '--config', file)
      assert.equal(ran.code, 1)
      assert.match(ran.err, /^there is no database at .*\n$/)
    }
    assert.deepEqual(readdirSync(directory), ['lanyard.yaml'])
  }))

test('migrate makes the schema once and says so; a key list needs no key', () =>
  inFolder(async (directory, write) => {
    const file = write({ issuer: 'https://lanyard.example', dataDir: directory, identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'https://idp.example', clientId: 'lanyard' }] })
    const first = await lanyard('migrate', '--config', file, '--json')
    assert.equal(first.code, 0, first.err)
    const { applied } = JSON.parse(first.out) as { readonly applied: readonly string[] }
    assert.ok(applied.length > 5)
    const second = await lanyard('migrate', '--config', file)
    assert.deepEqual([second.code, second.out.includes('up to date')], [0, true])
    const list = await lanyard('keys', 'list', '--config', file)
    assert.deepEqual([list.code, list.out.includes('no signing key yet')], [0, true])
    assert.equal((await lanyard('keys', 'rotate', '--config', file)).code, 1)
  }))

test('a file with mistakes ends every command with 2 and all of them, and no stack trace', () =>
  inFolder(async (_directory, write) => {
    const file = write({ issuer: 'lanyard', unknown: 1, identityProviders: [] })
    const commands = [['check'], ['serve'], ['migrate'], ['keys', 'list'], ['keys', 'rotate']]
    const ran = await Promise.all(commands.map(async (command) => ({ command, ...(await lanyard(...command, '--config', file)) })))
    for (const { command, code, err } of ran) {
      assert.equal(code, 2, command.join(' '))
      assert.equal(err.trim().split('\n').length, 3)
      assert.doesNotMatch(err, /\n\s+at /)
    }
  }))

test('a demo that cannot start says why, ends by itself, and leaves nothing behind', () =>
  inFolder(async (directory) => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const demo = async (port: number): Promise<Ran> =>
      new Promise((resolve) => {
        const env = { ...process.env, TMPDIR: directory }
        execFile(process.execPath, [BIN, 'demo', '--port', String(port)], { env, timeout: 30_000 }, (error, out, err) => resolve({ code: Number(error?.code), out, err }))
      })
    const { port } = taken.address() as AddressInfo
    const [busy, none, beyond] = await Promise.all([demo(port), demo(0), demo(65_536)])
    taken.close()
    assert.deepEqual([busy.code, none.code, beyond.code], [1, 2, 2])
    assert.match(busy.err, /cannot listen on 127\.0\.0\.1:\d+: another process listens there/)
    for (const { err } of [none, beyond]) assert.match(err, /from 1 to 65535/)
    assert.deepEqual(readdirSync(directory).filter((name) => name.startsWith('lanyard-demo')), [])
  }))

test('every command explains itself', async () => {
  const commands = [[], ['keys'], ['check'], ['serve'], ['demo'], ['migrate'], ['keys', 'list'], ['keys', 'rotate'], ['keys', 'revoke']]
  const ran = await Promise.all(commands.map(async (command) => ({ command, ...(await lanyard(...command, '--help')) })))
  for (const { command, code, out } of ran) {
    assert.equal(code, 0, command.join(' '))
    assert.match(out, /^Usage: lanyard/)
  }
})
