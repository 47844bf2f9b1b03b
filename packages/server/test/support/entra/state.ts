// What the parts of Entra ID share: tenants, people, app registrations, grants, and how answers are written.
import { createHash, randomUUID, type KeyObject } from 'node:crypto'
import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { SignJWT } from 'jose'
import type { SigningKey } from '../openid-provider.ts'

export const TENANT = '11111111-aaaa-4bbb-8ccc-000000000001'
export const OTHER_TENANT = '22222222-aaaa-4bbb-8ccc-000000000002'
/** The tenant of personal accounts. */
export const CONSUMERS = '9188040d-6c67-4c5b-b112-36a304b66dad'
/** The app registration that the gateway is. */
export const GATEWAY = 'aaaaaaaa-0000-4000-8000-000000000001'
export const GATEWAY_SECRET = 'Abc8Q~an-Entra-client-secret-of-40-characters'
/** An API of the company's own, and a service that calls others on behalf of its callers. */
export const NOTES_API = 'bbbbbbbb-0000-4000-8000-000000000002'
export const MIDDLE = 'cccccccc-0000-4000-8000-000000000003'
export const GRAPH = 'https://graph.microsoft.com'

export interface Person {
  readonly oid: string
  readonly upn: string
  name: string
  email?: string
  /** The home of a guest. */
  idp?: string
  groups: string[]
  roles: string[]
  assigned: boolean
  enabled: boolean
  /** Seconds since the epoch, when their sessions were revoked. */
  revokedAt?: number
}

export interface App {
  readonly clientId: string
  secret?: string
  /** Public keys by `x5t#S256`. */
  readonly certificates: Map<string, KeyObject>
  readonly federated: { readonly issuer: string; readonly subject: string; readonly audience: string }[]
  readonly redirectUris: RegExp
  /** `accessTokenAcceptedVersion`: whose tokens for it have the older issuer. */
  tokenVersion: 1 | 2
  readonly groupClaims: boolean
  /** Who is assigned to it, by `oid`, where assignment is required. */
  assigned?: ReadonlySet<string>
  /** Delegated permissions that an administrator consented to, as `{resource}/{name}`. */
  readonly consented: Set<string>
  /** Permissions of the app itself. */
  readonly permissions: Set<string>
}

/** What one sign-in proved: refresh tokens and assertions go back to it. */
export interface Grant {
  readonly clientId: string
  readonly person: Person
  readonly tid: string
  /** Seconds since the epoch. */
  readonly at: number
  readonly contexts: ReadonlySet<string>
}

export interface Access {
  readonly resource: string
  readonly scopes: readonly string[]
  readonly roles: readonly string[]
  readonly grant?: Grant
  readonly tid: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly contexts: readonly string[]
  readonly capable: boolean
}

export interface Seen {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly form: URLSearchParams
  readonly body: string
  readonly headers: IncomingHttpHeaders
}

export interface Entra {
  readonly origin: string
  readonly tenants: Map<string, Map<string, Person>>
  readonly apps: Map<string, App>
  /** Conditional access: tokens for a resource need an authentication context, or whatever a policy of this identifier wants. */
  readonly policies: Map<string, { readonly context: string; readonly code: 50076 | 50079; readonly isPolicy?: true }>
  /** Paths of Graph that need an authentication context by themselves. */
  readonly guarded: Map<string, string>
  /** Continuous access evaluation: of these people Graph takes no token from before then. */
  readonly evaluated: Map<string, number>
  /** What authentication contexts a person can satisfy; all when absent. */
  satisfiable?: ReadonlySet<string>
  /** Makes Graph busy. */
  throttled: boolean
  now: () => number
  readonly key: SigningKey
  readonly consumerKey: SigningKey
  /** What signs ID tokens; `key` unless a test says otherwise. */
  signer: SigningKey
  /** Changes the claims of ID tokens. */
  idToken: (claims: Record<string, unknown>) => Record<string, unknown>
  readonly codes: Map<string, { readonly asked: URLSearchParams; readonly grant: Grant }>
  readonly refreshTokens: Map<string, Grant>
  readonly access: Map<string, Access>
  readonly assertions: Set<string>
  readonly seen: Seen[]
  at(path: string): readonly Seen[]
  close(): Promise<void>
}

export type Respond = (entra: Entra, seen: Seen, response: ServerResponse) => void | Promise<void>

export function seconds({ now }: Pick<Entra, 'now'>): number {
  return Math.floor(now() / 1000)
}

export function json(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store, no-cache', ...headers }).end(JSON.stringify(body))
}

/** An error as the token endpoint writes it. */
export class Failure extends Error {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  constructor(error: string, code: number, text: string, more: Readonly<Record<string, unknown>> = {}, status = 400) {
    super(`AADSTS${code}: ${text}`)
    this.status = status
    this.body = {
      error,
      error_description: `AADSTS${code}: ${text} Trace ID: ${randomUUID()} Correlation ID: ${randomUUID()} Timestamp: 2026-11-25 12:00:00Z`,
      error_codes: [code],
      timestamp: '2026-11-25 12:00:00Z',
      trace_id: randomUUID(),
      correlation_id: randomUUID(),
      error_uri: `https://login.microsoftonline.com/error?code=${code}`,
      ...more,
    }
  }
}

/** Another one for each app. */
export function pairwise(clientId: string, oid: string): string {
  return createHash('sha256').update(`${clientId} ${oid}`).digest('base64url')
}

export function jwt(claims: Readonly<Record<string, unknown>>, { key, kid }: SigningKey, header: Readonly<Record<string, unknown>> = {}): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ typ: 'JWT', alg: 'RS256', kid, ...header }).sign(key)
}

export function person(oid: string, upn: string, more: Partial<Person> = {}): Person {
  return { oid, upn, name: upn.split('@')[0] ?? upn, groups: [], roles: [], assigned: true, enabled: true, ...more }
}

/** What `claims` asks of access tokens and of ID tokens. */
export function wanted(given: string | null): { readonly contexts: readonly string[]; readonly notBefore: number; readonly capable: boolean } {
  const asked = given === null ? {} : (JSON.parse(given) as Record<string, Record<string, { value?: string; values?: string[] } | null> | undefined>)
  const contexts = [asked['access_token']?.['acrs'], asked['access_token']?.['capolids'], asked['id_token']?.['acrs']].flatMap((claim) => [claim?.value ?? [], claim?.values ?? []].flat())
  const capable = [asked['access_token']?.['xms_cc']].flatMap((claim) => claim?.values ?? []).some((value) => value.toLowerCase() === 'cp1')
  return { contexts, notBefore: Number(asked['access_token']?.['nbf']?.value ?? 0), capable }
}
