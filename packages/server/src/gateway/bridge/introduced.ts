import { isObject } from '../message.ts'
import { CAPABILITIES_KEY, CLIENT_INFO_KEY, LOG_LEVEL_KEY, VERSION_KEY } from '../revisions.ts'
import { askable, withoutMeta, type Json } from './translate.ts'

/** What a request of 2026-07-28 says of its client, and the request without it. */
export interface Introduced {
  /** What the client can be asked. */
  readonly capabilities: Json
  readonly clientInfo: Json
  readonly level: string | undefined
  readonly params: Json
}

/** What the request carries for the gateway and its own revision alone. */
export function introduced(given: Json): Introduced {
  const meta = isObject(given['_meta']) ? given['_meta'] : {}
  const info = meta[CLIENT_INFO_KEY]
  const level = meta[LOG_LEVEL_KEY]
  // Tasks are not carried over: 2025 has them otherwise.
  const { inputResponses: _responses, requestState: _state, task: _task, ...params } = withoutMeta(given, VERSION_KEY, CAPABILITIES_KEY, CLIENT_INFO_KEY, LOG_LEVEL_KEY)
  return {
    capabilities: askable(meta[CAPABILITIES_KEY]),
    clientInfo: isObject(info) && typeof info['name'] === 'string' && typeof info['version'] === 'string' && JSON.stringify(info).length < 2048 ? info : { name: 'unknown', version: '0' },
    level: typeof level === 'string' ? level : undefined,
    params,
  }
}
