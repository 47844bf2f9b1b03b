// The floor in this language: a proxy on undici's own events that reads nothing and decides nothing.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, type Dispatcher } from 'undici'
import { announce } from '../program.ts'

const upstream = new URL(process.argv[2] ?? '')
const agent = new Agent({ connections: 16_384, headersTimeout: 0, bodyTimeout: 0 })
const DROPPED = new Set(['host', 'connection', 'keep-alive', 'content-length', 'transfer-encoding'])

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => forward(request, response, chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)))
  request.on('error', () => response.destroy())
})

function forward(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !DROPPED.has(name)))
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart: (controller) => void response.once('close', () => controller.abort(new Error('gone'))),
    onResponseStart(_controller, status, answered) {
      const kept = Object.entries(answered).filter(([name]) => !DROPPED.has(name) || name === 'content-length')
      response.writeHead(status, Object.fromEntries(kept)).flushHeaders()
    },
    onResponseData(controller, chunk) {
      if (response.write(chunk)) return
      controller.pause()
      response.once('drain', () => controller.resume())
    },
    onResponseEnd: () => void response.end(),
    onResponseError: () => void (response.headersSent ? response.destroy() : response.writeHead(502).end()),
  }
  agent.dispatch({ origin: upstream.origin, path: upstream.pathname, method: request.method ?? 'GET', headers, body }, handler)
}

server.listen(0, '127.0.0.1', () => announce({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${upstream.pathname}` }))
