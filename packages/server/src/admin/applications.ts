import * as z from 'zod'
import type { ApplicationFacts, KnownApplication } from '../approval/approval-store.ts'
import type { Settled } from '../approval/decisions.ts'
import { directoryDigest } from '../clients/metadata-document.ts'
import { ProblemError } from '../http/problem.ts'
import { actingOf, GROUPS, namesAmong, REASON, type ApprovalEndpointDeps } from './approvals.ts'
import { endpoint, type Endpoint } from './endpoint.ts'

const MAX_APPLICATIONS = 1000

const DECISION = z.object({ upstream: z.string(), access: z.enum(['read', 'write']), effect: z.enum(['approve', 'refuse']), digest: z.string(), groups: z.array(z.string()).readonly().optional(), reason: z.string().optional() })
const APPLICATION = z.object({
  id: z.string(),
  clientId: z.string(),
  name: z.string(),
  verified: z.boolean(),
  voucher: z.string().optional(),
  /** What it is now: to be named where something is decided about it. */
  digest: z.string(),
  pin: z.string().optional(),
  /** Whether it is what the built-in directory has of it. */
  directory: z.enum(['matches', 'differs']).optional(),
  firstSeenAt: z.number(),
  changedAt: z.number(),
  decisions: z.array(DECISION).readonly(),
  lookAlikes: z.array(z.object({ id: z.string(), name: z.string(), voucher: z.string().optional() })),
})
const LOOKED_AT = z.string().min(1).max(200)

/** The applications that people use or asked for, and what administrators decide about each as a whole. */
export function applicationEndpoints({ store, decisions }: ApprovalEndpointDeps): readonly Endpoint[] {
  const at = (verb: string): `/${string}` => `/applications/:id/${verb}`
  return [
    endpoint({
      method: 'GET',
      path: '/applications',
      summary: 'The applications that people use or asked for',
      access: 'admin',
      result: z.object({ applications: z.array(APPLICATION) }),
      async respond() {
        const known = await store.applications(MAX_APPLICATIONS)
        const names = namesAmong(known)
        return { body: { applications: known.map((application) => shown(application, names)) } }
      },
    }),
    endpoint({
      method: 'POST',
      path: at('approve'),
      summary: 'Approve an application for every upstream, for everybody or for groups',
      access: 'admin',
      body: z.strictObject({ digest: LOOKED_AT, groups: GROUPS }),
      respond: async ({ params, body, actor, context }) => settled(await decisions.approve(idOf(params), body.digest, body.groups, actingOf(actor, context))),
    }),
    endpoint({
      method: 'POST',
      path: at('refuse'),
      summary: 'Refuse an application altogether: its grants and tokens end',
      access: 'admin',
      body: z.strictObject({ reason: REASON }),
      result: z.object({ endedGrants: z.number() }),
      respond: async ({ params, body, actor, context }) => ended(await decisions.refuse(idOf(params), body.reason, actingOf(actor, context))),
    }),
    endpoint({
      method: 'POST',
      path: at('withdraw'),
      summary: 'Withdraw what was approved: the grants and tokens of the application end',
      access: 'admin',
      body: z.strictObject({}),
      result: z.object({ endedGrants: z.number() }),
      respond: async ({ params, actor, context }) => ended(await decisions.withdraw(idOf(params), actingOf(actor, context))),
    }),
    endpoint({
      method: 'POST',
      path: at('pin'),
      summary: 'Pin what the application is now: a change is told of, and may hold it back',
      access: 'admin',
      body: z.strictObject({ digest: LOOKED_AT }),
      respond: async ({ params, body, actor, context }) => settled(await decisions.pin(idOf(params), body.digest, actingOf(actor, context))),
    }),
    endpoint({
      method: 'POST',
      path: at('unpin'),
      summary: 'Pin nothing of the application any more',
      access: 'admin',
      body: z.strictObject({}),
      respond: async ({ params, actor, context }) => settled(await decisions.pin(idOf(params), undefined, actingOf(actor, context))),
    }),
  ]
}

function idOf(params: Readonly<Record<string, string>>): string {
  return params['id'] ?? ''
}

function settled(result: Settled): Record<string, never> {
  if (result === 'unknown') throw notFound()
  if (result === 'changed') throw new ProblemError('conflict', 'The application is not any more what you looked at. Load it again.')
  return {}
}

function ended(grants: number | undefined): { readonly body: { readonly endedGrants: number } } {
  if (grants === undefined) throw notFound()
  return { body: { endedGrants: grants } }
}

function notFound(): ProblemError {
  return new ProblemError('not-found', 'There is no such application.')
}

function shown(application: KnownApplication & Pick<ApplicationFacts, 'decisions'>, names: ReturnType<typeof namesAmong>): z.input<typeof APPLICATION> {
  const directory = directoryDigest(application.id)
  return {
    ...application,
    lookAlikes: names(application),
    ...(directory === undefined ? {} : { directory: directory === application.digest ? 'matches' : 'differs' }),
  }
}
