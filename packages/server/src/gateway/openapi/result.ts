import type { Upstream } from '../../upstreams/upstream.ts'
import { Stopped, type Answer } from '../exchange.ts'
import { GrowingBytes } from '../growing-bytes.ts'
import { isObject, parseExactly } from '../message.ts'
import { McpError } from '../error.ts'
import { drain } from '../upstream-call.ts'
import type { Json } from './document.ts'
import { fits } from './output.ts'
import type { ApiTool } from './tool.ts'

const MAX_BYTES = 4 * 1024 * 1024

/** What a tool answers of what the API answered: as text, and as data where it is some. */
export async function resultOf(tool: ApiTool, answer: Answer, upstream: Upstream): Promise<Json> {
  const { status, headers } = answer
  if (status >= 300 && status < 400) {
    await drain(answer)
    return failed(`${upstream.name} answers with a redirect (${status}), which is not followed`)
  }
  const bytes = await read(answer, upstream)
  if (bytes === undefined) return failed(`the answer of ${upstream.name} is larger than ${MAX_BYTES / 1024 / 1024} MiB: ask for less`)
  const type = (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  const isGood = status < 300
  if (bytes.length === 0) return isGood ? { content: [text(`${status}: done, without content`)], ...structuredOf(tool, {}) } : failed(`${upstream.name} answers ${status}`)
  if (isJson(type)) return isGood ? jsonResult(tool, bytes) : failed(`${upstream.name} answers ${status}:\n${bytes.toString('utf8')}`)
  if (type.startsWith('text/') || type === '' || /xml|yaml|x-www-form-urlencoded|javascript/.test(type)) {
    return isGood ? { content: [text(bytes.toString('utf8'))], ...structuredOf(tool, {}) } : failed(`${upstream.name} answers ${status}:\n${bytes.toString('utf8')}`)
  }
  if (!isGood) return failed(`${upstream.name} answers ${status} with ${bytes.length} bytes of ${type}`)
  const media = /^(image|audio)\//.exec(type)?.[1]
  const content = media === undefined ? { type: 'resource', resource: { uri: `lanyard:${upstream.id}/${tool.operation.name}`, mimeType: type, blob: bytes.toString('base64') } } : { type: media, mimeType: type, data: bytes.toString('base64') }
  return { content: [content], ...structuredOf(tool, {}) }
}

/** An error that the caller of the tool can do something about. */
export function failed(message: string): Json {
  return { content: [text(message)], isError: true }
}

function text(words: string): Json {
  return { type: 'text', text: words.toWellFormed() }
}

function isJson(type: string): boolean {
  return /^application\/(?:[\w.+-]+\+)?json$/.test(type)
}

function jsonResult(tool: ApiTool, bytes: Buffer): Json {
  const written = bytes.toString('utf8')
  let value: unknown
  try {
    value = parseExactly(written)
  } catch {
    return { content: [text(written)], ...structuredOf(tool, {}) }
  }
  return { content: [text(written)], ...structuredOf(tool, value) }
}

/** MCP 2025-06-18: an object; where a schema was promised it fits, and members that do not are left out. */
function structuredOf({ output }: ApiTool, value: unknown): Json {
  if (output === undefined) return isObject(value) ? (Object.keys(value).length === 0 ? {} : { structuredContent: value }) : Array.isArray(value) ? { structuredContent: { items: value } } : {}
  if (!isObject(value)) return { structuredContent: {} }
  const properties = (output['properties'] ?? {}) as Json
  const fitting = Object.entries(value).filter(([name, member]) => !Object.hasOwn(properties, name) || fits(properties[name] as Json, member))
  return { structuredContent: Object.fromEntries(fitting) }
}

/** @returns undefined for more than can be told. @throws McpError when it breaks off, or is not whole in time */
async function read(answer: Answer, upstream: Upstream): Promise<Buffer | undefined> {
  const bytes = new GrowingBytes()
  let late = false
  let large = false
  const timer = setTimeout(() => {
    late = true
    answer.cancel()
  }, upstream.timeoutMs)
  try {
    await answer.consume((chunk) => {
      if (bytes.size + chunk.length > MAX_BYTES) {
        large = true
        throw new Error('too large')
      }
      bytes.add(chunk)
    })
  } catch (error) {
    if (large) return undefined
    if (late) throw new McpError('unavailable', `${upstream.name} took too long to answer`, { status: 504, reason: 'upstream: slow answer', cause: error })
    if (error instanceof Stopped || error instanceof McpError) throw error
    throw new McpError('unavailable', `${upstream.name} broke off its answer`, { status: 502, reason: 'upstream: broken off', cause: error })
  } finally {
    clearTimeout(timer)
  }
  return bytes.bytes()
}
