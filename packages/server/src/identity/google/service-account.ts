// Owns tokens of Google's service accounts: for themselves, and in the name of users whose domain delegated that to them.
// In whose name is decided by whoever asks here, and never by what a caller of the gateway says.
import { createPrivateKey } from 'node:crypto'
import { SignJWT, type JWTPayload } from 'jose'
import * as z from 'zod'
import type { Outbound, OutboundResponse } from '../../http/outbound.ts'
import { newId } from '../../oauth/secret.ts'
import { answered, GoogleRefused, GoogleUnavailable, type GoogleReason } from './errors.ts'

export interface ServiceAccountSettings {
  readonly email: string
  /** The key of its key file; where there is none, IAM signs. */
  readonly key?: { readonly id: string; readonly privateKey: string }
  readonly tokenUrl: string
  readonly iamUrl: string
  readonly metadataUrl: string
  readonly stsUrl: string
  /** Elsewhere than on Google Cloud: the pool's provider that trusts this gateway, and what it is called there. */
  readonly workloadIdentity?: { readonly provider: string; readonly subject: string }
}

export interface GoogleToken {
  readonly accessToken: string
  /** Milliseconds since the epoch, when it is to be renewed. */
  readonly renewAt: number
}

export interface ServiceAccount {
  /**
   * Served from memory; whoever asks for the same meanwhile waits for the same answer.
   * @param subject the user in whose name it acts; itself when absent
   * @param issued told once of each token that Google issued, before anybody has it
   * @throws GoogleRefused, GoogleUnavailable
   */
  token(scopes: readonly string[], subject?: string, issued?: () => Promise<void>): Promise<GoogleToken>
  /** Google's API refused this token: the next one is another. */
  refused(token: GoogleToken): void
}

export interface GoogleDeps {
  readonly outbound: Pick<Outbound, 'request'>
  /** This gateway, as a workload identity provider of Google's knows it, and its key. */
  readonly own?: { readonly issuer: string; readonly sign: (payload: JWTPayload, typ: string) => string }
  readonly now: () => number
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type'
const CLOUD_SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
const METADATA_PATH = '/computeMetadata/v1/instance/service-accounts/default/token'
/** Google takes at most an hour. */
const ASSERTION_S = 300
const EARLY_MS = 5 * 60_000
/** What Google refused is not asked for again at once: calls may be many. */
const REFUSAL_MS = 10_000
const MAX_KEPT = 50_000

const tokenAnswer = z.object({ access_token: z.string().regex(/^[\x21-\x7e]+$/), expires_in: z.number().positive() })
const tokenError = z.object({ error: z.string().catch(''), error_description: z.string().catch('') })
const signedAnswer = z.object({ signedJwt: z.string().min(1) })

export function serviceAccount(settings: ServiceAccountSettings, deps: GoogleDeps): ServiceAccount {
  const kept = new Map<string, GoogleToken>()
  const underWay = new Map<string, Promise<GoogleToken>>()
  const sign = signer(settings, deps)
  const refusals = new Map<string, { readonly error: GoogleRefused; readonly until: number }>()
  const fetchToken = async (name: string, scopes: readonly string[], subject: string | undefined, issued: (() => Promise<void>) | undefined): Promise<GoogleToken> => {
    const iat = Math.floor(deps.now() / 1000)
    const assertion = await sign({ iss: settings.email, scope: scopes.join(' '), aud: settings.tokenUrl, iat, exp: iat + ASSERTION_S, ...(subject === undefined ? {} : { sub: subject }) })
    const token = await exchange(settings, deps, assertion)
    await issued?.()
    remember(kept, name, token)
    return token
  }
  const refuse = (name: string, error: unknown): never => {
    if (error instanceof GoogleRefused) remember(refusals, name, { error, until: deps.now() + REFUSAL_MS })
    throw error
  }
  return {
    token(scopes, subject, issued) {
      const name = JSON.stringify([subject ?? null, ...scopes])
      const known = kept.get(name)
      if (known !== undefined && known.renewAt > deps.now()) return Promise.resolve(known)
      const refusal = refusals.get(name)
      if (refusal !== undefined && refusal.until > deps.now()) return Promise.reject(refusal.error)
      let work = underWay.get(name)
      if (work === undefined) {
        work = fetchToken(name, scopes, subject, issued)
          .catch((error: unknown) => refuse(name, error))
          .finally(() => underWay.delete(name))
        underWay.set(name, work)
      }
      return work
    },
    refused(token) {
      for (const [name, other] of kept) if (other.accessToken === token.accessToken) kept.delete(name)
    },
  }
}

/** The newest is at the end, and the oldest goes. */
function remember<Value>(map: Map<string, Value>, name: string, value: Value): void {
  map.delete(name)
  map.set(name, value)
  const [oldest] = map.keys()
  if (map.size > MAX_KEPT && oldest !== undefined) map.delete(oldest)
}

type Sign = (claims: Readonly<Record<string, string | number>>) => Promise<string>

function signer({ key, ...settings }: ServiceAccountSettings, deps: GoogleDeps): Sign {
  if (key === undefined) return iamSigner(settings, deps)
  const privateKey = createPrivateKey(key.privateKey)
  return (claims) => new SignJWT(claims).setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: key.id }).sign(privateKey)
}

/** Keyless: IAM signs for the service account, asked by the identity of the machine, or of this gateway. */
function iamSigner(settings: Omit<ServiceAccountSettings, 'key'>, deps: GoogleDeps): Sign {
  const { email, iamUrl } = settings
  const { outbound, now } = deps
  let own: GoogleToken | undefined
  const ownToken = async (): Promise<string> => {
    if (own !== undefined && own.renewAt > now()) return own.accessToken
    const answer = await answered(settings.workloadIdentity === undefined ? machineToken(settings, deps) : federatedToken(settings, settings.workloadIdentity, deps))
    const parsed = tokenAnswer.safeParse(jsonOf(answer.body)).data
    if (answer.status !== 200 || parsed === undefined) throw new GoogleRefused(settings.workloadIdentity === undefined ? 'no_machine_identity' : 'not_trusted')
    own = toToken(parsed, now())
    return own.accessToken
  }
  return async (claims) => {
    const headers = { authorization: `Bearer ${await ownToken()}`, 'content-type': 'application/json' }
    const answer = await answered(outbound.request(`${iamUrl}/v1/projects/-/serviceAccounts/${encodeURIComponent(email)}:signJwt`, { method: 'POST', provenance: 'configured', headers, body: JSON.stringify({ payload: JSON.stringify(claims) }) }))
    const signed = signedAnswer.safeParse(jsonOf(answer.body)).data
    if (answer.status === 401) own = undefined
    if (answer.status !== 200 || signed === undefined) throw new GoogleRefused('may_not_sign', String(answer.status))
    return signed.signedJwt
  }
}

function machineToken({ metadataUrl }: Pick<ServiceAccountSettings, 'metadataUrl'>, { outbound }: GoogleDeps): Promise<OutboundResponse> {
  return outbound.request(`${metadataUrl}${METADATA_PATH}`, { provenance: 'configured', headers: { 'metadata-flavor': 'Google' } })
}

/** Workload identity federation: this gateway says who it is, by the key that it signs its tokens with. */
function federatedToken({ stsUrl }: Pick<ServiceAccountSettings, 'stsUrl'>, { provider, subject }: NonNullable<ServiceAccountSettings['workloadIdentity']>, { outbound, own, now }: GoogleDeps): Promise<OutboundResponse> {
  if (own === undefined) throw new GoogleRefused('not_trusted')
  const iat = Math.floor(now() / 1000)
  const form = {
    grant_type: TOKEN_EXCHANGE,
    audience: `//iam.googleapis.com/${provider}`,
    scope: CLOUD_SCOPE,
    requested_token_type: `${TOKEN_TYPE}:access_token`,
    subject_token: own.sign({ iss: own.issuer, sub: subject, aud: `https://iam.googleapis.com/${provider}`, iat, exp: iat + ASSERTION_S, jti: newId('ast') }, 'JWT'),
    subject_token_type: `${TOKEN_TYPE}:jwt`,
  }
  return outbound.request(`${stsUrl}/v1/token`, { method: 'POST', provenance: 'configured', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams(form).toString() })
}

async function exchange({ tokenUrl }: ServiceAccountSettings, { outbound, now }: GoogleDeps, assertion: string): Promise<GoogleToken> {
  const body = new URLSearchParams({ grant_type: JWT_BEARER, assertion }).toString()
  const answer = await answered(outbound.request(tokenUrl, { method: 'POST', provenance: 'configured', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body }))
  const parsed = tokenAnswer.safeParse(jsonOf(answer.body)).data
  if (answer.status === 200 && parsed !== undefined) return toToken(parsed, now())
  const said = tokenError.safeParse(jsonOf(answer.body)).data ?? { error: '', error_description: '' }
  if (answer.status === 200) throw new GoogleUnavailable('Google answers with something else')
  throw new GoogleRefused(reasonOf(said), said.error)
}

/** Google tells by one code what has many reasons; the words may change, and then the code alone is told. */
function reasonOf({ error, error_description: words }: z.output<typeof tokenError>): GoogleReason {
  if (error === 'unauthorized_client' || error === 'access_denied' || error === 'invalid_scope') return 'not_delegated'
  if (error !== 'invalid_grant') return 'refused'
  if (/invalid email|user id|account (?:has been )?(?:disabled|deleted)/i.test(words)) return 'unknown_user'
  if (/signature|account not found/i.test(words)) return 'bad_key'
  return /short-lived|timeframe/i.test(words) ? 'bad_clock' : 'refused'
}

function toToken({ access_token: accessToken, expires_in: lifetime }: z.output<typeof tokenAnswer>, now: number): GoogleToken {
  const lifetimeMs = Math.min(lifetime, 3600) * 1000
  return { accessToken, renewAt: now + Math.max(lifetimeMs - EARLY_MS, lifetimeMs / 2) }
}

export function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
