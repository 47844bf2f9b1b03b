// What the load generator is told to do, and what it answers.

/** The eras of the protocol that are measured. */
export type Era = '2026-07-28' | '2025-11-25'

export interface McpJob {
  readonly kind: 'mcp'
  readonly url: string
  readonly era: Era
  /** Who calls, one after the other: the answer must be that of their own account. */
  readonly callers: readonly { readonly token?: string; readonly account: string }[]
  readonly connections: number
  readonly call: Call
}

export type Call =
  | { readonly tool: 'echo' }
  | { readonly tool: 'large'; readonly bytes: number }
  /** Reads at most so many bytes per second. */
  | { readonly tool: 'slow'; readonly bytes: number; readonly bytesPerSecond: number }
  | { readonly tool: 'progress'; readonly events: number }

export interface TokenJob {
  readonly kind: 'refresh' | 'code' | 'introspect' | 'exchange' | 'assertion'
  readonly url: string
  readonly connections: number
  /** What every request of this kind carries besides what is its own. */
  readonly form: Readonly<Record<string, string>>
  /** Refresh tokens, one per connection; authorization codes and assertions, as many as there shall be requests; access tokens, to be introspected or exchanged. */
  readonly secrets: readonly Secret[]
}

export interface Secret {
  readonly value: string
  readonly verifier?: string
}

/** Streams that are open and silent; one operation is one message that all of them get at once. */
export interface StreamsJob {
  readonly kind: 'streams'
  readonly url: string
  readonly era: Era
  /** Access tokens: as many streams belong to one as it takes; none where nobody asks for one. */
  readonly tokens: readonly string[]
  readonly connections: number
  /** Asked, it makes the upstream say something to everybody. */
  readonly newsUrl: string
}

/** One operation is the whole list of tools, page by page. */
export interface ListJob {
  readonly kind: 'list'
  readonly url: string
  readonly token?: string
  readonly connections: number
  /** How many tools there are for whoever asks. */
  readonly tools: number
}

export type Job = McpJob | TokenJob | StreamsJob | ListJob

export interface Plan {
  readonly seconds: number
  /** Requests per second, whatever comes of them; as many as can be answered when absent. */
  readonly rate?: number
}

export interface Outcome {
  readonly operations: number
  readonly seconds: number
  readonly p50ms: number
  readonly p99ms: number
  /** What was wrong with answers, and how many were. */
  readonly wrong: number
  readonly complaint?: string
}

export type Order = { readonly prepare: string; readonly job: Job } | { readonly run: string; readonly plan: Plan } | { readonly end: string }

export type Report = { readonly done: string; readonly outcome?: Outcome; readonly failure?: string }

/** One connection with whatever belongs to it: a session, a chain of refresh tokens. */
export interface Actor {
  prepare(): Promise<void>
  /** One operation. @returns false when there is nothing left to do. @throws Error when the answer is wrong */
  step(end: AbortSignal): Promise<boolean>
  close(): void
}
