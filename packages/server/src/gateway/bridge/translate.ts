// What differs between the two generations in what is said, not in how it travels: results, errors, what a client can do.
import { isObject } from '../message.ts'
import { LEGACY_VERSIONS, MODERN_VERSIONS, resultOf, SERVER_INFO_KEY, SUBSCRIPTION_KEY } from '../revisions.ts'
import { wrapOutputSchema } from './output-schema.ts'

export type Json = Readonly<Record<string, unknown>>

/** The methods whose result may ask the client for something (2026-07-28, MRTR). */
export const ASKING_METHODS: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read'])

const CACHEABLE: ReadonlySet<string> = new Set(['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read'])
const LEGACY = { era: 'legacy', version: '' } as const
const MODERN = { era: 'modern', version: '' } as const

const RESOURCE_NOT_FOUND = -32002
const INVALID_PARAMS = -32602
const INTERNAL_ERROR = -32603
/** What 2026-07-28 says about its own headers, capabilities and versions: another hop's, and nothing to a 2025 client (P-16). */
const MODERN_CODES: ReadonlySet<unknown> = new Set([-32020, -32021, -32022])
/** RS-19: what 2026-07-28 must not say any more. */
export const URL_ELICITATION_REQUIRED = -32042

/** A result of 2026-07-28 as a client of 2025 knows it. @param wraps whether the tool's structured result is no object by its schema */
export function toLegacyResult(method: string, result: Json, wraps = false): Json {
  const { resultType: _type, ttlMs: _ttl, cacheScope: _scope, ...kept } = result
  const members = withoutMeta(kept, SERVER_INFO_KEY, SUBSCRIPTION_KEY)
  if (method === 'tools/list' && Array.isArray(members['tools'])) return { ...members, tools: members['tools'].map(wrapOutputSchema) }
  return method === 'tools/call' ? withObjectContent(members, wraps) : members
}

/** SEP-2106: a structured result of 2025 is an object, one of 2026-07-28 may be anything. */
function withObjectContent(result: Json, wraps: boolean): Json {
  if (!('structuredContent' in result)) return result
  const value = result['structuredContent']
  const content: readonly unknown[] = Array.isArray(result['content']) ? result['content'] : []
  if (isObject(value)) return wraps ? { ...result, structuredContent: { result: value } } : result
  const hasText = content.some((part) => isObject(part) && part['type'] === 'text')
  return { ...result, content: hasText ? content : [...content, { type: 'text', text: JSON.stringify(value) }], structuredContent: { result: value } }
}

/** A result of 2025 as 2026-07-28 has it: RS-26, for nobody else's cache and not to be kept. */
export function toModernResult(method: string, result: Json): Json {
  const cacheable = CACHEABLE.has(method)
  const { ttlMs: _ttl, cacheScope: _scope, resultType: _type, ...members } = result
  return resultOf(MODERN, method === 'tools/list' && Array.isArray(members['tools']) ? { ...members, tools: callable(members['tools']) } : members, cacheable)
}

/** Tasks of 2025 are not carried over: a tool that is called by a task alone cannot be called, and all others without one. */
function callable(tools: readonly unknown[]): readonly unknown[] {
  return tools.filter((tool) => !(isObject(tool) && isObject(tool['execution']) && tool['execution']['taskSupport'] === 'required'))
}

/** What `server/discover` says, as the answer to `initialize`. */
export function toInitializeResult(discovered: Json, wanted: unknown): Json {
  const { capabilities, instructions } = discovered
  const info = isObject(discovered['_meta']) ? discovered['_meta'][SERVER_INFO_KEY] : undefined
  const version = typeof wanted === 'string' && LEGACY_VERSIONS.includes(wanted) ? wanted : LEGACY_VERSIONS[0]
  return resultOf(LEGACY, {
    protocolVersion: version,
    capabilities: isObject(capabilities) ? capabilities : {},
    serverInfo: isObject(info) ? info : isObject(discovered['serverInfo']) ? discovered['serverInfo'] : { name: 'unknown', version: '0' },
    ...(typeof instructions === 'string' ? { instructions } : {}),
  }, false)
}

/** The answer to `initialize`, as `server/discover` says it. */
export function toDiscoverResult(initialized: Json): Json {
  const { capabilities, serverInfo, instructions } = initialized
  return resultOf(MODERN, {
    supportedVersions: [...MODERN_VERSIONS],
    capabilities: isObject(capabilities) ? capabilities : {},
    ...(typeof instructions === 'string' ? { instructions } : {}),
    ...(isObject(serverInfo) ? { _meta: { [SERVER_INFO_KEY]: serverInfo } } : {}),
  }, true)
}

export function toLegacyError(method: string, error: Json): Json {
  const { code, data } = error
  if (MODERN_CODES.has(code)) return { code: INTERNAL_ERROR, message: code === -32021 ? 'The server needs something for this that this client cannot do' : 'The server refused how this was asked' }
  if (method === 'resources/read' && code === INVALID_PARAMS && isObject(data) && typeof data['uri'] === 'string') return { ...error, code: RESOURCE_NOT_FOUND }
  return error
}

export function toModernError(error: Json): Json {
  const { code } = error
  if (code === RESOURCE_NOT_FOUND) return { ...error, code: INVALID_PARAMS }
  return code === URL_ELICITATION_REQUIRED || MODERN_CODES.has(code) ? { code: INTERNAL_ERROR, message: 'The server gave an answer that cannot be used' } : error
}

/** The capability that a question to the client needs; undefined for what is no question. */
export function capabilityFor({ method, params }: { readonly method: unknown; readonly params?: unknown }): Json | undefined {
  const given = isObject(params) ? params : {}
  if (method === 'elicitation/create') return { elicitation: given['mode'] === 'url' ? { url: {} } : { form: {} } }
  if (method === 'sampling/createMessage') return { sampling: 'tools' in given || 'toolChoice' in given ? { tools: {} } : {} }
  return method === 'roots/list' ? { roots: {} } : undefined
}

/** RS-34: what of a capability a client did not declare; undefined when nothing is missing. */
export function missingCapability(needed: Json, declared: unknown): Json | undefined {
  const given = isObject(declared) ? declared : {}
  for (const [name, wanted] of Object.entries(needed)) {
    const own = given[name]
    if (!isObject(own)) return needed
    for (const member of Object.keys(isObject(wanted) ? wanted : {})) {
      // A bare declaration of before there were modes means forms.
      const implied = name === 'elicitation' && member === 'form' && !('url' in own)
      if (!(member in own) && !implied) return needed
    }
  }
  return undefined
}

/** What a client can be asked, of all that it declares: nothing else of it means the same in both generations. */
export function askable(declared: unknown): Json {
  const given = isObject(declared) ? declared : {}
  return Object.fromEntries(['elicitation', 'sampling', 'roots'].flatMap((name) => (isObject(given[name]) ? [[name, known(given[name])]] : [])))
}

const MEMBERS = ['context', 'form', 'tools', 'url']

function known(capability: Json): Json {
  return Object.fromEntries(MEMBERS.flatMap((member) => (isObject(capability[member]) ? [[member, {}]] : [])))
}

/** The same message without these members of its `_meta`. */
export function withoutMeta(members: Json, ...keys: readonly string[]): Json {
  const { _meta: meta, ...rest } = members
  if (!isObject(meta)) return members
  const left = Object.entries(meta).filter(([key]) => !keys.includes(key))
  return left.length === 0 ? rest : { ...rest, _meta: Object.fromEntries(left) }
}
