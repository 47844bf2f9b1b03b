// Owns the accounts that the tools of one request need: each that is missing in turn, until it is connected or skipped.
import { Params } from '../http/params.ts'
import { UNCONNECTED, type Connections, type Unconnected } from '../upstreams/connections.ts'
import type { AuthorizeStore, Progress } from './authorize-store.ts'
import { connectionPage } from './connections-page.ts'
import type { Step } from './step.ts'

export interface ConnectionStepDeps {
  readonly issuer: string
  readonly connections: Pick<Connections, 'missing' | 'asks' | 'connectLink'>
  readonly store: Pick<AuthorizeStore, 'updateProgress'>
}

/** The page of the next account that is missing; undefined when none is, or all of them were skipped. */
export async function nextConnection(deps: ConnectionStepDeps, request: Request, step: Step): Promise<Response | undefined> {
  const { pending, signedIn, upstreams } = step
  const missing = await deps.connections.missing(signedIn.user.id, upstreams)
  const failure = failureOf(request, missing)
  const progress = failure === undefined ? pending.progress : { ...pending.progress, unconnected: { ...pending.progress.unconnected, [failure.upstream.id]: failure.why } }
  if (failure !== undefined) await deps.store.updateProgress(pending.id, progress)
  const { skipped = [], unconnected = {} } = progress
  const open = missing.filter(({ id }) => !skipped.includes(id))
  // What failed comes again at the end: meanwhile its provider may have come back.
  const [upstream] = [...open.filter(({ id }) => unconnected[id] === undefined), ...open.filter(({ id }) => unconnected[id] !== undefined)]
  if (upstream === undefined) return undefined
  const others = open.length - 1
  const before = failure ?? (unconnected[upstream.id] === undefined ? undefined : { upstream, why: unconnected[upstream.id] ?? 'failed' })
  const link = deps.connections.connectLink(signedIn.user.id, upstream, pending.reference)
  return connectionPage(step, { upstream, others, link, asks: await deps.connections.asks(upstream), ...(before === undefined ? {} : { failure: before }) }, deps.issuer)
}

/** The progress when a person goes on without one account: it is not asked for again in this flow. */
export function withSkipped({ pending: { progress }, upstreams }: Step, skipped: string): Progress {
  const known = upstreams.filter(({ id }) => id === skipped || progress.skipped?.includes(id) === true)
  return { ...progress, skipped: known.map(({ id }) => id) }
}

/** What the browser brings back from an attempt that failed. It is no proof of anything, and only makes a message. */
function failureOf<Missing extends { readonly id: string }>(request: Request, missing: readonly Missing[]): { readonly upstream: Missing; readonly why: Unconnected } | undefined {
  const { searchParams } = new URL(request.url)
  if (!searchParams.has('unconnected')) return undefined
  const params = Params.from(searchParams)
  const upstream = missing.find(({ id }) => id === params.get('unconnected'))
  const why = UNCONNECTED.find((known) => known === params.get('why'))
  return upstream === undefined || why === undefined ? undefined : { upstream, why }
}
