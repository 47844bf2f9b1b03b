// Documents that cannot be used, as an operator meets them: in `lanyard check`, and when the gateway starts.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { loadConfig } from '../../src/config/load.ts'
import { start, StartError } from '../../src/main.ts'
import { API_DOCUMENT } from '../support/api-house.ts'
import { httpApi, type HttpApi } from '../support/http-api.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname

interface Finding {
  readonly check: string
  readonly status: string
  readonly message: string
}

interface House {
  readonly api: HttpApi
  /** Writes the configuration with this upstream, and the document beside it. */
  write(upstream: Record<string, unknown>, document?: unknown, more?: Record<string, unknown>): Promise<string>
  /** What is found about the upstream. */
  check(file: string): Promise<readonly Finding[]>
}

function house(name: string, run: (house: House) => Promise<void>): void {
  test(name, async () => {
    const api = await httpApi()
    const directory = await mkdtemp(join(tmpdir(), 'lanyard-documents-'))
    const made: House = {
      api,
      async write(upstream, document, more = {}) {
        if (document !== undefined) await writeFile(join(directory, 'api.yaml'), typeof document === 'string' ? document : stringify(document))
        const file = join(directory, 'lanyard.yaml')
        await writeFile(
          file,
          stringify({
            issuer: 'http://127.0.0.1:9',
            listen: '127.0.0.1:0',
            dataDir: directory,
            store: 'sqlite::memory:',
            outbound: { allow: ['127.0.0.0/8'] },
            identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'http://127.0.0.1:9', clientId: 'lanyard' }],
            upstreams: [{ id: 'issues', type: 'http', url: api.url, ...upstream }],
            ...more,
          }),
        )
        return file
      },
      check: (file) => new Promise((resolve) => void execFile(process.execPath, [BIN, 'check', '--config', file, '--json'], (_error, out) => resolve((JSON.parse(out) as Finding[]).filter(({ check }) => check === 'upstream issues')))),
    }
    try {
      await run(made)
    } finally {
      await api.close()
      await rm(directory, { recursive: true, force: true })
    }
  })
}

/** Starts and stops a gateway. */
async function starts(file: string): Promise<void> {
  const running = await start(loadConfig(file), { sink: () => undefined })
  await running.close()
}

house('what a document says is text on a terminal, whatever else a terminal would take it for', async ({ write, check }) => {
  const path = '/session\u009b2J\u001b]0;title\u0007\u202e'
  const paths = { [path]: { get: { parameters: [{ name: 'sid', in: 'cookie', required: true, schema: {} }], responses: { 200: { description: 'd' } } } } }
  const file = await write({ openapi: './api.yaml' }, { ...API_DOCUMENT, paths })
  const run = (...args: readonly string[]): Promise<string> => new Promise((resolve) => void execFile(process.execPath, [BIN, 'check', '--config', file, ...args], (_error, out) => resolve(out)))
  const [plain, json] = await Promise.all([run(), run('--json')])
  assert.match(plain, /no tool for GET \/session2J\]0;title: it needs a cookie/)
  for (const printed of [plain, json]) assert.doesNotMatch(printed, /(?!\n)[\p{Cc}\p{Cf}]/u)
  // Whoever reads the data has it whole.
  assert.ok((await check(file)).some(({ message }) => message.includes(path)))
})

house('check says how many tools a document makes, and of which operations it makes none', async ({ write, check }) => {
  const sound = await check(await write({ openapi: './api.yaml' }, API_DOCUMENT))
  assert.deepEqual(sound.map(({ status }) => status), ['ok', 'ok'])
  assert.match(sound[1]?.message ?? '', /makes 6 tools/)
  const paths = { ...API_DOCUMENT.paths, '/session': { get: { parameters: [{ name: 'sid', in: 'cookie', required: true, schema: {} }], responses: { 200: { description: 'd' } } } } }
  const partly = await check(await write({ openapi: './api.yaml', operations: { include: ['* /issues*', '* /session'] } }, { ...API_DOCUMENT, paths }))
  assert.deepEqual(partly.map(({ status, message }) => `${status} ${message}`).slice(1), ['ok its OpenAPI document makes 4 tools', 'warning no tool for GET /session: it needs a cookie, which this gateway does not pass on'])
  assert.deepEqual((await check(await write({ openapi: './api.yaml', operations: { exclude: ['*'] } }, API_DOCUMENT))).map(({ status }) => status), ['ok', 'warning'])
})

house('a file that cannot be used is a mistake of the configuration: check says it, and the gateway does not start', async ({ write, check }) => {
  for (const [document, reason] of [['openapi: 3.1.0\npaths: [', /cannot be read/], [{ openapi: '3.1.0', info: { title: 'x', version: '1' }, paths: { '/a': { get: 1 } } }, /not valid/], [{ swagger: '2.0' }, /not OpenAPI 3/]] as const) {
    const file = await write({ openapi: './api.yaml' }, document)
    const found = await check(file)
    assert.equal(found[1]?.status, 'failed')
    assert.match(found[1]?.message ?? '', reason)
    await assert.rejects(starts(file), (error: unknown) => error instanceof StartError && error.isConfiguration && reason.test(error.message))
  }
  await assert.rejects(starts(await write({ openapi: './missing.yaml' })), /cannot be read/)
  await starts(await write({ openapi: './api.yaml' }, API_DOCUMENT))
})

house('an address that does not answer is told, and the gateway starts all the same', async ({ api, write, check }) => {
  const file = await write({ openapi: `${api.url}/openapi.json` })
  api.script = (request, response) => (request.url?.endsWith('.json') === true ? void response.writeHead(503).end() : false)
  const found = await check(file)
  assert.deepEqual([found[1]?.status, /answers 503/.test(found[1]?.message ?? '')], ['failed', true])
  await starts(file)
  api.script = () => false
  api.document = API_DOCUMENT
  assert.match((await check(file))[1]?.message ?? '', /makes 6 tools/)
})

house('settings that belong to HTTP APIs alone, and bases that are none, are mistakes', async ({ api, write }) => {
  const mistakes = async (upstream: Record<string, unknown>, more?: Record<string, unknown>): Promise<string> => {
    const file = await write(upstream, undefined, more)
    try {
      loadConfig(file)
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.equal(await mistakes({}), '')
  assert.match(await mistakes({ type: 'mcp', openapi: './a.yaml' }), /openapi: is for HTTP APIs/)
  assert.match(await mistakes({ operations: { include: ['*'] } }), /operations: is of no use without an openapi document/)
  for (const url of [`${api.url}?key=1`, `${api.url}/a//b`, 'http://user@127.0.0.1/v1', `${api.url}#a`]) assert.match(await mistakes({ url }), /must be the base of the API/, url)
  const profiles = [{ id: 'work', upstreams: ['issues'] }]
  assert.match(await mistakes({}, { profiles }), /is an HTTP API without an openapi document/)
  assert.equal(await mistakes({ openapi: './a.yaml' }, { profiles }), '')
  const clients = (resource: string) => [{ id: 'api', name: 'The API', clientSecret: 's'.repeat(32), resources: [resource] }]
  assert.equal(await mistakes({}, { clients: clients('http://127.0.0.1:9/http/issues') }), '')
  assert.match(await mistakes({}, { clients: clients('http://127.0.0.1:9/http/issues/7') }), /must be the address/)
  for (const tools of [['GET /a//b'], ['HEAD /a'], ['GET /users/a%40b']]) assert.match(await mistakes({}, { rules: [{ id: 'r', effect: 'deny', tools }] }), /rules\.0\.tools\.0/)
  assert.equal(await mistakes({}, { rules: [{ id: 'r', effect: 'deny', tools: ['GET /users/a@b', '* /x/*'] }] }), '')
})
