// Owns Lanyard as a decision point for others (AuthZEN 1.0): an MCP server asks what its caller may do at it, by the same
// rules that decide here.
import * as z from 'zod'
import type { Cutoffs } from '../audit/change.ts'
import { judge } from '../approval/approval.ts'
import type { Approvals, CallAnswer } from '../approval/approvals.ts'
import type { Recorder } from '../audit/event.ts'
import type { Client, ClientAuthentication } from '../clients/client.ts'
import { addressBucket } from '../http/address.ts'
import { parseJson, readText } from '../http/params.ts'
import { requireRate, type RateLimit } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
import type { User } from '../identity/user.ts'
import { OAuthError } from '../oauth/error.ts'
import type { Decision, Policy, PolicyInput } from '../policy/policy.ts'
import { dataClassesOf } from '../upstreams/data-classes.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { NO_TOOL } from './call-approval.ts'
import { annotationsOf, marked } from './catalogue.ts'
import { NOT_APPROVED } from './permit.ts'

export interface DecisionPointDeps {
  readonly issuer: string
  readonly authentication: ClientAuthentication
  /** Whether the client stands for the resource, as for introspection: it asks about that alone. */
  readonly mayAsk: (clientId: string, resource: string) => boolean
  readonly policy: Pick<Policy, 'decide'>
  readonly approvals: Pick<Approvals, 'call' | 'decided' | 'standing'>
  readonly findUser: (id: string) => Promise<User | undefined>
  readonly upstreams: readonly Upstream[]
  readonly cutoffs: Pick<Cutoffs, 'fresh'>
  readonly audit: Recorder
  readonly flood: RateLimit
  readonly now: () => number
}

const MAX_BODY_BYTES = 256 * 1024
const MAX_EVALUATIONS = 100

const entity = z.object({ type: z.string().min(1), id: z.string().min(1), properties: z.record(z.string(), z.unknown()).optional() })
const action = z.object({ name: z.string().min(1), properties: z.record(z.string(), z.unknown()).optional() })
/** What the server knows of the caller's token and connection, by introspection and by itself. */
const context = z.object({
  client_id: z.string().optional(),
  ip_address: z.string().optional(),
  auth_time: z.number().optional(),
  acr: z.string().optional(),
  amr: z.array(z.string()).optional(),
  claims: z.record(z.string(), z.unknown()).optional(),
  /** Whether what an administrator must approve is put before them. */
  request_approval: z.boolean().optional(),
})
const EVALUATION = z.object({ subject: entity, action, resource: entity, context: context.optional() })
const EVALUATIONS = EVALUATION.partial().extend({
  evaluations: z.array(EVALUATION.partial()).max(MAX_EVALUATIONS).optional(),
  options: z.object({ evaluations_semantic: z.enum(['execute_all', 'deny_on_first_deny', 'permit_on_first_permit']).default('execute_all') }).optional(),
})

type Evaluation = z.output<typeof EVALUATION>

interface Answer {
  readonly decision: boolean
  readonly context?: Readonly<Record<string, unknown>>
}

/** AuthZEN 1.0 §6, §7 and §9. */
export function decisionPointRoutes(deps: DecisionPointDeps): readonly Route[] {
  const route = (path: string, answer: (client: Client, body: unknown, context: RequestContext) => Promise<object>): Route => ({
    method: 'POST',
    path,
    access: 'client',
    errors: 'oauth',
    async respond(request, at) {
      requireRate(deps.flood, addressBucket(at.address))
      const client = await authenticated(deps, request, at)
      const answered = await answer(client, await jsonBody(request), at)
      // AuthZEN 1.0 §10.1.3: the identifier of a request comes back.
      const id = request.headers.get('x-request-id')
      return Response.json(answered, { headers: { 'cache-control': 'no-store', ...(id === null || !/^[\x21-\x7e]{1,200}$/.test(id) ? {} : { 'x-request-id': id }) } })
    },
  })
  return [
    route('/access/v1/evaluation', (client, body, at) => evaluate(deps, client, checked(EVALUATION, body), at, true)),
    route('/access/v1/evaluations', (client, body, at) => evaluateAll(deps, client, checked(EVALUATIONS, body), at)),
    { method: 'GET', path: '/.well-known/authzen-configuration', access: 'public', errors: 'oauth', cors: true, respond: () => Response.json(metadata(deps.issuer), { headers: { 'cache-control': 'public, max-age=300' } }) },
  ]
}

function metadata(issuer: string): object {
  return { policy_decision_point: issuer, access_evaluation_endpoint: `${issuer}/access/v1/evaluation`, access_evaluations_endpoint: `${issuer}/access/v1/evaluations` }
}

/** Who may say it is anybody could try out everybody's rules. */
async function authenticated({ authentication, cutoffs }: DecisionPointDeps, request: Request, { address }: RequestContext): Promise<Client> {
  const client = await authentication.authenticate({ authorization: request.headers.get('authorization') ?? undefined, params: { get: () => undefined }, address })
  if (client.tokenEndpointAuthMethods.includes('none')) throw new OAuthError('invalid_client', 'this client cannot authenticate', { reason: 'evaluation by a public client' })
  if (!cutoffs.fresh) throw new OAuthError('temporarily_unavailable', 'please try again in a moment', { retryAfter: 5 })
  return client
}

async function jsonBody(request: Request): Promise<unknown> {
  if (!/^application\/json\s*(?:;|$)/i.test(request.headers.get('content-type') ?? '')) throw new OAuthError('invalid_request', 'the body must be application/json')
  const text = await readText(request, MAX_BODY_BYTES)
  try {
    return parseJson(text ?? '')
  } catch {
    throw new OAuthError('invalid_request', text === undefined ? 'the body is too large' : 'the body is not JSON')
  }
}

function checked<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const result = schema.safeParse(body)
  if (!result.success) throw new OAuthError('invalid_request', `the request is not an evaluation: ${result.error.issues.map(({ path }) => path.join('.') || 'it').slice(0, 5).join(', ')}`)
  return result.data
}

/** AuthZEN 1.0 §7.1: what an evaluation leaves out is what the whole request says. */
async function evaluateAll(deps: DecisionPointDeps, client: Client, { evaluations, options, ...defaults }: z.output<typeof EVALUATIONS>, at: RequestContext): Promise<object> {
  if (evaluations === undefined) return evaluate(deps, client, checked(EVALUATION, defaults), at, true)
  const questions = evaluations.map((evaluation) => checked(EVALUATION, { ...defaults, ...evaluation }))
  const semantic = options?.evaluations_semantic ?? 'execute_all'
  const answers: Answer[] = []
  for (const question of questions) {
    // Many at once are a list, of which most is never used.
    const answer = await evaluate(deps, client, question, at, false)
    answers.push(answer)
    if (semantic === (answer.decision ? 'permit_on_first_permit' : 'deny_on_first_deny')) break
  }
  return { evaluations: answers }
}

/** @param asksByDefault whether an administrator is asked for an approval that lacks, where the request does not say */
async function evaluate(deps: DecisionPointDeps, client: Client, evaluation: Evaluation, at: RequestContext, asksByDefault: boolean): Promise<Answer> {
  const asked = await inputOf(deps, client, evaluation)
  const decided = decide(deps, asked)
  const approval = asked !== undefined && decided.effect === 'approval' ? await approvalOf(deps, asked, at, evaluation.context?.request_approval ?? asksByDefault) : undefined
  const decision: Decision = approval?.kind === 'approved' ? { ...decided, allow: true } : decided
  await deps.audit.record({
    action: 'access.evaluated',
    outcome: decision.allow ? 'success' : 'failure',
    clientId: client.id,
    subject: evaluation.subject.id.slice(0, 256),
    ...(asked === undefined ? {} : { upstream: asked.input.upstream, ...(asked.input.tool === undefined ? {} : { tool: asked.input.tool.slice(0, 256) }) }),
    rule: decision.rule,
    address: at.address,
    reference: at.reference,
    detail: { decision: decision.allow, ...(approval === undefined ? {} : { approval: approval.kind }) },
  })
  return answerOf(decision, approval)
}

/** As in the data plane: no rule is asked about an application that no administrator approved. */
function decide({ policy }: DecisionPointDeps, asked: Asked | undefined): Decision {
  if (asked === undefined) return { allow: false, effect: 'deny', rule: 'default' }
  return asked.approved ? policy.decide(asked.input) : NOT_APPROVED
}

/** The same request as a call of it makes, for the same person, application, upstream and tool. */
async function approvalOf({ approvals }: DecisionPointDeps, { input, user, resource }: Asked, at: RequestContext, asks: boolean): Promise<CallAnswer | undefined> {
  const call = { clientId: input.clientId, person: user, upstream: input.upstream, tool: input.tool ?? NO_TOOL }
  return asks ? approvals.call({ ...call, resource, address: input.address ?? at.address }) : approvals.decided(call)
}

interface Asked {
  readonly input: PolicyInput
  /** Whether the application is approved for as much as this needs. */
  readonly approved: boolean
  readonly user: User
  /** The protected resource that the client stands for. */
  readonly resource: string
}

/** A resource is a `tool` with its upstream among its properties, or an `upstream`; undefined for what this client does not stand for, and for somebody who is not there. */
async function inputOf(deps: DecisionPointDeps, client: Client, { subject, resource, context: about = {} }: Evaluation): Promise<Asked | undefined> {
  const upstreamId = resource.type === 'tool' ? resource.properties?.['upstream'] : resource.id
  const upstream = deps.upstreams.find(({ id }) => id === upstreamId)
  if (upstream === undefined || subject.type !== 'user' || (resource.type !== 'tool' && resource.type !== 'upstream')) return undefined
  const stoodFor = ['mcp', 'http'].map((below) => `${deps.issuer}/${below}/${upstream.id}`).find((each) => deps.mayAsk(client.id, each))
  if (stoodFor === undefined) return undefined
  if (about.client_id === undefined) return undefined
  const [user, standing] = await Promise.all([deps.findUser(subject.id), deps.approvals.standing(about.client_id)])
  if (user === undefined || user.disabled) return undefined
  // The server is the one that annotates its tools.
  const annotations = resource.properties?.['annotations']
  const known = typeof annotations === 'object' ? { annotations: marked(upstream, resource.id, annotationsOf({ annotations })) } : {}
  const reads = resource.type === 'upstream' || (known.annotations?.readOnly ?? upstream.readOnlyTools.includes(resource.id))
  const input: PolicyInput = {
    // Groups are those that are known here, whatever is said of them.
    subject: user.id,
    groups: user.groups,
    clientId: about.client_id,
    application: standing.application,
    upstream: upstream.id,
    at: deps.now(),
    address: about.ip_address,
    authentication: { authTime: about.auth_time, acr: about.acr, amr: about.amr, claims: about.claims },
    ...(resource.type === 'tool' ? { tool: resource.id, toolFacts: { dataClasses: dataClassesOf(upstream, resource.id), ...known } } : {}),
  }
  const approved = judge(standing, { upstream: upstream.id, access: reads ? 'read' : 'write' }, user.groups).kind === 'approved'
  return { input, approved, user, resource: stoodFor }
}

/** AuthZEN 1.0 §6.2.1: what a step-up asks for, in the words of RFC 9470. */
function answerOf({ allow, effect, challenge }: Decision, approval: CallAnswer | undefined): Answer {
  if (allow) return { decision: true }
  const { acrValues, maxAge, claims } = challenge ?? {}
  const needed = { ...(acrValues === undefined ? {} : { acr_values: acrValues.join(' ') }), ...(maxAge === undefined ? {} : { max_age: maxAge }), ...(claims === undefined ? {} : { claims }) }
  if (effect === 'step-up') return { decision: false, context: { reason: 'insufficient_user_authentication', ...needed } }
  if (effect !== 'approval') return { decision: false, context: { reason: 'denied' } }
  if (approval?.kind === 'refused') return { decision: false, context: { reason: 'approval_refused', message: approval.reason } }
  return { decision: false, context: { reason: 'approval_required', ...(approval === undefined ? {} : { approval: approval.kind === 'waiting' ? 'requested' : 'too_many_requests' }) } }
}
