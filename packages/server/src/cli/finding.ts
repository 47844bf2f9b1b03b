/** What one check found, and what to do next where there is something to do. */
export interface Finding {
  readonly check: string
  readonly status: 'ok' | 'warning' | 'failed'
  readonly message: string
  readonly next?: string
}

export function ok(check: string, message: string): Finding {
  return { check, status: 'ok', message }
}

export function warning(check: string, message: string, next?: string): Finding {
  return { check, status: 'warning', message, ...(next === undefined ? {} : { next }) }
}

export function failed(check: string, message: string, next: string): Finding {
  return { check, status: 'failed', message, next }
}
