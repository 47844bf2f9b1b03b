// The official SDK's clients, signed in through a browser: version 2 in both protocol eras, and version 1.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { UnauthorizedError as UnauthorizedErrorV1 } from '@modelcontextprotocol/sdk/client/auth.js'
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { OAuthClientProvider as ProviderV1 } from '@modelcontextprotocol/sdk/client/auth.js'
import type { OAuthClientProvider } from '@modelcontextprotocol/client'
import type { MemoryProvider } from './oauth-clients.ts'

/** What every client can do, whatever its SDK's version. */
export interface ToolClient {
  tools(): Promise<string[]>
  /** The text that the tool answered. */
  call(tool: string, args?: Record<string, unknown>): Promise<string>
  close(): Promise<void>
}

export type Era = 'legacy' | 'modern'

/**
 * Connects the SDK's version 2; when the gateway asks for it, signs in first.
 *
 * @param onUrl makes a client that can be sent to an address
 */
export async function connectV2(url: string, provider: MemoryProvider, era: Era, onUrl?: (url: string) => Promise<void>): Promise<ToolClient> {
  const capabilities = onUrl === undefined ? {} : { elicitation: { url: {} } }
  const client = new Client({ name: 'flow', version: '1.0.0' }, { capabilities, versionNegotiation: { mode: era === 'modern' ? { pin: '2026-07-28' } : 'legacy' } })
  if (onUrl !== undefined) {
    client.setRequestHandler('elicitation/create', async ({ params }) => {
      if (params.mode === 'url') await onUrl(params.url)
      return { action: 'accept' }
    })
  }
  const attempt = async (): Promise<void> => {
    const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider as unknown as OAuthClientProvider })
    try {
      await client.connect(transport)
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error
      await transport.finishAuth(provider.callback())
      await client.close()
      await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider: provider as unknown as OAuthClientProvider }))
    }
  }
  await attempt()
  return {
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: async (name, args = {}) => text(await client.callTool({ name, arguments: args })),
    close: () => client.close(),
  }
}

/** Connects the SDK's version 1, which knows the 2025 revisions alone. */
export async function connectV1(url: string, provider: MemoryProvider): Promise<ToolClient> {
  let client = new ClientV1({ name: 'flow', version: '1.0.0' })
  const open = (): TransportV1 => new TransportV1(new URL(url), { authProvider: provider as unknown as ProviderV1 })
  const transport = open()
  try {
    await client.connect(transport)
  } catch (error) {
    if (!(error instanceof UnauthorizedErrorV1)) throw error
    await transport.finishAuth(provider.callback().get('code') ?? '')
    client = new ClientV1({ name: 'flow', version: '1.0.0' })
    await client.connect(open())
  }
  return {
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: async (name, args = {}) => text(await client.callTool({ name, arguments: args })),
    close: () => client.close(),
  }
}

function text(result: unknown): string {
  const content = (result as { content?: { type: string; text?: string }[] }).content ?? []
  return content.map((part) => part.text ?? '').join('\n')
}
