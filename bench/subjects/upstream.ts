// The MCP server behind every subject, by hand: it is the floor, so it does as little as a server can. Open at
// /open/mcp; at /mcp a protected resource with an authorization server of its own.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { announce } from '../program.ts'
import { answerMcp, answerWide, tellAll } from './upstream-mcp.ts'
import { authorizationServer } from './upstream-oauth.ts'

/** What a server takes to look something up. */
const WIDE_DELAY_MS = 20

const server = createServer()
await new Promise<void>((resolve) => server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const oauth = authorizationServer(issuer)

server.on('request', (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => respond(request, response, Buffer.concat(chunks).toString('utf8')))
  request.on('error', () => response.destroy())
})

function respond(request: IncomingMessage, response: ServerResponse, body: string): void {
  try {
    if (request.url === '/open/mcp') return answerMcp(request, response, body, 'nobody')
    if (request.url?.startsWith('/wide/') === true) return answerWide(request, response, body, WIDE_DELAY_MS)
    // Never answers.
    if (request.url === '/dead/mcp') return
    if (request.url === '/news') return void response.end(String(tellAll()))
    if (request.url !== '/mcp') return oauth.respond(request, response, body)
    const account = oauth.accountOf(request.headers.authorization)
    if (account === undefined) return oauth.challenge(response)
    answerMcp(request, response, body, account)
  } catch (error) {
    console.error(error)
    response.destroy()
  }
}

announce({ url: `${issuer}/open/mcp`, protectedUrl: `${issuer}/mcp`, newsUrl: `${issuer}/news` })
