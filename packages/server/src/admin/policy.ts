import * as z from 'zod'
import type { Applications } from '../clients/client.ts'
import { annotationsOf, marked } from '../gateway/catalogue.ts'
import { annotationsOf as methodAnnotations } from '../gateway/http-upstream/method.ts'
import { ProblemError } from '../http/problem.ts'
import type { User } from '../identity/user.ts'
import type { LivePolicy } from '../policy/live-policy.ts'
import type { PolicyInput, ToolAnnotations, ToolFacts } from '../policy/rule.ts'
import { ruleSchema } from '../policy/rule-schema.ts'
import type { CallRecords, RecordedCall } from '../policy/rule-store.ts'
import { simulate, type SimulatedCall } from '../policy/simulate.ts'
import { isAddress } from '../policy/tool-pattern.ts'
import { dataClassesOf } from '../upstreams/data-classes.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { endpoint, type Endpoint } from './endpoint.ts'
import { requireUsable, ruleEndpoints, type RuleEndpointDeps } from './rules.ts'

export interface PolicyEndpointDeps {
  readonly policy: LivePolicy
  readonly records: CallRecords
  readonly applications: Applications
  readonly upstreams: readonly Upstream[]
  readonly findUser: (id: string) => Promise<User | undefined>
  readonly now: () => number
}

const DAY_MS = 86_400_000
/** Newest calls that a simulation looks at. */
const MAX_CALLS = 50_000
const MAX_CHANGES = 500

const EFFECT = z.enum(['allow', 'deny', 'step-up', 'approval'])
const DECISION = z.object({ effect: EFFECT, rule: z.string(), challenge: z.record(z.string(), z.unknown()).optional() })

const authentication = z.strictObject({ authTime: z.number().optional(), acr: z.string().optional(), amr: z.array(z.string()).optional(), claims: z.record(z.string(), z.unknown()).optional() })

const QUESTION = z.strictObject({
  user: z.string().describe('The identifier of a person; somebody who is not known here needs groups'),
  groups: z.array(z.string()).optional().describe('Instead of those that are known of the person'),
  client: z.string(),
  upstream: z.string(),
  tool: z.string().optional().describe('Left out for prompts and resources'),
  address: z.string().optional(),
  at: z.iso.datetime({ offset: true }).optional().describe('Now when absent'),
  authentication: authentication.optional(),
  approvals: z.array(z.string()).optional(),
})

const EXPLAINED = z.object({
  id: z.string(),
  effect: EFFECT,
  matched: z.boolean(),
  assumed: z.boolean().optional().describe('It matched because of what is not known: the worst is assumed'),
  satisfied: z.boolean().optional(),
  conditions: z.array(z.object({ name: z.string(), holds: z.union([z.boolean(), z.literal('unknown')]) })),
})

/** Rules, and what they decide. */
export function policyRoom(deps: RuleEndpointDeps & PolicyEndpointDeps): readonly Endpoint[] {
  return [...ruleEndpoints(deps), ...policyEndpoints(deps)]
}

/** Why a call is decided as it is, and what other rules would have changed. */
function policyEndpoints(deps: PolicyEndpointDeps): readonly Endpoint[] {
  return [
    endpoint({
      method: 'POST', path: '/policy/explain', summary: 'Decides a call, and says of every rule why it matched or did not', access: 'admin',
      body: QUESTION,
      result: z.object({ decision: DECISION, rules: z.array(EXPLAINED) }),
      respond: async ({ body }) => ({ body: deps.policy.explain(await inputOf(deps, body)) }),
    }),
    endpoint({
      method: 'POST', path: '/policy/simulate', summary: 'Decides the recorded calls of the last days by other rules, and tells what would change', access: 'admin',
      body: z.strictObject({ rules: z.array(ruleSchema).describe('In the place of all stored rules'), days: z.number().min(1).max(30).default(7) }),
      result: z.object({
        calls: z.number(),
        changedCalls: z.number(),
        changes: z.array(z.object({ subject: z.string(), clientId: z.string(), upstream: z.string(), tool: z.string(), before: DECISION, after: DECISION, calls: z.number(), lastAt: z.number() })),
        truncated: z.boolean().describe('More calls were recorded, or more kinds of them change, than this tells of'),
      }),
      async respond({ body: { rules, days } }) {
        requireUsable(deps, rules, ['rules'])
        const recorded = await deps.records.calls(deps.now() - days * DAY_MS, MAX_CALLS)
        const result = await simulate(deps.policy, deps.policy.compile(rules), await inputsOf(deps, recorded))
        return { body: { ...result, changes: result.changes.slice(0, MAX_CHANGES), truncated: recorded.length === MAX_CALLS || result.changes.length > MAX_CHANGES } }
      },
    }),
  ]
}

async function inputOf(deps: PolicyEndpointDeps, { user, groups, client, upstream, tool, at, ...given }: z.output<typeof QUESTION>): Promise<PolicyInput> {
  const [known, application, factsOf] = await Promise.all([deps.findUser(user), deps.applications.of(client), toolFacts(deps)])
  if (!deps.upstreams.some(({ id }) => id === upstream)) throw new ProblemError('invalid', 'There is no such upstream.', { errors: [{ pointer: '/upstream', detail: 'there is no such upstream' }] })
  if (known === undefined && groups === undefined) throw new ProblemError('invalid', 'This person is not known here.', { errors: [{ pointer: '/user', detail: 'is not known: name groups' }] })
  return {
    ...given,
    subject: user,
    groups: groups ?? known?.groups ?? [],
    clientId: client,
    application,
    upstream,
    at: at === undefined ? deps.now() : Date.parse(at),
    ...(tool === undefined ? {} : { tool, toolFacts: factsOf(upstream, tool) }),
  }
}

/** The calls as they were made, by the groups that people had then; of what nobody wrote down, tools among it, as it is known today. */
async function inputsOf(deps: PolicyEndpointDeps, recorded: readonly RecordedCall[]): Promise<readonly SimulatedCall[]> {
  const clients = [...new Set(recorded.map(({ clientId }) => clientId))]
  const applications = new Map(await Promise.all(clients.map(async (id) => [id, await deps.applications.of(id)] as const)))
  // Machines are nobody's rows: what they are is configured.
  const strangers = [...new Set(recorded.flatMap(({ subject, groups }) => (groups === undefined ? [subject] : [])))]
  const groupsNow = new Map(await Promise.all(strangers.map(async (id) => [id, (await deps.findUser(id))?.groups] as const)))
  const factsOf = await toolFacts(deps)
  return recorded.map(({ groups: then, ...call }) => ({ application: applications.get(call.clientId), ...call, groups: then ?? groupsNow.get(call.subject) ?? [], toolFacts: factsOf(call.upstream, call.tool) }))
}

/** What is known of tools, by the definitions of them that were approved last. */
async function toolFacts({ records, upstreams }: PolicyEndpointDeps): Promise<(upstream: string, tool: string) => ToolFacts> {
  const definitions = await records.definitions()
  const byId = new Map(upstreams.map((upstream) => [upstream.id, upstream]))
  const known = new Map<string, ToolFacts>()
  return (id, tool) => {
    const key = `${id} ${tool}`
    const before = known.get(key)
    if (before !== undefined) return before
    const upstream = byId.get(id)
    const annotations = upstream === undefined ? undefined : annotationsIn(upstream, tool, definitions.get(key))
    const facts: ToolFacts = { dataClasses: upstream === undefined ? [] : dataClassesOf(upstream, tool), ...(annotations === undefined ? {} : { annotations }) }
    known.set(key, facts)
    return facts
  }
}

/** At an HTTP API the method of an address says what a definition says of a tool. */
function annotationsIn(upstream: Upstream, tool: string, definition: string | undefined): ToolAnnotations | undefined {
  if (upstream.http !== undefined && isAddress(tool)) return marked(upstream, tool, methodAnnotations(tool.slice(0, tool.indexOf(' '))))
  return definition === undefined ? undefined : marked(upstream, tool, annotationsOf(JSON.parse(definition) as Readonly<Record<string, unknown>>))
}
