// Makes commands of the description of the JSON API (OpenAPI 3.1): pure. A new endpoint is a new command by itself.
import * as z from 'zod'

const schema = z.record(z.string(), z.unknown())
const parameter = z.object({ name: z.string(), in: z.enum(['path', 'query']), required: z.boolean().default(false), schema: schema.default({}) })
const operation = z.object({
  summary: z.string().default(''),
  parameters: z.array(parameter).default([]),
  requestBody: z.object({ content: z.record(z.string(), z.object({ schema })) }).optional(),
})
const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const
const UPPER = { get: 'GET', post: 'POST', put: 'PUT', patch: 'PATCH', delete: 'DELETE' } as const
const DESCRIPTION = z.object({
  openapi: z.string(),
  paths: z.record(z.string().regex(/^(?:\/(?:[\w.-]+|\{\w+\}))+$/), z.object({ get: operation, post: operation, put: operation, patch: operation, delete: operation }).partial()),
})

export type ApiDescription = z.output<typeof DESCRIPTION>
type Operation = z.output<typeof operation>
type Method = (typeof METHODS)[number]

export interface ApiCommand {
  /** What is typed: `applications approve`. */
  readonly words: readonly string[]
  readonly method: Uppercase<Method>
  /** Below `/api`, with `{name}` for each argument. */
  readonly path: string
  readonly summary: string
  readonly arguments: readonly string[]
  readonly options: readonly ApiOption[]
  readonly hasBody: boolean
}

export interface ApiOption {
  /** In the request. */
  readonly name: string
  /** As it is typed, without dashes. */
  readonly flag: string
  readonly in: 'query' | 'body'
  readonly kind: 'text' | 'texts' | 'number' | 'boolean' | 'json'
  readonly required: boolean
  readonly description: string
  readonly choices?: readonly string[]
}

/** @returns undefined for what describes no API of this kind */
export function readDescription(value: unknown): ApiDescription | undefined {
  return DESCRIPTION.safeParse(value).data
}

/** The commands of an API, in its order. */
export function commandsOf({ paths }: ApiDescription): readonly ApiCommand[] {
  const all = Object.keys(paths)
  return Object.entries(paths).flatMap(([path, operations]) =>
    METHODS.flatMap((method) => {
      const described = operations[method]
      return described === undefined ? [] : [commandOf(path, method, described, all.some((other) => other.startsWith(`${path}/{`)) || Object.keys(operations).length > 1)]
    }),
  )
}

function commandOf(path: string, method: Method, { summary, parameters, requestBody }: Operation, isCollection: boolean): ApiCommand {
  const segments = path.split('/').slice(1)
  const named = segments.filter((segment) => !segment.startsWith('{'))
  const body = requestBody?.content['application/json']?.schema
  return {
    words: [...named, ...verbOf(method, segments.at(-1)?.startsWith('{') === true, isCollection)],
    method: UPPER[method],
    path,
    summary,
    arguments: segments.flatMap((segment) => (segment.startsWith('{') ? [segment.slice(1, -1)] : [])),
    options: [
      ...parameters.flatMap((each) => (each.in === 'query' ? [optionOf(each.name, 'query', each.schema, each.required)] : [])),
      ...(body === undefined ? [] : bodyOptions(body)),
    ],
    hasBody: body !== undefined,
  }
}

/** A POST below something is called what its address says (`approve`); of what is kept there are `list`, `show`, `add`, `change` and `delete`. */
function verbOf(method: Method, isOne: boolean, isCollection: boolean): readonly string[] {
  if (method === 'delete') return ['delete']
  if (method === 'get') return [isCollection && !isOne ? 'list' : 'show']
  if (method === 'post') return isCollection ? ['add'] : []
  return [isOne ? 'change' : 'replace']
}

function bodyOptions(body: z.output<typeof schema>): readonly ApiOption[] {
  const properties = z.record(z.string(), schema).safeParse(body['properties']).data ?? {}
  const required = new Set(z.array(z.string()).safeParse(body['required']).data ?? [])
  // What has a default may be left out.
  return Object.entries(properties).map(([name, each]) => optionOf(name, 'body', each, required.has(name) && each['default'] === undefined))
}

const RESERVED = new Set(['help', 'json', 'url', 'token-file', 'body'])

function optionOf(name: string, where: ApiOption['in'], described: z.output<typeof schema>, required: boolean): ApiOption {
  const flag = name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  const choices = z.array(z.string()).safeParse(described['enum']).data
  const description = z.string().catch('').parse(described['description'])
  return { name, flag: RESERVED.has(flag) ? `set-${flag}` : flag, in: where, kind: kindOf(described), required, description, ...(choices === undefined ? {} : { choices }) }
}

const KINDS: Readonly<Record<string, ApiOption['kind']>> = { string: 'text', number: 'number', integer: 'number', boolean: 'boolean' }

function kindOf({ type, items }: z.output<typeof schema>): ApiOption['kind'] {
  const known = typeof type === 'string' ? KINDS[type] : undefined
  if (known !== undefined) return known
  return type === 'array' && schema.safeParse(items).data?.['type'] === 'string' ? 'texts' : 'json'
}
