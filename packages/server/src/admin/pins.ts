import * as z from 'zod'
import type { AuditAction, AuditEvent } from '../audit/event.ts'
import type { Pin, PinStore } from '../gateway/pin-store.ts'
import { differences } from '../gateway/pinning-diff.ts'
import { ProblemError } from '../http/problem.ts'
import { endpoint, type ApiCall, type Endpoint } from './endpoint.ts'

export interface PinDeps {
  readonly pins: Pick<PinStore, 'list' | 'find' | 'approvedBefore' | 'decide'>
  readonly now: () => number
}

const state = z.enum(['approved', 'pending', 'refused'])

const PIN = z.object({
  upstream: z.string(),
  tool: z.string(),
  hash: z.string().describe('Names the definition: SHA-256 of its canonical form, base64url'),
  state: state.describe('pending: it differs from what was approved, and waits; refused: it is never shown'),
  reason: z.string().optional().describe('Which members differ, or why it is refused'),
  seenAt: z.number(),
  decidedAt: z.number().optional(),
  decidedBy: z.string().optional().describe('Absent for what was pinned at first sight'),
})

const DETAIL = z.object({
  pin: PIN,
  definition: z.unknown(),
  approved: z.object({ hash: z.string(), definition: z.unknown() }).optional().describe('The definition that was approved last'),
  differences: z.array(z.object({ path: z.string(), before: z.unknown().optional(), after: z.unknown().optional() })).describe('From that one to this one'),
})

const DECISION = z.strictObject({ upstream: z.string().min(1), hashes: z.array(z.string().min(1)).min(1).max(1000) })
const DECIDED = z.object({ pins: z.array(PIN) })

/** Definitions of tools: what is pinned, what changed, and the administrators' decision about it. */
export function pinEndpoints(deps: PinDeps): readonly Endpoint[] {
  return [list(deps), show(deps), decide(deps, 'approve'), decide(deps, 'withdraw')]
}

function list({ pins }: PinDeps): Endpoint {
  return endpoint({
    method: 'GET',
    path: '/pins',
    summary: 'Definitions of tools, newest first: the 1000 newest that match',
    access: 'admin',
    query: z.strictObject({ upstream: z.string().optional(), state: state.optional() }),
    result: DECIDED,
    respond: async ({ query }) => ({ body: { pins: await pins.list(query) } }),
  })
}

function show({ pins }: PinDeps): Endpoint {
  return endpoint({
    method: 'GET',
    path: '/pins/:upstream/:hash',
    summary: 'One definition, and what differs from the one that was approved last',
    access: 'admin',
    result: DETAIL,
    async respond({ params }) {
      const found = await pins.find(params['upstream'] ?? '', params['hash'] ?? '')
      if (found === undefined) throw new ProblemError('not-found', 'There is no such definition.')
      const { text, ...pin } = found
      const before = await pins.approvedBefore(pin.upstream, pin.tool, pin.hash)
      const definition: unknown = JSON.parse(text)
      const approved = before === undefined ? undefined : { hash: before.hash, definition: JSON.parse(before.text) as unknown }
      return { body: { pin, definition, ...(approved === undefined ? {} : { approved }), differences: approved === undefined ? [] : differences(approved.definition, definition) } }
    },
  })
}

const VERBS = {
  approve: { state: 'approved', recordedAs: 'pin.approved', summary: 'Lets definitions be shown and called' },
  withdraw: { state: 'pending', recordedAs: 'pin.withdrawn', summary: 'Takes approvals back: tools that look like this are hidden' },
} as const satisfies Record<string, { readonly state: Pin['state']; readonly recordedAs: AuditAction; readonly summary: string }>

function decide({ pins, now }: PinDeps, verb: keyof typeof VERBS): Endpoint {
  const { state: wanted, recordedAs, summary } = VERBS[verb]
  return endpoint({
    method: 'POST',
    path: `/pins/${verb}`,
    summary,
    access: 'admin',
    body: DECISION,
    result: DECIDED,
    async respond(call) {
      const decision = { ...call.body, state: wanted, by: call.actor.user.id, at: now() }
      const decided = await pins.decide(decision, (changed) => changed.map((pin) => eventOf(recordedAs, pin, call)))
      // Somebody else was faster, or what is named is not there to be decided about.
      if (decided.length === 0) throw new ProblemError('conflict', `None of these definitions is there to ${verb}.`)
      return { body: { pins: decided } }
    },
  })
}

function eventOf(action: AuditAction, { upstream, tool, hash }: Pin, { actor, context }: Pick<ApiCall<unknown, unknown>, 'actor' | 'context'>): AuditEvent {
  const { user, clientId } = actor
  return { action, outcome: 'success', subject: user.id, ...(clientId === undefined ? {} : { clientId }), upstream, tool, address: context.address, reference: context.reference, detail: { hash } }
}
