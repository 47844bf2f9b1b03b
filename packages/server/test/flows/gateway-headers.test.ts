// Headers as no client would write them: each request gets an answer that means something, and nothing ends the process.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { connect } from 'node:net'
import { call, eachMcpCluster, initialize, legacy, type Cluster } from '../support/mcp-nodes.ts'

/** Every byte that HTTP lets stand in a value (RFC 9110 §5.5), and what fields are made of. */
const value = fc.oneof(
  fc.array(fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff }), fc.constant(9)), { maxLength: 40 }).map((codes) => String.fromCharCode(...codes)),
  fc.constantFrom('', '=?base64?YQ==?=', '=?base64??=', 'k1.', 'k1.AAAA', '2026-07-28', '__proto__', ', ', '*/*', '0', '-1', 'null', '{}', 'a'.repeat(8000)),
)
const name = fc.constantFrom('mcp-session-id', 'mcp-protocol-version', 'mcp-method', 'mcp-name', 'mcp-param-a', 'mcp-param-', 'mcp-param-!#$%', 'accept', 'last-event-id', 'x-forwarded-for', 'authorization', 'content-type', 'origin', 'cookie', 'expect', 'upgrade', 'te')

eachMcpCluster('no header that HTTP allows brings the gateway into trouble (N09, O05, P-19)', async (cluster) => {
  const token = cluster.token()
  const session = String((await cluster.nodes[0].send(initialize(token))).headers['mcp-session-id'])
  const requests = [call(token, 'read_note'), legacy(token, 'tools/call', { name: 'read_note', arguments: {} }, session), { ...legacy(token, '', {}, session), method: 'GET', body: '' }, { ...legacy(token, '', {}, 'x'), method: 'DELETE', body: '' }]
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...requests), fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 3 }), async (sent, extra) => {
      const headers = [...Object.entries(sent.headers ?? {}).filter(([field]) => !extra.some(([given]) => given === field)), ...extra]
      const lines = [`${'method' in sent ? sent.method : 'POST'} /mcp/notes HTTP/1.1`, 'host: lanyard.example', 'connection: close', ...headers.map(([field, text]) => `${field}: ${String(text)}`)]
      const answer = await overSocket(cluster, `${lines.join('\r\n')}\r\ncontent-length: ${Buffer.byteLength(String(sent.body))}\r\n\r\n${String(sent.body)}`)
      assert.match(answer, /^HTTP\/1\.1 (?:100 Continue\r\n\r\nHTTP\/1\.1 )?(?:200|202|400|401|403|404|405|415|417|431) /, `${JSON.stringify(extra)}: ${answer.slice(0, 300)}`)
    }),
    { numRuns: 400 },
  )
  assert.deepEqual(cluster.bugs, [])
  assert.equal((await cluster.nodes[0].send(call(token, 'read_note'))).status, 200)
  assert.ok(cluster.notes.asked.every(({ headers }) => headers.authorization === undefined && headers.cookie === undefined))
})

function overSocket(cluster: Cluster, bytes: string): Promise<string> {
  const { hostname, port } = new URL(cluster.nodes[0].address)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(Number(port), hostname, () => socket.write(bytes, 'latin1'))
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
  })
}
