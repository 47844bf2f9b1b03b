// Clients that hold a stream and wait. News comes to all of them at once: the first one asks for it, and how long each
// waited is how long the news took.
import { request, type Client, type Dispatcher } from 'undici'
import { post, streamConnection } from './connection.ts'
import type { Actor, StreamsJob } from './job.ts'
import { CLIENT, MODERN_META } from './mcp.ts'

/** Opened at once, so many at a time: whoever connects is not what is measured. */
const AT_A_TIME = 50

export function streamActors(job: StreamsJob): Actor[] {
  const gate = turnstile(AT_A_TIME)
  return Array.from({ length: job.connections }, (_, index) => streamActor(job, index, gate))
}

function streamActor(job: StreamsJob, index: number, gate: Turnstile): Actor {
  const { origin, pathname } = new URL(job.url)
  const client = streamConnection(origin)
  const token = job.tokens[index % job.tokens.length]
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json', 'mcp-protocol-version': job.era, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) }
  let heard: () => void = () => undefined
  /** The run whose news came already. */
  let told: AbortSignal | undefined
  return {
    prepare: () => gate(() => open(client, job, { path: pathname, headers, index, heard: () => heard() })),
    async step(end) {
      const over = new Promise<boolean>((resolve) => end.addEventListener('abort', () => resolve(false), { once: true }))
      if (told === end) return await over
      const news = new Promise<boolean>((resolve) => {
        heard = () => resolve(true)
      })
      if (index === 0) await request(job.newsUrl).then(({ body }) => body.dump())
      if (!(await Promise.race([news, over]))) throw new Error('the news did not come')
      told = end
      return true
    },
    close: () => void client.destroy(),
  }
}

interface Line {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly index: number
  readonly heard: () => void
}

/** Opens the stream of a client: in 2026-07-28 by a request that says what it wants to hear, before by that of its session. */
async function open(client: Client, { era }: StreamsJob, { path, headers, index, heard }: Line): Promise<void> {
  if (era === '2026-07-28') {
    const message = { jsonrpc: '2.0', id: index, method: 'subscriptions/listen', params: { notifications: { toolsListChanged: true }, _meta: MODERN_META } }
    return await hold(client, { path, method: 'POST', headers: { ...headers, 'mcp-method': message.method }, body: JSON.stringify(message) }, heard)
  }
  const initialize = { jsonrpc: '2.0', id: index, method: 'initialize', params: { protocolVersion: era, capabilities: {}, clientInfo: CLIENT } }
  const opened = await post(client, { path, headers, body: JSON.stringify(initialize) })
  const session = { ...headers, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  await post(client, { path, headers: session, body: JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' }) })
  await hold(client, { path, method: 'GET', headers: session }, heard)
}

/** @returns when the stream is open; from then on `heard` is told of each change of the tools */
function hold(client: Client, options: Dispatcher.DispatchOptions, heard: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    client.dispatch(options, {
      onRequestStart: () => undefined,
      onResponseStart(_controller, status) {
        if (status !== 200) reject(new Error(`no stream: ${status}`))
        else if (options.method === 'GET') resolve()
      },
      onResponseData(_controller, chunk) {
        resolve()
        if (chunk.includes('notifications/tools/list_changed')) heard()
      },
      onResponseEnd: () => reject(new Error('the stream ended')),
      onResponseError: (_controller, error) => reject(error),
    })
  })
}

type Turnstile = (work: () => Promise<void>) => Promise<void>

function turnstile(places: number): Turnstile {
  const waiting: (() => void)[] = []
  let free = places
  return async (work) => {
    if (free === 0) await new Promise<void>((resolve) => waiting.push(resolve))
    else free -= 1
    try {
      await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free += 1
      else next()
    }
  }
}
