import assert from 'node:assert/strict'
import { test } from 'node:test'
import { healthRoutes } from './health.ts'
import type { RequestContext, Route } from './route.ts'

const CONTEXT: RequestContext = { address: '192.0.2.1', reference: 'TEST-TEST', params: {} }

async function ask(path: string, unready: () => Promise<string | undefined>): Promise<readonly [number, string]> {
  const route = healthRoutes({ unready }).find((candidate: Route) => candidate.path === path)
  assert.ok(route)
  const response = await route.respond(new Request(`http://node${path}`), CONTEXT)
  return [response.status, await response.text()]
}

test('/livez asks nothing of anybody', async () => {
  const unready = (): Promise<string> => assert.fail('it asked')
  assert.deepEqual(await ask('/livez', unready), [200, 'ok\n'])
})

test('/readyz says why a node is not ready', async () => {
  assert.deepEqual(await ask('/readyz', async () => undefined), [200, 'ok\n'])
  assert.deepEqual(await ask('/readyz', async () => 'the store does not answer'), [503, 'the store does not answer\n'])
})

test('/readyz answers in time while the store hangs', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const answer = ask('/readyz', () => new Promise(() => undefined))
  context.mock.timers.tick(2000)
  assert.deepEqual(await answer, [503, 'the store does not answer in time\n'])
})
