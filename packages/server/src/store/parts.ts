import type { Change } from '../audit/change.ts'
import type { AuditLog } from './audit-log.ts'
import type { Database, Transaction } from './database.ts'

/** What every domain's store is made of: `clientStore(parts)`, `userStore(parts)`, … */
export interface StoreParts {
  readonly db: Database
  readonly audit: AuditLog
  /** Tells all nodes of a change, in the transaction that makes it. */
  readonly changed: (tx: Transaction, change: Change) => Promise<void>
}
