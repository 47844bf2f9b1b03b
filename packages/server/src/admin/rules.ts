import * as z from 'zod'
import type { AuditEvent } from '../audit/event.ts'
import { ProblemError, type Mistake } from '../http/problem.ts'
import type { RequestContext } from '../http/route.ts'
import type { LivePolicy } from '../policy/live-policy.ts'
import type { Rule } from '../policy/rule.ts'
import { ruleSchema } from '../policy/rule-schema.ts'
import type { RuleStore } from '../policy/rule-store.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Actor } from './access.ts'
import { endpoint, pointer, type ApiAnswer, type Endpoint } from './endpoint.ts'

export interface RuleEndpointDeps {
  readonly policy: LivePolicy
  readonly store: RuleStore
  readonly upstreams: readonly Pick<Upstream, 'id'>[]
  readonly now: () => number
}

const SHOWN = z.object({ rule: ruleSchema, version: z.number().optional().describe('Rises with each change; absent for what the configuration declares'), declared: z.boolean() })
const VERSION = z.number().describe('The version that was read: the change is refused when it is another one by now')

/** Rules that are stored, beside those that the configuration declares, which nobody changes here. */
export function ruleEndpoints(deps: RuleEndpointDeps): readonly Endpoint[] {
  return [...readEndpoints(deps), ...changeEndpoints(deps), replaceEndpoint(deps)]
}

function readEndpoints({ policy, store }: RuleEndpointDeps): readonly Endpoint[] {
  // What is stored is asked for: this node may not have heard of the newest change yet.
  const all = async (): Promise<z.output<typeof SHOWN>[]> => [...policy.declared.map((rule) => shown(rule, undefined)), ...(await store.all()).map(({ rule, version }) => shown(rule, version))]
  return [
    endpoint({ method: 'GET', path: '/rules', summary: 'Every rule, in the order in which they name decisions', access: 'admin', result: z.object({ rules: z.array(SHOWN) }), respond: async () => ({ body: { rules: await all() } }) }),
    endpoint({
      method: 'GET', path: '/rules/:id', summary: 'One rule', access: 'admin', result: SHOWN,
      async respond({ params }) {
        const found = (await all()).find(({ rule }) => rule.id === params['id'])
        if (found === undefined) throw notFound()
        return { body: found }
      },
    }),
  ]
}

function changeEndpoints(deps: RuleEndpointDeps): readonly Endpoint[] {
  const { store, now } = deps
  return [
    endpoint({
      method: 'POST', path: '/rules', summary: 'Adds a rule', access: 'admin', body: ruleSchema, result: SHOWN,
      async respond({ body: rule, actor, context }) {
        requireUsable(deps, [rule], [])
        if (!(await store.add(rule, now(), eventOf('rule.created', rule, actor, context)))) throw new ProblemError('conflict', 'Another rule has this name.', { errors: [{ pointer: '/id', detail: 'is taken' }] })
        return settled(deps, { status: 201, body: shown(rule, 1) })
      },
    }),
    endpoint({
      method: 'PUT', path: '/rules/:id', summary: 'Puts another rule in the place of one of this name', access: 'admin', body: z.strictObject({ rule: ruleSchema, version: VERSION }), result: SHOWN,
      async respond({ params, body: { rule, version }, actor, context }) {
        if (rule.id !== params['id']) throw new ProblemError('invalid', 'A rule keeps its name.', { errors: [{ pointer: '/rule/id', detail: 'is not the name in the address' }] })
        requireUsable(deps, [rule], ['rule'])
        if (!(await store.change({ rule, version }, now(), eventOf('rule.changed', rule, actor, context)))) throw await staleOrGone(deps, rule.id)
        return settled(deps, { body: shown(rule, version + 1) })
      },
    }),
    endpoint({
      method: 'DELETE', path: '/rules/:id', summary: 'Deletes a rule', access: 'admin',
      async respond({ params, actor, context }) {
        const id = params['id'] ?? ''
        refuseDeclared(deps, [id], [])
        if (!(await store.remove(id, now(), { ...common(actor, context), action: 'rule.deleted', rule: id }))) throw notFound()
        return settled(deps, {})
      },
    }),
  ]
}

/** For whoever keeps rules elsewhere: all of them are taken, or none. */
function replaceEndpoint(deps: RuleEndpointDeps): Endpoint {
  return endpoint({
    method: 'PUT', path: '/rules', summary: 'Puts a whole set in the place of all stored rules', access: 'admin',
    body: z.strictObject({ rules: z.array(ruleSchema) }),
    result: z.object({ added: z.number(), changed: z.number(), removed: z.number() }),
    async respond({ body: { rules }, actor, context }) {
      requireUsable(deps, rules, ['rules'])
      const { added, changed, removed } = await deps.store.replace(rules, deps.now(), (changes) => [
        ...changes.added.map((rule) => eventOf('rule.created', rule, actor, context)),
        ...changes.changed.map((rule) => eventOf('rule.changed', rule, actor, context)),
        ...changes.removed.map((id): AuditEvent => ({ ...common(actor, context), action: 'rule.deleted', rule: id })),
      ])
      return settled(deps, { body: { added: added.length, changed: changed.length, removed: removed.length } })
    },
  })
}

/** X28: what is wrong is refused whole, and the rules that there are go on deciding. @throws ProblemError */
export function requireUsable(deps: Pick<RuleEndpointDeps, 'policy' | 'upstreams'>, rules: readonly Rule[], below: readonly PropertyKey[]): void {
  const at = (index: number, ...path: readonly PropertyKey[]): string => pointer([...below, ...(below.at(-1) === 'rules' ? [index] : []), ...path])
  const known = new Set(deps.upstreams.map(({ id }) => id))
  const seen = new Set<string>()
  const errors = rules.flatMap((rule, index): Mistake[] => {
    const doubled = seen.has(rule.id)
    seen.add(rule.id)
    const unknown = (rule.upstreams ?? []).flatMap((name, position): Mistake[] => (name.includes('*') || known.has(name) ? [] : [{ pointer: at(index, 'upstreams', position), detail: 'there is no such upstream' }]))
    return [...(doubled ? [{ pointer: at(index, 'id'), detail: 'is taken: another one has it' }] : []), ...unknown]
  })
  if (errors.length > 0) throw new ProblemError('invalid', 'These rules cannot be used; nothing was changed.', { errors })
  refuseDeclared(deps, rules.map(({ id }) => id), below)
}

function refuseDeclared({ policy }: Pick<RuleEndpointDeps, 'policy'>, ids: readonly string[], below: readonly PropertyKey[]): void {
  const declared = new Set(policy.declared.map(({ id }) => id))
  const errors = ids.flatMap((id, index): Mistake[] => (declared.has(id) ? [{ pointer: pointer([...below, ...(below.at(-1) === 'rules' ? [index] : []), 'id']), detail: 'is declared in the configuration' }] : []))
  if (errors.length > 0) throw new ProblemError('declared', 'What the configuration declares is changed there.', { errors })
}

async function staleOrGone({ store }: RuleEndpointDeps, id: string): Promise<ProblemError> {
  return (await store.all()).some(({ rule }) => rule.id === id) ? new ProblemError('conflict', 'Somebody has changed this rule meanwhile. Load it again.') : notFound()
}

/** Whoever changed a rule meets it in their next call to this node: it was told of the change when that was written. */
async function settled({ policy }: RuleEndpointDeps, answer: ApiAnswer): Promise<ApiAnswer> {
  await policy.settled()
  return answer
}

function shown(rule: Rule, version: number | undefined) {
  return { rule: rule as z.output<typeof ruleSchema>, version, declared: version === undefined }
}

function notFound(): ProblemError {
  return new ProblemError('not-found', 'There is no such rule.')
}

function common({ user, clientId }: Actor, { address, reference }: RequestContext): Pick<AuditEvent, 'outcome' | 'subject' | 'clientId' | 'address' | 'reference'> {
  return { outcome: 'success', subject: user.id, ...(clientId === undefined ? {} : { clientId }), address, reference }
}

function eventOf(action: 'rule.created' | 'rule.changed', rule: Rule, actor: Actor, context: RequestContext): AuditEvent {
  return { ...common(actor, context), action, rule: rule.id, detail: { effect: rule.effect, definition: JSON.stringify(rule) } }
}
