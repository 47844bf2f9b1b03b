// The program that the suite's client mode runs: an MCP client that reaches the suite's server through Lanyard, which
// connects alice's account there whenever it is needed. The last argument is the address of the server.
import { Client, ProtocolError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import * as z from 'zod'
import { CONNECT_TOOL } from '../../src/gateway/missing-connection.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { startUpstreamNode, type UpstreamNode } from '../support/upstream-node.ts'

const URL_ELICITATION_REQUIRED = -32042
/** How often the person goes to the connect page for one call. */
const MAX_VISITS = 5

const contextSchema = z.object({ client_id: z.string(), client_secret: z.string(), issuer: z.string() }).partial()
const elicitations = z.object({ elicitations: z.array(z.object({ url: z.string() })).min(1) })

const node = await startUpstreamNode(upstreamAt(process.argv.at(-1) ?? ''))
try {
  await useTools(node, process.env['MCP_CONFORMANCE_PROTOCOL_VERSION'] ?? '')
} catch (error) {
  console.error(error)
  console.error(node.failures)
  process.exitCode = 1
} finally {
  await node.close()
}

function upstreamAt(url: string): Upstream {
  const context = contextSchema.parse(JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}'))
  return {
    id: 'suite',
    name: 'Suite',
    url,
    connector: {
      type: 'oauth',
      ...(context.client_id === undefined ? {} : { clientId: context.client_id }),
      ...(context.client_secret === undefined ? {} : { clientSecret: context.client_secret }),
      ...(context.issuer === undefined ? {} : { issuer: context.issuer }),
      ...(process.env['MCP_CONFORMANCE_SCENARIO']?.startsWith('auth/dpop') === true ? { dpop: true } : {}),
    },
    readOnlyTools: [],
    timeoutMs: 10_000,
  }
}

/** Lists the tools, connects the account when that is all there is, and calls what there is then. */
async function useTools({ url, browser }: UpstreamNode, version: string): Promise<void> {
  const visits: string[] = []
  const visit = async (page: string): Promise<void> => {
    visits.push(page)
    const end = await browser.approve(page)
    if (visits.length > MAX_VISITS || end.status !== 200) throw new Error(`the account was not connected: ${end.url} ${end.status}\n${end.text}`)
  }
  const client = new Client(
    { name: 'conformance', version: '1.0.0' },
    { capabilities: { elicitation: { url: {} } }, versionNegotiation: { mode: version >= '2026' ? { pin: version } : 'legacy' } },
  )
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    if (params.mode !== 'url') return { action: 'decline' }
    await visit(params.url)
    return { action: 'accept' }
  })
  const call = async (name: string): Promise<void> => {
    try {
      const result = await client.callTool({ name, arguments: {} })
      if (result.isError === true) throw new Error(`${name} failed: ${JSON.stringify(result.content)}`)
    } catch (error) {
      if (!(error instanceof ProtocolError) || error.code !== URL_ELICITATION_REQUIRED) throw error
      await visit(elicitations.parse(error.data).elicitations[0]?.url ?? '')
      await call(name)
    }
  }
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: 'Bearer alice' } } }))
  let { tools } = await client.listTools()
  if (tools.some(({ name }) => name === CONNECT_TOOL)) {
    await call(CONNECT_TOOL)
    tools = (await client.listTools()).tools
  }
  for (const { name } of tools) await call(name)
  await client.close()
}
