// What stands between the suite, which cannot carry a token, and the gateway: it adds one and changes nothing else that
// counts. Host and Origin go through as they came, so that the gateway is what refuses a rebound name.
import { createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Forwarder {
  readonly url: string
  close(): void
}

/** @param target the MCP endpoint of the gateway. */
export async function startForwarder(target: string, accessToken: string): Promise<Forwarder> {
  const gateway = new URL(target)
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const own = `127.0.0.1:${(server.address() as AddressInfo).port}`
  server.on('request', (incoming, outgoing) => {
    const headers = { ...renamed(incoming.headers, own, gateway.host), authorization: `Bearer ${accessToken}` }
    const forwarded = httpRequest({ host: gateway.hostname, port: gateway.port, method: incoming.method, path: incoming.url, headers, setHost: false })
    forwarded.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      // A stream without an event yet is open all the same.
      outgoing.flushHeaders()
      answer.on('error', () => outgoing.destroy())
      answer.pipe(outgoing)
    })
    forwarded.on('error', () => (outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end()))
    outgoing.on('close', () => forwarded.destroy())
    incoming.pipe(forwarded)
  })
  return {
    url: `http://${own}${gateway.pathname}`,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** The forwarder's own name becomes the gateway's; every other name is passed on. */
function renamed(headers: IncomingHttpHeaders, own: string, gateway: string): IncomingHttpHeaders {
  const host = headers.host === own ? gateway : headers.host
  const origin = headers.origin === `http://${own}` ? `http://${gateway}` : headers.origin
  return { ...headers, host, ...(origin === undefined ? {} : { origin }) }
}
