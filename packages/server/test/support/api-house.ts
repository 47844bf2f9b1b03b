// Two nodes of the gateway in front of an HTTP API that a test scripts, under four names: open, with a key, with accounts
// of the people's own, and with encoded slashes in its paths. Its OpenAPI document makes tools of the first and third.
import type { Rule } from '../../src/policy/policy.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { apiUpstream, httpApi, type HttpApi } from './http-api.ts'
import { API_KEY, eachMcpCluster, ISSUER, type Answer, type Cluster, type ClusterOptions, type Sent, type TokenOptions } from './mcp-nodes.ts'

export interface ApiHouse extends Cluster {
  readonly api: HttpApi
  /** A token for one of the API's names; alice's, for everything, when nothing else is said. */
  apiToken(id?: string, options?: Partial<TokenOptions>): string
  /** A call of alice's on the first node, or as `more` says. */
  ask(path: string, more?: Sent & { readonly token?: string }): Promise<Answer>
}

export const API_RULES: readonly Rule[] = [
  { id: 'engineering', effect: 'allow', groups: ['engineering'] },
  { id: 'sales-read', effect: 'allow', groups: ['sales'], upstreams: ['api'], tools: ['GET /repos/*'] },
  { id: 'no-secrets', effect: 'deny', tools: ['* /repos/*/secrets', 'DELETE /protected/*'] },
]

const ISSUE = { type: 'object', properties: { id: { type: 'string' }, title: { type: 'string' }, parent: { $ref: '#/components/schemas/Issue' } } }
const answers = { 200: { description: 'An issue', content: { 'application/json': { schema: { $ref: '#/components/schemas/Issue' } } } } }
const id = { name: 'id', in: 'path', required: true, schema: { type: 'string' } }

/** Issues, as a small service would describe them. */
export const API_DOCUMENT = {
  openapi: '3.0.3',
  info: { title: 'Issues', version: '1' },
  paths: {
    '/issues': {
      get: { operationId: 'listIssues', summary: 'Lists issues', parameters: [{ name: 'state', in: 'query', schema: { type: 'string' } }, { name: 'labels', in: 'query', explode: false, schema: { type: 'array', items: { type: 'string' } } }, { name: 'where', in: 'query', style: 'deepObject', schema: { type: 'object' } }], responses: { 200: { description: 'Issues' } } },
      post: { operationId: 'createIssue', requestBody: { required: true, content: { 'application/json': { schema: { $ref: '#/components/schemas/Issue' } } } }, responses: answers },
    },
    '/issues/{id}': { parameters: [id], get: { operationId: 'readIssue', responses: answers }, delete: { operationId: 'deleteIssue', responses: { 204: { description: 'Gone' } } } },
    '/protected/{id}': { parameters: [id], delete: { operationId: 'dropProtected', responses: { 204: { description: 'Gone' } } } },
    '/admin': { get: { operationId: 'admin', responses: { 200: { description: 'Secrets' } } } },
  },
  components: { schemas: { Issue: ISSUE } },
}

export function eachApiHouse(name: string, run: (house: ApiHouse) => Promise<void>, { upstream = {}, ...options }: ClusterOptions & { readonly upstream?: Partial<Upstream> } = {}): void {
  let api: HttpApi | undefined
  const more = async (): Promise<readonly Upstream[]> => {
    api = await httpApi()
    api.document = API_DOCUMENT
    const http = { maxBodyBytes: 64 * 1024 * 1024, encodedSlashes: false }
    const openApi = { document: `${api.url}/openapi.json` }
    return [
      apiUpstream('api', api, upstream),
      apiUpstream('keyed', api, { connector: { type: 'api-key', header: 'X-Api-Key', value: API_KEY }, ...upstream }),
      apiUpstream('personal', api, { connector: { type: 'oauth' }, ...upstream }),
      apiUpstream('tools', api, { http: { ...http, openApi: { ...openApi, exclude: ['* /admin'] } }, ...upstream }),
      apiUpstream('owned', api, { connector: { type: 'oauth' }, http: { ...http, openApi }, ...upstream }),
      apiUpstream('broken', api, { http: { ...http, openApi: { document: `${api.url}/nothing` } }, ...upstream }),
      apiUpstream('slashes', api, { http: { maxBodyBytes: 1024 * 1024, encodedSlashes: true }, ...upstream }),
    ]
  }
  const within = async (cluster: Cluster): Promise<void> => {
    if (api === undefined) throw new Error('the API is not there')
    const apiToken: ApiHouse['apiToken'] = (id = 'api', given = {}) => cluster.token({ resource: `${ISSUER}/http/${id}`, ...given })
    const ask: ApiHouse['ask'] = (path, { token, headers, ...sent } = {}) =>
      cluster.nodes[0].send({ method: 'GET', path, ...sent, headers: { authorization: `Bearer ${token ?? apiToken(/^\/http\/([a-z]+)/.exec(path)?.[1])}`, ...headers } })
    try {
      await run(Object.assign(cluster, { api, apiToken, ask }))
    } finally {
      await api.close()
    }
  }
  eachMcpCluster(name, within, { rules: API_RULES, ...options, more })
}
