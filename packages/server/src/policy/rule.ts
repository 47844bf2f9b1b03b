// The words of policy: what a rule says, what is asked, what is decided. Semantics: docs/policy.md.

export type Effect = 'allow' | 'deny' | 'step-up' | 'approval'

export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const

/** One line of policy. A list that is absent matches everything; `*` in an entry stands for any text. */
export interface Rule {
  readonly id: string
  /** For people. */
  readonly description?: string | undefined
  readonly effect: Effect
  readonly groups?: readonly string[] | undefined
  readonly users?: readonly string[] | undefined
  readonly clients?: readonly string[] | undefined
  readonly upstreams?: readonly string[] | undefined
  readonly tools?: readonly string[] | undefined
  /** The rule is about this only when all of it holds. */
  readonly when?: Conditions | undefined
  /** The rule is not about this when all of it holds. */
  readonly unless?: Conditions | undefined
  /** What a sign-in must be like: of an effect `step-up` alone. */
  readonly require?: SignInRequirement | undefined
}

/** Of several members all must hold; of several entries of one list, one. */
export interface Conditions {
  readonly networks?: readonly string[] | undefined
  readonly time?: TimeWindow | undefined
  readonly authentication?: { readonly acr?: readonly string[] | undefined; readonly amr?: readonly string[] | undefined; readonly maxAge?: number | undefined } | undefined
  /** Claims of the identity provider, by name: a list holds one of the values, or is one of them. */
  readonly claims?: Claims | undefined
  readonly application?: 'verified' | 'unverified' | undefined
  readonly tool?: { readonly [Name in keyof ToolAnnotations]?: boolean | undefined } | undefined
  readonly dataClasses?: readonly string[] | undefined
}

export interface TimeWindow {
  /** An IANA name, such as Europe/Berlin. */
  readonly timeZone: string
  /** The days that it begins on; every day when absent. */
  readonly days?: readonly (typeof DAYS)[number][] | undefined
  /** `HH:MM`; both or none. When `to` is not later than `from`, it is the next day's. */
  readonly from?: string | undefined
  readonly to?: string | undefined
}

export type Claims = Readonly<Record<string, readonly (string | number | boolean)[]>>

/** What a step-up asks for, in the words of RFC 9470 §4: the challenge of an unmet requirement. */
export interface SignInRequirement {
  /** One of these. */
  readonly acrValues?: readonly string[] | undefined
  /** Seconds since the person proved who they are, at most. */
  readonly maxAge?: number | undefined
  /** Claims that the sign-in must bring, each with one of the values. */
  readonly claims?: Claims | undefined
  /**
   * A value of the parameter `claims` that whoever issues a credential demanded (OpenID Connect Core §5.5). Nobody but they
   * can read it: a sign-in that it was asked for proves it, and nothing that is known of another one.
   */
  readonly demanded?: string | undefined
}

/** How a person signed in, as the identity provider proved it: kept with the grant. */
export interface Authentication {
  /** Seconds since the epoch. */
  readonly authTime?: number | undefined
  readonly acr?: string | undefined
  readonly amr?: readonly string[] | undefined
  readonly claims?: Readonly<Record<string, unknown>> | undefined
}

/** What a tool's upstream says of it, in MCP's words; an administrator may say more. */
export interface ToolAnnotations {
  readonly readOnly: boolean
  readonly destructive: boolean
  readonly openWorld: boolean
  readonly idempotent: boolean
}

export interface ToolFacts {
  /** Absent while the tool was not seen yet. */
  readonly annotations?: ToolAnnotations | undefined
  readonly dataClasses: readonly string[]
}

export interface PolicyInput {
  readonly subject: string
  readonly groups: readonly string[]
  readonly clientId: string
  readonly upstream: string
  /** Absent for what is no tool call (prompts, resources): only rules for all tools (`*`) match then. */
  readonly tool?: string
  readonly toolFacts?: ToolFacts | undefined
  /** The caller's network address, behind trusted proxies. */
  readonly address?: string | undefined
  /** Milliseconds since the epoch. */
  readonly at?: number | undefined
  readonly authentication?: Authentication | undefined
  /** Which application the client is a registration of: rules may name it instead. */
  readonly application?: { readonly id?: string; readonly verified: boolean } | undefined
  /** The rules of the effect `approval` that an administrator approved this for. */
  readonly approvals?: readonly string[] | undefined
}

/** The result of policy, with the rule that made it; `default` is the denial when no rule allows. */
export interface Decision {
  /** Whether it may be done now: `effect` is `allow`. */
  readonly allow: boolean
  readonly effect: Effect
  readonly rule: string
  /** What to sign in again with, for `step-up`. */
  readonly challenge?: SignInRequirement
}
