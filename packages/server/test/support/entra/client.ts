// How apps prove themselves at the token endpoint: by a secret, a certificate, or an assertion of an issuer that the app
// trusts, whose keys are found by its discovery document.
import { compactVerify, createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JSONWebKeySet, type JWTPayload } from 'jose'
import { Failure, seconds, type App, type Entra } from './state.ts'

export async function authenticated(entra: Entra, form: URLSearchParams, path: string): Promise<App> {
  const app = entra.apps.get(form.get('client_id') ?? '')
  if (app === undefined) throw new Failure('unauthorized_client', 700016, 'Application was not found in the directory.')
  const given = form.get('client_assertion')
  if (given !== null) await checkAssertion(entra, app, given, path)
  else if (!form.has('client_secret')) throw new Failure('invalid_client', 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.", {}, 401)
  else if (app.secret === undefined || form.get('client_secret') !== app.secret) throw new Failure('invalid_client', 7000215, 'Invalid client secret provided.', {}, 401)
  return app
}

async function checkAssertion(entra: Entra, app: App, given: string, path: string): Promise<void> {
  const claims = decodeJwt(given)
  if (claims.iss === app.clientId) await checkCertificate(app, given, claims, path)
  else await checkFederated(app, given, claims)
  const now = seconds(entra)
  if (typeof claims.exp !== 'number' || claims.exp < now || Number(claims.nbf) > now + 300 || claims.exp - Number(claims.nbf) > 86_400) throw new Failure('invalid_client', 700024, 'Client assertion is not within its valid time range.', {}, 401)
  entra.assertions.add(given)
}

async function checkCertificate(app: App, given: string, { aud, sub }: JWTPayload, path: string): Promise<void> {
  const header = decodeProtectedHeader(given)
  const key = app.certificates.get(String(header['x5t#S256']))
  const isSigned = key !== undefined && header.alg === 'PS256' && header.typ === 'JWT' && (await compactVerify(given, key, { algorithms: ['PS256'] }).then(() => true, () => false))
  if (!isSigned) throw new Failure('invalid_client', 700027, 'Client assertion failed signature validation.', {}, 401)
  if (sub !== app.clientId || typeof aud !== 'string' || new URL(aud).pathname !== path) throw new Failure('invalid_client', 700023, 'Client assertion audience claim does not match Realm issuer.', {}, 401)
}

async function checkFederated(app: App, given: string, { iss, sub, aud }: JWTPayload): Promise<void> {
  const byIssuer = app.federated.filter((credential) => credential.issuer === iss)
  if (byIssuer.length === 0) throw new Failure('invalid_client', 700211, 'No matching federated identity record found for presented assertion issuer.', {}, 401)
  const bySubject = byIssuer.filter((credential) => credential.subject === sub)
  if (bySubject.length === 0) throw new Failure('invalid_client', 700213, 'No matching federated identity record found for presented assertion subject.', {}, 401)
  if (!bySubject.some((credential) => credential.audience === aud)) throw new Failure('invalid_client', 700212, 'No matching federated identity record found for presented assertion audience.', {}, 401)
  const document = (await (await fetch(`${iss}/.well-known/openid-configuration`)).json()) as { issuer: string; jwks_uri: string }
  const keys = (await (await fetch(document.jwks_uri)).json()) as JSONWebKeySet
  // Microsoft promises to verify this one alone.
  const isSigned = document.issuer === iss && (await compactVerify(given, createLocalJWKSet(keys), { algorithms: ['RS256'] }).then(() => true, () => false))
  if (!isSigned) throw new Failure('invalid_client', 5000811, 'Unable to verify token signature. The signing key identifier does not match any valid registered keys.', {}, 401)
}
