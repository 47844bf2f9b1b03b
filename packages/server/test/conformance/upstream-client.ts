// The program that the suite's client mode runs: an MCP client that reaches the suite's server through Lanyard, which
// connects alice's account there whenever it is needed. The last argument is the address of the server.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, ProtocolError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import * as z from 'zod'
import { CONNECT_TOOL } from '../../src/gateway/missing-connection.ts'
import { JWT_BEARER, type ClientCredentialsSettings } from '../../src/upstreams/connectors/client-credentials/settings.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { startUpstreamNode, type UpstreamNode } from '../support/upstream-node.ts'

const URL_ELICITATION_REQUIRED = -32042
/** How often the person goes to the connect page for one call. */
const MAX_VISITS = 5

const SCENARIO = process.env['MCP_CONFORMANCE_SCENARIO'] ?? ''

const contextSchema = z.object({ client_id: z.string(), client_secret: z.string(), issuer: z.string(), private_key_pem: z.string(), valid_jwt: z.string() }).partial()
const elicitations = z.object({ elicitations: z.array(z.object({ url: z.string() })).min(1) })

/** Where a platform would keep its token. */
const directory = mkdtempSync(join(tmpdir(), 'lanyard-platform-'))
const tokenFile = join(directory, 'token')
const node = await startUpstreamNode(upstreamAt(process.argv.at(-1) ?? ''))
try {
  await useTools(node, process.env['MCP_CONFORMANCE_PROTOCOL_VERSION'] ?? '')
} catch (error) {
  console.error(error)
  console.error(node.failures)
  process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
  await node.close()
}

function upstreamAt(url: string): Upstream {
  const context = contextSchema.parse(JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}'))
  return {
    id: 'suite',
    name: 'Suite',
    url,
    connector: serviceAccount(context) ?? {
      type: 'oauth',
      ...(context.client_id === undefined ? {} : { clientId: context.client_id }),
      ...(context.client_secret === undefined ? {} : { clientSecret: context.client_secret }),
      ...(context.issuer === undefined ? {} : { issuer: context.issuer }),
      ...(SCENARIO.startsWith('auth/dpop') ? { dpop: true } : {}),
    },
    readOnlyTools: [],
    timeoutMs: 10_000,
  }
}

/** The gateway's own account, where the scenario is about one. */
function serviceAccount({ client_id: clientId = '', client_secret: clientSecret = '', private_key_pem: privateKey = '', valid_jwt: jwt = '' }: z.output<typeof contextSchema>): ClientCredentialsSettings | undefined {
  const own = { type: 'client-credentials', clientId, grantType: 'client_credentials' } as const
  if (SCENARIO === 'auth/client-credentials-basic') return { ...own, tokenEndpointAuthMethod: 'client_secret_basic', clientSecret }
  if (SCENARIO === 'auth/client-credentials-jwt') return { ...own, tokenEndpointAuthMethod: 'private_key_jwt', privateKey }
  if (SCENARIO !== 'auth/wif-jwt-bearer') return undefined
  writeFileSync(tokenFile, jwt)
  return { ...own, grantType: JWT_BEARER, tokenEndpointAuthMethod: 'workload_identity', tokenFile }
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
