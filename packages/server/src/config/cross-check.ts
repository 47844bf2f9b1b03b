import * as z from 'zod'
import { SPIFFE } from '../clients/workload.ts'
import { pathProblem } from '../http/api-path.ts'
import { DEVICE_CODE } from '../oauth/grant-type.ts'
import { canonicalResource } from '../oauth/resource.ts'
import { isFreeForAdministrators } from '../upstreams/profile-name.ts'
import type { ReadDocument } from './document.ts'
import { checkDelegations } from './google-check.ts'
import { checkEntraObo } from './entra-check.ts'
import { checkIdJagSettings } from './id-jag-check.ts'
import { checkTokenExchange, TOKEN_EXCHANGE } from './token-exchange-check.ts'

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const text = z.string().catch('')
const texts = z.array(text).catch([])
const present = z.unknown().optional().transform((value) => value !== undefined)

function list<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.array(z.object(shape).optional().catch(undefined)).catch([])
}

/** What the parts of a configuration say of each other; whatever else is wrong in it does not hide that. */
const lenient = z.object({
  issuer: text,
  store: text,
  keyEncryption: present,
  identityProviders: list({ id: text }),
  clients: list({ id: text, redirectUris: texts, resources: texts, grantTypes: texts, owner: present, groups: present, scopes: present, workloadIdentities: z.array(z.object({ issuer: text, subject: text, audience: text, jwks: present, jwksUri: present }).optional().catch(undefined)).optional().catch(undefined), tokenEndpointAuthMethod: z.string().catch('client_secret_basic'), clientSecret: present, jwks: present, jwksUri: present }),
  upstreams: list({ id: text, type: text, url: text, maxBodyMegabytes: present, encodedSlashes: present, openapi: present, operations: present, connector: z.object({ type: text, clientId: present, clientSecret: present, dpop: z.boolean().catch(false) }).catch({ type: '', clientId: false, clientSecret: false, dpop: false }) }),
  profiles: list({ id: text, upstreams: texts, tools: z.record(z.string(), z.unknown()).catch({}) }),
  rules: list({ id: text, upstreams: texts }),
  trustedProxies: texts,
  forwardAuth: list({ id: text, resource: text, profile: text }),
  forwardAuthKey: present,
})

type Names = z.output<typeof lenient>
type Add = (path: readonly PropertyKey[], message: string) => void

/** Checks names that lead nowhere, names that are taken, and settings that need or exclude each other. */
export function crossCheck(document: ReadDocument, add: Add): void {
  const { data } = lenient.safeParse(document.value)
  if (data === undefined) return
  for (const key of ['identityProviders', 'clients', 'upstreams', 'profiles', 'rules', 'forwardAuth'] as const) unique(key, data[key], add)
  checkUpstreamNames(data, add)
  checkDelegations(document.value, add)
  checkProtectedServers(data, add)
  checkEntraObo(document.value, add)
  checkIdJagSettings(document.value, add)
  checkTokenExchange(document.value, add)
  data.clients.forEach((client, index) => client && checkClient(client, data.issuer, (setting, message) => add(['clients', index, ...setting], message)))
  data.upstreams.forEach((upstream, index) => {
    if (upstream !== undefined) checkUpstream(upstream, (setting, message) => add(['upstreams', index, setting], message))
    if (upstream?.connector.clientSecret === true && !upstream.connector.clientId) add(['upstreams', index, 'connector', 'clientSecret'], 'is of no use without a clientId')
  })
  if (data.store.startsWith('postgres') && !data.keyEncryption) {
    add(['store'], 'needs the setting keyEncryption (file:PATH or env:NAME): all nodes on one PostgreSQL share one key-encryption key')
  }
}

function unique(key: string, entries: readonly ({ readonly id: string } | undefined)[], add: Add): void {
  const seen = new Set<string>()
  entries.forEach((entry, index) => {
    if (entry === undefined || entry.id === '') return
    if (seen.has(entry.id)) add([key, index, 'id'], 'is taken: another one has it')
    seen.add(entry.id)
  })
}

function checkUpstreamNames(data: Names, add: Add): void {
  const upstreams = new Set(data.upstreams.map((upstream) => upstream?.id))
  const speaking = new Set(data.upstreams.filter((upstream) => upstream?.type !== 'http' || upstream.openapi).map((upstream) => upstream?.id))
  data.profiles.forEach((profile, index) => {
    if (profile === undefined) return
    if (profile.id !== '' && upstreams.has(profile.id)) add(['profiles', index, 'id'], 'is the name of an upstream')
    profile.upstreams.forEach((name, position) => {
      if (!upstreams.has(name)) add(['profiles', index, 'upstreams', position], 'there is no such upstream')
      else if (!speaking.has(name)) add(['profiles', index, 'upstreams', position], 'is an HTTP API without an openapi document: it has no tools')
    })
    for (const name of Object.keys(profile.tools)) {
      if (!profile.upstreams.includes(name)) add(['profiles', index, 'tools', name], 'is none of its upstreams')
    }
  })
  // Each is an address under /mcp.
  for (const key of ['upstreams', 'profiles'] as const) {
    data[key].forEach((entry, index) => {
      if (entry !== undefined && entry.id !== '' && !isFreeForAdministrators(entry.id)) add([key, index, 'id'], 'is reserved: choose another name')
    })
  }
  // A denial of a misspelt upstream denies nothing.
  data.rules.forEach((rule, index) =>
    rule?.upstreams.forEach((name, position) => {
      if (!name.includes('*') && !upstreams.has(name)) add(['rules', index, 'upstreams', position], 'there is no such upstream')
    }),
  )
}

function checkProtectedServers({ issuer, upstreams, profiles, forwardAuth, forwardAuthKey, trustedProxies }: Names, add: Add): void {
  const single = new Set<string | undefined>([...upstreams.filter((upstream) => upstream?.type !== 'http'), ...profiles.filter((profile) => profile?.upstreams.length === 1)].map((each) => each?.id))
  const resources = new Set<string>()
  forwardAuth.forEach((server, index) => {
    if (server === undefined) return
    const resource = canonicalResource(server.resource) ?? ''
    if (!single.has(server.profile)) add(['forwardAuth', index, 'profile'], 'must be an upstream that speaks MCP, or a profile of one')
    const names = new Set([server.profile, ...(profiles.find((profile) => profile?.id === server.profile)?.upstreams ?? [])])
    const isBound = upstreams.some((upstream) => upstream !== undefined && names.has(upstream.id) && upstream.connector.dpop)
    if (isBound) add(['forwardAuth', index, 'profile'], 'has a credential that is bound to a key (dpop), which a proxy cannot prove')
    if (resources.has(resource)) add(['forwardAuth', index, 'resource'], 'is taken: another one has it')
    if (`${resource}/`.startsWith(`${issuer}/`)) add(['forwardAuth', index, 'resource'], 'is an address of this gateway: name the one at the proxy')
    resources.add(resource)
    const upstream = profiles.find((profile) => profile?.id === server.profile)?.upstreams[0] ?? server.profile
    const hasCredential = upstreams.some((each) => each?.id === upstream && each.connector.type !== 'none' && each.connector.type !== '')
    // Whoever can make the proxy in front of the gateway ask would be given the credential.
    if (hasCredential && !forwardAuthKey && issuer.startsWith('https:')) add(['forwardAuth', index, 'profile'], 'has a credential that goes to proxies alone: set forwardAuthKey, and let them send it')
  })
  if (forwardAuth.length > 0 && trustedProxies.length === 0) add(['forwardAuth'], 'needs the setting trustedProxies: the networks of the proxies that may ask')
}

function checkUpstream(upstream: NonNullable<Names['upstreams'][number]>, add: (setting: string, message: string) => void): void {
  if (upstream.type === 'http') {
    // Paths are put behind it as they are.
    const { pathname, href, origin } = URL.canParse(upstream.url) ? new URL(upstream.url) : { pathname: '', href: '', origin: '' }
    if (href !== `${origin}${pathname}` || pathProblem({ path: pathname.replace(/\/$/, ''), query: '' }, { encodedSlashes: false }) !== undefined) add('url', 'must be the base of the API: a plain path, without query or credentials')
    if (upstream.operations && !upstream.openapi) add('operations', 'is of no use without an openapi document')
    return
  }
  for (const setting of ['maxBodyMegabytes', 'encodedSlashes', 'openapi', 'operations'] as const) if (upstream[setting]) add(setting, 'is for HTTP APIs: set type to http')
}

function checkMachine(client: NonNullable<Names['clients'][number]>, isMachine: boolean, add: Add): void {
  // RFC 6749 §4.4: "The client credentials grant type MUST only be used by confidential clients."
  if (client.grantTypes.includes('client_credentials') && client.tokenEndpointAuthMethod === 'none') add(['grantTypes'], 'client_credentials is for clients that authenticate: tokenEndpointAuthMethod is none')
  for (const setting of ['owner', 'groups', 'scopes'] as const) if (client[setting] && !isMachine) add([setting], 'is of no use without client_credentials among the grantTypes: a client that acts for people has theirs')
  checkWorkload(client, add)
}

function checkWorkload({ tokenEndpointAuthMethod: method, workloadIdentities: identities, grantTypes }: NonNullable<Names['clients'][number]>, add: Add): void {
  if (method === 'workload_identity' && identities === undefined) add(['workloadIdentities'], 'is missing: tokenEndpointAuthMethod is workload_identity')
  if (identities === undefined) return
  if (method !== 'workload_identity') add(['workloadIdentities'], `is of no use with tokenEndpointAuthMethod ${method}`)
  if (!grantTypes.some((type) => type === 'client_credentials' || type === JWT_BEARER)) add(['grantTypes'], `must name client_credentials or ${JWT_BEARER}, or both: a workload stands for itself`)
  identities.forEach((identity, index) => {
    if (identity === undefined) return
    const { issuer, subject, audience } = identity
    const at = (setting: string, message: string): void => add(['workloadIdentities', index, setting], message)
    if (identity.jwks && identity.jwksUri) at('jwksUri', 'and jwks exclude each other')
    // Every token of the platform that names no other audience has it.
    if (audience !== '' && audience === issuer) at('audience', "is the platform's own: name this gateway, and ask the platform for tokens with that audience")
    if (!issuer.startsWith(SPIFFE)) return
    if (!subject.startsWith(`${issuer}/`)) at('subject', `must begin with ${issuer}/`)
    if (!identity.jwks && !identity.jwksUri) at('jwksUri', 'is missing (or name jwks): where the bundle of the trust domain is')
  })
}

function checkClient(client: NonNullable<Names['clients'][number]>, issuer: string, add: Add): void {
  const method = client.tokenEndpointAuthMethod
  const secretMethod = method.startsWith('client_secret')
  if (secretMethod && !client.clientSecret) add(['clientSecret'], `is missing: tokenEndpointAuthMethod is ${method}`)
  if (!secretMethod && client.clientSecret) add(['clientSecret'], `is of no use with tokenEndpointAuthMethod ${method}`)
  if (method === 'private_key_jwt' && !client.jwks && !client.jwksUri) add(['jwks'], 'is missing (or name a jwksUri)')
  if (client.jwks && client.jwksUri) add(['jwksUri'], 'and jwks exclude each other')
  const isMachine = client.grantTypes.includes('client_credentials') || client.workloadIdentities !== undefined
  if (client.redirectUris.length === 0 && client.grantTypes.includes('authorization_code')) add(['redirectUris'], 'is missing: authorization_code sends the browser there')
  else if (client.redirectUris.length === 0 && client.resources.length === 0 && !isMachine && !client.grantTypes.includes(DEVICE_CODE) && !client.grantTypes.some((type) => type === JWT_BEARER || type === TOKEN_EXCHANGE)) add(['redirectUris'], 'is missing: name at least one, or the resources whose tokens this client may introspect')
  checkMachine(client, isMachine, add)
  client.resources.forEach((resource, index) => {
    const path = canonicalResource(resource)
    if (path?.startsWith(`${issuer}/`) !== true || !/^\/(?:mcp(?:\/[a-z0-9-]+)?|http\/[a-z0-9-]+)$/.test(path.slice(issuer.length))) add(['resources', index], 'must be the address of an MCP endpoint of this gateway: {issuer}/mcp/{profile or upstream}, or {issuer}/http/{upstream}')
  })
}
