// What an MCP client needs for OAuth, in memory: the official SDKs ask for it by this interface.
import type { Browser, Choices } from './browser.ts'
import { browser } from './browser.ts'
import type { Secrets } from './secrets.ts'

const CALLBACK = 'http://127.0.0.1:53682/callback'

/** An OAuth client provider for the official SDK, version 1 or 2: its browser signs in and approves at once. */
export interface MemoryProvider {
  readonly redirectUrl: string
  readonly clientMetadata: Readonly<Record<string, unknown>> & { redirect_uris: string[] }
  readonly clientMetadataUrl?: string
  clientInformation(): StoredClient | undefined
  saveClientInformation(client: StoredClient): void
  tokens(): StoredTokens | undefined
  saveTokens(tokens: StoredTokens): void
  redirectToAuthorization(url: URL): Promise<void>
  saveCodeVerifier(verifier: string): void
  codeVerifier(): string
  /** The answer that the browser brought to the redirect URI. */
  callback(): URLSearchParams
  readonly browser: Browser
}

export interface StoredClient {
  readonly client_id: string
  readonly client_secret?: string
  readonly registration_access_token?: string
}

export interface StoredTokens {
  access_token: string
  token_type: string
  refresh_token?: string
  expires_in?: number
  scope?: string
}

export interface ProviderChoices extends Partial<Choices> {
  readonly browser?: Browser
  readonly clientMetadataUrl?: string
  readonly redirectUrl?: string
  /** Keeps what this client and its browser are given, for a search for it. */
  readonly secrets?: Secrets
}

export function memoryProvider(choices: ProviderChoices = {}): MemoryProvider {
  const redirectUrl = choices.redirectUrl ?? CALLBACK
  const known = choices.secrets
  const own = choices.browser ?? browser({ stop: (url) => url.startsWith(`${redirectUrl}?`), ...(known === undefined ? {} : { fetch: known.watch(fetch) }) })
  let client: StoredClient | undefined
  let tokens: StoredTokens | undefined
  let verifier = ''
  let answer = new URLSearchParams()
  return {
    redirectUrl,
    clientMetadata: {
      client_name: 'Flow test',
      redirect_uris: [redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      application_type: 'native',
    },
    ...(choices.clientMetadataUrl === undefined ? {} : { clientMetadataUrl: choices.clientMetadataUrl }),
    clientInformation: () => client,
    saveClientInformation: (value) => {
      client = value
      known?.add('client secret', value.client_secret, value.registration_access_token)
    },
    tokens: () => tokens,
    saveTokens: (value) => {
      tokens = value
      known?.add('token', value.access_token, value.refresh_token)
    },
    saveCodeVerifier: (value) => {
      verifier = value
      known?.add('verifier', value)
    },
    codeVerifier: () => verifier,
    redirectToAuthorization: async (url) => {
      const page = await own.approve(url.href, choices)
      if (!page.url.startsWith(redirectUrl)) throw new Error(`the browser ended at ${page.url} (${page.status}):\n${page.text}`)
      answer = new URL(page.url).searchParams
    },
    callback: () => answer,
    browser: own,
  }
}
