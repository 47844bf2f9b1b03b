// The programs of examples/machine-client, as they are.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { test } from 'node:test'
import { machineHouse } from '../../support/machine-house.ts'

const EXAMPLE = resolve(import.meta.dirname, '../../../../../examples/machine-client')

function run(command: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  return new Promise((done) => {
    execFile(command, [...args], { env: { ...process.env, ...environment }, timeout: 60_000 }, (error, out, err) => done({ code: error === null ? 0 : Number(error.code ?? 1), out, err }))
  })
}

test('the example runs as its README says: a job with a key sees what a rule allows it, and reads', async () => {
  const { code, out, err } = await run(process.execPath, [`${EXAMPLE}/start.ts`])
  assert.equal(code, 0, err)
  assert.match(out, /^may use: list_notes, read_note$/m)
  assert.match(out, /Welcome to the demo company/)
})

test('the script for GitHub Actions gets a token for what GitHub says of the job, and none for another audience', async () => {
  const house = await machineHouse({ name: 'SQLite', store: 'sqlite', nodes: 1 })
  try {
    const { github, gateway, notes } = house
    const environment = { ACTIONS_ID_TOKEN_REQUEST_URL: github.requestUrl, ACTIONS_ID_TOKEN_REQUEST_TOKEN: github.requestToken }
    const { code, out, err } = await run('sh', [`${EXAMPLE}/workload.sh`, gateway.issuer, notes], environment)
    assert.equal(code, 0, err)
    const token = out.trim()
    const called = await fetch(notes, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'job', version: '1' } } }) })
    assert.equal(called.status, 200)
    const refused = await run('sh', [`${EXAMPLE}/workload.sh`, gateway.issuer, 'https://elsewhere.example/mcp'], environment)
    assert.notEqual(refused.out, out)
    assert.equal(refused.out.trim(), '')
  } finally {
    await house.close()
  }
})
