// The fixture's resources and prompts.
import { completable, inputRequired, acceptedContent, ResourceTemplate, type McpServer } from '@modelcontextprotocol/server'
import * as z from 'zod'
import type { FixtureState } from './fixture-mcp.ts'
import { PNG } from './media.ts'

const MAX_WORDS = 100
const WORDS = ['paris', 'park', 'party', 'test', 'testing', 'value']

export function registerContents(mcp: McpServer, state: FixtureState): void {
  registerResources(mcp)
  registerPrompts(mcp)
  if (state.extraPrompt) mcp.registerPrompt('extra_prompt', { description: 'Comes and goes' }, () => ({ messages: [said('I am here at the moment.')] }))
}

function registerResources(mcp: McpServer): void {
  const text = (name: string, uri: string, description: string, content: string): void => {
    mcp.registerResource(name, uri, { description, mimeType: 'text/plain' }, () => ({ contents: [{ uri, mimeType: 'text/plain', text: content }] }))
  }
  text('static-text', 'test://static-text', 'A text that stays the same', 'This is the content of the static text resource.')
  text('watched-resource', 'test://watched-resource', 'A text that can be watched', 'Nothing has changed.')
  text('example-resource', 'test://example-resource', 'A text that prompts embed', 'An example.')
  mcp.registerResource('static-binary', 'test://static-binary', { description: 'An image that stays the same', mimeType: 'image/png' }, () => ({
    contents: [{ uri: 'test://static-binary', mimeType: 'image/png', blob: PNG }],
  }))
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined, complete: { id: () => ['1', '2', '3'] } })
  mcp.registerResource('template', template, { description: 'The data of one id', mimeType: 'application/json' }, (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` }) }],
  }))
  // Who watches is not remembered: the fixture's resources do not change.
  mcp.server.setRequestHandler('resources/subscribe', () => ({}))
  mcp.server.setRequestHandler('resources/unsubscribe', () => ({}))
}

function registerPrompts(mcp: McpServer): void {
  const word = completable(z.string(), (begun) => WORDS.filter((candidate) => candidate.startsWith(begun ?? '')).slice(0, MAX_WORDS))
  mcp.registerPrompt('test_simple_prompt', { description: 'A prompt without arguments' }, () => ({ messages: [said('This is a simple prompt for testing.')] }))
  mcp.registerPrompt('test_prompt_with_arguments', { description: 'A prompt with two arguments', argsSchema: z.object({ arg1: word, arg2: z.string() }) }, ({ arg1, arg2 }) => ({
    messages: [said(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)],
  }))
  mcp.registerPrompt('test_prompt_with_embedded_resource', { description: 'A prompt that embeds a resource', argsSchema: z.object({ resourceUri: z.string() }) }, ({ resourceUri }) => ({
    messages: [
      { role: 'user', content: { type: 'resource', resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' } } },
      said('Please process the embedded resource above.'),
    ],
  }))
  mcp.registerPrompt('test_prompt_with_image', { description: 'A prompt with an image' }, () => ({
    messages: [{ role: 'user', content: { type: 'image', data: PNG, mimeType: 'image/png' } }, said('Please analyze the image above.')],
  }))
  mcp.registerPrompt('test_input_required_result_prompt', { description: 'A prompt that asks the user first' }, (context) => {
    const asked = z.object({ context: z.string() })
    const answer = acceptedContent(context.mcpReq.inputResponses, 'user_context', asked)
    if (answer !== undefined) return { messages: [said(`Use this context: ${answer.context}`)] }
    return inputRequired({ inputRequests: { user_context: inputRequired.elicit({ message: 'What context should the prompt use?', requestedSchema: asked }) } })
  })
}

function said(text: string): { role: 'user'; content: { type: 'text'; text: string } } {
  return { role: 'user', content: { type: 'text', text } }
}
