import { isObject } from '../message.ts'
import { DocumentError, follow, type ApiDocument, type Json } from './document.ts'
import { loose } from './output.ts'
import type { Body, Operation, Parameter } from './operation.ts'
import { gathering, isTooLarge, plainText, type Gathering } from './schema.ts'

/** An operation as a tool: what clients see, and how it is called. */
export interface ApiTool {
  readonly operation: Operation
  /** As `tools/list` shows it. */
  readonly definition: Json
  /** The output schema, where there is one: results are held to it. */
  readonly output: Json | undefined
}

/** @throws DocumentError when its schemas refer to another document */
export function toolOf(document: ApiDocument, operation: Operation): ApiTool {
  const { source, name, method, template } = operation
  const title = plainText(source['summary'], 120)
  const details = plainText(source['description'], 2000)
  const output = outputOf(document, source)
  const definition: Json = {
    name,
    ...(title === '' ? {} : { title }),
    description: [title, details === title ? '' : details].filter((text) => text !== '').join('\n\n') || `${method} ${template}`,
    inputSchema: inputOf(document, operation),
    ...(output === undefined ? {} : { outputSchema: output }),
    annotations: annotationsOf(operation),
  }
  return { operation, definition, output }
}

/** RFC 9110 §9.2: what the method promises, and no more. */
function annotationsOf({ method }: Operation): Json {
  if (method === 'GET' || method === 'HEAD') return { readOnlyHint: true, idempotentHint: true, openWorldHint: true }
  return { readOnlyHint: false, ...(method === 'DELETE' ? { destructiveHint: true } : {}), idempotentHint: method === 'PUT' || method === 'DELETE', openWorldHint: true }
}

function inputOf(document: ApiDocument, { parameters, body }: Operation): Json {
  try {
    const whole = gathering(document, 'in')
    const schema = input(parameters.map((parameter) => [parameter, described(whole.schema(parameter.schema), parameter)]), body, body === undefined ? {} : bodySchema(whole, document, body), whole.defs)
    if (!isTooLarge(schema)) return schema
  } catch (error) {
    if (!(error instanceof DocumentError) || !error.message.includes('too many parts')) throw error
  }
  // Too much to show with every list: the API itself says what is wrong with a value.
  return input(parameters.map((parameter) => [parameter, described({}, parameter)]), body, body === undefined ? {} : described(body.kind === 'json' ? {} : bodyType(body), body), {})
}

function input(parameters: readonly (readonly [Parameter, Json])[], body: Body | undefined, bodyIs: Json, defs: Readonly<Record<string, Json>>): Json {
  const properties = Object.fromEntries(parameters.map(([{ argument }, schema]) => [argument, schema]))
  const required = parameters.filter(([parameter]) => parameter.required).map(([{ argument }]) => argument)
  if (body !== undefined) properties[body.argument] = bodyIs
  if (body?.required === true) required.push(body.argument)
  return { type: 'object', properties, ...(required.length === 0 ? {} : { required }), additionalProperties: false, ...(Object.keys(defs).length === 0 ? {} : { $defs: defs }) }
}

function described(schema: Json, { description }: { readonly description: unknown }): Json {
  const text = plainText(description, 1000)
  return text === '' || '$ref' in schema ? schema : { ...schema, description: text }
}

function bodySchema(whole: Gathering, document: ApiDocument, body: Body): Json {
  if (body.kind !== 'json' && body.kind !== 'form' && body.kind !== 'multipart') return described(bodyType(body), body)
  const schema = described(whole.schema(body.schema), body)
  return body.kind === 'multipart' ? withFiles(document, body, schema) : schema
}

function bodyType({ kind }: Body): Json {
  if (kind === 'text') return { type: 'string' }
  return kind === 'binary' ? { type: 'string', contentEncoding: 'base64' } : { type: 'object' }
}

/** Files come as base64 text. */
function withFiles({ root }: ApiDocument, body: Body, schema: Json): Json {
  const files = fileNames(root, body)
  if (files.size === 0 || !isObject(schema['properties'])) return schema
  const properties = Object.fromEntries(Object.entries(schema['properties']).map(([name, property]) => [name, files.has(name) ? { type: 'string', contentEncoding: 'base64' } : property]))
  return { ...schema, properties }
}

/** The members of a form that are files. */
export function fileNames(root: Json, { schema }: Pick<Body, 'schema'>): ReadonlySet<string> {
  const { properties } = isObject(schema) ? follow(root, schema) : {}
  const isFile = (property: unknown): boolean => isObject(property) && (property['format'] === 'binary' || property['contentMediaType'] === 'application/octet-stream')
  return new Set(Object.entries(isObject(properties) ? properties : {}).filter(([, property]) => isFile(property)).map(([name]) => name))
}

/** The schema of what the operation answers when all is well: of a simple object alone, as clients refuse what does not fit. */
function outputOf(document: ApiDocument, source: Json): Json | undefined {
  const responses = isObject(source['responses']) ? Object.entries(source['responses']) : []
  const successes = responses.filter(([status]) => /^2(?:\d\d|XX)$/i.test(status))
  const [[, response] = []] = successes
  if (successes.length !== 1 || response === undefined) return undefined
  try {
    const { content } = follow(document.root, response)
    const [, media] = Object.entries(isObject(content) ? content : {}).find(([type]) => /^application\/(?:[\w.+-]+\+)?json\b/i.test(type)) ?? []
    return isObject(media) && media['schema'] !== undefined ? loose(document.root, media['schema']) : undefined
  } catch (error) {
    if (error instanceof DocumentError) return undefined
    throw error
  }
}
