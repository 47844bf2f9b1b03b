// An HTTP API that records every request and answers as a test says: by default it says what it received.
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Upstream } from '../../src/upstreams/upstream.ts'

export interface ApiRequest {
  readonly method: string
  /** The request target, byte for byte. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Answers a request whose body nobody has read yet; `false` leaves it to the default behaviour. */
export type ApiScript = (request: IncomingMessage, response: ServerResponse) => void | false | Promise<void | false>

export interface HttpApi {
  /** `http://127.0.0.1:PORT/v1` */
  readonly url: string
  readonly requests: ApiRequest[]
  script: ApiScript
  /** Its OpenAPI document, at `/v1/openapi.json`, which nobody needs a credential for. */
  document: unknown
  /** Requests that whoever made them left before their answer was complete. */
  readonly left: () => number
  readonly connections: () => number
  close(): Promise<void>
}

export async function httpApi(): Promise<HttpApi> {
  let left = 0
  const sockets = new Set<unknown>()
  const server = createServer((request, response) => {
    response.once('close', () => {
      if (!response.writableFinished) left += 1
    })
    void answer(api, request, response).catch(() => response.destroy())
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const api: HttpApi = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests: [],
    script: () => false,
    document: undefined,
    left: () => left,
    connections: () => sockets.size,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return api
}

async function answer(api: HttpApi, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === '/v1/openapi.json' && api.document !== undefined) {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(api.document))
    return
  }
  if ((await api.script(request, response)) !== false) return
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const seen: ApiRequest = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks).toString('utf8') }
  api.requests.push(seen)
  response.writeHead(200, { 'content-type': 'application/json', 'x-api': 'yes' }).end(JSON.stringify({ method: seen.method, url: seen.url, body: seen.body }))
}

/** The upstream that a gateway has for the API. */
export function apiUpstream(id: string, { url }: HttpApi, more: Partial<Upstream> = {}): Upstream {
  return { id, name: `The ${id}`, url, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 5000, http: { maxBodyBytes: 64 * 1024 * 1024, encodedSlashes: false }, ...more }
}
