import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import type { Upstream } from '../../upstreams/upstream.ts'
import { acknowledgement } from './acknowledgement.ts'

const upstream = (id: string): Upstream => ({ id, name: id }) as Upstream
const [NOTES, TICKETS] = [upstream('notes'), upstream('tickets')]

function scene() {
  const written: string[] = []
  const response = { destroyed: false, write: (text: string) => written.push(text) } as unknown as ServerResponse
  return { written, acknowledged: acknowledgement(response, 1, [NOTES, TICKETS]) }
}

test('the acknowledgement comes first, once all have said theirs, and names what any of them honors (RS-32)', () => {
  const { written, acknowledged } = scene()
  acknowledged.by(NOTES, { toolsListChanged: true, resourceSubscriptions: ['lanyard:notes/a'] })
  acknowledged.write('early')
  assert.deepEqual(written, [])
  acknowledged.by(TICKETS, { resourceSubscriptions: ['lanyard:tickets/b'] })
  assert.equal(written.length, 1)
  assert.match(written[0] ?? '', /"notifications":\{"toolsListChanged":true,"resourceSubscriptions":\["lanyard:notes\/a","lanyard:tickets\/b"\]\}.*\n\nearly$/s)
  acknowledged.write('later')
  assert.equal(written.at(-1), 'later')
})

test('an upstream that says much while another one keeps silent is not kept in memory (O04)', () => {
  const { written, acknowledged } = scene()
  acknowledged.by(NOTES, { toolsListChanged: true })
  const text = 'x'.repeat(100_000)
  for (let count = 0; count < 20; count += 1) acknowledged.write(text)
  assert.match(written[0] ?? '', /^event: message\ndata: [^\n]*subscriptions\/acknowledged/)
  assert.equal(written.join('').match(/x{100000}/g)?.length, 20)
  acknowledged.silent(TICKETS)
  assert.equal(written.join('').match(/acknowledged/g)?.length, 1)
})
