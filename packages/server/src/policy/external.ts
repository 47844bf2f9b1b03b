// Owns the question to a decision point of somebody else (AuthZEN 1.0): asked after our own rules allow, and able to deny
// alone. What it does not say clearly and in time is no.
import { OutboundError, type Outbound } from '../http/outbound.ts'
import type { PolicyInput } from './rule.ts'

export interface ExternalPolicySettings {
  /** Its access evaluation endpoint. */
  readonly url: string
  readonly token?: string
  readonly timeoutMs: number
  /** How long an answer is believed: no longer than a revocation may take. */
  readonly cacheMs: number
}

export interface Question extends Pick<PolicyInput, 'subject' | 'groups' | 'clientId' | 'upstream' | 'tool' | 'address' | 'authentication' | 'application' | 'toolFacts'> {
  /** A prompt or a resource, where it is no tool. */
  readonly item?: { readonly type: 'prompt' | 'resource'; readonly name: string }
}

export type ExternalAnswer = 'allow' | 'deny' | 'unavailable'

export interface ExternalPolicy {
  /** Never fails: `unavailable` is a denial as well. */
  ask(question: Question): Promise<ExternalAnswer>
}

const MAX_CACHED = 10_000
const MAX_ANSWER_BYTES = 64 * 1024

export function externalPolicy({ url, token, timeoutMs, cacheMs }: ExternalPolicySettings, { outbound, now }: { readonly outbound: Pick<Outbound, 'request'>; readonly now: () => number }): ExternalPolicy {
  const answers = new Map<string, { readonly answer: ExternalAnswer; readonly until: number }>()
  const asking = new Map<string, Promise<ExternalAnswer>>()
  const headers = { 'content-type': 'application/json', accept: 'application/json', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) }
  const ask = async (body: string): Promise<ExternalAnswer> => {
    // Believed from when it was asked: what was decided on its way here is as old as that.
    const askedAt = now()
    const answer = await outbound.request(url, { method: 'POST', headers, body, provenance: 'configured', timeoutMs, maxBytes: MAX_ANSWER_BYTES }).then(read, unavailable)
    if (answer === 'unavailable' || cacheMs === 0) return answer
    answers.delete(body)
    answers.set(body, { answer, until: askedAt + cacheMs })
    const [oldest] = answers.keys()
    if (answers.size > MAX_CACHED && oldest !== undefined) answers.delete(oldest)
    return answer
  }
  return {
    async ask(question) {
      const body = JSON.stringify(evaluation(question))
      const known = answers.get(body)
      if (known !== undefined && known.until > now()) return known.answer
      const before = asking.get(body)
      if (before !== undefined) return before
      const answer = ask(body).finally(() => asking.delete(body))
      asking.set(body, answer)
      return answer
    },
  }
}

/** AuthZEN 1.0 §6.1. Nothing in it changes from call to call, so that answers can be believed for a while. */
function evaluation({ subject, groups, clientId, upstream, tool, item, address, authentication, application, toolFacts }: Question): object {
  return {
    subject: { type: 'user', id: subject, properties: { groups } },
    action: { name: tool !== undefined ? 'call' : item === undefined ? 'use' : 'read' },
    resource: {
      type: tool === undefined ? (item?.type ?? 'upstream') : 'tool',
      id: tool ?? item?.name ?? upstream,
      properties: { upstream, ...(toolFacts === undefined ? {} : { annotations: toolFacts.annotations, data_classes: toolFacts.dataClasses }) },
    },
    context: {
      client_id: clientId,
      ...(application === undefined ? {} : { application: application.id, application_verified: application.verified }),
      ip_address: address,
      auth_time: authentication?.authTime,
      acr: authentication?.acr,
      amr: authentication?.amr,
    },
  }
}

/** AuthZEN 1.0 §6.2: `decision` is a boolean; whatever else says yes says nothing. */
function read({ status, body }: { readonly status: number; readonly body: string }): ExternalAnswer {
  if (status !== 200) return 'unavailable'
  try {
    const { decision } = JSON.parse(body) as { readonly decision?: unknown }
    return decision === true ? 'allow' : decision === false ? 'deny' : 'unavailable'
  } catch {
    return 'unavailable'
  }
}

function unavailable(error: unknown): ExternalAnswer {
  if (error instanceof OutboundError) return 'unavailable'
  throw error
}
