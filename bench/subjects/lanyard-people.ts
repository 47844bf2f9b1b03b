// What the load holds in its hands before it starts: tokens that came of real sign-ins, and codes of real grants.
import { createHash, randomBytes } from 'node:crypto'
import { browser, type Browser } from '../../packages/server/test/support/browser.ts'
import { canonicalResource } from '../../packages/server/src/oauth/resource.ts'
import { matchRedirectUri } from '../../packages/server/src/oauth/redirect-uri.ts'
import { hash, newId, newSecret } from '../../packages/server/src/oauth/secret.ts'
import { auditLog } from '../../packages/server/src/store/audit-log.ts'
import { authorizeStore } from '../../packages/server/src/store/authorize.ts'
import { recordChange } from '../../packages/server/src/store/changes.ts'
import { openDatabase } from '../../packages/server/src/store/open.ts'
import type { Secret } from '../load/job.ts'
import type { Lanyard } from './lanyard.ts'

const REDIRECT_URI = 'http://127.0.0.1:53682/callback'
const SCOPE = ['mcp.read', 'mcp.write']

export interface Person {
  readonly account: string
  readonly userId: string
  readonly clientId: string
  readonly accessToken: string
  readonly refreshToken: string
  readonly browser: Browser
}

/** Registers an application, signs a person in with it, connects their account at the upstream, and approves. */
export async function signIn({ issuer, resource }: Pick<Lanyard, 'issuer' | 'resource'>, account: string): Promise<Person> {
  const own = browser({ stop: (url) => url.startsWith(REDIRECT_URI) })
  const metadata = { client_name: 'Benchmark', redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: 'none', application_type: 'native', grant_types: ['authorization_code', 'refresh_token'] }
  const registered = await answerOf(await fetch(`${issuer}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(metadata) }))
  const clientId = String(registered['client_id'])
  const { verifier, challenge } = proofKey()
  const parameters = { response_type: 'code', client_id: clientId, redirect_uri: REDIRECT_URI, code_challenge: challenge, code_challenge_method: 'S256', resource, scope: SCOPE.join(' '), state: 'state' }
  const page = await own.approve(`${issuer}/authorize?${new URLSearchParams(parameters).toString()}`, { person: account })
  const code = new URL(page.url).searchParams.get('code')
  if (code === null) throw new Error(`the browser ended at ${page.url} (${page.status}): ${page.text.slice(0, 500)}`)
  const form = { grant_type: 'authorization_code', code, code_verifier: verifier, client_id: clientId, redirect_uri: REDIRECT_URI }
  const tokens = await answerOf(await fetch(`${issuer}/token`, { method: 'POST', body: new URLSearchParams(form) }))
  const accessToken = String(tokens['access_token'])
  const { sub } = JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString()) as { readonly sub: string }
  return { account, userId: sub, clientId, accessToken, refreshToken: String(tokens['refresh_token']), browser: own }
}

async function answerOf(response: Response): Promise<Readonly<Record<string, unknown>>> {
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.url} ${response.status}: ${text.slice(0, 300)}`)
  return JSON.parse(text) as Readonly<Record<string, unknown>>
}

function proofKey(): { readonly verifier: string; readonly challenge: string } {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}

/** As many people as wanted who signed in like this one, each with a token of their own: copies of the rows of one, as nobody signs in so often. */
export async function crowd(lanyard: Lanyard, like: Person, count: number): Promise<readonly string[]> {
  const tokens: string[] = []
  for (let index = 0; index < count; index += 1) {
    const [code] = await mintCodes(lanyard, { ...like, userId: await copyPerson(lanyard, like.userId, index) }, 1)
    const form = { grant_type: 'authorization_code', code: code?.value ?? '', code_verifier: code?.verifier ?? '', client_id: like.clientId, redirect_uri: REDIRECT_URI }
    const answer = await answerOf(await fetch(`${lanyard.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) }))
    tokens.push(String(answer['access_token']))
  }
  return tokens
}

async function copyPerson({ store }: Lanyard, userId: string, index: number): Promise<string> {
  const db = openDatabase(store)
  const copy = async (table: 'users' | 'sessions', where: string, own: Readonly<Record<string, string>>): Promise<void> => {
    const [row] = await db.query<Record<string, string | number | null>>(`SELECT * FROM ${table} WHERE ${where} = $1`, [userId])
    const entries = Object.entries({ ...row, ...own })
    await db.query(`INSERT INTO ${table} (${entries.map(([name]) => name).join(', ')}) VALUES (${entries.map((_, at) => `$${at + 1}`).join(', ')})`, entries.map(([, value]) => value))
  }
  const id = newId('usr')
  await copy('users', 'id', { id, subject: `${index}-${id}` })
  await copy('sessions', 'user_id', { id: newId('ses'), hash: hash(id), user_id: id })
  await db.close()
  return id
}

/**
 * Puts grants and their codes into the store with the authorization endpoint's own verbs: to go through its pages a
 * thousand times would take longer than what is measured.
 */
export async function mintCodes({ store, resource }: Lanyard, { userId, clientId }: Person, count: number): Promise<readonly Secret[]> {
  const db = openDatabase(store)
  const audit = auditLog(db, () => undefined)
  const codes = authorizeStore({ db, audit, changed: (tx, change) => recordChange(tx, change, () => undefined) })
  const [canonical, redirectUri] = [canonicalResource(resource), matchRedirectUri(REDIRECT_URI, [REDIRECT_URI])]
  if (canonical === undefined || redirectUri === undefined) throw new Error('no resource, or no redirect URI')
  const [session] = await db.query<{ id: string }>('SELECT id FROM sessions WHERE user_id = $1', [userId])
  if (session === undefined) throw new Error('nobody is signed in')
  const minted: Secret[] = []
  for (let index = 0; index < count; index += 1) {
    const { verifier, challenge } = proofKey()
    const [now, id, value] = [Date.now(), newId('req'), newSecret('lyd_ac')]
    const request = { clientId, redirectUri, codeChallenge: challenge, resource: canonical, scope: SCOPE, prompt: [] }
    await codes.addRequest({ id, flowHash: hash(id), request, progress: {}, reference: 'bench', createdAt: now, expiresAt: now + 600_000 }, 1)
    const authorization = { id: newId('grant'), userId, clientId, resource: canonical, scope: SCOPE, authTime: Math.floor(now / 1000) }
    await codes.grantAuthorization(id, session.id, { hash: hash(value), authorization, redirectUri, codeChallenge: challenge, expiresAt: Math.floor(now / 1000) + 600 }, now)
    minted.push({ value, verifier })
  }
  await db.close()
  return minted
}
