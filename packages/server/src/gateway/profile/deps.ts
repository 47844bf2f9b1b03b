import type { Connectors } from '../../upstreams/connectors/index.ts'
import type { CallPolicy } from '../call-policy.ts'
import type { LateSessions } from '../late-session.ts'
import type { ListingDeps } from '../listing.ts'
import type { MissingConnectionDeps } from '../missing-connection.ts'
import type { RecordDeps } from '../record.ts'
import type { Sessions } from '../session.ts'
import type { UpstreamCallDeps } from '../upstream-call.ts'
import type { TaskNames } from '../tasks/names.ts'
import type { KeptLists } from './kept-lists.ts'

/** What it takes to speak with several upstreams at once. */
export interface ProfileDeps extends UpstreamCallDeps, ListingDeps, MissingConnectionDeps, RecordDeps {
  readonly connector: Connectors
  readonly policy: CallPolicy
  readonly sessions: Sessions
  readonly lateSessions: LateSessions
  readonly kept: KeptLists
  readonly tasks: TaskNames
}
