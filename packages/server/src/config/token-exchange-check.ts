import * as z from 'zod'
import { canonicalResource } from '../oauth/resource.ts'

const text = z.string().catch('')
const texts = z.array(text).catch([])
const present = z.unknown().optional().transform((value) => value !== undefined)
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

function list<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.array(z.object(shape).optional().catch(undefined)).catch([])
}

/** What the parts of a configuration say of token exchange; whatever else is wrong in it does not hide that. */
const lenient = z.object({
  identityProviders: list({ id: text }),
  clients: list({ id: text, grantTypes: texts, tokenEndpointAuthMethod: text }),
  upstreams: list({ id: text, url: text, vending: present, connector: z.object({ type: text, clientId: present, clientSecret: present, issuer: present, dpop: z.boolean().catch(false), audience: present, resource: present, identityProvider: z.string().optional().catch(undefined) }).optional().catch(undefined) }),
  tokenExchange: list({ id: text, clients: texts, identityProvider: z.string().optional().catch(undefined), tokenTypes: present, audiences: present }),
})

type Add = (path: readonly PropertyKey[], message: string) => void

/** Checks names that lead nowhere, and settings that need or exclude each other. */
export function checkTokenExchange(value: unknown, add: Add): void {
  const { data } = lenient.safeParse(value)
  if (data === undefined) return
  const able = new Set(data.clients.map((client) => (client?.grantTypes.includes(TOKEN_EXCHANGE) === true ? client.id : '')))
  data.clients.forEach((client, index) => {
    if (client?.grantTypes.includes(TOKEN_EXCHANGE) === true && client.tokenEndpointAuthMethod === 'none') add(['clients', index, 'grantTypes'], 'token exchange is for clients that authenticate: tokenEndpointAuthMethod is none')
  })
  checkVending(data.upstreams, add)
  checkConnectors(data, add)
  const taken = new Set<string>()
  data.tokenExchange.forEach((rule, index) => {
    if (rule === undefined) return
    const at = (setting: string, message: string): void => add(['tokenExchange', index, setting], message)
    if (rule.id !== '' && taken.has(rule.id)) at('id', 'is taken: another one has it')
    taken.add(rule.id)
    rule.clients.forEach((client, position) => {
      if (!client.includes('*') && !able.has(client)) add(['tokenExchange', index, 'clients', position], `must be one of the clients, with ${TOKEN_EXCHANGE} among its grantTypes`)
    })
    if (rule.identityProvider === undefined) {
      for (const setting of ['tokenTypes', 'audiences'] as const) if (rule[setting]) at(setting, 'is of no use without identityProvider: Lanyard\'s own access tokens are for its own resources')
      return
    }
    if (!data.identityProviders.some((provider) => provider?.id === rule.identityProvider)) at('identityProvider', 'there is no such identity provider')
    if (!rule.audiences) at('audiences', 'is missing: whom the tokens of the identity provider must be made for')
  })
}

/** Credentials that are nobody's own, and never leave. */
const SHARED: ReadonlySet<string> = new Set(['none', 'api-key', 'client-credentials'])

function checkVending(upstreams: z.output<typeof lenient>['upstreams'], add: Add): void {
  const taken = new Set<string>()
  upstreams.forEach((upstream, index) => {
    if (upstream?.vending !== true) return
    const at = (message: string): void => add(['upstreams', index, 'vending'], message)
    const address = canonicalResource(upstream.url)
    if (SHARED.has(upstream.connector?.type ?? 'none')) at('is of no use without accounts of people: the connector has one credential for everybody, or none')
    if (address === undefined) at('needs a url without query and credentials, by which applications name the upstream')
    else if (taken.has(address)) at('is taken: another upstream of the same url has it')
    taken.add(address ?? '')
  })
}

function checkConnectors({ upstreams, identityProviders }: z.output<typeof lenient>, add: Add): void {
  upstreams.forEach((upstream, index) => {
    const connector = upstream?.connector
    if (connector?.type !== 'token-exchange') return
    const at = (setting: string, message: string): void => add(['upstreams', index, 'connector', setting], message)
    const { clientId, identityProvider } = connector
    if (identityProvider !== undefined && !identityProviders.some((provider) => provider?.id === identityProvider)) at('identityProvider', 'there is no such identity provider')
    if (!clientId && connector.issuer) at('issuer', 'is of no use without a clientId: the identity provider itself exchanges')
    if (!clientId && connector.dpop) at('dpop', 'needs a clientId: the identity provider itself exchanges, and binds nothing to a key')
    if (!clientId && !connector.audience && !connector.resource) at('audience', 'is missing (or name a resource): what the identity provider calls the upstream')
  })
}
