// Streams behind a reverse proxy: the proxy asks when they begin, and never again. What bounds them then, with a real nginx.
import assert from 'node:assert/strict'
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { tokenOf } from '../support/api-clients.ts'
import { eventually } from '../support/eventually.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { startNginx, withoutNginx } from '../support/nginx.ts'
import { freePort } from '../support/ports.ts'

const IDLE_S = 1

interface Streaming {
  readonly url: string
  readonly asked: IncomingHttpHeaders[]
  readonly open: Set<ServerResponse>
  close(): Promise<void>
}

/** Opens a stream for whoever asks: `chatty` ones say something all the time, and end when they are told that the token does. */
async function streaming(): Promise<Streaming> {
  const open = new Set<ServerResponse>()
  const asked: IncomingHttpHeaders[] = []
  const server: Server = createServer((request, response) => {
    asked.push(request.headers)
    open.add(response)
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: hello\n\n')
    const timer = request.headers['x-chatty'] === undefined ? undefined : setInterval(() => response.write(': here\n\n'), 100)
    response.once('close', () => {
      open.delete(response)
      clearInterval(timer)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    open,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

describe('streams behind nginx', { skip: withoutNginx() }, () => {
  let gateway: RunningGateway
  let upstream: Streaming
  let stopNginx = (): Promise<void> => Promise.resolve()
  let front = ''

  before(async () => {
    upstream = await streaming()
    const port = await freePort()
    front = `http://127.0.0.1:${port}`
    gateway = await startGateway({
      config: {
        trustedProxies: ['127.0.0.1/32'],
        upstreams: [{ id: 'archive', url: upstream.url }],
        rules: [{ id: 'everything', effect: 'allow' }],
        forwardAuth: [{ id: 'archive', resource: `${front}/any/mcp`, profile: 'archive' }],
      },
    })
    const ports = { '8090': String(port), '8091': new URL(upstream.url).port, '8080': new URL(gateway.nodes[0] ?? '').port }
    stopNginx = await startNginx(ports, (text) => text.replace('proxy_read_timeout 5m;', `proxy_read_timeout ${IDLE_S}s;`))
  })
  after(async () => {
    await stopNginx()
    await (gateway as RunningGateway | undefined)?.close()
    await (upstream as Streaming | undefined)?.close()
  })

  const open = (token: string, headers: Readonly<Record<string, string>> = {}): Promise<Response> => fetch(`${front}/any/mcp`, { headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', ...headers } })
  const ended = (response: Response): Promise<void> => response.text().then(() => undefined, () => undefined)
  const revoke = (token: string): Promise<Response> => fetch(`${gateway.issuer}/revoke`, { method: 'POST', body: new URLSearchParams({ token, client_id: clientOf(token) }) })

  test('one that says nothing ends by proxy_read_timeout, and whoever was revoked meanwhile opens no other', async () => {
    const token = await tokenOf(gateway.issuer, 'alice', `${front}/any/mcp`)
    const stream = await open(token)
    assert.equal(stream.status, 200)
    assert.equal((await revoke(token)).status, 200)
    const began = Date.now()
    await ended(stream)
    assert.ok(Date.now() - began < (IDLE_S + 10) * 1000)
    await eventually('the server has no stream either', () => upstream.open.size === 0)
    assert.equal((await open(token)).status, 401)
  })

  test('one that speaks lives on behind nginx: the server is told when the token ends, to end it then', async () => {
    const token = await tokenOf(gateway.issuer, 'alice', `${front}/any/mcp`)
    const stream = await open(token, { 'x-chatty': 'yes', 'x-lanyard-expires': '9999999999' })
    // What a client says of itself does not reach the server: the token does not live for so long.
    const told = Number(upstream.asked.at(-1)?.['x-lanyard-expires'])
    assert.equal(told, (JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp: number }).exp)
    await revoke(token)
    assert.equal((await open(token)).status, 401)
    await new Promise((resolve) => setTimeout(resolve, IDLE_S * 2000))
    assert.equal(upstream.open.size, 1, 'docs/forward-auth.md says that it lives on')
    for (const response of upstream.open) response.end()
    await ended(stream)
  })
})

function clientOf(token: string): string {
  return (JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { client_id: string }).client_id
}

