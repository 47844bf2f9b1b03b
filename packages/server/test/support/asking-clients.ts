// Applications around the official SDKs that ask their user to sign in again whenever the SDK says that it is needed.
import { Client, StreamableHTTPClientTransport, UnauthorizedError, type OAuthClientProvider } from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { UnauthorizedError as UnauthorizedErrorV1, type OAuthClientProvider as ProviderV1 } from '@modelcontextprotocol/sdk/client/auth.js'
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { memoryProvider, type MemoryProvider, type ProviderChoices } from './oauth-clients.ts'

export interface Person {
  call(tool: string, args?: Record<string, unknown>): Promise<string>
  close(): Promise<void>
}

/** A client that its user signs in again whenever it asks for it: what it does with a challenge is its own. */
export type Connect = (url: string, provider: MemoryProvider) => Promise<Person>

const text = (result: unknown): string => ((result as { content?: { text?: string }[] }).content ?? []).map((part) => part.text ?? '').join('\n')

interface Sdk {
  readonly connect: () => Promise<Person>
  readonly isUnauthorized: (error: unknown) => boolean
  readonly finish: () => Promise<void>
}

/** An application around an SDK: when the SDK says that its user must sign in, it finishes that and does again what it did. */
const application = (make: (url: string, provider: MemoryProvider) => Sdk): Connect => async (url, provider) => {
  let sdk = make(url, provider)
  let live: Person | undefined
  const run = async <T>(work: (person: Person) => Promise<T>): Promise<T> => {
    try {
      live ??= await sdk.connect()
      return await work(live)
    } catch (error) {
      if (!sdk.isUnauthorized(error)) throw error
      await sdk.finish()
      await live?.close()
      live = undefined
      sdk = make(url, provider)
      return run(work)
    }
  }
  await run(async () => undefined)
  return { call: (tool, args) => run((person) => person.call(tool, args)), close: async () => live?.close() }
}

/** The SDK's version 2. */
export const sdk2 = (era: 'legacy' | 'modern'): Connect =>
  application((url, provider) => {
    const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider as unknown as OAuthClientProvider })
    const client = new Client({ name: 'flow', version: '1.0.0' }, { versionNegotiation: { mode: era === 'modern' ? { pin: '2026-07-28' } : 'legacy' } })
    return {
      connect: async () => {
        await client.connect(transport)
        return { call: async (name, args = {}) => text(await client.callTool({ name, arguments: args })), close: () => client.close() }
      },
      isUnauthorized: (error) => error instanceof UnauthorizedError,
      finish: () => transport.finishAuth(provider.callback()),
    }
  })

/** The SDK's version 1, which knows 2025 alone. */
export const sdk1: Connect = application((url, provider) => {
  const transport = new TransportV1(new URL(url), { authProvider: provider as unknown as ProviderV1 })
  const client = new ClientV1({ name: 'flow', version: '1.0.0' })
  return {
    connect: async () => {
      await client.connect(transport)
      return { call: async (name, args = {}) => text(await client.callTool({ name, arguments: args })), close: () => client.close() }
    },
    isUnauthorized: (error) => error instanceof UnauthorizedErrorV1,
    finish: () => transport.finishAuth(provider.callback().get('code') ?? ''),
  }
})

/** Forgets tokens when its SDK says that they are worth nothing, as applications do. */
export function forgetful(choices: ProviderChoices = {}): MemoryProvider {
  const provider = memoryProvider(choices)
  const [read, save] = [provider.tokens.bind(provider), provider.saveTokens.bind(provider)]
  let isGone = false
  return Object.assign(provider, {
    tokens: () => (isGone ? undefined : read()),
    saveTokens(tokens: Parameters<typeof save>[0]) {
      isGone = false
      save(tokens)
    },
    invalidateCredentials(what: string) {
      isGone ||= what === 'tokens' || what === 'all'
    },
  })
}
