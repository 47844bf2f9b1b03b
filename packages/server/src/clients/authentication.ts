import type { Recorder } from '../audit/event.ts'
import type { Outbound } from '../http/outbound.ts'
import { OAuthError } from '../oauth/error.ts'
import { equalHashes, hash } from '../oauth/secret.ts'
import { verifyClientAssertion, type AssertionDeps, type AssertionFailure } from './assertion.ts'
import type { Client, ClientAuthentication, ClientRequest, Clients } from './client.ts'
import { issuerKeys } from './issuer-keys.ts'
import type { ClientAuthMethod } from './metadata.ts'
import { remoteKeys } from './remote-keys.ts'
import { claimsToBe, SPIFFE, workloads, type VerifyWorkload, type WorkloadFailure } from './workload.ts'

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
/** draft-ietf-oauth-spiffe-client-auth: what a JWT-SVID is presented as. */
const SPIFFE_ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

/** Why a client was not authenticated: for the audit trail; the client learns only that it was not. */
type Reason = 'no client identifier' | 'several clients may be this workload' | 'two methods at once' | 'unknown client' | 'method not registered' | 'wrong secret' | 'malformed credentials' | `assertion: ${AssertionFailure}` | `workload: ${WorkloadFailure}`

export interface AuthenticationDeps extends Omit<AssertionDeps, 'keys'> {
  readonly outbound: Outbound
  readonly clients: Clients
  readonly audit: Recorder
}

/** Authenticates clients by `none`, `client_secret_basic`, `client_secret_post`, `private_key_jwt` or what their platform says. */
export function clientAuthentication(deps: AuthenticationDeps): ClientAuthentication {
  const keys = remoteKeys(deps.outbound, deps.now)
  const verifyWorkload = workloads(issuerKeys(deps.outbound, keys, deps.now), deps.now)
  return {
    async authenticate(request) {
      const credentials = readCredentials(request)
      const refuse = async (reason: Reason): Promise<never> => {
        await deps.audit.record({
          action: 'client.refused',
          outcome: 'failure',
          reason,
          ...(credentials.clientId === undefined ? {} : { clientId: credentials.clientId.slice(0, 512) }),
          ...(request.address === undefined ? {} : { address: request.address }),
          ...(request.reference === undefined ? {} : { reference: request.reference }),
          ...(reason.startsWith('workload: ') ? { detail: claimedWorkload(credentials.assertion ?? '') } : {}),
        })
        // RFC 6749 §2.3: "The client MUST NOT use more than one authentication method in each request."
        if (reason === 'two methods at once') throw new OAuthError('invalid_request', 'more than one way of client authentication was used', { reason })
        // RFC 7523 §3.1: where the assertion is the grant, it is the grant that is wrong.
        if (credentials.grant === true && reason.startsWith('workload: ')) throw new OAuthError('invalid_grant', 'the assertion is invalid, expired, or not for this client', { reason })
        throw new OAuthError('invalid_client', 'the client could not be authenticated', { reason, challenge: 'Basic' })
      }
      if (credentials.doubled) return refuse('two methods at once')
      if (credentials.malformed) return refuse('malformed credentials')
      const [workload, another] = claimants(deps.clients, credentials, request)
      if (another !== undefined) return refuse('several clients may be this workload')
      if (workload === undefined && credentials.clientId === undefined) return refuse('no client identifier')
      const client = workload ?? (await findClient(deps.clients, credentials.clientId ?? ''))
      if (client === undefined) return refuse('unknown client')
      if (client.workloadIdentities !== undefined) {
        const proven = await provenWorkload(verifyWorkload, client, credentials)
        return typeof proven === 'string' ? refuse(proven) : proven
      }
      if (!client.tokenEndpointAuthMethods.includes(credentials.method) || credentials.spiffe === true) return refuse('method not registered')
      if (credentials.method === 'private_key_jwt') {
        const failure = await verifyClientAssertion({ ...deps, keys }, client, credentials.assertion ?? '')
        return failure === undefined ? client : refuse(`assertion: ${failure}`)
      }
      if (credentials.method === 'none') return client
      return secretFits(client, credentials.secret ?? '') ? client : refuse('wrong secret')
    },
  }
}

/** RFC 7521 §4.2: a client need not be named; the official SDK names none with an assertion. What it claims is verified afterwards. */
function claimants({ workloads = [] }: Clients, { assertion }: Credentials, { params }: ClientRequest): readonly Client[] {
  if (assertion === undefined || params.get('client_id') !== undefined) return []
  return workloads.filter(({ workloadIdentities = [] }) => claimsToBe(workloadIdentities, assertion))
}

/**
 * RFC 7521 §4.2: `client_id` says which client, what its platform signed says that it is. As that is the assertion of the
 * grant too where the client asks for one with it (RFC 7523 §2.1), it need not be sent twice.
 */
async function provenWorkload(verify: VerifyWorkload, client: Client, { assertion, spiffe }: Credentials): Promise<Client | Reason> {
  // draft-ietf-oauth-spiffe-client-auth §3.1: what is presented as a JWT-SVID is one.
  const identities = (client.workloadIdentities ?? []).filter(({ issuer }) => spiffe !== true || issuer.startsWith(SPIFFE))
  if (assertion === undefined || identities.length === 0) return 'method not registered'
  const workload = await verify(identities, assertion)
  return typeof workload === 'string' ? `workload: ${workload}` : { ...client, workload }
}

async function findClient(clients: Clients, clientId: string): Promise<Client | undefined> {
  try {
    return await clients.find(clientId)
  } catch (error) {
    if (error instanceof OAuthError && error.code === 'invalid_client') return undefined
    throw error
  }
}

interface Credentials {
  readonly clientId: string | undefined
  readonly method: ClientAuthMethod
  readonly secret?: string
  readonly assertion?: string
  /** The assertion is a JWT-SVID: no client makes one itself. */
  readonly spiffe?: boolean
  /** The assertion is that of the grant. */
  readonly grant?: boolean
  readonly malformed: boolean
  readonly doubled?: boolean
}

/** RFC 6749 appendix A.1: printable ASCII. What is no identifier is not looked for, and not recorded. */
const CLIENT_ID = /^[\x20-\x7e]{1,2000}$/

function readCredentials(request: ClientRequest): Credentials {
  const credentials = presentedCredentials(request)
  return credentials.clientId === undefined || CLIENT_ID.test(credentials.clientId) ? credentials : { ...credentials, clientId: undefined, malformed: true }
}

function presentedCredentials({ authorization, params }: ClientRequest): Credentials {
  const [clientId, secret, assertion, type] = ['client_id', 'client_secret', 'client_assertion', 'client_assertion_type'].map((name) => params.get(name))
  const methods = [authorization, secret, assertion ?? type].filter((value) => value !== undefined)
  if (methods.length > 1) return { clientId, method: 'none', malformed: false, doubled: true }
  if (authorization !== undefined) return basicCredentials(authorization, clientId)
  if (assertion !== undefined || type !== undefined) {
    const subject = clientId ?? unverifiedSubject(assertion ?? '')
    const spiffe = type === SPIFFE_ASSERTION_TYPE
    return { clientId: subject, method: 'private_key_jwt', assertion: assertion ?? '', spiffe, malformed: (type !== ASSERTION_TYPE && !spiffe) || assertion === undefined }
  }
  if (secret !== undefined) return { clientId, method: 'client_secret_post', secret, malformed: false }
  const granted = params.get('grant_type') === JWT_BEARER ? params.get('assertion') : undefined
  return { clientId, method: 'none', malformed: false, ...(granted === undefined ? {} : { assertion: granted, grant: true }) }
}

/** RFC 6749 §2.3.1: identifier and secret are form-urlencoded before they are joined and base64-encoded. */
function basicCredentials(authorization: string, bodyClientId: string | undefined): Credentials {
  const broken: Credentials = { clientId: undefined, method: 'client_secret_basic', malformed: true }
  const encoded = /^Basic +([A-Za-z0-9+/=_-]+)$/i.exec(authorization)?.[1]
  const pair = encoded === undefined ? '' : Buffer.from(encoded, 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  if (colon < 1) return broken
  try {
    const clientId = formDecode(pair.slice(0, colon))
    // A body that names another client is an attempt to be two.
    const malformed = bodyClientId !== undefined && bodyClientId !== clientId
    return { clientId, method: 'client_secret_basic', secret: formDecode(pair.slice(colon + 1)), malformed }
  } catch {
    return broken
  }
}

function formDecode(value: string): string {
  return decodeURIComponent(value.replaceAll('+', ' '))
}

/** RFC 7523 §3: the subject of a client assertion is the client; who it is decides whose keys verify it. */
function unverifiedSubject(assertion: string): string | undefined {
  return unverifiedClaim(assertion, 'sub')
}

/** What was refused, in its own words: an administrator compares it with what they configured. */
function claimedWorkload(assertion: string): Readonly<Record<string, string>> {
  const [issuer, subject] = (['iss', 'sub'] as const).map((name) => unverifiedClaim(assertion, name)?.slice(0, 256))
  return { ...(issuer === undefined ? {} : { claimed_issuer: issuer }), ...(subject === undefined ? {} : { claimed_subject: subject }) }
}

function unverifiedClaim(assertion: string, name: 'iss' | 'sub'): string | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8'))
    const value = (claims as { readonly iss?: unknown; readonly sub?: unknown } | null)?.[name]
    return typeof value === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

function secretFits(client: Client, secret: string): boolean {
  const given = hash(secret)
  return client.secretHashes.some((expected) => equalHashes(given, expected))
}
