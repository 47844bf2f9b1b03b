import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'
import { exchange } from '../../test/support/raw-http.ts'
import { listen, type RunningServer } from './server.ts'

async function running(run: (server: RunningServer, ask: (path: string) => Promise<string>) => Promise<void>, answer?: () => Promise<void>): Promise<void> {
  const server = await listen({
    listen: '127.0.0.1:0',
    fetch: async () => {
      await answer?.()
      return new Response('route')
    },
    mcp: async (_request, response) => void response.end('data plane'),
  })
  try {
    await run(server, async (path) => (await fetch(`${server.address}${path}`)).text())
  } finally {
    await server.close(0)
  }
}

test('the data plane answers /mcp and one segment below it, and all of /http/; everything else is a route', () =>
  running(async (_server, ask) => {
    for (const path of ['/mcp', '/mcp?x=1', '/mcp/notes', '/mcp/notes?x=/a/b', '/http/api', '/http/api/a/b?c']) assert.equal(await ask(path), 'data plane', path)
    const routes = ['/', '/http', '/https/a', '/mcps', '/mcp/', '/mcp/notes/', '/mcp/notes/.well-known/oauth-authorization-server', '/.well-known/oauth-protected-resource/mcp/notes', '/x?y=/mcp/notes']
    for (const path of routes) assert.equal(await ask(path), 'route', path)
  }))

test('closing lets a request end that is under way, and refuses new ones', async () => {
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  let arrived = (): void => undefined
  const waiting = new Promise<void>((resolve) => (arrived = resolve))
  await running(
    async (server, ask) => {
      const underWay = ask('/slow')
      await waiting
      const closed = server.close(20_000)
      await assert.rejects(ask('/late'))
      release()
      assert.equal(await underWay, 'route')
      // The connection of that answer would be kept alive for a minute.
      await closed
    },
    async () => {
      arrived()
      await held
    },
  )
})

test('an answer that does not end is cut when the grace is over', () =>
  running(
    async (server) => {
      const broken = new Promise<string>((resolve) => {
        request(`${server.address}/never`).on('error', (error) => resolve(error.message)).end()
      })
      await new Promise((resolve) => setTimeout(resolve, 50))
      await server.close(50)
      assert.match(await broken, /socket hang up|ECONNRESET/)
    },
    () => new Promise(() => undefined),
  ))

test('a request that is not whole in time is ended, but for one to an HTTP API', async () => {
  const server = await listen({ listen: '127.0.0.1:0', requestMs: 100, fetch: async (request) => new Response(await request.text()), mcp: async (request, response) => (request.url === '/http/refused' ? void response.writeHead(401).end() : void request.once('end', () => response.end('whole')).resume()) })
  const begin = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab`
  try {
    assert.match(await exchange(server.address, [begin('/form')], 1000), /^HTTP\/1\.1 408 .*\r\nconnection: close/is)
    assert.match(await exchange(server.address, [begin('/mcp/notes')], 1000), /^HTTP\/1\.1 408 /)
    assert.equal(await exchange(server.address, [begin('/http/api/a')], 400), '', 'it has its time')
    const answered = await exchange(server.address, [begin('/http/refused')], 5000)
    assert.match(answered, /^HTTP\/1\.1 401 /, 'and is over when it was answered')
    // In time, and on a connection that goes on.
    assert.match(await exchange(server.address, [`${begin('/form')}cd${begin('/form')}cd`], 300), /^HTTP\/1\.1 200 [^]*abcd[^]*HTTP\/1\.1 200 [^]*abcd$/)
  } finally {
    await server.close(0)
  }
})
