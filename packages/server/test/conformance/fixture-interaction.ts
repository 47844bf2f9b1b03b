// The fixture's tools that ask the client for something. They are written once: the SDK carries the question in the
// result (2026-07-28), or as a request of the server on the session's stream (2025 revisions).
import {
  acceptedContent,
  CLIENT_CAPABILITIES_META_KEY,
  inputRequired,
  inputResponse,
  type CallToolResult,
  type InputRequest,
  type InputRequiredResult,
  type McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server'
import * as z from 'zod'
import type { FixtureState } from './fixture-mcp.ts'
import { text } from './fixture-tools.ts'

type Asked = Parameters<typeof inputRequired.elicit>[0]['requestedSchema']
type Answer = CallToolResult | InputRequiredResult

const NAME = z.object({ name: z.string() })
const OK = z.object({ ok: z.boolean() })
const COLOR = z.object({ color: z.string() })
const CAPABILITIES = z.object({ [CLIENT_CAPABILITIES_META_KEY]: z.object({ elicitation: z.unknown(), sampling: z.unknown() }).partial().optional() })

export function registerInteraction(mcp: McpServer, state: FixtureState): void {
  registerElicitation(mcp)
  registerOneRound(mcp)
  registerStateful(mcp, state)
  registerCapabilities(mcp)
}

function registerElicitation(mcp: McpServer): void {
  mcp.registerTool('test_elicitation', { description: 'Asks the user for a name and an address', inputSchema: z.object({ message: z.string() }) }, ({ message }, context) =>
    asked(context, message, z.object({ username: z.string().describe("User's response"), email: z.string().describe("User's email address") }), 'User response'),
  )
  mcp.registerTool('test_elicitation_sep1034_defaults', { description: 'Asks with a default for each kind of field' }, (context) =>
    asked(
      context,
      'Please review the defaults',
      {
        type: 'object',
        properties: {
          name: { type: 'string', default: 'John Doe' },
          age: { type: 'integer', default: 30 },
          score: { type: 'number', default: 95.5 },
          status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
          verified: { type: 'boolean', default: true },
        },
      },
      'Elicitation completed',
    ),
  )
  mcp.registerTool('test_elicitation_sep1330_enums', { description: 'Asks for choices in all of their forms' }, (context) =>
    asked(context, 'Please choose', { type: 'object', properties: choices() }, 'Elicitation completed'),
  )
  mcp.registerTool('test_streaming_elicitation', { description: 'Asks while its answer streams' }, (context) => asked(context, 'What is your name?', NAME, 'User response'))
}

function choices(): Extract<Asked, { properties: unknown }>['properties'] {
  const titled = (kind: string) => ['First', 'Second', 'Third'].map((title, index) => ({ const: `value${index + 1}`, title: `${title} ${kind}` }))
  const plain = ['option1', 'option2', 'option3']
  return {
    untitledSingle: { type: 'string', enum: plain },
    titledSingle: { type: 'string', oneOf: titled('Option') },
    legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] },
    untitledMulti: { type: 'array', items: { type: 'string', enum: plain } },
    titledMulti: { type: 'array', items: { anyOf: titled('Choice') } },
  }
}

/** Asks one question, and tells what became of it. */
function asked(context: ServerContext, message: string, requestedSchema: Asked, told: string): Answer {
  const response = inputResponse(context.mcpReq.inputResponses, 'answer')
  if (response.kind !== 'elicit') return inputRequired({ inputRequests: { answer: inputRequired.elicit({ message, requestedSchema }) } })
  return text(`${told}: action=${response.action}, content=${JSON.stringify(response.action === 'accept' ? response.content : {})}`)
}

function sampling(prompt: string, maxTokens: number): InputRequest {
  return inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: prompt } }], maxTokens })
}

function registerOneRound(mcp: McpServer): void {
  const sampled = (context: ServerContext, key: string, prompt: string): Answer => {
    const response = inputResponse(context.mcpReq.inputResponses, key)
    if (response.kind !== 'sampling') return inputRequired({ inputRequests: { [key]: sampling(prompt, 100) } })
    const [content] = [response.result.content].flat()
    return text(`LLM response: ${content?.type === 'text' ? content.text : 'not a text'}`)
  }
  mcp.registerTool('test_sampling', { description: 'Asks the language model', inputSchema: z.object({ prompt: z.string() }) }, ({ prompt }, context) => sampled(context, 'sample', prompt))
  // Where the client did not say that it has one, the SDK answers -32021 for us (RS-34).
  mcp.registerTool('test_missing_capability', { description: 'Asks the language model, whether there is one or not' }, (context) => sampled(context, 'sample', 'Is anybody there?'))
  mcp.registerTool('test_input_required_result_sampling', { description: 'Asks the language model for a capital' }, (context) => sampled(context, 'capital_question', 'What is the capital of France?'))
  mcp.registerTool('test_input_required_result_elicitation', { description: 'Asks the user for a name' }, (context) => {
    const answer = acceptedContent(context.mcpReq.inputResponses, 'user_name', NAME)
    return answer === undefined ? askForName('user_name', 'What is your name?') : text(`Hello, ${answer.name}!`)
  })
  mcp.registerTool('test_input_required_result_list_roots', { description: 'Asks the client for its roots' }, (context) => {
    const response = inputResponse(context.mcpReq.inputResponses, 'client_roots')
    if (response.kind !== 'roots') return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } })
    return text(`Roots: ${response.roots.map(({ uri }) => uri).join(' ')}`)
  })
}

function askForName(key: string, message: string, requestState?: string): InputRequiredResult {
  return inputRequired({ inputRequests: { [key]: inputRequired.elicit({ message, requestedSchema: NAME }) }, ...(requestState === undefined ? {} : { requestState }) })
}

function registerStateful(mcp: McpServer, { codec }: FixtureState): void {
  const confirmed = async (context: ServerContext): Promise<Answer> => {
    const answer = acceptedContent(context.mcpReq.inputResponses, 'confirm', OK)
    if (answer !== undefined && context.mcpReq.requestState<{ step: number }>()?.step === 1) return text('state-ok')
    const confirm = inputRequired.elicit({ message: 'Please confirm', requestedSchema: OK })
    return inputRequired({ inputRequests: { confirm }, requestState: await codec.mint({ step: 1 }, context) })
  }
  mcp.registerTool('test_input_required_result_request_state', { description: 'Asks, and knows its question again' }, confirmed)
  mcp.registerTool('test_input_required_result_tampered_state', { description: 'Asks, and knows a forged state' }, confirmed)
  mcp.registerTool('test_input_required_result_multiple_inputs', { description: 'Asks for three things at once' }, async (context) => {
    const responses = context.mcpReq.inputResponses
    const name = acceptedContent(responses, 'user_name', NAME)
    const [greeting, roots] = [inputResponse(responses, 'greeting'), inputResponse(responses, 'client_roots')]
    if (name !== undefined && greeting.kind === 'sampling' && roots.kind === 'roots') return text(`Hello, ${name.name}, with ${roots.roots.length} roots.`)
    const inputRequests = {
      user_name: inputRequired.elicit({ message: 'What is your name?', requestedSchema: NAME }),
      greeting: sampling('Generate a greeting', 50),
      client_roots: inputRequired.listRoots(),
    }
    return inputRequired({ inputRequests, requestState: await codec.mint({ step: 1 }, context) })
  })
  mcp.registerTool('test_input_required_result_multi_round', { description: 'Asks twice' }, async (context) => {
    const step = context.mcpReq.requestState<{ step: number }>()?.step ?? 0
    const responses = context.mcpReq.inputResponses
    if (step === 2 && acceptedContent(responses, 'step2', COLOR) !== undefined) return text('Both questions are answered.')
    if (step !== 1 || acceptedContent(responses, 'step1', NAME) === undefined) return askForName('step1', 'Step 1: What is your name?', await codec.mint({ step: 1 }, context))
    const step2 = inputRequired.elicit({ message: 'Step 2: What is your favorite color?', requestedSchema: COLOR })
    return inputRequired({ inputRequests: { step2 }, requestState: await codec.mint({ step: 2 }, context) })
  })
}

function registerCapabilities(mcp: McpServer): void {
  mcp.registerTool('test_input_required_result_capabilities', { description: 'Asks for what the client can do, and no more' }, (context) => {
    const declared = CAPABILITIES.parse(context.mcpReq.envelope ?? {})[CLIENT_CAPABILITIES_META_KEY]
    if (context.mcpReq.inputResponses !== undefined) return text('Thank you.')
    const inputRequests: Record<string, InputRequest> = {
      ...(declared?.elicitation === undefined ? {} : { name: inputRequired.elicit({ message: 'What is your name?', requestedSchema: NAME }) }),
      ...(declared?.sampling === undefined ? {} : { greeting: sampling('Generate a greeting', 50) }),
    }
    return Object.keys(inputRequests).length === 0 ? text('The client can answer nothing.') : inputRequired({ inputRequests })
  })
}
