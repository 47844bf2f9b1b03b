// An application as the browser sees it: an address to return to, by http on loopback or by https, that leads on.
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { generate } from 'selfsigned'
import { CHALLENGE } from './authorize-house.ts'

export interface WebClient {
  readonly redirectUri: string
  /** What came to the redirect URI, newest last. */
  readonly answers: readonly Readonly<Record<string, string>>[]
  close(): Promise<void>
}

/** @param next where the browser is sent after the answer arrived, as many applications do; else a page says so. */
export async function webClient(scheme: 'http' | 'https', next?: () => string, host = '127.0.0.1'): Promise<WebClient> {
  const answers: Readonly<Record<string, string>>[] = []
  const listener: RequestListener = (request, response) => {
    const url = new URL(request.url ?? '/', `${scheme}://${host}`)
    if (url.pathname === '/callback') answers.push(Object.fromEntries(url.searchParams))
    if (url.pathname === '/callback' && next !== undefined) response.writeHead(302, { location: next() }).end()
    else response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Back at the application</title><h1>Back at the application</h1>')
  }
  const server = scheme === 'http' ? createHttpServer(listener) : createHttpsServer(await certificate(), listener)
  await new Promise<void>((resolve) => server.listen(0, host.replace(/^\[|\]$/g, ''), resolve))
  return {
    redirectUri: `${scheme}://${host}:${(server.address() as AddressInfo).port}/callback`,
    answers,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function certificate(): Promise<{ key: string; cert: string }> {
  const { private: key, cert } = await generate([{ name: 'commonName', value: '127.0.0.1' }], { algorithm: 'sha256', extensions: [{ name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] }] })
  return { key, cert }
}

/** Registers an application at the gateway and makes the address that it opens. */
export async function registeredRequest(issuer: string, redirectUri: string, name: string, changes: Readonly<Record<string, string>> = {}): Promise<string> {
  const metadata = { client_name: name, redirect_uris: [redirectUri], token_endpoint_auth_method: 'none', application_type: redirectUri.startsWith('https:') ? 'web' : 'native' }
  const response = await fetch(`${issuer}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(metadata) })
  const registered = (await response.json()) as { client_id: string }
  const parameters = {
    response_type: 'code',
    client_id: registered.client_id,
    redirect_uri: redirectUri,
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
    resource: `${issuer}/mcp/tickets`,
    scope: 'mcp.read mcp.write',
    state: 'client-state',
    ...changes,
  }
  return `${issuer}/authorize?${new URLSearchParams(parameters).toString()}`
}
