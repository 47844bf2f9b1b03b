import { randomUUID } from 'node:crypto'
import { isObject } from '../message.ts'
import { overridesMethod } from '../http-upstream/headers.ts'
import { below } from '../../http/api-path.ts'
import type { Json } from './document.ts'
import { inHeader, inPath, inQuery, primitive } from './encode.ts'
import type { Body, Method, Operation, Parameter } from './operation.ts'

/** A request to the API, without a credential. */
export interface ApiCall {
  readonly method: Method
  /** Below the base, without the query. */
  readonly path: string
  /** With its question mark; empty when there is none. */
  readonly query: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Buffer | undefined
}

/** Arguments with which the operation cannot be called; the message is for whoever gave them. */
export class ArgumentError extends Error {
  override readonly name = 'ArgumentError'
}

/**
 * Writes arguments into a request.
 *
 * @param files members of a form that are files
 * @throws ArgumentError
 */
export function requestOf({ method, template, parameters, body }: Operation, given: Json, files: ReadonlySet<string>): ApiCall {
  const known = new Set([...parameters.map(({ argument }) => argument), ...(body === undefined ? [] : [body.argument])])
  for (const name of Object.keys(given)) if (!known.has(name)) throw new ArgumentError(`there is no argument ${printable(name)}`)
  try {
    const path = pathOf(template, parameters, given)
    const query = parameters.filter((parameter) => parameter.in === 'query').flatMap((parameter) => present(parameter, given, inQuery) ?? []).join('&')
    if (overridesMethod({}, `?${query}`)) throw new ArgumentError('a parameter would change the method')
    const written = body === undefined ? undefined : bodyOf(body, given[body.argument], files)
    const headers = { accept: 'application/json, text/*;q=0.9, */*;q=0.5', 'accept-encoding': 'identity', 'user-agent': 'lanyard', ...headersOf(parameters, given), ...(written === undefined ? {} : { 'content-type': written.type }) }
    return { method, path, query: query === '' ? '' : `?${query}`, headers, body: written?.content }
  } catch (error) {
    if (error instanceof URIError) throw new ArgumentError('an argument holds half a character')
    throw error
  }
}

function present<Written>(parameter: Parameter, given: Json, write: (value: unknown, parameter: Parameter) => Written): Written | undefined {
  const value = Object.hasOwn(given, parameter.argument) ? given[parameter.argument] : undefined
  if (value !== undefined && value !== null) return write(value, parameter)
  if (parameter.required) throw new ArgumentError(`${parameter.argument} is missing`)
  return undefined
}

/** H23: what a value holds stays in its segment, and no segment says where another one is. */
function pathOf(template: string, parameters: readonly Parameter[], given: Json): string {
  const path = template.replaceAll(/\{([^{}]*)\}/g, (_match, name: string) => {
    const parameter = parameters.find((candidate) => candidate.in === 'path' && candidate.name === name)
    return (parameter && present(parameter, given, inPath)) ?? ''
  })
  const segments = path.split('/').slice(1)
  const empty = segments.slice(0, -1).includes('') || (segments.at(-1) === '' && !template.endsWith('/'))
  if (empty) throw new ArgumentError('an argument in the path is empty')
  // No encoding of these two is safe: too many readers decode before they look.
  if (segments.some((segment) => decodeURIComponent(segment).split(/[/\\]/).some((part) => part === '.' || part === '..'))) throw new ArgumentError('an argument in the path has . or .. in it, which is no name')
  return path
}

function headersOf(parameters: readonly Parameter[], given: Json): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const parameter of parameters.filter((candidate) => candidate.in === 'header')) {
    const value = present(parameter, given, (member, header) => inHeader(member, header) ?? unfit(parameter))
    if (value !== undefined) headers[parameter.name.toLowerCase()] = value
  }
  return headers
}

function unfit({ argument }: Parameter): never {
  throw new ArgumentError(`${argument} holds what no header can carry`)
}

function bodyOf({ kind, mediaType, argument, required }: Body, value: unknown, files: ReadonlySet<string>): { readonly type: string; readonly content: string | Buffer } | undefined {
  if (value === undefined) {
    if (required) throw new ArgumentError(`${argument} is missing`)
    return undefined
  }
  if (kind === 'json') return { type: mediaType, content: JSON.stringify(value) }
  if (kind === 'text') return { type: mediaType, content: primitive(value) }
  if (kind === 'binary') return { type: mediaType, content: fromBase64(argument, value) }
  if (!isObject(value)) throw new ArgumentError(`${argument} must be an object`)
  // Some servers read it there, too.
  if (overridesMethod({}, new URLSearchParams(Object.keys(value).map((name) => [name, ''])).toString())) throw new ArgumentError('a member would change the method')
  return kind === 'form' ? { type: mediaType, content: form(value) } : multipart(value, files)
}

function form(value: Json): string {
  return Object.entries(value).filter(([, member]) => member !== undefined && member !== null).flatMap(([name, member]) => inQuery(member, { name, style: 'form', explode: true, allowReserved: false, asJson: isObject(member) })).join('&')
}

/** RFC 7578 */
function multipart(value: Json, files: ReadonlySet<string>): { readonly type: string; readonly content: Buffer } {
  const boundary = `lanyard-${randomUUID()}`
  const parts: Buffer[] = []
  for (const [name, member] of Object.entries(value)) {
    for (const item of (Array.isArray(member) ? member : [member]).filter((one) => one !== undefined && one !== null)) {
      const isFile = files.has(name)
      const disposition = `form-data; name="${quoted(name)}"${isFile ? `; filename="${quoted(name)}"` : ''}`
      const type = isFile ? 'application/octet-stream' : isObject(item) ? 'application/json' : 'text/plain; charset=utf-8'
      const content = isFile ? fromBase64(name, item) : Buffer.from(primitive(item))
      parts.push(Buffer.from(`--${boundary}\r\nContent-Disposition: ${disposition}\r\nContent-Type: ${type}\r\n\r\n`), content, Buffer.from('\r\n'))
    }
  }
  return { type: `multipart/form-data; boundary=${boundary}`, content: Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]) }
}

/** RFC 7578 §2, as browsers write it. */
function quoted(name: string): string {
  return name.replaceAll('\r', '%0D').replaceAll('\n', '%0A').replaceAll('"', '%22')
}

function fromBase64(argument: string, value: unknown): Buffer {
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(value)) throw new ArgumentError(`${argument} must be base64`)
  return Buffer.from(value, 'base64')
}

/** The whole path and query at the API. */
export function addressOf(base: URL, { path, query }: Pick<ApiCall, 'path' | 'query'>): string {
  return `${below(base, path)}${query}`
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 60)
}
