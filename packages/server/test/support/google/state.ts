// What the parts of Google share: people, service accounts, tokens, and how answers are written.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { JWK, SignJWT } from 'jose'
import type { SigningKey } from '../openid-provider.ts'

export interface Person {
  readonly sub: string
  email: string
  emailVerified: boolean
  /** The Workspace domain; a personal account on a company's address has none. */
  readonly hd?: string
  readonly name: string
  /** The groups that they are directly in. */
  groups: { readonly email: string; readonly name: string }[]
  suspended?: boolean
}

export interface ServiceAccount {
  readonly email: string
  /** The numeric identifier that stands in the Admin console's list for domain-wide delegation. */
  readonly clientId: string
  /** Keys that it signs with: the key file's, and the one that IAM keeps. */
  readonly keys: { readonly file: SigningKey; readonly system: SigningKey }
  /** Scopes that the Admin console lets it ask for in the name of the domain's users. */
  readonly delegated: Set<string>
  /** Whether it holds the Groups Reader role itself. */
  groupsReader: boolean
  /** Who may have it sign (Service Account Token Creator). */
  readonly tokenCreators: Set<string>
}

/** What an access token stands for: a person, or a service account itself. */
export interface Access {
  readonly sub: string
  readonly email: string
  readonly clientId: string
  readonly scopes: readonly string[]
  /** The service account that asked in the name of the person. */
  readonly by?: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
  readonly grant?: Grant
}

export interface Grant {
  readonly person: Person
  readonly clientId: string
  readonly scopes: readonly string[]
}

export interface Code extends Grant {
  readonly asked: URLSearchParams
  readonly offline: boolean
}

export interface Seen {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly form: URLSearchParams
  readonly body: string
  readonly headers: IncomingMessage['headers']
}

export interface Google {
  readonly origin: string
  readonly people: Map<string, Person>
  readonly clients: Map<string, { readonly secret: string; readonly redirectUris: RegExp }>
  readonly serviceAccounts: Map<string, ServiceAccount>
  /** Users that may read the directory: administrators. */
  readonly administrators: Set<string>
  /** What the person unticks on the consent page. */
  readonly unticked: Set<string>
  /** Scopes that the company's administrator blocked for applications. */
  readonly blocked: Set<string>
  /** `iss` without a scheme, as some of Google's ID tokens have it. */
  bareIssuer: boolean
  /** Whether the project has session age claims switched on: then `auth_time` is told to whoever asks for it. */
  sessionAge: boolean
  /** Groups on one page of the Directory API; 200 at most. */
  pageSize: number
  /** Workload identity pools: which issuer's keys a provider trusts, and for which audience. */
  readonly pools: Map<string, { readonly issuer: string; readonly keys: readonly JWK[] }>
  /** The service account of the machine, at the metadata server; none where it runs elsewhere. */
  machine: string | undefined
  /** Answers in place of everything else: true when it did. */
  instead: (seen: Seen, response: ServerResponse) => boolean
  now: () => number
  readonly seen: Seen[]
  at(path: string): Seen[]
  /** What people consented to, by `sub clientId`. */
  readonly grants: Map<string, Set<string>>
  readonly codes: Map<string, Code>
  readonly refreshTokens: Map<string, Grant>
  readonly access: Map<string, Access>
  readonly key: SigningKey
  close(): Promise<void>
}

/** Scopes that sign in and nothing else: they have no boxes to untick. */
export const SIGN_IN_SCOPES = new Set(['openid', 'email', 'profile', 'https://www.googleapis.com/auth/userinfo.email', 'https://www.googleapis.com/auth/userinfo.profile'])
export const GROUPS_SCOPE = 'https://www.googleapis.com/auth/admin.directory.group.readonly'
export const GMAIL_SCOPE = 'https://www.googleapis.com/auth/gmail.readonly'
export const CLOUD_SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
export const CLIENT_ID = '1234567890-abc.apps.googleusercontent.com'
export const CLIENT_SECRET = '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s'
export const DOMAIN = 'corp.example'

export type Respond = (state: Google, seen: Seen, response: ServerResponse) => void | Promise<void>

export function json(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-cache, no-store', ...headers }).end(JSON.stringify(body))
}

export function page(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html><title>Google</title>${body}`)
}

export function signedBy(jwt: SignJWT, { key, kid }: SigningKey): Promise<string> {
  return jwt.setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' }).sign(key)
}
