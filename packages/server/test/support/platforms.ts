// Platforms that sign a JWT for each workload, with the claims and addresses that they have in the field: GitHub Actions,
// Kubernetes with projected service account tokens, and a SPIFFE trust domain with its bundle.
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, type JWK, type JWTPayload } from 'jose'

export interface Platform {
  readonly issuer: string
  /** Addresses that were asked for, in order. */
  readonly asked: string[]
  /** While it is true nothing is answered. */
  down: boolean
  /** Signs what a test says, over what the platform would say. */
  sign(claims: JWTPayload, header?: Readonly<Record<string, unknown>>): Promise<string>
  /** Signs with another key from now on. @param publish whether the new key is published */
  rotate(publish?: boolean): Promise<void>
  close(): Promise<void>
}

/** Claims over the usual ones; `undefined` leaves one out. */
type More = Readonly<Record<string, unknown>>

interface Key {
  readonly kid: string
  readonly jwk: JWK
  readonly sign: (claims: JWTPayload, header: Readonly<Record<string, unknown>>) => Promise<string>
}

async function makeKey(kid: string, alg: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg)
  return { kid, jwk: { ...(await exportJWK(publicKey)), kid, alg }, sign: (claims, header) => new SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey) }
}

type Pages = (path: string, request: IncomingMessage, keys: readonly Key[]) => unknown

interface Shape {
  readonly alg: string
  readonly header: Readonly<Record<string, unknown>>
  readonly pages: (platform: Platform) => Pages
  readonly issuer?: string
}

const seconds = (): number => Math.floor(Date.now() / 1000)

async function platform({ alg, header, pages, issuer }: Shape): Promise<Platform> {
  let count = 1
  let current = await makeKey('key-1', alg)
  const published: Key[] = [current]
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const own: Platform = {
    issuer: issuer ?? `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    down: false,
    sign: (claims, more = {}) => current.sign(claims, { ...header, ...more }),
    async rotate(publish = true) {
      count += 1
      current = await makeKey(`key-${count}`, alg)
      if (publish) published.push(current)
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const answer = pages(own)
  server.on('request', (request, response) => {
    const path = request.url ?? '/'
    own.asked.push(path)
    void (async () => {
      const body = own.down ? undefined : await answer(path, request, published)
      response.writeHead(own.down ? 503 : body === undefined ? 404 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(body ?? {}))
    })()
  })
  return Object.assign(own, { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}

export interface GitHub extends Platform {
  /** What a job asks at `ACTIONS_ID_TOKEN_REQUEST_URL`, as the toolkit's `getIDToken` does. */
  readonly requestUrl: string
  readonly requestToken: string
  /** The claims of a job on a branch of a repository. */
  job(repository: string, more?: More): JWTPayload
}

/** Runs jobs of `acme/app` on `main`, unless a test says otherwise. */
export async function gitHubActions(): Promise<GitHub> {
  const requestToken = randomUUID()
  const made = await platform({
    alg: 'RS256',
    header: { typ: 'JWT' },
    pages: (own) => async (path, request, keys) => {
      const { pathname, searchParams } = new URL(path, own.issuer)
      if (pathname === '/.well-known/openid-configuration') {
        return { issuer: own.issuer, jwks_uri: `${own.issuer}/.well-known/jwks`, subject_types_supported: ['public', 'pairwise'], response_types_supported: ['id_token'], claims_supported: ['sub', 'aud', 'exp', 'iat', 'iss', 'jti', 'nbf', 'ref', 'repository', 'repository_id', 'environment', 'job_workflow_ref'], id_token_signing_alg_values_supported: ['RS256'], scopes_supported: ['openid'] }
      }
      if (pathname === '/.well-known/jwks') return { keys: keys.map(({ jwk }) => ({ ...jwk, use: 'sig' })) }
      if (pathname !== '/idtoken' || request.headers.authorization !== `Bearer ${requestToken}`) return undefined
      return { count: 1, value: await own.sign(jobClaims(own.issuer, 'acme/app', { aud: searchParams.get('audience') ?? 'https://github.com/acme' })) }
    },
  })
  return Object.assign(made, { requestToken, requestUrl: `${made.issuer}/idtoken?api-version=2.0`, job: (repository: string, more?: More) => jobClaims(made.issuer, repository, more) })
}

function jobClaims(issuer: string, repository: string, more: More = {}): JWTPayload {
  const now = seconds()
  const [owner = ''] = repository.split('/')
  return {
    jti: randomUUID(),
    sub: `repo:${repository}:ref:refs/heads/main`,
    aud: `https://github.com/${owner}`,
    ref: 'refs/heads/main',
    sha: 'f0'.repeat(20),
    repository,
    repository_owner: owner,
    repository_owner_id: '1234',
    repository_id: '74',
    run_id: '9001',
    run_attempt: '1',
    actor: 'alice',
    workflow: 'deploy',
    event_name: 'push',
    ref_type: 'branch',
    job_workflow_ref: `${repository}/.github/workflows/deploy.yml@refs/heads/main`,
    iss: issuer,
    nbf: now - 300,
    iat: now,
    exp: now + 300,
    ...more,
  }
}

export interface Kubernetes extends Platform {
  /** What stands in the claims of a pod's token. */
  pod(namespace: string, account: string, audience: string | readonly string[], more?: More): JWTPayload
  /** Where its keys are. */
  readonly jwksUri: string
}

/** An API server's service account issuer. */
export async function kubernetes(): Promise<Kubernetes> {
  const made = await platform({
    alg: 'RS256',
    header: {},
    pages: (own) => (path, _request, keys) => {
      if (path === '/.well-known/openid-configuration') return { issuer: own.issuer, jwks_uri: `${own.issuer}/openid/v1/jwks`, response_types_supported: ['id_token'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'] }
      return path === '/openid/v1/jwks' ? { keys: keys.map(({ jwk }) => ({ ...jwk, use: 'sig' })) } : undefined
    },
  })
  return Object.assign(made, { jwksUri: `${made.issuer}/openid/v1/jwks`, pod: (namespace: string, account: string, audience: string | readonly string[], more: More = {}) => podClaims(made.issuer, { namespace, account, audience, more }) })
}

function podClaims(issuer: string, { namespace, account, audience, more }: { readonly namespace: string; readonly account: string; readonly audience: string | readonly string[]; readonly more: More }): JWTPayload {
  const now = seconds()
  return {
    aud: typeof audience === 'string' ? [audience] : [...audience],
    exp: now + 3607,
    iat: now,
    iss: issuer,
    'kubernetes.io': { namespace, node: { name: 'node-1', uid: randomUUID() }, pod: { name: `${account}-0`, uid: randomUUID() }, serviceaccount: { name: account, uid: 'sa-uid-1' } },
    nbf: now,
    sub: `system:serviceaccount:${namespace}:${account}`,
    ...more,
  }
}

export interface Spiffe extends Platform {
  readonly bundle: string
  svid(path: string, audience: string | readonly string[], more?: More): JWTPayload
}

/** A trust domain: its bundle has the keys of X.509-SVIDs beside those of JWT-SVIDs. */
export async function spiffe(trustDomain: string): Promise<Spiffe> {
  const x509 = await makeKey('x509', 'ES256')
  const made = await platform({
    alg: 'ES256',
    header: { typ: 'JWT' },
    issuer: `spiffe://${trustDomain}`,
    pages: () => (path, _request, keys) => {
      if (path !== '/bundle') return undefined
      const strip = ({ alg: _alg, ...jwk }: JWK): JWK => jwk
      return { spiffe_sequence: 1, spiffe_refresh_hint: 300, keys: [{ ...strip(x509.jwk), use: 'x509-svid', x5c: ['MIIB'] }, ...keys.map(({ jwk }) => ({ ...strip(jwk), use: 'jwt-svid' }))] }
    },
  })
  const { address } = made as unknown as { readonly address: string }
  return Object.assign(made, {
    bundle: `${address}/bundle`,
    svid: (path: string, audience: string | readonly string[], more: More = {}) => ({ sub: `spiffe://${trustDomain}${path}`, aud: typeof audience === 'string' ? [audience] : [...audience], iat: seconds(), exp: seconds() + 300, ...more }),
  })
}
