// Approvals over a real store, for houses of one room: which applications there are, and what the settings are, is what
// the test says.
import type { ApprovalSettings } from '../../src/approval/approval.ts'
import { approvals, type Approvals } from '../../src/approval/approvals.ts'
import type { ChangeFeed } from '../../src/audit/change.ts'
import { applicationOf } from '../../src/clients/application.ts'
import type { Applications, Client } from '../../src/clients/client.ts'
import type { NoticeContent } from '../../src/notices/notice.ts'
import { newNotice } from '../../src/notices/notice.ts'
import { approvalStore } from '../../src/store/applications.ts'
import type { StoreParts } from '../../src/store/parts.ts'

export const OPEN: ApprovalSettings = { required: false, holdChanged: false }

export interface TestedApprovals {
  readonly parts: StoreParts
  readonly feed: Pick<ChangeFeed, 'subscribe' | 'fresh'>
  readonly now: () => number
  readonly settings?: ApprovalSettings
  readonly find?: (clientId: string) => Client | undefined
  /** Instead of what `find` says. */
  readonly applications?: Applications
  readonly told?: NoticeContent[]
}

export function testApprovals({ parts, feed, now, settings = OPEN, find = () => undefined, applications, told }: TestedApprovals): Approvals {
  return approvals({
    settings,
    applications: applications ?? {
      of: async (clientId) => {
        const client = find(clientId)
        return client === undefined ? { id: clientId, verified: false } : applicationOf(client)
      },
    },
    store: approvalStore(parts),
    notices: {
      compose: (content) => {
        told?.push(content)
        return told === undefined ? [] : [newNotice('test', 'https://lanyard.example', content, now())]
      },
    },
    noticeDue: () => undefined,
    feed,
    now,
  })
}
