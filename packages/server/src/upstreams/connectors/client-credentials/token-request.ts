import { createPrivateKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { importPKCS8 } from 'jose'
import * as oauth from 'oauth4webapi'
import { basicAuthorization } from '../../../oauth/basic.ts'
import type { OAuthCredential } from '../../../vault/credential.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused } from '../connector.ts'
import type { Discovered } from '../oauth/discovery.ts'
import type { Exchange } from '../oauth/exchange.ts'
import { JWT_BEARER, type ClientCredentialsSettings } from './settings.ts'

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const MAX_TOKEN_LENGTH = 16 * 1024

/** Asks for a token for the gateway itself. @throws UpstreamUnavailable, ConnectionRefused */
export type TokenRequest = (upstream: Upstream, discovered: Discovered) => Promise<OAuthCredential>

/** @throws Error for an upstream of another connector, which is a bug */
export function settingsOf({ id, connector }: Upstream): ClientCredentialsSettings {
  if (connector.type !== 'client-credentials') throw new Error(`upstream ${id} has another connector`)
  return connector
}

export function tokenRequests(server: Exchange): TokenRequest {
  return async (upstream, discovered) => {
    const settings = settingsOf(upstream)
    const { authentication, assertion } = await proofOf(settings)
    const parameters = { ...parametersOf(settings, discovered), ...(assertion === undefined ? {} : { assertion }) }
    const party = { upstream, discovered, client: { clientId: settings.clientId, method: 'none' } } as const
    // RFC 6749 §4.4.3: a refresh token is not to be given, and is not needed.
    const { refreshToken: _refreshToken, ...credential } = await server.grant(party, { type: settings.grantType, parameters, authentication })
    return credential
  }
}

/** C-7, C-16: the resource that was found, or that the operator names; the scopes likewise. */
function parametersOf(settings: ClientCredentialsSettings, { resource, scope }: Discovered): Record<string, string> {
  const wanted = settings.scopes ?? scope
  const target = settings.resource ?? resource
  return {
    ...(target === undefined ? {} : { resource: target }),
    ...(settings.audience === undefined ? {} : { audience: settings.audience }),
    ...(wanted.length === 0 ? {} : { scope: wanted.join(' ') }),
  }
}

interface Proof {
  readonly authentication: oauth.ClientAuth
  /** The authorization grant of a workload (RFC 7523 §2.1). */
  readonly assertion?: string
}

async function proofOf(settings: ClientCredentialsSettings): Promise<Proof> {
  const { clientId, clientSecret = '', tokenEndpointAuthMethod: method } = settings
  if (method === 'client_secret_basic') return { authentication: (_server, _client, _body, headers) => headers.set('authorization', basicAuthorization(clientId, clientSecret)) }
  if (method === 'client_secret_post') return { authentication: oauth.ClientSecretPost(clientSecret) }
  if (method === 'private_key_jwt') return { authentication: oauth.PrivateKeyJwt(await signingKey(settings)) }
  const token = await platformToken(settings.tokenFile ?? '')
  if (settings.grantType === JWT_BEARER) return { authentication: oauth.None(), assertion: token }
  return {
    authentication: (_server, _client, body) => {
      body.set('client_id', clientId)
      body.set('client_assertion_type', ASSERTION_TYPE)
      body.set('client_assertion', token)
    },
  }
}

/** The platform renews the file before its token ends: it is read each time. */
async function platformToken(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new ConnectionRefused('the file with the token of the platform cannot be read', error)
  })
  const token = text.trim()
  if (token.length > MAX_TOKEN_LENGTH || !/^[\w-]+(?:\.[\w-]+){2}$/.test(token)) throw new ConnectionRefused('the file of the platform holds no JWT')
  return token
}

async function signingKey({ privateKey = '', keyId, algorithm }: ClientCredentialsSettings): Promise<oauth.PrivateKey> {
  const key = createPrivateKey(privateKey)
  const pem = key.export({ format: 'pem', type: 'pkcs8' })
  return { key: await importPKCS8(pem, algorithm ?? algorithmOf(key) ?? ''), ...(keyId === undefined ? {} : { kid: keyId }) }
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }

/** What a key signs with, where nothing else is said; undefined for a key that signs no assertion. */
export function algorithmOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string | undefined {
  if (type === 'rsa') return 'RS256'
  if (type === 'ed25519') return 'Ed25519'
  return type === 'ec' ? CURVES[details?.namedCurve ?? ''] : undefined
}
