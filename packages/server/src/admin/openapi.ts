import * as z from 'zod'
import type { Endpoint } from './endpoint.ts'

type Json = Readonly<Record<string, unknown>>

const PROBLEM: Json = {
  type: 'object',
  required: ['type', 'title', 'status', 'detail'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string' },
    errors: { type: 'array', items: { type: 'object', properties: { pointer: { type: 'string' }, detail: { type: 'string' } } } },
  },
}

/** Describes the JSON API (OpenAPI 3.1) from the table that its routes are made of. */
export function openapi(issuer: string, endpoints: readonly Endpoint[]): Json {
  const paths: Record<string, Record<string, Json>> = {}
  for (const endpoint of endpoints) {
    const path = endpoint.path.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operation(endpoint) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Lanyard', version: '1' },
    servers: [{ url: `${issuer}/api` }],
    paths,
    components: {
      schemas: { Problem: PROBLEM },
      securitySchemes: {
        session: { type: 'apiKey', in: 'cookie', name: issuer.startsWith('https:') ? '__Host-lanyard_session' : 'lanyard_session' },
        token: { type: 'oauth2', flows: { authorizationCode: { authorizationUrl: `${issuer}/authorize`, tokenUrl: `${issuer}/token`, scopes: { admin: 'Administer this gateway' } } } },
      },
    },
  }
}

function operation({ method, path, summary, body, query, result }: Endpoint): Json {
  const inPath = [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string' } }))
  return {
    operationId: `${method.toLowerCase()}${path.replaceAll(/[^a-zA-Z]+(\w?)/g, (_match, letter: string) => letter.toUpperCase())}`,
    summary,
    security: [{ session: [] }, { token: ['admin'] }],
    parameters: [...inPath, ...inQuery(query)],
    ...(body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: jsonSchema(body, 'input') } } } }),
    responses: {
      ...(result === undefined ? { '204': { description: 'Done' } } : { '200': { description: 'OK', content: { 'application/json': { schema: jsonSchema(result, 'output') } } } }),
      default: { description: 'A problem (RFC 9457)', content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } } },
    },
  }
}

function inQuery(query: z.ZodType | undefined): readonly Json[] {
  if (query === undefined) return []
  const { properties, required } = jsonSchema(query, 'input')
  const needed = new Set(Array.isArray(required) ? (required as unknown[]) : [])
  return Object.entries(typeof properties === 'object' && properties !== null ? properties : {}).map(([name, schema]) => ({ name, in: 'query', required: needed.has(name), schema: schema as Json }))
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  return rest
}
