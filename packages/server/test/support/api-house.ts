// Two nodes of the gateway in front of an HTTP API that a test scripts, under four names: open, with a key, with accounts
// of the people's own, and with encoded slashes in its paths.
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

export function eachApiHouse(name: string, run: (house: ApiHouse) => Promise<void>, { upstream = {}, ...options }: ClusterOptions & { readonly upstream?: Partial<Upstream> } = {}): void {
  let api: HttpApi | undefined
  const more = async (): Promise<readonly Upstream[]> => {
    api = await httpApi()
    return [
      apiUpstream('api', api, upstream),
      apiUpstream('keyed', api, { connector: { type: 'api-key', header: 'X-Api-Key', value: API_KEY }, ...upstream }),
      apiUpstream('personal', api, { connector: { type: 'oauth' }, ...upstream }),
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
