// A client that asks which tools there are, again and again, and counts them.
import { connection, post } from './connection.ts'
import type { Actor, ListJob } from './job.ts'
import { MODERN_META } from './mcp.ts'

interface Listed {
  readonly result?: { readonly tools?: readonly unknown[]; readonly nextCursor?: string }
}

export function listActor({ url, token, tools }: ListJob): Actor {
  const { origin, pathname } = new URL(url)
  const client = connection(origin)
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) }
  const page = async (cursor?: string): Promise<Listed> => {
    const message = { jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: MODERN_META, ...(cursor === undefined ? {} : { cursor }) } }
    const { status, body } = await post(client, { path: pathname, headers, body: JSON.stringify(message) })
    if (status !== 200) throw new Error(`${status}: ${body.toString('utf8', 0, 300)}`)
    return JSON.parse(body.toString('utf8')) as Listed
  }
  return {
    prepare: () => Promise.resolve(),
    async step() {
      let found = 0
      let cursor: string | undefined
      do {
        const { result } = await page(cursor)
        found += result?.tools?.length ?? 0
        cursor = result?.nextCursor
      } while (cursor !== undefined)
      if (found !== tools) throw new Error(`${found} tools of ${tools}`)
      return true
    },
    close: () => void client.destroy(),
  }
}
