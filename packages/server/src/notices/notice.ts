// Owns how administrators hear of what waits for them: written with what happened, sent later, never in anybody's way.
// It decides nothing, and what it sends holds no secret.
import { newId } from '../oauth/secret.ts'

/** What happened, in words that may leave the house. */
export interface NoticeContent {
  readonly type: 'approval.requested' | 'application.changed' | 'tools.changed' | 'test'
  /** For a line of text. */
  readonly summary: string
  readonly facts: Readonly<Record<string, string | boolean | readonly string[] | undefined>>
}

/** A notice on its way to one target. */
export interface NewNotice {
  readonly id: string
  readonly target: string
  readonly body: string
  readonly createdAt: number
}

export interface DueNotice extends NewNotice {
  /** How often it was tried, this time included. */
  readonly attempts: number
}

/** A place that notices are sent to. */
export interface NoticeTarget {
  readonly name: string
  /** @returns undefined when it has arrived, or else why it has not, without any content. */
  send(notice: DueNotice, at: number): Promise<string | undefined>
}

export interface Notices {
  /** One for each target, to be stored with what they tell of. */
  compose(content: NoticeContent): readonly NewNotice[]
  /** Sends what is due: to be called often, on any node. */
  sendDue(): Promise<void>
}

/** The form of every notice, whatever carries it. */
export function noticeBody(id: string, gateway: string, { type, summary, facts }: NoticeContent, at: number): string {
  return JSON.stringify({ id, type, at: new Date(at).toISOString(), gateway, summary, ...facts })
}

export function newNotice(target: string, gateway: string, content: NoticeContent, at: number): NewNotice {
  const id = newId('ntc')
  return { id, target, body: noticeBody(id, gateway, content, at), createdAt: at }
}
