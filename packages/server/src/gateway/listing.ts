import type { Connector } from '../upstreams/connectors/connector.ts'
import type { Call } from './call.ts'
import type { Catalogue } from './catalogue.ts'
import type { Permissions } from './permit.ts'
import type { Pinning } from './pinning.ts'
import { catalogueKey, pinnedList, visibleTools } from './tools.ts'

type Json = Readonly<Record<string, unknown>>

export interface ListingDeps {
  readonly catalogue: Catalogue
  readonly pinning: Pinning
}

/** An upstream's answer to `tools/list` as the caller may see it. */
export function shownTools(deps: ListingDeps, call: Call, { connector, permitted }: { readonly connector: Connector; readonly permitted: Permissions }, result: Json): Json | Promise<Json> {
  const show = (admitted: Json): Json => visibleTools(admitted, permitted, call.revision)
  const admitted = admittedTools(deps, call, connector, result)
  return admitted instanceof Promise ? admitted.then(show) : show(admitted)
}

/** The same for nobody in particular: what may be shown to anybody. What it says of its tools is learned on the way. */
export function admittedTools(deps: ListingDeps, call: Call, connector: Connector, result: Json): Json | Promise<Json> {
  const page: unknown[] = Array.isArray(result['tools']) ? result['tools'] : []
  const learn = (admitted: Json): Json => {
    const tools: unknown[] = Array.isArray(admitted['tools']) ? admitted['tools'] : []
    const isWhole = call.message.params['cursor'] === undefined && admitted['nextCursor'] === undefined && Array.isArray(admitted['tools'])
    deps.catalogue[isWhole ? 'replace' : 'learn'](catalogueKey(call, connector), tools, page)
    return admitted
  }
  const pinned = pinnedList(deps.pinning, call.upstream, result)
  return pinned instanceof Promise ? pinned.then(learn) : learn(pinned)
}
