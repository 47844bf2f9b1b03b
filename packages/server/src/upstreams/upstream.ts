// Owns upstream servers, the profiles made of them, and users' connections to them. It does not forward calls.
import type { ServiceAccountSettings } from '../identity/google/service-account.ts'
import type { Resource } from '../oauth/resource.ts'
import type { EntraOboSettings } from './connectors/entra-obo/settings.ts'
import type { IdJagSettings } from './connectors/id-jag/settings.ts'
import type { TokenExchangeSettings } from './connectors/token-exchange/settings.ts'
import type { ClientCredentialsSettings } from './connectors/client-credentials/settings.ts'

export interface Upstream {
  readonly id: string
  readonly name: string
  readonly url: string
  readonly connector: ConnectorSettings
  /** Tools that an administrator marked read-only, besides those that the upstream annotates so. */
  readonly readOnlyTools: readonly string[]
  readonly timeoutMs: number
  /** Patterns of the tools that handle data of a class, by the class. */
  readonly dataClasses?: Readonly<Record<string, readonly string[]>>
  /** What a change of a tool's definition does until an administrator approved it; `hide` when absent. */
  readonly toolChanges?: 'hide' | 'report'
  /** Which generation of MCP it speaks: asked, or said; the client's own when absent. */
  readonly protocol?: 'auto' | '2026-07-28' | '2025'
  /** Whether applications may be given the person's own token: see token/exchange/vend.ts. Never when absent. */
  readonly vending?: VendingSettings
  /** What there is to know of an HTTP API; absent for an MCP server. */
  readonly http?: HttpSettings
}

export interface VendingSettings {
  /** Whether an application must say what it wants the token for. */
  readonly purpose: 'optional' | 'required'
  /** How long an application is told that the token lasts, at most. */
  readonly maxSeconds: number
}

export interface HttpSettings {
  /** Bytes of the largest body that a request may carry. */
  readonly maxBodyBytes: number
  /** Whether the API names things with `%2F` in its paths. */
  readonly encodedSlashes: boolean
  /** What makes tools of it. */
  readonly openApi?: OpenApiSettings
}

export interface OpenApiSettings {
  /** An absolute path, or an http or https URL. */
  readonly document: string
  /** Patterns of operations (`GET /repos/*`), of their identifiers or tools; all when absent. */
  readonly include?: readonly string[]
  readonly exclude?: readonly string[]
}

/** Whether it speaks MCP to the gateway's clients. */
export function speaksMcp({ http }: Pick<Upstream, 'http'>): boolean {
  return http === undefined || http.openApi !== undefined
}

export type ConnectorSettings =
  | ClientCredentialsSettings
  | { readonly type: 'none' }
  | { readonly type: 'api-key'; readonly header: string; readonly value: string }
  | EntraOboSettings
  | GoogleDelegationSettings
  | IdJagSettings
  | TokenExchangeSettings
  | {
      readonly type: 'oauth'
      readonly clientId?: string
      readonly clientSecret?: string
      /** The authorization server that `clientId` and `clientSecret` are for; when absent, the first that is found. */
      readonly issuer?: string
      readonly scopes?: readonly string[]
      /** Whether what is issued to Lanyard is bound to a key (RFC 9449). */
      readonly dpop?: boolean
      /** How its server is asked for refresh tokens; Google's by `access_type`, all others by a scope, when absent. */
      readonly offlineAccess?: 'scope' | 'access_type'
      /** Whose way its server has that is no standard. */
      readonly quirk?: 'slack'
    }

/** A service account that acts in the name of a Google domain's users. */
export interface GoogleDelegationSettings {
  readonly type: 'google-delegation'
  readonly serviceAccount: ServiceAccountSettings
  readonly scopes: readonly string[]
  /** The identity provider of the domain, and its issuer: who signed in there is who they are at Google. */
  readonly provider?: { readonly id: string; readonly issuer: string }
  /** The domains whose users it acts for, and no others. */
  readonly domains: readonly string[]
  /** Users of other identity providers, and who they are at Google. */
  readonly users: readonly { readonly provider: string; readonly subject: string; readonly address: string }[]
}

/** A named set of upstreams that is one protected resource; an upstream alone is a profile of one, and so is an HTTP API under its own address. */
export interface Profile {
  readonly id: string
  readonly name: string
  readonly upstreams: readonly Upstream[]
  readonly resource: Resource
  /** Where its metadata is, when the resource is at an address that is not the gateway's. */
  readonly metadata?: string
  /** Whose own it is: for everybody else it does not exist. */
  readonly owner?: string
  /** Who it is published to; everybody when absent. */
  readonly groups?: readonly string[]
  /** By upstream, patterns of the tools that it offers; an upstream that is not named here offers all that it has. */
  readonly tools?: Readonly<Record<string, readonly string[]>>
  /** The scopes of a resource that is none of MCP. */
  readonly scopes?: readonly string[]
  /** What clients are told to ask for at first; read and write when absent. */
  readonly baselineScope?: readonly string[]
}

/** The profile of all upstreams, at `/mcp`. */
export const EVERYTHING = 'everything'

export interface Profiles {
  byId(id: string): Profile | undefined
  /** The resource of an HTTP API under `/http`, by its upstream. */
  httpById(id: string): Profile | undefined
  byResource(resource: Resource): Profile | undefined
  /** All but people's own. */
  all(): readonly Profile[]
}
