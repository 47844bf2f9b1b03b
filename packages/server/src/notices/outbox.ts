import type { AuditEvent } from '../audit/event.ts'
import { newNotice, type DueNotice, type Notices, type NoticeTarget } from './notice.ts'

export interface OutboxStore {
  /** Takes notices that are due, for this node alone until `until`. */
  takeDue(now: number, until: number, max: number): Promise<readonly DueNotice[]>
  /** Removes one that has arrived, or that is given up. */
  finish(id: string, ...events: readonly AuditEvent[]): Promise<void>
  postpone(id: string, notBefore: number): Promise<void>
}

export interface OutboxDeps {
  readonly gateway: string
  readonly targets: readonly NoticeTarget[]
  readonly store: OutboxStore
  readonly now: () => number
}

/** Longer than any attempt takes. */
const LEASE_MS = 120_000
const FIRST_DELAY_MS = 2_000
const MAX_DELAY_MS = 3600_000
/** About a day, with the delays between them. */
const MAX_ATTEMPTS = 32
const AT_ONCE = 20

export function outbox({ gateway, targets, store, now }: OutboxDeps): Notices {
  const byName = new Map(targets.map((target) => [target.name, target]))
  const send = async (notice: DueNotice): Promise<void> => {
    const target = byName.get(notice.target)
    const failure = target === undefined ? 'it is no longer configured' : await target.send(notice, now())
    const known = { reference: notice.id, detail: { target: notice.target, attempts: notice.attempts } } as const
    if (failure === undefined) return store.finish(notice.id, { action: 'notice.sent', outcome: 'success', ...known })
    if (target === undefined || notice.attempts >= MAX_ATTEMPTS) return store.finish(notice.id, { action: 'notice.failed', outcome: 'failure', reason: failure, ...known })
    return store.postpone(notice.id, now() + Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (notice.attempts - 1)))
  }
  return {
    compose: (content) => targets.map(({ name }) => newNotice(name, gateway, content, now())),
    async sendDue() {
      const at = now()
      const due = await store.takeDue(at, at + LEASE_MS, AT_ONCE)
      // One target that hangs keeps none of the others waiting.
      const results = await Promise.allSettled(due.map(send))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed !== undefined) throw failed.reason
    },
  }
}
