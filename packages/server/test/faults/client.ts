// An MCP client that may ask any node, and writes down what it asked and what came of it.
import { createHash, randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { hash } from '../../src/oauth/secret.ts'
import { browser, type Browser } from '../support/browser.ts'
import { call as toolCall } from '../support/mcp-nodes.ts'
import type { Secrets } from '../support/secrets.ts'
import type { Entry, Outcome } from './history.ts'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

export interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal?: AbortSignal
}

const ANSWER_MS = 40_000

/** Asks one node under the gateway's public name. @throws when the connection breaks before the answer is whole */
export function ask(node: string, url: string, asked: Asked = {}): Promise<Answer> {
  const { host, pathname, search } = new URL(url)
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.any([AbortSignal.timeout(ANSWER_MS), ...(asked.signal === undefined ? [] : [asked.signal])])
    const request = httpRequest(`${node}${pathname}${search}`, { method: asked.method ?? 'GET', headers: { ...asked.headers, host }, agent: false, signal }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const headers = new Headers()
        for (const [name, value] of Object.entries(response.headers)) for (const item of [value ?? []].flat()) headers.append(name, item)
        resolve({ status: response.statusCode ?? 0, headers, text: Buffer.concat(chunks).toString('utf8') })
      })
    })
    request.on('error', reject)
    request.end(asked.body)
  })
}

/** What the client holds. */
export interface Tokens {
  readonly access: string
  readonly refresh: string
  readonly grant: string
  readonly jti: string
}

export interface Tried {
  readonly outcome: Outcome
  readonly status: number
  readonly text: string
  readonly ms: number
  readonly headers: Headers
}

export interface Client {
  readonly name: string
  readonly browser: Browser
  /** What it was given last. */
  tokens: Tokens | undefined
  /** Signs the person in, if need be, and approves. @returns the code */
  authorize(node: string): Promise<string>
  exchange(node: string, code: string): Promise<Tried>
  refresh(node: string, signal?: AbortSignal): Promise<Tried>
  call(node: string, tool?: string, signal?: AbortSignal): Promise<Tried>
  revoke(node: string): Promise<Tried>
  /** Repeats what `work` does on one node after the other until it is done or refused for good. */
  insist(nodes: readonly string[], work: (node: string) => Promise<Tried>): Promise<Tried>
  /** Authorizes and exchanges. */
  signIn(node: string): Promise<Tokens>
}

export interface ClientOptions {
  readonly issuer: string
  readonly name: string
  readonly person: string
  readonly profile: string
  readonly history: Entry[]
  readonly secrets: Secrets
}

const REDIRECT_URI = 'http://127.0.0.1:53683/callback'

export function client(options: ClientOptions): Client {
  const { issuer, name, history, secrets } = options
  const resource = `${issuer}/mcp/${options.profile}`
  let through = ''
  let clientId = ''
  let verifier = ''
  const own = browser({
    stop: (url) => url.startsWith(`${REDIRECT_URI}?`),
    fetch: secrets.watch(async (url, init) => (url.startsWith(`${issuer}/`) ? toResponse(await ask(through, url, asAsked(init))) : fetch(url, init))),
  })

  const attempt = async (entry: Pick<Entry, 'action' | 'node' | 'presented'> & { grant?: string }, work: () => Promise<Answer>): Promise<Tried> => {
    const startedAt = Date.now()
    const answer = await work().catch(() => undefined)
    const endedAt = Date.now()
    if (answer !== undefined && answer.status >= 400) secrets.page(answer.text)
    const outcome = outcomeOf(answer)
    const issued = outcome === 'done' && (entry.action === 'exchange' || entry.action === 'refresh') ? read(answer?.text ?? '') : undefined
    if (issued !== undefined) secrets.add('token', issued.access, issued.refresh)
    const hashes = issued === undefined ? {} : { grant: issued.grant, jti: issued.jti, access: hash(issued.access), refresh: hash(issued.refresh) }
    history.push({ client: name, startedAt, endedAt, outcome, ...entry, presented: hash(entry.presented), ...hashes })
    if (issued !== undefined) self.tokens = issued
    return { outcome, status: answer?.status ?? 0, text: answer?.text ?? '', ms: endedAt - startedAt, headers: answer?.headers ?? new Headers() }
  }
  const form = (node: string, path: string, fields: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Answer> =>
    ask(node, `${issuer}${path}`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams(fields).toString(), ...(signal && { signal }) })
  const held = (): Tokens => {
    if (self.tokens === undefined) throw new Error(`${name} holds no tokens`)
    return self.tokens
  }

  const self: Client = {
    name,
    browser: own,
    tokens: undefined,
    async authorize(node) {
      through = node
      if (clientId === '') clientId = await register(node, issuer)
      verifier = randomBytes(32).toString('base64url')
      secrets.add('verifier', verifier)
      const parameters = { response_type: 'code', client_id: clientId, redirect_uri: REDIRECT_URI, code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256', resource, scope: 'mcp.read mcp.write', state: name }
      const page = await own.approve(`${issuer}/authorize?${new URLSearchParams(parameters).toString()}`, { person: options.person })
      const code = page.url.startsWith(REDIRECT_URI) ? new URL(page.url).searchParams.get('code') : null
      if (code === null) throw new Error(`no code for ${name}: ${page.url} ${page.status} ${page.text.slice(0, 500)}`)
      secrets.add('code', code)
      return code
    },
    exchange: (node, code) =>
      attempt({ action: 'exchange', node, presented: code }, () => form(node, '/token', { grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI, client_id: clientId, code_verifier: verifier, resource })),
    refresh(node, signal) {
      const { refresh, grant } = held()
      return attempt({ action: 'refresh', node, presented: refresh, grant }, () => form(node, '/token', { grant_type: 'refresh_token', refresh_token: refresh, client_id: clientId, resource }, signal))
    },
    call(node, tool = 'read_note', signal) {
      const { access, grant } = held()
      const { headers, body } = toolCall(access, tool)
      return attempt({ action: 'call', node, presented: access, grant }, () =>
        ask(node, resource, { method: 'POST', headers: headers as Record<string, string>, body: String(body), ...(signal && { signal }) }),
      )
    },
    revoke(node) {
      const { refresh, grant } = held()
      return attempt({ action: 'revoke', node, presented: refresh, grant }, () => form(node, '/revoke', { token: refresh, client_id: clientId }))
    },
    async insist(nodes, work) {
      const deadline = Date.now() + 30_000
      for (let turn = 0; ; turn += 1) {
        const tried = await work(nodes[turn % nodes.length] ?? '')
        if (tried.outcome === 'done' || tried.outcome === 'refused' || Date.now() > deadline) return tried
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    },
    async signIn(node) {
      const tried = await self.exchange(node, await self.authorize(node))
      if (tried.outcome !== 'done') throw new Error(`${name} got no tokens: ${tried.status} ${tried.text}`)
      return held()
    },
  }
  return self
}

function outcomeOf(answer: Answer | undefined): Outcome {
  if (answer === undefined) return 'unanswered'
  // A JSON-RPC error comes with the status 200, too.
  if (answer.status === 200) return /^\s*\{.*"error":\{"code"/.test(answer.text) ? 'unavailable' : 'done'
  return answer.status === 401 || (answer.status === 400 && answer.text.includes('"invalid_grant"')) ? 'refused' : 'unavailable'
}

function read(text: string): Tokens {
  const { access_token: access, refresh_token: refresh } = JSON.parse(text) as { access_token: string; refresh_token: string }
  const claims = JSON.parse(Buffer.from(access.split('.')[1] ?? '', 'base64url').toString('utf8')) as { grant: string; jti: string }
  return { access, refresh, grant: claims.grant, jti: claims.jti }
}

async function register(node: string, issuer: string): Promise<string> {
  const metadata = { client_name: 'Fault test', redirect_uris: [REDIRECT_URI], grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'none', application_type: 'native' }
  const answer = await ask(node, `${issuer}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(metadata) })
  if (answer.status !== 201) throw new Error(`not registered: ${answer.status} ${answer.text}`)
  return (JSON.parse(answer.text) as { client_id: string }).client_id
}

function asAsked(init: RequestInit): Asked {
  const headers = Object.fromEntries(new Headers(init.headers))
  return { method: init.method ?? 'GET', headers, ...(typeof init.body === 'string' ? { body: init.body } : {}) }
}

function toResponse({ status, headers, text }: Answer): Response {
  return new Response(text === '' ? null : text, { status, headers })
}
