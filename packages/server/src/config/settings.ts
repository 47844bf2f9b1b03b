// Owns how the one configuration file becomes the settings of each room: names default to identifiers, units are those
// of the room, what was left out is absent.
import { canonicalResource } from '../oauth/resource.ts'
import type { ApprovalSettings } from '../approval/approval.ts'
import { COMMAND_LINE } from '../clients/built-in.ts'
import type { PreRegisteredClient } from '../clients/registry.ts'
import type { SoftwareStatementSettings } from '../clients/software-statement.ts'
import type { ExternalPolicySettings } from '../policy/external.ts'
import type { ProviderSettings } from '../identity/providers/index.ts'
import type { MachineSettings } from '../identity/machines.ts'
import type { ScopeEntry } from '../identity/scope-mapping.ts'
import type { EmailSettings } from '../notices/email.ts'
import type { TokenLifetimes } from '../token/issue.ts'
import type { ProfileSettings } from '../upstreams/profiles.ts'
import type { ConnectorSettings, Upstream } from '../upstreams/upstream.ts'
import { oboSettings } from './entra-settings.ts'
import { delegationSettings } from './google-settings.ts'
import type { Config } from './load.ts'

const DAY_S = 86_400
const HOUR_MS = 3600_000
const DEFAULT_SCOPES = ['openid', 'profile', 'email', 'offline_access']

type Present<T> = { [Key in keyof T]: Exclude<T[Key], undefined> }

/** Leaves out what is undefined. */
export function present<T extends object>(value: T): Present<T> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as Present<T>
}

/** Connectors that exchange what the identity provider gave at the sign-in. */
const EXCHANGING: ReadonlySet<string> = new Set(['token-exchange', 'id-jag'])

export function providerSettings(config: Config): readonly ProviderSettings[] {
  const keepsAccessToken = config.upstreams.some(({ connector }) => EXCHANGING.has(connector.type))
  return config.identityProviders.map((provider) => {
    const settings = { ...present({ ...provider, acceptTokens: undefined, acceptIdTokens: undefined }), ...(keepsAccessToken ? { keepsAccessToken } : {}) }
    // The schema of each type made what its kind of provider takes.
    return { ...settings, name: provider.name ?? provider.id, scopes: provider.scopes ?? DEFAULT_SCOPES, offlineAccess: provider.offlineAccess ?? 'scope' } as ProviderSettings
  })
}

export function scopeEntries(config: Config): readonly ScopeEntry[] {
  return config.scopeMapping.map(present)
}

/** All authentication contexts that an identity provider is known to know. */
export function acrValues(config: Config): readonly string[] {
  return [...new Set(config.identityProviders.flatMap((provider) => provider.acrValues))]
}

export function preRegisteredClients(config: Config): readonly PreRegisteredClient[] {
  const builtIn = config.deviceAuthorization.allow.includes('pre-registered') && !config.clients.some(({ id }) => id === COMMAND_LINE.id) ? [COMMAND_LINE] : []
  const configured = config.clients.map(({ resources: _resources, owner: _owner, groups: _groups, scopes: _scopes, workloadIdentities, ...client }) => ({
    ...present(client),
    // A platform's tokens are made for somebody: for this gateway, when nothing else is said.
    ...(workloadIdentities === undefined ? {} : { workloadIdentities: workloadIdentities.map((identity) => ({ ...present(identity), audience: identity.audience ?? config.issuer })) }),
  }))
  return [...configured, ...builtIn]
}

/** The clients that may stand for themselves. */
export function machineSettings(config: Config): readonly MachineSettings[] {
  return config.clients.filter(isMachine).map(({ id, name, owner, groups, scopes }) => ({ clientId: id, ...present({ name, owner, groups, scopes }) }))
}

function isMachine({ grantTypes, workloadIdentities }: Config['clients'][number]): boolean {
  return grantTypes.includes('client_credentials') || workloadIdentities !== undefined
}

export function statementSettings({ registration: { softwareStatements } }: Config): SoftwareStatementSettings {
  return { unknown: softwareStatements.unknown, issuers: softwareStatements.issuers.map(present) }
}

export function approvalSettings({ registration }: Config): ApprovalSettings {
  return { required: registration.approval === 'required', holdChanged: registration.changedApplications === 'hold' }
}

const IMPLICIT_TLS_PORT = 465

export function emailSettings({ notices: { email } }: Config): EmailSettings | undefined {
  return email === undefined ? undefined : { ...present(email), tls: email.tls ?? (email.port === IMPLICIT_TLS_PORT ? 'implicit' : 'starttls') }
}

export function upstreamSettings(config: Config): readonly Upstream[] {
  return config.upstreams.map(({ timeoutSeconds, connector, type, maxBodyMegabytes, encodedSlashes, openapi, operations, ...upstream }) => ({
    ...present(upstream),
    ...(type === 'http' ? { http: { maxBodyBytes: Math.floor(maxBodyMegabytes * 1024 * 1024), encodedSlashes, ...(openapi === undefined ? {} : { openApi: { document: openapi, ...present(operations ?? {}) } }) } } : {}),
    name: upstream.name ?? upstream.id,
    connector: connectorSettings(config, connector),
    timeoutMs: timeoutSeconds * 1000,
  }))
}

function connectorSettings({ identityProviders }: Config, connector: Config['upstreams'][number]['connector']): ConnectorSettings {
  if (connector.type === 'google-delegation') return delegationSettings(connector, identityProviders)
  return connector.type === 'entra-obo' ? oboSettings(connector, identityProviders) : (present(connector) as ConnectorSettings)
}

export function profileSettings(config: Config): readonly ProfileSettings[] {
  return config.profiles.map((profile) => ({ ...present(profile), name: profile.name ?? profile.id }))
}

export function tokenLifetimes({ tokens }: Config): TokenLifetimes {
  return { accessToken: tokens.accessTokenSeconds, refreshToken: tokens.refreshTokenDays * DAY_S, grant: tokens.grantDays * DAY_S }
}

/**
 * How long a signing key is published before it signs and after it signed: longer than every token that it signed
 * lives, and than caches keep the key set.
 */
export function keyOverlapMs({ tokens }: Config): number {
  return Math.max(HOUR_MS, (tokens.accessTokenSeconds + 600) * 1000)
}

export function externalPolicySettings({ externalPolicy }: Config): ExternalPolicySettings | undefined {
  if (externalPolicy === undefined) return undefined
  const { url, token, timeoutSeconds, cacheSeconds } = externalPolicy
  return { url, ...(token === undefined ? {} : { token }), timeoutMs: timeoutSeconds * 1000, cacheMs: cacheSeconds * 1000 }
}

/** Whether a client stands for a resource, as `clients[].resources` says. */
export function introspectors(config: Config): (clientId: string, resource: string) => boolean {
  const resources = new Map(config.clients.map((client) => [client.id, new Set<string | undefined>(client.resources.map(canonicalResource))]))
  return (clientId, resource) => {
    const own = resources.get(clientId)
    // As tokens have it.
    if (own?.has(resource) === true) return true
    const canonical = canonicalResource(resource)
    return canonical !== undefined && own?.has(canonical) === true
  }
}
