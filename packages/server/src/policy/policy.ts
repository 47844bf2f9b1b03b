// Owns decisions: who may reach which tool of which upstream from which client. It reads no request and no store.

export interface PolicyInput {
  readonly subject: string
  readonly groups: readonly string[]
  readonly clientId: string
  readonly upstream: string
  /** Absent for what is no tool call (prompts, resources): only rules for all tools (`*`) match then. */
  readonly tool?: string
  /** The caller's network address, behind trusted proxies. */
  readonly address?: string
}

/** The result of policy, with the rule that made it; `default` is the denial when no rule allows. */
export interface Decision {
  readonly allow: boolean
  readonly rule: string
}

export interface Policy {
  decide(input: PolicyInput): Decision
  /** Whether any tool of the upstream may be allowed: decides if a person can get a token for it at all. */
  mayReach(input: Omit<PolicyInput, 'tool'>): boolean
}
