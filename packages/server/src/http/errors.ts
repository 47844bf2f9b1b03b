export interface PageErrorDetail {
  /** Why, for the audit trail and the log only: never shown. */
  readonly reason?: string
  readonly cause?: unknown
  /** The reference that finds what was recorded, when it is not the one of this request alone. */
  readonly reference?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** An error told to a person: `message` says in plain words what happened and what to do next. */
export class PageError extends Error {
  override readonly name = 'PageError'
  readonly status: number
  readonly title: string
  readonly reason: string
  readonly reference: string | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, title: string, message: string, detail: PageErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.status = status
    this.title = title
    this.reason = detail.reason ?? title
    this.reference = detail.reference
    this.headers = detail.headers ?? {}
  }
}

/** The store does not answer, or takes nothing for now: nobody's fault, and another try may help. The message names no address. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
  /** What the database or the system called it. */
  readonly code: string

  constructor(message: string, code: string, cause: unknown) {
    super(message, { cause })
    this.code = code
  }
}
