import * as z from 'zod'
import { isTimeZone } from './clock.ts'
import { DAYS } from './rule.ts'
import { addressProblem } from './tool-pattern.ts'

const patterns = z.array(z.string().min(1)).min(1, 'leave it out for all, or name at least one')
const tools = z.array(z.string().min(1).superRefine((pattern, context) => {
  const message = addressProblem(pattern)
  if (message !== undefined) context.addIssue({ code: 'custom', message })
})).min(1, 'leave it out for all, or name at least one')
const names = z.array(z.string().min(1)).min(1, 'name at least one')
const cidr = z.union([z.cidrv4(), z.cidrv6()], { error: 'must be a network such as 10.0.0.0/8, or 192.0.2.1/32 for one address' })
const clock = z.string().regex(/^(?:(?:[01]\d|2[0-3]):[0-5]\d|24:00)$/, 'must be HH:MM, from 00:00 to 24:00')
/** A call comes some seconds after the sign-in that it needed: less than a minute could never be kept to. */
const seconds = z.int().min(60, 'must be 60 seconds or more').max(366 * 86_400)
const claims = z.record(z.string().min(1), z.array(z.union([z.string(), z.number(), z.boolean()])).min(1, 'name at least one value')).refine((value) => Object.keys(value).length > 0, 'name at least one claim')

/** An empty condition holds always, and an empty exception excepts all: neither is what somebody meant. */
function named<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape).refine((value) => Object.values(value).some((member) => member !== undefined), 'name at least one')
}

const conditions = named({
  networks: z.array(cidr).min(1).optional(),
  time: z
    .strictObject({ timeZone: z.string().refine(isTimeZone, 'must be an IANA time zone such as Europe/Berlin'), days: z.array(z.enum(DAYS)).min(1, 'name at least one').optional(), from: clock.optional(), to: clock.optional() })
    .refine(({ from, to }) => (from === undefined) === (to === undefined), { error: 'needs both from and to, or none', abort: true })
    .refine(({ from, to }) => from === undefined || from !== to, 'begins and ends at the same time: leave both out for the whole day')
    .optional(),
  authentication: named({ acr: names.optional(), amr: names.optional(), maxAge: seconds.optional() }).optional(),
  claims: claims.optional(),
  application: z.enum(['verified', 'unverified']).optional(),
  tool: named({ readOnly: z.boolean().optional(), destructive: z.boolean().optional(), openWorld: z.boolean().optional(), idempotent: z.boolean().optional() }).optional(),
  dataClasses: names.optional(),
})

const requirement = named({ acrValues: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be one printable word')).min(1, 'name at least one').optional(), maxAge: seconds.optional(), claims: claims.optional() })

/** One rule, as it is declared or stored. */
export const ruleSchema = z
  .strictObject({
    id: z.string().min(1).max(200).refine((value) => !['default', 'profile', 'approval', 'external'].includes(value), 'is the name of a denial that no rule makes'),
    description: z.string().max(1000).optional(),
    effect: z.enum(['allow', 'deny', 'step-up', 'approval']),
    groups: patterns.optional(),
    users: patterns.optional(),
    clients: patterns.optional(),
    upstreams: patterns.optional(),
    tools: tools.optional(),
    when: conditions.optional(),
    unless: conditions.optional(),
    require: requirement.optional(),
  })
  .superRefine(({ effect, require }, context) => {
    if (effect === 'step-up' && require === undefined) context.addIssue({ code: 'custom', path: ['require'], message: 'is missing: it says what a sign-in must be like' })
    if (effect !== 'step-up' && require !== undefined) context.addIssue({ code: 'custom', path: ['require'], message: 'is of no use but with the effect step-up' })
  })
