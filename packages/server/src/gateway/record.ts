// What the audit trail is told of a message: nothing of its arguments, and every upstream by itself.
import type { AuditAction, Recorder } from '../audit/event.ts'
import { StoreUnavailable } from '../http/errors.ts'
import type { Access } from '../oauth/scope.ts'
import { trace, type Asked, type Call } from './call.ts'
import { Challenge } from './challenge.ts'
import { McpError } from './error.ts'
import { Stopped } from './exchange.ts'
import { isObject } from './message.ts'
import type { Operation } from './operation.ts'
import { requireScope, type Verdict } from './permit.ts'

export interface RecordDeps {
  readonly audit: Recorder
}

/** A message, also before it is known whose it is. */
type Recorded = Asked & Partial<Pick<Call, 'upstream'>>

/** RS-45: that a token is too narrow is recorded, so that the wider one that follows can be understood. */
export async function checkScope(deps: RecordDeps, call: Call, access: Access): Promise<void> {
  try {
    requireScope(call, access)
  } catch (error) {
    if (error instanceof Challenge || error instanceof McpError) await deps.audit.record({ action: 'call.denied', outcome: 'failure', ...trace(call), ...named(call), reason: error.message })
    throw error
  }
}

export function named({ operation, message }: Asked): { tool?: string; detail?: { method: string } } {
  if (operation.kind === 'tool') return { tool: operation.name.slice(0, 256), ...(operation.task === undefined ? {} : { detail: { method: message.method } }) }
  return operation.kind === 'item' || operation.kind === 'task' ? { detail: { method: message.method } } : {}
}

export function recordDenial(deps: RecordDeps, call: Recorded, rule: string, reason = 'no rule allows it'): Promise<void> {
  return deps.audit.record({ action: 'call.denied', outcome: 'failure', ...trace(call), ...named(call), rule, reason })
}

/** Calls are recorded one by one, conversations by their beginning; what decides nothing is not. */
export function beginRecord(deps: RecordDeps, call: Recorded, { rule }: Pick<Verdict, 'rule'>): () => Promise<void> {
  const action = RECORDED[call.operation.kind]
  if (action === undefined) return () => Promise.resolve()
  const detail = call.operation.kind === 'open' ? { detail: clientOf(call) } : {}
  return deps.audit.begin({ action, outcome: 'success', ...trace(call), ...named(call), ...(rule === undefined ? {} : { rule }), ...detail })
}

const RECORDED: Readonly<Partial<Record<Operation['kind'], AuditAction>>> = { tool: 'call.allowed', item: 'call.allowed', task: 'call.allowed', tools: 'list.filtered', open: 'session.opened' }

/** RS-24: what a client says of itself is written down and believed by nobody. */
function clientOf({ message, revision }: Asked): { version: string; client: string } {
  const given = message.params['clientInfo'] ?? (isObject(message.params['_meta']) ? message.params['_meta']['io.modelcontextprotocol/clientInfo'] : undefined)
  const name = isObject(given) && typeof given['name'] === 'string' ? given['name'] : ''
  return { version: revision.version, client: name.slice(0, 80) }
}

export function recordFailure(deps: RecordDeps, call: Call, error: unknown): Promise<void> {
  return failureRecord(deps, call)(error)
}

/** Records a failure that comes later, and keeps of the call until then what the record says. */
export function failureRecord({ audit }: RecordDeps, call: Call): (error: unknown) => Promise<void> {
  const { open, operation } = call
  const event = { action: 'call.finished', outcome: 'failure', ...trace(call), ...named(call) } as const
  return async (error) => {
    // What the store does not take it does not take a moment later either, and the caller waits.
    if (error instanceof StoreUnavailable) return
    const gone = error instanceof Stopped
    if (gone && operation.kind !== 'tool') return
    const reason = gone ? `ended: ${open.ended ?? 'stopped'}` : error instanceof McpError ? error.reason : error instanceof Challenge ? error.message : 'fault'
    await audit.record({ ...event, reason })
  }
}

/** What a call needs before it is made: that it cannot be had is recorded. */
export async function orFailure<Needed>(deps: RecordDeps, call: Call, needed: Promise<Needed>): Promise<Needed> {
  try {
    return await needed
  } catch (error) {
    await recordFailure(deps, call, error)
    throw error
  }
}
