// Owns the documents of HTTP APIs and the tools that they make: read when the gateway starts, and again in a while.
import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { OutboundError, type Outbound } from '../../http/outbound.ts'
import { matcher } from '../../policy/pattern.ts'
import type { OpenApiSettings, Upstream } from '../../upstreams/upstream.ts'
import { DocumentError, MAX_DOCUMENT_BYTES, readApiDocument, type Json } from './document.ts'
import { readOperations, type LeftOut } from './operation.ts'
import { fileNames, toolOf, type ApiTool } from './tool.ts'

/** The tools of one API. */
export interface ToolSet {
  /** In the order of the document. */
  readonly tools: readonly ApiTool[]
  readonly byName: ReadonlyMap<string, ApiTool>
  /** Members of each tool's form that are files. */
  readonly files: ReadonlyMap<string, ReadonlySet<string>>
  readonly leftOut: readonly LeftOut[]
  readonly title: string
  /** What the document's text was. */
  readonly digest: string
}

export interface ApiCatalogue {
  /** The tools of an upstream, from memory when they are fresh. @throws DocumentError while its document cannot be used */
  tools(upstream: Upstream): Promise<ToolSet>
}

export interface ApiCatalogueDeps {
  readonly outbound: Pick<Outbound, 'request'>
  readonly now: () => number
}

const MAX_TOOLS = 2000
const FRESH_MS = 3600_000
const RETRY_MS = 30_000

interface Known {
  readonly tools?: ToolSet
  readonly error?: DocumentError
  readonly until: number
}

export function apiCatalogue({ outbound, now }: ApiCatalogueDeps): ApiCatalogue {
  const known = new Map<string, Known>()
  const loading = new Map<string, Promise<ToolSet>>()
  const load = (upstream: Upstream, settings: OpenApiSettings): Promise<ToolSet> => {
    let work = loading.get(upstream.id)
    if (work === undefined) {
      work = loadTools(outbound, settings, known.get(upstream.id)?.tools)
        .then((tools) => {
          known.set(upstream.id, { tools, until: now() + FRESH_MS })
          return tools
        })
        .catch((error: unknown) => {
          const reason = error instanceof DocumentError ? error : new DocumentError('it cannot be read', { cause: error })
          const before = known.get(upstream.id)?.tools
          known.set(upstream.id, { ...(before === undefined ? { error: reason } : { tools: before }), until: now() + RETRY_MS })
          // What was good stays, until it can be read again.
          if (before !== undefined) return before
          throw reason
        })
        .finally(() => loading.delete(upstream.id))
      loading.set(upstream.id, work)
    }
    return work
  }
  return {
    async tools(upstream) {
      const settings = upstream.http?.openApi
      if (settings === undefined) throw new DocumentError('it has no OpenAPI document')
      const found = known.get(upstream.id)
      if (found === undefined) return load(upstream, settings)
      const stale = found.until <= now()
      if (found.tools === undefined) {
        if (stale) return load(upstream, settings)
        throw found.error ?? new DocumentError('it cannot be read')
      }
      // Nobody waits for news.
      if (stale) load(upstream, settings).catch(() => undefined)
      return found.tools
    },
  }
}

/** Reads a document and makes its tools. @param before those of the last time: of an unchanged text nothing is made anew @throws DocumentError */
export async function loadTools(outbound: Pick<Outbound, 'request'>, settings: OpenApiSettings, before?: ToolSet): Promise<ToolSet> {
  const text = await fetchText(outbound, settings.document)
  const digest = hash('sha256', text, 'base64')
  if (before?.digest === digest) return before
  const document = await readApiDocument(text)
  const [included, excluded] = [matcher(settings.include), matcher(settings.exclude ?? [])]
  const { operations, leftOut } = readOperations(document, (names) => names.some(included) && !names.some(excluded))
  if (operations.length > MAX_TOOLS) throw new DocumentError(`it has ${operations.length} operations: choose at most ${MAX_TOOLS} of them`)
  const tools: ApiTool[] = []
  const others: LeftOut[] = []
  for (const operation of operations) {
    try {
      tools.push(toolOf(document, operation))
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error
      others.push({ operation: `${operation.method} ${operation.template}`, reason: error.message })
    }
  }
  const info = document.root['info'] as Json
  return {
    tools,
    byName: new Map(tools.map((tool) => [tool.operation.name, tool])),
    files: new Map(tools.map(({ operation }) => [operation.name, operation.body === undefined ? new Set<string>() : fileNames(document.root, operation.body)])),
    leftOut: [...leftOut, ...others],
    title: typeof info['title'] === 'string' ? info['title'] : '',
    digest,
  }
}

async function fetchText(outbound: Pick<Outbound, 'request'>, place: string): Promise<string> {
  if (!/^https?:\/\//.test(place)) {
    return readFile(place, 'utf8').catch((error: unknown) => {
      throw new DocumentError(`${place} cannot be read`, { cause: error })
    })
  }
  const unreadable = (error: unknown): never => {
    throw new DocumentError(`${place} cannot be read${error instanceof OutboundError ? `: ${error.reason.replaceAll('_', ' ')}` : ''}`, { cause: error })
  }
  const answer = await outbound.request(place, { provenance: 'configured', maxBytes: MAX_DOCUMENT_BYTES + 1, timeoutMs: 20_000, headers: { accept: 'application/json, application/yaml, text/*;q=0.8' } }).catch(unreadable)
  if (answer.status !== 200) throw new DocumentError(`${place} answers ${answer.status}`)
  return answer.body
}
