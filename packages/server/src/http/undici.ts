// The parts of undici that requests need: its entry also loads fetch, caches, mocks, proxies and WebSockets, which hold 14 MB
// in a process that idles. Its version is pinned, and the tests of the outbound client run on these parts.
import { createRequire } from 'node:module'
import type * as undici from 'undici'

const require = createRequire(import.meta.url)
const askOf = require('undici/lib/api/api-request.js') as (this: undici.Dispatcher, options: undici.Dispatcher.RequestOptions) => Promise<undici.Dispatcher.ResponseData>

export const Agent = require('undici/lib/dispatcher/agent.js') as typeof undici.Agent
export const buildConnector = require('undici/lib/core/connect.js') as typeof undici.buildConnector

/** Asks by one of its dispatchers, and resolves with the head of the answer. */
export function request(dispatcher: undici.Dispatcher, options: undici.Dispatcher.RequestOptions): Promise<undici.Dispatcher.ResponseData> {
  return askOf.call(dispatcher, options)
}
