import assert from 'node:assert/strict'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { BodyRefused, requestBody } from './body.ts'

/** What becomes of the body of one request, as the test reads it. */
async function posted<Found>(body: string, read: (request: IncomingMessage) => Promise<Found>): Promise<Found> {
  const { promise, resolve, reject } = Promise.withResolvers<Found>()
  const server = createServer((request, response) => void read(request).then(resolve, reject).finally(() => response.end()))
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  try {
    const asked = fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, { method: 'POST', body })
    const found = await promise
    await (await asked).text()
    return found
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

test('a call that takes its way again has the same body, or is asked for once more', async () => {
  const [first, second] = await posted('small', async (request) => [await requestBody(request, 1024), await requestBody(request, 1024)] as const)
  assert.deepEqual([first, second], [Buffer.from('small'), Buffer.from('small')])
  const refused = await posted('x'.repeat(100_000), async (request) => {
    const body = await requestBody(request, 1024 * 1024)
    assert.ok(body instanceof Readable)
    let size = 0
    for await (const chunk of body as AsyncIterable<Buffer>) size += chunk.length
    assert.equal(size, 100_000)
    return requestBody(request, 1024 * 1024).then(() => undefined, (error: unknown) => error)
  })
  assert.ok(refused instanceof BodyRefused && refused.status === 503)
})
