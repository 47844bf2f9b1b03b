import type { Recorder } from '../audit/event.ts'
import type { Outbound } from '../http/outbound.ts'
import { OAuthError } from '../oauth/error.ts'
import { equalHashes, hash } from '../oauth/secret.ts'
import { verifyClientAssertion, type AssertionDeps, type AssertionFailure } from './assertion.ts'
import type { Client, ClientAuthentication, ClientRequest, Clients } from './client.ts'
import type { ClientAuthMethod } from './metadata.ts'
import { remoteKeys } from './remote-keys.ts'

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** Why a client was not authenticated: for the audit trail; the client learns only that it was not. */
type Reason = 'no client identifier' | 'two methods at once' | 'unknown client' | 'method not registered' | 'wrong secret' | 'malformed credentials' | `assertion: ${AssertionFailure}`

export interface AuthenticationDeps extends Omit<AssertionDeps, 'keys'> {
  readonly outbound: Outbound
  readonly clients: Clients
  readonly audit: Recorder
}

/** Authenticates clients by `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`. */
export function clientAuthentication(deps: AuthenticationDeps): ClientAuthentication {
  const keys = remoteKeys(deps.outbound, deps.now)
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
        })
        // RFC 6749 §2.3: "The client MUST NOT use more than one authentication method in each request."
        if (reason === 'two methods at once') throw new OAuthError('invalid_request', 'more than one way of client authentication was used', { reason })
        throw new OAuthError('invalid_client', 'the client could not be authenticated', { reason, challenge: 'Basic' })
      }
      if (credentials.doubled) return refuse('two methods at once')
      if (credentials.malformed) return refuse('malformed credentials')
      if (credentials.clientId === undefined) return refuse('no client identifier')
      const client = await findClient(deps.clients, credentials.clientId)
      if (client === undefined) return refuse('unknown client')
      if (!client.tokenEndpointAuthMethods.includes(credentials.method)) return refuse('method not registered')
      if (credentials.method === 'private_key_jwt') {
        const failure = await verifyClientAssertion({ ...deps, keys }, client, credentials.assertion ?? '')
        return failure === undefined ? client : refuse(`assertion: ${failure}`)
      }
      if (credentials.method === 'none') return client
      return secretFits(client, credentials.secret ?? '') ? client : refuse('wrong secret')
    },
  }
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
    return { clientId: subject, method: 'private_key_jwt', assertion: assertion ?? '', malformed: type !== ASSERTION_TYPE || assertion === undefined }
  }
  if (secret !== undefined) return { clientId, method: 'client_secret_post', secret, malformed: false }
  return { clientId, method: 'none', malformed: false }
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
  try {
    const claims: unknown = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8'))
    const subject = (claims as { readonly sub?: unknown } | null)?.sub
    return typeof subject === 'string' ? subject : undefined
  } catch {
    return undefined
  }
}

function secretFits(client: Client, secret: string): boolean {
  const given = hash(secret)
  return client.secretHashes.some((expected) => equalHashes(given, expected))
}
