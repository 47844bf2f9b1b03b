// What the parts of Okta share: people, clients, authorization servers, and how answers are written.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { SignJWT, type JWK } from 'jose'
import type { SigningKey } from '../openid-provider.ts'

export interface Person {
  /** `00u…`: `sub` of ID tokens. */
  readonly id: string
  /** `sub` of access tokens. */
  readonly login: string
  readonly email: string
  readonly name: string
  groups: string[]
  /** Whether they are assigned to the applications. */
  assigned: boolean
  active: boolean
}

export interface Client {
  readonly secret?: string
  /** For `private_key_jwt`. */
  readonly jwk?: JWK
  readonly redirectUris: RegExp
  /** Whether refresh tokens rotate: those of native and single-page applications do. */
  readonly rotates: boolean
  /** The AI agent that the client is, where it is one (`wlp…`). */
  readonly agent?: string
}

/** What a client may have ID-JAGs for: a row of the managed connections. */
export interface CrossApp {
  /** Whose token at Okta may be exchanged. */
  readonly clientId: string
  /** The issuer of the resource application's authorization server. */
  readonly audience: string
  /** The client there. */
  readonly clientIdThere: string
  readonly resources: readonly string[]
  readonly scopes: readonly string[]
  readonly audTenant?: string
}

/** An authorization server: `org` is the one without a path. */
export interface Server {
  readonly id: string
  readonly issuer: string
  readonly base: string
  readonly audience: string
  readonly scopes: ReadonlySet<string>
  readonly key: SigningKey
  /** What signs its access tokens: the org server's key is Okta's own secret. */
  readonly accessKey: SigningKey
}

export interface Session {
  readonly server: Server
  readonly clientId: string
  readonly person: Person
  readonly scopes: readonly string[]
  /** Seconds since the epoch. */
  readonly authTime: number
  readonly amr: readonly string[]
  readonly acr?: string
}

export interface Code extends Session {
  readonly asked: URLSearchParams
}

export interface RefreshToken extends Session {
  readonly family: string
  /** Milliseconds since the epoch, when its successor was given out. */
  replacedAt?: number
  readonly idToken: string
}

export interface Seen {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly form: URLSearchParams
  readonly headers: IncomingMessage['headers']
}

export interface Okta {
  /** The org's address, and the issuer of its own authorization server. */
  readonly origin: string
  /** The issuer of the custom authorization server `default`. */
  readonly customIssuer: string
  readonly people: Map<string, Person>
  readonly clients: Map<string, Client>
  readonly crossApps: CrossApp[]
  /** Third-party tokens that Okta keeps for people, by `resource id`; what is missing needs an interaction. */
  readonly vaulted: Map<string, string>
  /** Which groups the groups claim holds; none until an administrator configured it. */
  groupsFilter: RegExp | undefined
  /** Whether ID tokens leave the profile to the userinfo endpoint. */
  thin: boolean
  /** What cross app access says in `token_type`. */
  idJagTokenType: 'Bearer' | 'N_A'
  /** Seconds for which a rotated refresh token is good once more: 0 to 60. */
  graceSeconds: number
  now: () => number
  readonly seen: Seen[]
  at(path: string): Seen[]
  readonly servers: ReadonlyMap<string, Server>
  readonly codes: Map<string, Code>
  readonly refreshTokens: Map<string, RefreshToken>
  readonly access: Map<string, Session>
  close(): Promise<void>
}

export type Respond = (state: Okta, server: Server, seen: Seen, response: ServerResponse) => void | Promise<void>

export function json(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-cache, no-store', 'x-okta-request-id': 'emulated', ...headers }).end(JSON.stringify(body))
}

export function refuse(response: ServerResponse, status: number, error: string, description: string): void {
  json(response, status, { error, error_description: description })
}

export function seconds(state: Okta): number {
  return Math.floor(state.now() / 1000)
}

export function sign(claims: Readonly<Record<string, unknown>>, { key, kid }: SigningKey, header: Readonly<Record<string, string>> = {}): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ kid, alg: 'RS256', ...header }).sign(key)
}
