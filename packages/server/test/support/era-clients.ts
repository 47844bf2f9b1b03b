// The official SDK's clients of both generations in front of a node that asks for no sign-in, with all that a server can
// ask of them, and a memory of what they heard.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'

/** What was asked and told, as `method detail`. */
export interface Heard {
  readonly heard: string[]
  /** Names that a form is answered with, one after another; `decline` when there are none left. */
  readonly names: string[]
}

const CAPABILITIES = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} }
const INFO = { name: 'era', version: '1' }
const HEADERS = { authorization: 'Bearer anybody' }

type Elicited = { action: 'accept'; content: Record<string, string> } | { action: 'accept' } | { action: 'decline' }

function elicited({ heard, names }: Heard, params: { readonly mode?: string; readonly message?: unknown; readonly url?: unknown }): Elicited {
  heard.push(`elicitation ${params.mode === 'url' ? String(params.url) : String(params.message)}`)
  if (params.mode === 'url') return { action: 'accept' }
  const name = names.shift()
  return name === undefined ? { action: 'decline' } : { action: 'accept', content: { name } }
}

const THOUGHT = { role: 'assistant' as const, model: 'a-model', content: { type: 'text' as const, text: 'so' } }
const ROOTS = { roots: [{ uri: 'file:///home' }] }

export function heardNothing(...names: string[]): Heard {
  return { heard: [], names }
}

/** @param capabilities instead of all */
export async function modernClient(url: string, memory: Heard, capabilities: Record<string, unknown> = CAPABILITIES): Promise<Client> {
  return connectClient(url, memory, { pin: '2026-07-28' }, capabilities)
}

/** The SDK's version 2, as it speaks 2025. */
export async function legacyClient(url: string, memory: Heard, capabilities: Record<string, unknown> = CAPABILITIES): Promise<Client> {
  return connectClient(url, memory, 'legacy', capabilities)
}

async function connectClient(url: string, memory: Heard, mode: 'legacy' | { pin: '2026-07-28' }, capabilities: Record<string, unknown>): Promise<Client> {
  const client = new Client(INFO, { capabilities, versionNegotiation: { mode } })
  if ('elicitation' in capabilities) client.setRequestHandler('elicitation/create', ({ params }) => elicited(memory, params as Parameters<typeof elicited>[1]))
  if ('sampling' in capabilities) client.setRequestHandler('sampling/createMessage', () => (memory.heard.push('sampling'), THOUGHT))
  if ('roots' in capabilities) client.setRequestHandler('roots/list', () => (memory.heard.push('roots'), ROOTS))
  client.setNotificationHandler('notifications/message', ({ params }) => void memory.heard.push(`log ${params.level} ${String(params.data)}`))
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => void memory.heard.push(`updated ${params.uri}`))
  client.setNotificationHandler('notifications/tools/list_changed', () => void memory.heard.push('tools changed'))
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: HEADERS } }))
  return client
}

/** The SDK's version 1, which knows 2025 alone. */
export async function clientV1(url: string, memory: Heard): Promise<ClientV1> {
  const client = new ClientV1(INFO, { capabilities: CAPABILITIES })
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => elicited(memory, params as Parameters<typeof elicited>[1]))
  client.setRequestHandler(CreateMessageRequestSchema, () => (memory.heard.push('sampling'), THOUGHT))
  client.setRequestHandler(ListRootsRequestSchema, () => (memory.heard.push('roots'), ROOTS))
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void memory.heard.push(`log ${params.level} ${String(params.data)}`))
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void memory.heard.push(`updated ${params.uri}`))
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void memory.heard.push('tools changed'))
  await client.connect(new TransportV1(new URL(url), { requestInit: { headers: HEADERS } }))
  return client
}

/** The text of a tool's result. */
export function said(result: unknown): string {
  const content = (result as { content?: { text?: string }[] }).content ?? []
  return content.map((part) => part.text ?? '').join('\n')
}
