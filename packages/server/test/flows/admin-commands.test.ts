// `lanyard admin` against a running gateway: what its JSON API can do, as an administrator types it.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { commandsOf, readDescription } from '../../src/cli/admin-commands.ts'
import { tokenOf, withToken, type Ask } from '../support/api-clients.ts'
import { browser } from '../support/browser.ts'
import { recorded, SCRIPT, startGateway, type RunningGateway } from '../support/gateway.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname

/** With which an administrator lets the command line have the JSON API. */
const CLI = { id: 'lanyard-cli', name: 'Lanyard command line', grantTypes: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], tokenEndpointAuthMethod: 'none' }

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

describe('lanyard admin', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-admin-'))
  let gateway: RunningGateway
  let token = ''
  let dana: Ask

  /** Runs a command; standard input is empty unless it is given. */
  const run = (args: readonly string[], environment: Readonly<Record<string, string>> = {}, input = ''): Promise<Ran> =>
    new Promise((resolve) => {
      const { LANYARD_URL: _url, LANYARD_TOKEN: _token, ...env } = process.env
      const child = execFile(process.execPath, [BIN, 'admin', ...args], { env: { ...env, XDG_CONFIG_HOME: join(directory, 'nobody'), ...environment }, timeout: 30_000 }, (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }))
      child.stdin?.end(input)
    })
  const admin = (...args: readonly string[]): Promise<Ran> => run(args, { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token })
  const file = (name: string, content: string): string => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }

  before(async () => {
    gateway = await startGateway({ config: { admins: { groups: ['it-admins'] }, clients: [SCRIPT, CLI] } })
    token = await tokenOf(gateway.issuer, 'dana', `${gateway.issuer}/api`)
    dana = withToken(gateway.issuer, token)
    await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/mcp/notes`)
  })
  after(async () => {
    await (gateway as RunningGateway | undefined)?.close()
    rmSync(directory, { recursive: true, force: true })
  })

  test('every endpoint of the API is a command of its own, with help', async () => {
    const document = (await dana('/api/openapi.json')).body as { paths: Record<string, Record<string, { summary: string }>> }
    const commands = commandsOf(readDescription(document) ?? assert.fail('no description'))
    assert.equal(commands.length, Object.values(document.paths).flatMap((operations) => Object.keys(operations)).length)
    assert.equal(new Set(commands.map(({ words }) => words.join(' '))).size, commands.length, 'two endpoints are one command')
    const named = new Set(commands.map(({ words }) => words.join(' ')))
    for (const words of ['applications list', 'applications approve', 'approvals list', 'approvals show', 'rules add', 'rules change', 'rules delete', 'rules replace', 'policy explain', 'policy simulate', 'pins approve', 'profiles add', 'me show', 'me profiles list']) assert.ok(named.has(words), words)
    const top = await admin('--help')
    assert.equal(top.code, 0)
    for (const group of new Set(commands.map(({ words }) => words[0] ?? ''))) {
      assert.match(top.out, new RegExp(`^ +${group}\\b`, 'm'))
      const help = await admin(group, '--help')
      assert.equal(help.code, 0, group)
      for (const { words, summary } of commands.filter((command) => command.words[0] === group && command.words.length === 2)) {
        assert.match(help.out, new RegExp(`^ +${words[1]}\\b`, 'm'), words.join(' '))
        assert.ok(help.out.replaceAll(/\s+/g, ' ').includes(summary.split(' ').slice(0, 3).join(' ')), summary)
      }
    }
    const one = await admin('rules', 'add', '--help')
    assert.match(one.out, /--effect <text>[\s\S]*choices: "allow", "deny", "step-up",\s+"approval"/)
  })

  test('rules are added, shown, changed, and deleted, and the gateway has them', async () => {
    const added = await admin('rules', 'add', '--id', 'no-lists', '--effect', 'deny', '--tools', 'list_notes', 'list_tickets', '--json')
    assert.deepEqual([added.code, JSON.parse(added.out)], [0, { rule: { id: 'no-lists', effect: 'deny', tools: ['list_notes', 'list_tickets'] }, version: 1, declared: false }])
    const shown = await admin('rules', 'show', 'no-lists')
    assert.deepEqual((parse(shown.out) as { rule: { tools: string[] } }).rule.tools, ['list_notes', 'list_tickets'])
    const change = file('change.yaml', stringify({ rule: { id: 'no-lists', effect: 'deny', tools: ['list_notes'] }, version: 7 }))
    const stale = await admin('rules', 'change', 'no-lists', '--body', change)
    assert.deepEqual([stale.code, stale.out], [1, ''])
    assert.match(stale.err, /Somebody has changed this rule meanwhile/)
    // What is named beside the file counts.
    assert.equal((await admin('rules', 'change', 'no-lists', '--body', change, '--version', '1')).code, 0)
    assert.deepEqual((await dana('/api/rules/no-lists')).body, { rule: { id: 'no-lists', effect: 'deny', tools: ['list_notes'] }, version: 2, declared: false })
    const gone = await admin('rules', 'delete', 'no-lists')
    assert.deepEqual([gone.code, gone.out.trim()], [0, 'Done.'])
    assert.equal((await dana('/api/rules/no-lists')).status, 404)
    for (const action of ['rule.created', 'rule.changed', 'rule.deleted']) await recorded(gateway, (event) => event.action === action && event.rule === 'no-lists' && event.clientId === 'script')
    const replaced = await run(['rules', 'replace', '--body', '-', '--json'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, JSON.stringify({ rules: [] }))
    assert.deepEqual(JSON.parse(replaced.out), { added: 0, changed: 0, removed: 0 })
  })

  test('an application is listed and approved, and members that are objects are JSON', async () => {
    const list = await admin('applications', 'list', '--json')
    const { applications } = JSON.parse(list.out) as { applications: { id: string; name: string; digest: string }[] }
    const script = applications.find(({ name }) => name === 'Script' ) ?? assert.fail(list.out)
    assert.equal((await admin('applications', 'approve', script.id, '--digest', script.digest, '--groups', 'engineering')).code, 0)
    const after = (await dana('/api/applications')).body['applications'] as { id: string; decisions: { effect: string; groups: string[] }[] }[]
    assert.deepEqual(after.find(({ id }) => id === script.id)?.decisions.map(({ effect, groups }) => [effect, groups])[0], ['approve', ['engineering']])
    // An identifier may be an address.
    const unknown = await admin('applications', 'unpin', 'https://elsewhere.example/client?x=1#y')
    assert.deepEqual([unknown.code, unknown.err.trim()], [1, 'There is no such application.'])
    const explained = await admin('policy', 'explain', '--user', 'usr_nobody', '--groups', 'engineering', '--client', 'c', '--upstream', 'notes', '--tool', 'read_note', '--authentication', '{"acr": "mfa"}', '--json')
    assert.equal((JSON.parse(explained.out) as { decision: { rule: string } }).decision.rule, 'engineering-everything')
    const waiting = await admin('approvals', 'list', '--state', 'pending', '--json')
    assert.deepEqual(JSON.parse(waiting.out), { approvals: [] })
  })

  test('what the gateway refuses is told with each mistake: 1', async () => {
    const refused = await admin('rules', 'add', '--id', 'x', '--effect', 'step-up', '--upstreams', 'ntoes')
    assert.deepEqual([refused.code, refused.out], [1, ''])
    assert.match(refused.err, /^ {2}\/require: /m)
    assert.deepEqual((await dana('/api/rules/x')).status, 404)
    const stranger = await run(['rules', 'list'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: `${token}x` })
    assert.equal(stranger.code, 1)
    assert.match(stranger.err, /invalid, expired or revoked/)
    assert.ok(!`${stranger.out}${stranger.err}`.includes(token.slice(-20)))
    const nobody = await run(['rules', 'list'], { LANYARD_URL: 'http://127.0.0.1:1', LANYARD_TOKEN: token })
    assert.equal(nobody.code, 1)
    assert.match(nobody.err, /does not answer/)
  })

  test('what is called wrongly is 2, and nothing is asked', async () => {
    const cases: readonly (readonly [readonly string[], Readonly<Record<string, string>>, RegExp])[] = [
      [['rules', 'list'], {}, /Which gateway/],
      [['rules', 'list'], { LANYARD_URL: 'http://lanyard.example.com' }, /must be https/],
      [['rules', 'list'], { LANYARD_URL: `${gateway.issuer}/api` }, /is its issuer/],
      [['rules', 'list'], { LANYARD_URL: gateway.issuer }, /Who asks/],
      [['rules', 'list', '--token-file', join(directory, 'absent')], { LANYARD_URL: gateway.issuer }, /cannot be read/],
      [['rules', 'list'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: 'two\nlines' }, /characters that no token has/],
      [['rules', 'invent'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /unknown command 'invent'/],
      [['nothing'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /unknown command 'nothing'/],
      [['rules', 'add', '--effect', 'permit'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /Allowed choices are allow/],
      [['rules', 'add', '--effect', 'deny'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /--id missing/],
      [['rules', 'delete'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /missing required argument 'id'/],
      [['rules', 'delete', '..'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /id cannot be/],
      [['rules', 'list', '--colour'], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /unknown option '--colour'/],
      [['rules', 'add', '--body', file('list.yaml', '- a')], { LANYARD_URL: gateway.issuer, LANYARD_TOKEN: token }, /must hold an object/],
    ]
    for (const [args, environment, told] of cases) {
      const { code, err, out } = await run(args, environment)
      assert.deepEqual([code, out], [2, ''], `${args.join(' ')}: ${err}`)
      assert.match(err, told, args.join(' '))
    }
  })

  test('the gateway and the token may be named by options, wherever they stand', async () => {
    const held = file('token', `${token}\n`)
    for (const args of [['--url', gateway.issuer, '--token-file', held, '--json', 'me', 'show'], ['me', 'show', '--json', '--url', gateway.issuer, '--token-file', held]]) {
      const { code, out, err } = await run(args)
      assert.equal(code, 0, err)
      assert.equal((JSON.parse(out) as { administrator: boolean }).administrator, true)
    }
    const help = await run(['--help'])
    assert.deepEqual([help.code, /LANYARD_URL/.test(help.out)], [0, true])
  })

  test('without a token, that of lanyard login is used and refreshed, and the gateway that it is for', async () => {
    const home = join(directory, 'dana')
    const { LANYARD_URL: _url, LANYARD_TOKEN: _token, ...env } = process.env
    const login = spawn(process.execPath, [BIN, 'login', `${gateway.issuer}/api`, '--json'], { env: { ...env, XDG_CONFIG_HOME: home }, stdio: ['ignore', 'pipe', 'inherit'] })
    createInterface(login.stdout).on('line', (line) => {
      const { verification_uri_complete: uri } = JSON.parse(line) as { verification_uri_complete?: string }
      if (uri !== undefined) void browser().approve(uri, { person: 'dana' })
    })
    assert.equal(await new Promise((resolve) => login.on('exit', resolve)), 0)
    const shown = await run(['me', 'show', '--json'], { XDG_CONFIG_HOME: home })
    assert.deepEqual([shown.code, (JSON.parse(shown.out) as { administrator: boolean }).administrator], [0, true], shown.err)
    // An access token that is over is had anew.
    const kept = join(home, 'lanyard', 'logins.json')
    writeFileSync(kept, readFileSync(kept, 'utf8').replace(/"expiresAt": \d+/, '"expiresAt": 0'), { mode: 0o600 })
    assert.equal((await run(['rules', 'list'], { XDG_CONFIG_HOME: home })).code, 0)
    await recorded(gateway, ({ action, clientId }) => action === 'token.refreshed' && clientId === 'lanyard-cli')
    // What is given comes before it.
    assert.match((await run(['me', 'show'], { XDG_CONFIG_HOME: home, LANYARD_TOKEN: 'garbage' })).err, /invalid, expired or revoked/)
  })

  test('an address that leads on gets no token, and what a terminal would obey is not printed', async () => {
    const asked: (string | undefined)[] = []
    const server = createServer((request, response) => {
      asked.push(request.headers.authorization)
      if (request.url === '/api/openapi.json') response.end(JSON.stringify({ openapi: '3.1.0', paths: { '/rules': { get: { summary: 'Rules' } }, '/rules/{id}': { get: {} } } }))
      else if (request.url === '/api/rules') response.writeHead(302, { location: '/elsewhere' }).end()
      else response.writeHead(400, { 'content-type': 'application/problem+json' }).end(JSON.stringify({ detail: 'no\u001b[2J\u202e', status: 400 }))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    try {
      const led = await run(['rules', 'list'], { LANYARD_URL: url, LANYARD_TOKEN: token })
      assert.equal(led.code, 1)
      assert.deepEqual(asked, [undefined, `Bearer ${token}`])
      // Nor does another gateway get that of a login.
      const elsewhere = await run(['rules', 'list'], { XDG_CONFIG_HOME: join(directory, 'dana'), LANYARD_URL: url })
      assert.deepEqual([elsewhere.code, asked.length], [2, 3], elsewhere.err)
      const refused = await run(['rules', 'show', 'x'], { LANYARD_URL: url, LANYARD_TOKEN: token })
      assert.deepEqual([refused.code, refused.err], [1, 'no[2J\n'])
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })
})
