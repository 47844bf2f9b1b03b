// Owns what Lanyard says and proves to Microsoft Entra ID's token endpoints: for sign-in, on behalf of people, for itself.
import { createHash, createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { SignJWT, type JWTPayload } from 'jose'
import * as z from 'zod'
import { OutboundError, type Outbound } from '../../http/outbound.ts'
import { newId } from '../../oauth/secret.ts'
import { LoginRefused, ProviderUnavailable } from '../providers/provider.ts'

/** How an app registration authenticates; each is an app's of its own. */
export type EntraCredential =
  | { readonly type: 'secret'; readonly secret: string }
  | { readonly type: 'certificate'; readonly certificate: string; readonly privateKey: string }
  /** An assertion that a key of this gateway signs, and that the app is configured to trust. */
  | { readonly type: 'federated'; readonly subject: string; readonly audience: string }

export interface EntraApp {
  readonly clientId: string
  readonly credential: EntraCredential
}

export interface EntraDeps {
  readonly outbound: Pick<Outbound, 'request'>
  /** This gateway, as a federated credential names it, and its key for this alone: Microsoft promises to verify RS256, and nothing else. */
  readonly federation?: { readonly issuer: string; readonly sign: (payload: JWTPayload, typ: string) => Promise<string> }
  readonly now: () => number
}

/** What a token endpoint answered. */
export interface EntraToken {
  readonly accessToken: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly refreshToken?: string
  readonly scope?: string
}

/** The token endpoint said no; `code` and the rest are its words, fit for the audit trail. */
export class EntraRefused extends Error {
  override readonly name = 'EntraRefused'
  readonly code: string
  /** AADSTS numbers: to be read by people, never branched on. */
  readonly numbers: readonly number[]
  /** What a sign-in must ask for, as JSON. */
  readonly claims: string | undefined
  /** Whether a sign-in of the person may change the answer. */
  readonly isInteractive: boolean
  /** Whether the app was not allowed to act for people there: nobody's sign-in changes that. */
  readonly lacksConsent: boolean
  constructor({ error, suberror, error_codes: numbers, claims }: z.output<typeof refusal>) {
    super('Entra ID refused the request')
    this.code = error
    this.numbers = numbers
    this.claims = claims
    this.lacksConsent = error === 'consent_required' || suberror === 'consent_required'
    this.isInteractive = !this.lacksConsent && (claims !== undefined || INTERACTIVE.has(error) || (error === 'invalid_grant' && suberror !== undefined && INTERACTIVE_SUBERRORS.has(suberror)))
  }

  get reason(): string {
    return `provider: ${this.code}${this.numbers.length === 0 ? '' : ` (AADSTS${this.numbers.join(', ')})`}`
  }
}

/** What of an answer is branched on: the numbers and texts are said to change. */
const INTERACTIVE: ReadonlySet<string> = new Set(['interaction_required', 'login_required'])
const INTERACTIVE_SUBERRORS: ReadonlySet<string> = new Set(['basic_action', 'additional_action', 'message_only', 'user_password_expired'])

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const ASSERTION_S = 600
const MAX_LIFETIME_S = 30 * 3600
/** What somebody demands is carried in addresses. */
const MAX_CLAIMS = 1500
const printable = z.string().regex(/^[\w.:/-]{1,60}$/)
const answer = z.object({ access_token: z.string().regex(/^[\x21-\x7e]+$/), expires_in: z.coerce.number().positive(), refresh_token: z.string().min(1).optional(), scope: z.string().optional() })
const refusal = z.object({
  error: printable.catch('an unknown code'),
  suberror: printable.optional().catch(undefined),
  error_codes: z.array(z.int().nonnegative()).max(8).catch([]),
  claims: z.string().refine(isClaims).optional().catch(undefined),
})

/** Asks a token endpoint as an app. */
export function entraClient({ clientId, credential }: EntraApp, deps: EntraDeps) {
  const authenticate = proofOf(credential)
  const parameters = async (tokenEndpoint: string): Promise<Readonly<Record<string, string>>> => ({ client_id: clientId, ...(await authenticate(clientId, tokenEndpoint, deps)) })
  return {
    /** What a request carries that proves the app (RFC 6749 §2.3.1, RFC 7523 §2.2). */
    parameters,
    /** @throws EntraRefused, ProviderUnavailable */
    async token(tokenEndpoint: string, form: Readonly<Record<string, string>>): Promise<EntraToken> {
      const body = new URLSearchParams({ ...form, ...(await parameters(tokenEndpoint)) }).toString()
      const { status, body: text } = await send(deps, tokenEndpoint, body)
      const json = jsonOf(text)
      if (status === 429 || status >= 500) throw new ProviderUnavailable(`Entra ID answers with an error: ${status}`)
      if (status !== 200) throw new EntraRefused(refusal.parse(json ?? {}))
      const { data } = answer.safeParse(json)
      if (data === undefined) throw new ProviderUnavailable('Entra ID answers with something that is no token')
      return {
        accessToken: data.access_token,
        expiresAt: deps.now() + Math.min(data.expires_in, MAX_LIFETIME_S) * 1000,
        ...(data.refresh_token === undefined ? {} : { refreshToken: data.refresh_token }),
        ...(data.scope === undefined ? {} : { scope: data.scope }),
      }
    },
  }
}

export type EntraClient = ReturnType<typeof entraClient>

async function send({ outbound }: EntraDeps, url: string, body: string): Promise<{ status: number; body: string }> {
  try {
    return await outbound.request(url, { method: 'POST', provenance: 'configured', headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }, body })
  } catch (error) {
    if (error instanceof OutboundError) throw new ProviderUnavailable(`Entra ID does not answer: ${error.reason}`, { cause: error })
    throw error
  }
}

type Proof = (clientId: string, tokenEndpoint: string, deps: EntraDeps) => Promise<Readonly<Record<string, string>>>

function proofOf(credential: EntraCredential): Proof {
  if (credential.type === 'secret') return () => Promise.resolve({ client_secret: credential.secret })
  if (credential.type === 'certificate') return byCertificate(credential)
  const { subject, audience } = credential
  return async (_clientId, _endpoint, { federation, now }) => {
    if (federation === undefined) throw new Error('there is no key that signs for this gateway')
    return assertion(await federation.sign({ iss: federation.issuer, sub: subject, aud: audience, ...freshness(now()) }, 'JWT'))
  }
}

/** PS256 and the SHA-256 thumbprint: the forms with SHA-1 are legacy. */
function byCertificate({ certificate, privateKey }: Extract<EntraCredential, { readonly type: 'certificate' }>): Proof {
  const thumbprint = thumbprintOf(certificate)
  const key: KeyObject = createPrivateKey(privateKey)
  return async (clientId, tokenEndpoint, { now }) => {
    const jwt = new SignJWT({ iss: clientId, sub: clientId, aud: tokenEndpoint, ...freshness(now()) }).setProtectedHeader({ alg: 'PS256', typ: 'JWT', 'x5t#S256': thumbprint })
    return assertion(await jwt.sign(key))
  }
}

/** RFC 7515 §4.1.8. */
export function thumbprintOf(certificate: string): string {
  return createHash('sha256').update(new X509Certificate(certificate).raw).digest('base64url')
}

function freshness(now: number): JWTPayload {
  const iat = Math.floor(now / 1000)
  return { jti: newId('jti'), iat, nbf: iat, exp: iat + ASSERTION_S }
}

function assertion(jwt: string): Readonly<Record<string, string>> {
  return { client_assertion_type: ASSERTION_TYPE, client_assertion: jwt }
}

/** Whether a text is a request for claims (OpenID Connect Core §5.5). */
export function isClaims(text: string): boolean {
  const value = text.length > MAX_CLAIMS ? undefined : jsonOf(text)
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every((member) => typeof member === 'object' && member !== null && !Array.isArray(member))
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A graph or token that cannot be had, as a sign-in says it. */
export function asLoginRefused(error: unknown): unknown {
  return error instanceof EntraRefused ? new LoginRefused(error.reason, error) : error
}
