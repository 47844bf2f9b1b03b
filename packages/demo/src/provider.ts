// A real OpenID provider with a sign-in page of its own: the identity provider of the demo company, and the
// authorization server of its ticket tracker. It has no passwords: whoever opens the page picks a person.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import { Provider, type Configuration, type JWK } from 'oidc-provider'
import { signInPage } from './page.ts'
import { people, personById } from './people.ts'

export interface ProviderOptions {
  /** What the sign-in page calls itself, and the prefix that keeps its cookies apart from those of its neighbours. */
  readonly name: string
  readonly port: number
  readonly clients: NonNullable<Configuration['clients']>
  /** Whether unknown clients may register themselves, as the authorization server of an MCP server must allow. */
  readonly registration: boolean
  /** The protected resource that access tokens are for, when there is one. */
  readonly resource?: (issuer: string) => { readonly url: string; readonly scope: string }
  /** Answers what the provider does not: the protected resource itself, on the same origin. */
  readonly otherwise?: (request: IncomingMessage, response: ServerResponse, issuer: string) => Promise<boolean>
}

export interface RunningProvider {
  readonly issuer: string
  close(): Promise<void>
}

/** Starts the provider on a loopback address. */
export async function startProvider(options: ProviderOptions): Promise<RunningProvider> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(options.port, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const provider = new Provider(issuer, { ...configuration(options, issuer), jwks: { keys: [await signingKey()] } })
  const answer = provider.callback()
  server.on('request', (request, response) => {
    respond(request, response).catch((error: unknown) => {
      console.error(error)
      if (!response.headersSent) response.writeHead(500)
      response.end()
    })
  })

  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.url?.startsWith('/interaction/') === true) return interact(provider, options.name, request, response)
    if ((await options.otherwise?.(request, response, issuer)) === true) return
    await answer(request, response)
  }
  return {
    issuer,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function configuration(options: ProviderOptions, issuer: string): Configuration {
  const resource = options.resource?.(issuer)
  const prefix = options.name.toLowerCase().replace(/\W+/g, '-')
  return {
    clients: options.clients,
    responseTypes: ['code'],
    pkce: { required: () => true },
    scopes: ['openid', 'offline_access', ...(resource?.scope.split(' ') ?? [])],
    claims: { openid: ['sub'], profile: ['name', 'groups'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    cookies: {
      keys: [crypto.randomUUID()],
      names: { session: `${prefix}_session`, interaction: `${prefix}_interaction`, resume: `${prefix}_resume` },
    },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: options.registration },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators:
        resource === undefined
          ? { enabled: false }
          : {
              enabled: true,
              defaultResource: () => resource.url,
              useGrantedResource: () => true,
              getResourceServerInfo: () => ({ scope: resource.scope, audience: resource.url, accessTokenTTL: 600, accessTokenFormat: 'jwt' }),
            },
    },
    ttl: { AccessToken: 600, AuthorizationCode: 60, IdToken: 600, RefreshToken: 86400, Session: 86400, Grant: 86400, Interaction: 600 },
    issueRefreshToken: (_context, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    findAccount: (_context, id) => {
      const person = personById(id)
      if (person === undefined) return undefined
      return { accountId: id, claims: () => ({ sub: id, name: person.name, email: person.email, email_verified: true, groups: [...person.groups] }) }
    },
    // The company approved its own applications already: signing in is all that a person has to do here.
    loadExistingGrant: async (context) => {
      const { client, session, params } = context.oidc
      if (client === undefined || session?.accountId === undefined) return undefined
      const grant = new context.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId })
      grant.addOIDCScope(`openid profile email offline_access ${typeof params?.['scope'] === 'string' ? params['scope'] : ''}`)
      if (resource !== undefined) grant.addResourceScope(resource.url, resource.scope)
      await grant.save()
      return grant
    },
  }
}

async function signingKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  return { ...(await exportJWK(privateKey)), kid: 'demo', use: 'sig', alg: 'RS256' }
}

/** The one page of the provider: a button for each person, as a plain form. */
async function interact(provider: Provider, name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const details = await provider.interactionDetails(request, response)
  if (request.method === 'POST') {
    const login = new URLSearchParams(await readBody(request)).get('login') ?? ''
    if (personById(login) !== undefined) {
      // Native clients are asked for consent whatever was granted before: picking a person is that, too.
      await provider.interactionFinished(request, response, { login: { accountId: login, amr: ['pwd'] }, consent: {} }, { mergeWithLastSubmission: false })
      return
    }
  }
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
  response.end(signInPage(name, `/interaction/${details.uid}`, people))
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > 10_000) throw new Error('the form is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
