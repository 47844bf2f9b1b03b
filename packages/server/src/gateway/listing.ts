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

/** An upstream's answer to `tools/list` as the caller may see it; what it says of its tools is learned on the way. */
export function shownTools(deps: ListingDeps, call: Call, { connector, permitted }: { readonly connector: Connector; readonly permitted: Permissions }, result: Json): Json | Promise<Json> {
  const page: unknown[] = Array.isArray(result['tools']) ? result['tools'] : []
  const show = (admitted: Json): Json => {
    const visible = visibleTools(admitted, permitted, call.revision)
    const isWhole = call.message.params['cursor'] === undefined && admitted['nextCursor'] === undefined && Array.isArray(admitted['tools'])
    deps.catalogue[isWhole ? 'replace' : 'learn'](catalogueKey(call, connector), visible.tools, page)
    return visible.result
  }
  const pinned = pinnedList(deps.pinning, call.upstream, result)
  return pinned instanceof Promise ? pinned.then(show) : show(pinned)
}
