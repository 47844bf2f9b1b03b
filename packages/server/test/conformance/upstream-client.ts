// The program that the suite's client mode runs: an MCP client that reaches the suite's server through Lanyard, which
// connects alice's account there whenever it is needed. The last argument is the address of the server.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, ProtocolError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import * as z from 'zod'
import { CONNECT_TOOL } from '../../src/gateway/missing-connection.ts'
import { oidcProvider } from '../../src/identity/providers/oidc.ts'
import { JWT_BEARER, type ClientCredentialsSettings } from '../../src/upstreams/connectors/client-credentials/settings.ts'
import type { IdJagSettings } from '../../src/upstreams/connectors/id-jag/settings.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { startUpstreamNode, type SignedInAt, type UpstreamNode } from '../support/upstream-node.ts'

const URL_ELICITATION_REQUIRED = -32042
/** How often the person goes to the connect page for one call. */
const MAX_VISITS = 5

const SCENARIO = process.env['MCP_CONFORMANCE_SCENARIO'] ?? ''

const contextSchema = z.object({ client_id: z.string(), client_secret: z.string(), issuer: z.string(), private_key_pem: z.string(), valid_jwt: z.string(), idp_issuer: z.string(), idp_client_id: z.string(), idp_id_token: z.string() }).partial()
type Context = z.output<typeof contextSchema>
const elicitations = z.object({ elicitations: z.array(z.object({ url: z.string() })).min(1) })

/** Where a platform would keep its token. */
const directory = mkdtempSync(join(tmpdir(), 'lanyard-platform-'))
const tokenFile = join(directory, 'token')
const context = contextSchema.parse(JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}'))
const node = await startUpstreamNode(upstreamAt(process.argv.at(-1) ?? ''), context.idp_issuer === undefined ? undefined : enterpriseProvider(context))
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

/** The identity provider that alice signed in at, with the ID token that she brought from there. */
function enterpriseProvider({ idp_issuer: issuer = '', idp_client_id: clientId = '', idp_id_token: idToken = '' }: Context): SignedInAt {
  return (outbound) => ({
    providers: new Map([['corp', oidcProvider({ id: 'corp', name: 'Corp', issuer, clientId, scopes: ['openid'], groupsClaim: 'groups', offlineAccess: 'off' }, { outbound, now: Date.now })]]),
    providerTokens: { current: () => Promise.resolve({ provider: 'corp', issuer, idToken, expiresAt: Date.now() + 3600_000 }), redeem: () => Promise.resolve(undefined) },
  })
}

function upstreamAt(url: string): Upstream {
  return {
    id: 'suite',
    name: 'Suite',
    url,
    connector: enterpriseManaged(context) ?? serviceAccount(context) ?? {
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

/** Access that the identity provider decides, where the scenario is about that. */
function enterpriseManaged({ client_id: clientId = '', client_secret: clientSecret = '' }: Context): IdJagSettings | undefined {
  return SCENARIO === 'auth/enterprise-managed-authorization' ? { type: 'id-jag', clientId, clientSecret, assertions: 'identity-provider' } : undefined
}

/** The gateway's own account, where the scenario is about one. */
function serviceAccount({ client_id: clientId = '', client_secret: clientSecret = '', private_key_pem: privateKey = '', valid_jwt: jwt = '' }: Context): ClientCredentialsSettings | undefined {
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
