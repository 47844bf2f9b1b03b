// An MCP client by hand, in both eras: every answer is read and compared with what was asked.
import type { Client } from 'undici'
import { connection, post, type Reply } from './connection.ts'
import type { Actor, Call, McpJob } from './job.ts'

export const CLIENT = { name: 'bench', version: '1' }
/** What every request of 2026-07-28 says of its sender. */
export const MODERN_META = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {}, 'io.modelcontextprotocol/clientInfo': CLIENT }
const ACCEPT = 'application/json, text/event-stream'

export function mcpActor(job: McpJob, index: number): Actor {
  const { url, era, call } = job
  const { origin, pathname } = new URL(url)
  const caller = job.callers[index % job.callers.length]
  if (caller === undefined) throw new Error('nobody calls')
  const client: Client = connection(origin)
  const authorization: Record<string, string> = caller.token === undefined ? {} : { authorization: `Bearer ${caller.token}` }
  const common = { accept: ACCEPT, 'content-type': 'application/json', 'mcp-protocol-version': era, ...authorization }
  let headers: Record<string, string> = { ...common, 'mcp-method': 'tools/call', 'mcp-name': toolOf(call) }
  let count = 0
  const send = (message: object, own: Record<string, string> = headers): Promise<Reply> => post(client, { path: pathname, headers: own, body: JSON.stringify(message) })

  return {
    async prepare() {
      if (era === '2026-07-28') return
      const opened = await send({ jsonrpc: '2.0', id: 'open', method: 'initialize', params: { protocolVersion: era, capabilities: {}, clientInfo: CLIENT } }, common)
      const session = opened.headers['mcp-session-id']
      if (opened.status !== 200) throw new Error(`initialize: ${opened.status} ${opened.body.toString('utf8', 0, 300)}`)
      headers = { ...common, ...(typeof session === 'string' ? { 'mcp-session-id': session } : {}) }
      await send({ jsonrpc: '2.0', method: 'notifications/initialized' })
    },
    async step(end) {
      count += 1
      const id = `${index}-${count}`
      const meta = metaOf(job, id)
      const message = { jsonrpc: '2.0', id, method: 'tools/call', params: { name: toolOf(call), arguments: argumentsOf(call, id), ...meta } }
      const pace = call.tool === 'slow' ? { bytesPerSecond: call.bytesPerSecond, end } : {}
      const reply = await post(client, { path: pathname, headers, body: JSON.stringify(message), ...pace }).catch((error: unknown) => {
        if (end.aborted) return undefined
        throw error
      })
      if (reply !== undefined) check(reply, call, id, caller.account)
      return true
    },
    close: () => void client.destroy(),
  }
}

/** Slow readers read what others read. */
function toolOf({ tool }: Call): string {
  return tool === 'slow' ? 'large' : tool
}

function argumentsOf(call: Call, id: string): object {
  if (call.tool === 'echo') return { text: `hello ${id}` }
  return call.tool === 'progress' ? { events: call.events } : { bytes: call.bytes }
}

function metaOf({ era, call }: McpJob, id: string): object {
  const own = era === '2026-07-28' ? MODERN_META : {}
  const progress = call.tool === 'progress' ? { progressToken: `p${id}` } : {}
  return Object.keys(own).length + Object.keys(progress).length === 0 ? {} : { _meta: { ...own, ...progress } }
}

/** @throws Error when it is not the one right answer */
function check({ status, headers, body }: Reply, call: Call, id: string, account: string): void {
  if (status !== 200) throw new Error(`${status}: ${body.toString('utf8', 0, 300)}`)
  // A slow reader left the body behind.
  if (call.tool === 'slow') return
  const messages = headers['content-type']?.startsWith('text/event-stream') === true ? eventsIn(body) : [JSON.parse(body.toString('utf8')) as Message]
  const answer = messages.at(-1)
  const text = answer?.result?.content?.[0]?.text
  if (answer?.id !== id || text === undefined) throw new Error(`no answer to ${id}: ${body.toString('utf8', 0, 300)}`)
  if (call.tool === 'echo' && text !== `${account}: hello ${id}`) throw new Error(`another answer than ${account}'s to ${id}: ${text.slice(0, 200)}`)
  if (call.tool === 'large' && text.length !== call.bytes) throw new Error(`${text.length} bytes of ${call.bytes}`)
  if (call.tool === 'progress') checkProgress(messages.slice(0, -1), call.events, `p${id}`)
}

function checkProgress(messages: readonly Message[], events: number, token: string): void {
  if (messages.length !== events) throw new Error(`${messages.length} notifications of ${events}`)
  const strange = messages.find(({ params }, index) => params?.progress !== index + 1 || params.progressToken !== token)
  if (strange !== undefined) throw new Error(`out of order: ${JSON.stringify(strange).slice(0, 200)}`)
}

interface Message {
  readonly id?: unknown
  readonly result?: { readonly content?: readonly { readonly text?: string }[] }
  readonly params?: { readonly progress?: number; readonly progressToken?: string }
}

function eventsIn(body: Buffer): Message[] {
  const data = body.toString('utf8').split(/\r?\n/).filter((line) => line.startsWith('data: ') && line.length > 6)
  return data.map((line) => JSON.parse(line.slice(6)) as Message)
}
