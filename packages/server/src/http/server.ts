import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import type { Bindings } from './router.ts'

export interface ServerOptions {
  /** `ADDRESS:PORT`. */
  readonly listen: string
  readonly fetch: (request: Request, env: Bindings) => Response | Promise<Response>
  /** Answers `/mcp` and `/mcp/{profile}`, what is below `/http/`, and proxies at `/forward-auth`, on Node's own request and response. */
  readonly mcp: (request: IncomingMessage, response: ServerResponse) => Promise<void>
  /** Milliseconds until a request must be whole, unless it is for an HTTP API; a minute when absent. */
  readonly requestMs?: number
}

/** The data plane is `/mcp` and one segment below it, and all of `/http/`; metadata and whatever else lies deeper are ordinary routes. */
const MCP_PATH = /^(?:\/mcp(?:\/[^/?#]+)?(?:\?|$)|\/http\/|\/forward-auth(?:[/?]|$))/

const REQUEST_MS = 60_000

const LIMITS = {
  headersTimeout: 15_000,
  // Of what goes to an HTTP API, which may read slowly; everything else has `REQUEST_MS`.
  requestTimeout: 3600_000,
  // How often the two above are looked at: by default every half minute, so that a slow sender would have thrice its time.
  connectionsCheckingInterval: 5000,
  keepAliveTimeout: 65_000,
  maxHeaderSize: 32 * 1024,
  // Of a header that may stand once Node would take the first: a proxy in front may have judged by another one.
  joinDuplicateHeaders: true,
}

export interface RunningServer {
  readonly address: string
  /** Stops accepting, lets requests end for a while, then closes what is left. */
  close(graceMs: number): Promise<void>
}

/** @throws Error when the address cannot be listened on. */
export async function listen(options: ServerOptions): Promise<RunningServer> {
  // From now on `Response` is Hono's, which keeps a text as it is: Node's makes a stream of it, a fifth of what a short answer costs.
  const answer = getRequestListener((request, env) => options.fetch(request, env))
  const server = createServer(LIMITS, (request, response) => {
    // RFC 9112 §3.2: of two names neither is believed.
    if (request.headers.host?.includes(',') === true) {
      response.writeHead(400, { connection: 'close' }).end()
      return
    }
    const hurried = (): void => hurry(request, response, options.requestMs ?? REQUEST_MS)
    if (request.url?.startsWith('/http/') !== true) hurried()
    // Who was answered, with a refusal perhaps, has no more reason to take their time.
    else response.once('finish', () => request.complete || hurried())
    const work = MCP_PATH.test(request.url ?? '/') ? options.mcp(request, response) : answer(request, response)
    Promise.resolve(work).catch(() => response.destroy())
  })
  const { host, port } = splitAddress(options.listen)
  await new Promise<void>((resolve, reject) => {
    // For good: once it listens, a connection that cannot be accepted must not end the process.
    server.on('error', reject)
    server.listen(port, host, resolve)
  })
  const bound = server.address() as AddressInfo
  return { address: `http://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`, close: (graceMs) => drain(server, graceMs) }
}

/** Ends a connection whose request is not whole in time: only one with a body can be late, as its head is there. */
function hurry(request: IncomingMessage, response: ServerResponse, milliseconds: number): void {
  if (request.headers['transfer-encoding'] === undefined && (request.headers['content-length'] ?? '0') === '0') return
  const timer = setTimeout(() => {
    const { socket } = request
    // As Node says it: whoever answers this request finds its connection closed, and not its answer begun.
    if (response.headersSent) socket.destroy()
    else socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n', () => socket.destroy())
  }, milliseconds).unref()
  const whole = (): void => {
    clearTimeout(timer)
    request.off('end', whole).off('close', whole)
  }
  request.on('end', whole).on('close', whole)
}

function splitAddress(listen: string): { host: string; port: number } {
  const at = listen.lastIndexOf(':')
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(listen.slice(at + 1)) }
}

async function drain(server: Server, graceMs: number): Promise<void> {
  const ended = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  // A connection that becomes idle later than now would keep the server open until its keep-alive ends.
  const sweep = setInterval(() => server.closeIdleConnections(), 100)
  const timer = setTimeout(() => server.closeAllConnections(), graceMs)
  await ended
  clearInterval(sweep)
  clearTimeout(timer)
}
