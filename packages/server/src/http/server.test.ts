import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'
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

test('the data plane answers /mcp and one segment below it; everything else is a route', () =>
  running(async (_server, ask) => {
    for (const path of ['/mcp', '/mcp?x=1', '/mcp/notes', '/mcp/notes?x=/a/b']) assert.equal(await ask(path), 'data plane', path)
    const routes = ['/', '/mcps', '/mcp/', '/mcp/notes/', '/mcp/notes/.well-known/oauth-authorization-server', '/.well-known/oauth-protected-resource/mcp/notes', '/x?y=/mcp/notes']
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
