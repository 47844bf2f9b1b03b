import { hash } from '../../oauth/secret.ts'
import { CLIENT_INFO_KEY, LOG_LEVEL_KEY } from '../revisions.ts'
import type { ClientSession } from './bridge-store.ts'
import type { Introduction } from './line.ts'

/** What a client said once, in 2025, as it is said in every request of 2026-07-28. */
export function introduction({ opening, level }: ClientSession): Introduction {
  return { capabilities: opening.capabilities, more: { [CLIENT_INFO_KEY]: opening.clientInfo, ...(level === undefined ? {} : { [LOG_LEVEL_KEY]: level }) } }
}

/** Where a call hears that its client does not want it any more. */
export function cancelAddress(session: string, requestId: unknown): string {
  return `call.${hash(`${session} ${JSON.stringify(requestId)}`)}`
}
