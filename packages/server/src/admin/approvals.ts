import * as z from 'zod'
import type { ApprovalStore, KnownApplication, StoredRequest } from '../approval/approval-store.ts'
import type { Acting, Decisions } from '../approval/decisions.ts'
import { directoryEntries } from '../clients/directory.ts'
import { lookAlikesAmong } from '../clients/look-alike.ts'
import { ProblemError } from '../http/problem.ts'
import type { RequestContext } from '../http/route.ts'
import type { Actor } from './access.ts'
import { endpoint, type Endpoint } from './endpoint.ts'

export interface ApprovalEndpointDeps {
  readonly store: ApprovalStore
  readonly decisions: Decisions
}

const MAX_REQUESTS = 200
const MAX_APPLICATIONS = 5000

export const GROUPS = z.array(z.string().min(1).max(200)).min(1).max(200).optional()
export const REASON = z.string().trim().min(1).max(500)

const STATE = z.enum(['pending', 'approved', 'refused', 'withdrawn'])
const LOOK_ALIKE = z.object({ id: z.string(), name: z.string(), voucher: z.string().optional() })
const REQUEST = z.object({
  id: z.string(),
  kind: z.enum(['application', 'call']),
  state: STATE,
  application: z.object({ id: z.string(), clientId: z.string(), name: z.string(), verified: z.boolean(), voucher: z.string().optional(), digest: z.string(), redirectUris: z.array(z.string()).readonly().optional() }),
  lookAlikes: z.array(LOOK_ALIKE),
  needs: z.array(z.object({ upstream: z.string(), access: z.enum(['read', 'write']) })).readonly(),
  resource: z.string(),
  tool: z.string().optional(),
  askedBy: z.object({ id: z.string(), name: z.string() }),
  reference: z.string(),
  createdAt: z.number(),
  decision: z.object({ effect: z.enum(['approve', 'refuse']), groups: z.array(z.string()).readonly().optional(), reason: z.string().optional() }).optional(),
  decidedBy: z.string().optional(),
  decidedAt: z.number().optional(),
})

/** The queue of what waits for an administrator, and the decisions about it. */
export function approvalEndpoints(deps: ApprovalEndpointDeps): readonly Endpoint[] {
  return [...readingEndpoints(deps), ...decidingEndpoints(deps)]
}

function readingEndpoints({ store }: ApprovalEndpointDeps): readonly Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: '/approvals',
      summary: 'What waits for an administrator, or was decided',
      access: 'admin',
      query: z.strictObject({ state: STATE.default('pending') }),
      result: z.object({ approvals: z.array(REQUEST) }),
      async respond({ query }) {
        const [requests, known] = await Promise.all([store.requests(query.state, MAX_REQUESTS), store.applications(MAX_APPLICATIONS)])
        const names = namesAmong(known)
        return { body: { approvals: requests.map((request) => shown(request, names)) } }
      },
    }),
    endpoint({
      method: 'GET',
      path: '/approvals/:id',
      summary: 'One request',
      access: 'admin',
      result: REQUEST,
      async respond({ params }) {
        const [request, known] = await Promise.all([store.findRequest(params['id'] ?? ''), store.applications(MAX_APPLICATIONS)])
        if (request === undefined) throw notFound()
        return { body: shown(request, namesAmong(known)) }
      },
    }),
  ]
}

function decidingEndpoints({ store, decisions }: ApprovalEndpointDeps): readonly Endpoint[] {
  return [
    endpoint({
      method: 'POST',
      path: '/approvals/:id/approve',
      summary: 'Approve what was asked for, for everybody or for groups',
      access: 'admin',
      body: z.strictObject({ groups: GROUPS }),
      async respond({ params, body: { groups }, actor, context }) {
        const id = params['id'] ?? ''
        const request = await store.findRequest(id)
        if (request?.kind === 'call' && groups !== undefined) throw new ProblemError('invalid', 'A call is approved for the person who asked.', { errors: [{ pointer: '/groups', detail: 'is for applications' }] })
        return settled(await decisions.decide(id, { effect: 'approve', ...(groups === undefined ? {} : { groups }) }, actingOf(actor, context)))
      },
    }),
    endpoint({
      method: 'POST',
      path: '/approvals/:id/refuse',
      summary: 'Refuse what was asked for, with a reason that its user reads',
      access: 'admin',
      body: z.strictObject({ reason: REASON }),
      async respond({ params, body: { reason }, actor, context }) {
        return settled(await decisions.decide(params['id'] ?? '', { effect: 'refuse', reason }, actingOf(actor, context)))
      },
    }),
    endpoint({
      method: 'POST',
      path: '/approvals/:id/withdraw',
      summary: 'Withdraw what was decided about a call: the next one asks again',
      access: 'admin',
      body: z.strictObject({}),
      async respond({ params, actor, context }) {
        if (!(await decisions.withdrawCall(params['id'] ?? '', actingOf(actor, context)))) throw new ProblemError('not-found', 'There is no decision about a call by this name. What was decided about an application is withdrawn from the application.')
        return {}
      },
    }),
  ]
}

export function actingOf({ user }: Actor, { reference, address }: RequestContext): Acting {
  return { userId: user.id, reference, address }
}

function settled(result: Awaited<ReturnType<Decisions['decide']>>): Record<string, never> {
  if (result === 'unknown') throw notFound()
  if (result === 'already decided') throw new ProblemError('conflict', 'Somebody has decided about this already.')
  return {}
}

function notFound(): ProblemError {
  return new ProblemError('not-found', 'There is no such request.')
}

type LikeNames = (application: { readonly id: string; readonly name: string }) => z.output<typeof LOOK_ALIKE>[]

/** F13: beside a name stand those that it could be taken for, and who vouches for each. */
export function namesAmong(known: readonly KnownApplication[]): LikeNames {
  const directory = directoryEntries().filter(({ id }) => !known.some((each) => each.id === id))
  const among = lookAlikesAmong([...known, ...directory])
  return (application) => among(application).slice(0, 20).map(({ id, name, voucher }) => ({ id, name, ...(voucher === undefined ? {} : { voucher }) }))
}

function shown({ content, userId, key: _key, ...request }: StoredRequest, names: LikeNames): z.input<typeof REQUEST> {
  const { needs, resource, tool, person, ...application } = content
  return {
    ...request,
    application,
    lookAlikes: names(application),
    needs,
    resource,
    ...(tool === undefined ? {} : { tool }),
    askedBy: { id: userId, name: person },
  }
}
