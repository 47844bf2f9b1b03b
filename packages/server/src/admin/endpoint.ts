// Owns how an endpoint of the JSON API is declared: once, with schemas, from which its checks and its description follow.
import * as z from 'zod'
import { parseJson, readText } from '../http/params.ts'
import { ProblemError, type Mistake } from '../http/problem.ts'
import type { RequestContext, Route } from '../http/route.ts'
import type { Actor, ApiAccess, CheckAccess } from './access.ts'

const MAX_BODY_BYTES = 8 * 1024 * 1024

/** A request that was checked. */
export interface ApiCall<Body, Query> {
  readonly actor: Actor
  readonly body: Body
  readonly query: Query
  /** Path parameters, decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly context: RequestContext
}

export interface ApiAnswer {
  /** 200 when absent, or 204 without a body. */
  readonly status?: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

interface Declared<Body extends z.ZodType, Query extends z.ZodType> {
  readonly method: Route['method']
  /** Below `/api`, in Hono's syntax. */
  readonly path: `/${string}`
  /** One line for the description. */
  readonly summary: string
  readonly access: ApiAccess
  readonly body?: Body
  readonly query?: Query
  /** What is answered, for the description. */
  readonly result?: z.ZodType
  readonly respond: (call: ApiCall<z.output<Body>, z.output<Query>>) => Promise<ApiAnswer>
}

/** An endpoint whatever its schemas are. */
export interface Endpoint extends Pick<Declared<z.ZodType, z.ZodType>, 'method' | 'path' | 'summary' | 'access' | 'body' | 'query' | 'result'> {
  readonly answer: (request: Request, actor: Actor, context: RequestContext) => Promise<ApiAnswer>
}

/** Declares an endpoint: body and query reach it as their schemas say, or a problem is answered instead. */
export function endpoint<Body extends z.ZodType = z.ZodUndefined, Query extends z.ZodType = z.ZodUndefined>(declared: Declared<Body, Query>): Endpoint {
  const { respond, ...described } = declared
  return {
    ...described,
    async answer(request, actor, context) {
      const query = check(declared.query, declared.query === undefined ? undefined : queryOf(request))
      const body = check(declared.body, declared.body === undefined ? undefined : await jsonBody(request))
      return respond({ actor, body, query, params: context.params, context })
    },
  }
}

/** Makes routes of endpoints. */
export function apiRoutes(checkAccess: CheckAccess, endpoints: readonly Endpoint[]): readonly Route[] {
  return endpoints.map(({ method, path, access, answer }) => ({
    method,
    path: `/api${path}`,
    access: access === 'admin' ? 'admin' : 'session',
    errors: 'problem',
    async respond(request, context) {
      // Before anything of the body is read.
      const actor = await checkAccess(request, context, access)
      const { status, body, headers } = await answer(request, actor, context)
      const common = { 'cache-control': 'no-store', ...headers }
      return body === undefined ? new Response(null, { status: status ?? 204, headers: common }) : Response.json(body, { status: status ?? 200, headers: common })
    },
  }))
}

function check<Schema extends z.ZodType>(schema: Schema | undefined, value: unknown): z.output<Schema> {
  const result = (schema ?? z.undefined()).safeParse(value)
  if (!result.success) throw new ProblemError('invalid', 'What was sent is not what this takes.', { errors: mistakesOf(result.error) })
  // Of an endpoint without a schema, both are undefined.
  return result.data as z.output<Schema>
}

/** The mistakes of a value as pointers into it. @param below where the value stands in what was sent */
export function mistakesOf(error: z.ZodError, below: readonly PropertyKey[] = []): readonly Mistake[] {
  return error.issues.map(({ path, message }) => ({ pointer: pointer([...below, ...path]), detail: message }))
}

/** RFC 6901 §3. */
export function pointer(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

function queryOf(request: Request): Readonly<Record<string, string>> {
  const query: Record<string, string> = {}
  for (const [name, value] of new URL(request.url).searchParams) {
    if (Object.hasOwn(query, name)) throw new ProblemError('invalid-request', 'A parameter is repeated.')
    Object.defineProperty(query, name, { value, enumerable: true })
  }
  return query
}

async function jsonBody(request: Request): Promise<unknown> {
  // A form of another site cannot say this without asking first (Fetch §3.3.2).
  if (!/^application\/json\s*(?:;|$)/i.test(request.headers.get('content-type') ?? '')) throw new ProblemError('unsupported-media-type', 'The body must be application/json.')
  const text = await readText(request, MAX_BODY_BYTES)
  if (text === undefined) throw new ProblemError('too-large', 'The body is too large.')
  try {
    return parseJson(text)
  } catch {
    throw new ProblemError('invalid-request', 'The body is not JSON.')
  }
}
