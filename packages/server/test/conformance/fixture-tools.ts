// The fixture's tools that answer by themselves.
import { setTimeout as delay } from 'node:timers/promises'
import { fromJsonSchema, type CallToolResult, type McpServer, type ServerContext } from '@modelcontextprotocol/server'
import * as z from 'zod'
import type { Changed, FixtureState } from './fixture-mcp.ts'
import { PNG, WAV } from './media.ts'

const STEP_MS = 50

/** JSON Schema 2020-12 with all that a proxy might drop: references, anchors, composition, conditions. */
const SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: { type: 'string' }, city: { type: 'string' } } } },
  properties: {
    name: { type: 'string' },
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: { type: 'string' },
    email: { type: 'string' },
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  // oxlint-disable-next-line unicorn/no-thenable -- it is a keyword of JSON Schema
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
}

export function text(value: string): CallToolResult {
  return { content: [{ type: 'text', text: value }] }
}

export function registerTools(mcp: McpServer, state: FixtureState, changed: Changed): void {
  registerContentTools(mcp)
  registerTalkingTools(mcp)
  registerSchemaTools(mcp)
  registerListTools(mcp, state, changed)
}

function registerContentTools(mcp: McpServer): void {
  const image = { type: 'image' as const, data: PNG, mimeType: 'image/png' }
  mcp.registerTool('test_simple_text', { description: 'Returns text' }, () => text('This is a simple text response for testing.'))
  mcp.registerTool('test_image_content', { description: 'Returns an image' }, () => ({ content: [image] }))
  mcp.registerTool('test_audio_content', { description: 'Returns a sound' }, () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] }))
  mcp.registerTool('test_embedded_resource', { description: 'Returns a resource' }, () => ({
    content: [{ type: 'resource', resource: { uri: 'test://embedded-resource', mimeType: 'text/plain', text: 'This is an embedded resource content.' } }],
  }))
  mcp.registerTool('test_multiple_content_types', { description: 'Returns a text, an image and a resource' }, () => ({
    content: [
      { type: 'text', text: 'Multiple content types test:' },
      image,
      { type: 'resource', resource: { uri: 'test://mixed-content-resource', mimeType: 'application/json', text: '{"test":"data","value":123}' } },
    ],
  }))
  mcp.registerTool('test_error_handling', { description: 'Always fails' }, () => {
    throw new Error('This tool intentionally returns an error for testing')
  })
}

function registerTalkingTools(mcp: McpServer): void {
  const logging = async (context: ServerContext): Promise<CallToolResult> => {
    await context.mcpReq.log('info', 'Tool execution started')
    await delay(STEP_MS)
    await context.mcpReq.log('info', 'Tool processing data')
    await delay(STEP_MS)
    await context.mcpReq.log('info', 'Tool execution completed')
    return text('Logged three messages.')
  }
  mcp.registerTool('test_tool_with_logging', { description: 'Logs while it works' }, logging)
  mcp.registerTool('test_logging_tool', { description: 'Logs while it works, for those who asked' }, logging)
  mcp.registerTool('test_tool_with_progress', { description: 'Tells how far it is' }, async (context) => {
    const progressToken = context.mcpReq._meta?.progressToken
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined) await context.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } })
      await delay(STEP_MS)
    }
    return text('All of it is done.')
  })
  mcp.registerTool('test_reconnection', { description: 'Ends its stream before it answers' }, async (context) => {
    context.http?.closeSSE?.()
    await delay(2 * STEP_MS)
    return text('This answer waited for the client to come back.')
  })
}

function registerSchemaTools(mcp: McpServer): void {
  mcp.registerTool('json_schema_2020_12_tool', { description: 'Tool with JSON Schema 2020-12 features', inputSchema: fromJsonSchema<Record<string, unknown>>(SCHEMA) }, (given) => text(JSON.stringify(given)))
  const region = z.string().meta({ 'x-mcp-header': 'Region' })
  mcp.registerTool('test_mirrored_header', { description: 'Has a parameter that is sent as a header too', inputSchema: z.object({ region }) }, (given) => text(`In ${given.region}.`))
}

function registerListTools(mcp: McpServer, state: FixtureState, changed: Changed): void {
  mcp.registerTool('test_trigger_tool_change', { description: 'Adds a tool, or removes it again' }, () => {
    state.extraTool = !state.extraTool
    changed.tools()
    return text('The tools have changed.')
  })
  mcp.registerTool('test_trigger_prompt_change', { description: 'Adds a prompt, or removes it again' }, () => {
    state.extraPrompt = !state.extraPrompt
    changed.prompts()
    return text('The prompts have changed.')
  })
  if (state.extraTool) mcp.registerTool('extra_tool', { description: 'Comes and goes' }, () => text('I am here at the moment.'))
}
