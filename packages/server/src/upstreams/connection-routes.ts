import { html } from 'hono/html'
import type { Recorder } from '../audit/event.ts'
import { checkCsrf, csrfToken } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { outside, page, plain } from '../http/page.ts'
import { Params } from '../http/params.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import { seeOther } from '../http/see-other.ts'
import { localPath } from '../identity/login.ts'
import type { Sessions, SignedIn, SignIn } from '../identity/sign-in.ts'
import type { User } from '../identity/user.ts'
import { SealError, type Sealer, type StateSealer } from '../keys/seal.ts'
import { hash } from '../oauth/secret.ts'
import type { Vault } from '../vault/credential.ts'
import type { AttemptRecord, ConnectionRecord, ConnectionStore, PendingRevocation } from './connection-store.ts'
import type { Connections, Unconnected } from './connections.ts'
import { ACCESS_DENIED, ConnectionRefused, UpstreamUnavailable, type ConnectionAttempt, type ConnectionStart, type Connector } from './connectors/connector.ts'
import type { Connectors } from './connectors/index.ts'
import { clientDocument, connectionRedirectUri } from './connectors/oauth/registration.ts'
import { pendingRevocation } from './revocation.ts'
import { tokenNotice } from './token-notice.ts'
import type { Upstream } from './upstream.ts'

const LINK_MS = 24 * 3600_000
const LINK_PURPOSE = 'connect link'
/** How long a page waits to hear what an upstream's provider is asked for. */
const ASKS_MS = 2000
/** A flow that goes on, with or without the account. */
const FLOW = /^\/authorize\/[\w-]+$/

export interface ConnectionDeps {
  readonly issuer: string
  readonly upstreams: readonly Upstream[]
  readonly connector: Connectors
  readonly store: ConnectionStore
  readonly vault: Vault
  readonly sealer: Sealer
  readonly state: StateSealer
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly audit: Recorder
  /** Whether any rule lets the user reach the upstream, from whatever application. */
  readonly mayConnect: (user: User, upstream: Upstream) => boolean
  /** Called when a credential waits to be revoked at its provider. */
  readonly revocationDue: () => void
  readonly now: () => number
}

/** Users' connections as the other rooms see them. */
export function connections(deps: ConnectionDeps): Connections {
  const active = async (userId: string): Promise<ReadonlySet<string>> =>
    new Set((await deps.store.list(userId)).filter((record) => record.state === 'active').map((record) => record.upstream))
  return {
    async missing(userId, upstreams) {
      const connectable = upstreams.filter((upstream) => deps.connector(upstream).connect !== undefined)
      if (connectable.length === 0) return []
      const connected = await active(userId)
      return connectable.filter((upstream) => !connected.has(upstream.id))
    },
    async asks(upstream) {
      const timeout = new Promise<undefined>((resolve) => {
        setTimeout(() => resolve(undefined), ASKS_MS).unref()
      })
      return Promise.race([deps.connector(upstream).asks?.(upstream).catch(() => undefined), timeout])
    },
    async list(userId) {
      const records = await deps.store.list(userId)
      return records.map(({ upstream: id, connectedAt, state }) => {
        const upstream = deps.upstreams.find((candidate) => candidate.id === id)
        const used = upstream !== undefined && deps.connector(upstream).connect !== undefined
        return { upstream: { id, name: upstream?.name ?? id }, connectedAt, state: used ? state : 'unused' }
      })
    },
    connectUrl(userId, upstream, lacking, back) {
      // RS-37: it names nobody readably and signs nobody in; it only tells whose account it is meant for.
      return `${deps.issuer}/connections/${upstream.id}?for=${encodeURIComponent(sealLink(deps, upstream, { userId, ...(lacking === undefined ? {} : { lacking }), ...(back === undefined ? {} : { back }) }))}`
    },
    connectLink: (userId, upstream, reference) => sealLink(deps, upstream, { userId, reference }),
  }
}

/** Whose account is to be connected, with which scopes, and in the course of what. */
interface Link {
  readonly userId?: string
  readonly lacking?: readonly string[]
  readonly reference?: string
  /** An application's own address, registered for it. */
  readonly back?: string
}

function sealLink({ state, now }: Pick<ConnectionDeps, 'state' | 'now'>, upstream: Upstream, link: Link): string {
  return state.seal(LINK_PURPOSE, [upstream.id], link, now() + LINK_MS)
}

export function connectionRoutes(deps: ConnectionDeps): readonly Route[] {
  const route = (method: Route['method'], path: string, access: Route['access'], respond: Route['respond']): Route => ({ method, path, access, errors: 'page', respond })
  return [
    route('GET', '/connections/:upstream', 'session', (request, context) => connectPage(deps, request, context)),
    route('POST', '/connections/:upstream', 'session', (request, context) => connect(deps, request, context)),
    route('GET', '/connections/:upstream/back', 'session', (request, context) => back(deps, request, context)),
    route('GET', '/connections/:upstream/callback', 'session', (request, context) => callback(deps, request, context)),
    route('POST', '/connections/:upstream/disconnect', 'session', (request, context) => disconnect(deps, request, context)),
    route('GET', '/connections/:upstream/client.json', 'public', (_request, context) =>
      Response.json(clientDocument(deps.issuer, asClient(deps, context)), { headers: { 'cache-control': 'public, max-age=3600' } }),
    ),
  ]
}

async function connectPage(deps: ConnectionDeps, request: Request, context: RequestContext): Promise<Response> {
  const { upstream } = connectable(deps, context)
  const url = new URL(request.url)
  const link = Params.from(url.searchParams).get('for')
  const signedIn = await deps.sessions.current(request)
  if (signedIn === undefined) {
    const here = localPath(`${url.pathname}${url.search}`)
    return deps.signIn.start(request, { returnTo: here, startAgainAt: here, reference: context.reference })
  }
  const { lacking = [], back: application } = link === undefined ? {} : await openLink(deps, link, upstream, signedIn, context)
  requireAllowed(deps, signedIn, upstream)
  const name = plain(upstream.name, 60)
  return page({
    title: `Connect ${name}`,
    formTargets: outside(deps.issuer),
    body: html`<h1>Connect your ${name} account</h1>
      <p>A tool that you use needs an account of your own at ${name}. You sign in there; ${tokenNotice(upstream)}.</p>
      <dl class="facts">
        <dt>Service</dt>
        <dd>${name} <span class="muted">(${new URL(upstream.url).host})</span></dd>
        <dt>Connected for</dt>
        <dd>${plain(signedIn.user.name ?? signedIn.user.email ?? signedIn.user.subject, 80)}</dd>
        ${lacking.length === 0 ? '' : html`<dt>Permissions that it asks for</dt><dd>${plain(lacking.join(' '), 1000)}</dd>`}
      </dl>
      <form method="post" action="/connections/${upstream.id}">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, `connect:${upstream.id}`)}">
        <input type="hidden" name="continue" value="/connections/${upstream.id}${application === undefined ? '' : `/back?for=${link ?? ''}`}">
        ${link === undefined ? '' : html`<input type="hidden" name="for" value="${link}">`}
        <div class="actions"><button class="button-primary">Connect</button><a class="button-quiet" href="/">Not now</a></div>
      </form>`,
  })
}

/** RS-36: whoever opens the link must be the person whose application asked. @returns what the link asks for */
async function openLink(deps: ConnectionDeps, link: string, upstream: Upstream, signedIn: SignedIn, context: RequestContext): Promise<Link> {
  const opened = deps.state.open(LINK_PURPOSE, [upstream.id], link, deps.now()) as Link | undefined
  if (opened === undefined) throw new PageError(400, 'This link has expired', 'Call the tool again in your application; it brings a new link.')
  if (opened.userId === signedIn.user.id) return opened
  await deps.audit.record({ action: 'connection.failed', outcome: 'failure', subject: signedIn.user.id, upstream: upstream.id, reference: context.reference, address: context.address, reason: 'the link is for another person' })
  throw new PageError(403, 'This link is for somebody else', 'It was made for another person than the one who is signed in here. Never open such links for others; if it is yours, sign out and sign in as yourself.')
}

/** The way back to the application that asked, once its person has connected the account. */
async function back(deps: ConnectionDeps, request: Request, context: RequestContext): Promise<Response> {
  const { upstream } = connectable(deps, context)
  const link = Params.from(new URL(request.url).searchParams).get('for')
  const signedIn = await deps.sessions.current(request)
  const opened = signedIn === undefined || link === undefined ? undefined : await openLink(deps, link, upstream, signedIn, context)
  return seeOther(opened?.back ?? `/connections/${upstream.id}`)
}

async function connect(deps: ConnectionDeps, request: Request, context: RequestContext): Promise<Response> {
  const { upstream, connector } = connectable(deps, context)
  const { signedIn, params } = await postedForm(deps, request, `connect:${upstream.id}`)
  requireAllowed(deps, signedIn, upstream)
  const link = params.get('for')
  const { lacking = [], reference = context.reference } = link === undefined ? {} : await openLink(deps, link, upstream, signedIn, context)
  const start = { userId: signedIn.user.id, upstream, sessionId: signedIn.session.id, returnTo: localPath(params.get('continue')), reference, address: context.address, lacking }
  return seeOther(await connector.connect(start).then((url) => url.href, (error: unknown) => failed(deps, error, start)))
}

async function callback(deps: ConnectionDeps, request: Request, context: RequestContext): Promise<Response> {
  const { upstream, connector } = connectable(deps, context)
  const url = new URL(request.url)
  const state = Params.from(url.searchParams).get('state')
  const attempt = state === undefined ? undefined : await deps.store.takeAttempt(hash(state), deps.now())
  if (state === undefined || attempt === undefined) throw new PageError(400, 'This connection was finished before, or took too long', 'Start again from your application or from your own page.')
  const signedIn = await deps.sessions.current(request)
  // One session from start to finish, one user, one upstream: an attempt that somebody else started, or that was meant
  // for another upstream's callback, ends here and its code goes nowhere.
  const same = signedIn !== undefined && signedIn.session.id === attempt.sessionId && signedIn.user.id === attempt.userId && attempt.upstream === upstream.id
  if (!same) {
    await deps.audit.record({ action: 'connection.failed', outcome: 'failure', subject: attempt.userId, upstream: upstream.id, reference: attempt.reference, address: context.address, reason: 'finished in another session, or at another upstream' })
    throw new PageError(403, 'This connection was started elsewhere', 'Start again from your application or from your own page, in this browser.')
  }
  requireAllowed(deps, signedIn, upstream)
  const secrets = deps.sealer.open(attempt.secrets, ['connection_attempts', attempt.stateHash, 'secrets'])
  // Only the query is taken from the request; the address it must have reached is our own.
  const answer = new URL(`${connectionRedirectUri(deps.issuer, upstream.id)}${url.search}`)
  const finishing = { userId: attempt.userId, upstream, state, secrets, reference: attempt.reference, address: context.address }
  const done = await connector.finish(answer, finishing).catch((error: unknown) => failed(deps, error, { ...finishing, returnTo: attempt.returnTo }))
  if (typeof done === 'string') return seeOther(done)
  if (done.length > 0) return notGivenPage(deps, signedIn, attempt, { upstream, missing: done })
  if (attempt.returnTo !== `/connections/${upstream.id}`) return seeOther(attempt.returnTo)
  return page({
    title: 'Connected',
    body: html`<h1>${plain(upstream.name, 60)} is connected</h1>
      <p>You can close this page and go on in your application.</p>
      <p class="muted">You can end it at any time on <a href="/">your own page</a>.</p>`,
  })
}

/** What a person left out on a page of the provider is their decision, or a box that they overlooked: it is shown, and can be asked for again. */
function notGivenPage(deps: ConnectionDeps, { secret }: SignedIn, { userId, reference, returnTo }: AttemptRecord, { upstream, missing }: { upstream: Upstream; missing: readonly string[] }): Promise<Response> {
  const name = plain(upstream.name, 60)
  const goesOn = returnTo === `/connections/${upstream.id}` ? '/' : returnTo
  return page({
    title: `${name} is connected in part`,
    formTargets: outside(deps.issuer),
    body: html`<h1>${name} is connected in part</h1>
      <p>You did not allow all that was asked for. Tools that need what is missing will not work; everything else does.</p>
      <dl class="facts"><dt>Not allowed</dt>${missing.map((scope) => html`<dd>${plain(scope, 200)}</dd>`)}</dl>
      <form method="post" action="/connections/${upstream.id}">
        <input type="hidden" name="csrf" value="${csrfToken(secret, `connect:${upstream.id}`)}">
        <input type="hidden" name="continue" value="${returnTo}">
        <input type="hidden" name="for" value="${sealLink(deps, upstream, { userId, lacking: missing, reference })}">
        <div class="actions"><button class="button-primary">Ask again</button><a class="button-quiet" href="${goesOn}">Go on without</a></div>
      </form>`,
  })
}

async function disconnect(deps: ConnectionDeps, request: Request, context: RequestContext): Promise<Response> {
  // Whatever became of the upstream in the configuration, a person can end what they connected.
  const upstream = context.params['upstream'] ?? ''
  const { signedIn, params } = await postedForm(deps, request, `disconnect:${upstream}`)
  const key = { userId: signedIn.user.id, upstream }
  const event = { action: 'connection.deleted', outcome: 'success', subject: key.userId, upstream: key.upstream, reference: context.reference, address: context.address } as const
  const done = await deps.store.disconnect(key, (record) => revocationOf(deps, record), deps.now(), event)
  if (done) deps.revocationDue()
  return seeOther(localPath(params.get('continue')))
}

/** The credential moves, sealed anew, from its connection to the queue of what must be revoked. */
function revocationOf({ vault, sealer }: ConnectionDeps, record: ConnectionRecord): PendingRevocation | undefined {
  try {
    return pendingRevocation(sealer, record, vault.open(record.userId, record.upstream, record.credential))
  } catch (error) {
    // What no key opens any more can be revoked by nobody: a person must still be able to end the connection.
    if (error instanceof SealError) return undefined
    throw error
  }
}

async function postedForm(deps: ConnectionDeps, request: Request, purpose: string): Promise<{ signedIn: SignedIn; params: Params }> {
  requireSameOrigin(request, deps.issuer)
  const params = await Params.fromForm(request)
  const signedIn = await deps.sessions.current(request)
  if (signedIn === undefined) throw new PageError(401, 'You are signed out', 'Sign in on your own page, then try again.')
  if (!checkCsrf(params.get('csrf'), signedIn.secret, purpose)) throw new PageError(403, 'This form is out of date', 'Go back, load the page again, and try from there.', { reason: 'csrf' })
  return { signedIn, params }
}

/** The upstreams at which Lanyard is a client of its own: with accounts of people, or by the word of who signed them in. */
function asClient(deps: ConnectionDeps, context: RequestContext): Upstream {
  const upstream = deps.upstreams.find(({ id, connector }) => id === context.params['upstream'] && connector.type === 'id-jag')
  return upstream ?? connectable(deps, context).upstream
}

function connectable(deps: ConnectionDeps, context: RequestContext): { upstream: Upstream; connector: Required<Connector> } {
  const upstream = deps.upstreams.find((candidate) => candidate.id === context.params['upstream'])
  const connector = upstream === undefined ? undefined : deps.connector(upstream)
  if (upstream === undefined || connector?.connect === undefined || connector.finish === undefined) {
    throw new PageError(404, 'There is nothing to connect here', 'Check the address, or go back to your application.')
  }
  return { upstream, connector: connector as Required<Connector> }
}

function requireAllowed(deps: ConnectionDeps, { user }: SignedIn, upstream: Upstream): void {
  if (!deps.mayConnect(user, upstream)) throw new PageError(403, 'You may not use this', 'No rule of your administrator lets you use this service. Ask them if that is a mistake.')
}

type Failing = Pick<ConnectionAttempt, 'userId' | 'upstream' | 'reference' | 'address'> & Pick<ConnectionStart, 'returnTo'>

/** @returns where a flow goes on that can do without the account. @throws PageError where there is no such flow */
async function failed(deps: ConnectionDeps, error: unknown, { userId, upstream, reference, address, returnTo }: Failing): Promise<string> {
  if (!(error instanceof ConnectionRefused || error instanceof UpstreamUnavailable)) throw error
  const reason = error instanceof ConnectionRefused ? error.reason : error.message
  await deps.audit.record({ action: 'connection.failed', outcome: 'failure', subject: userId, upstream: upstream.id, reference, address, reason })
  const why = whyNot(error)
  if (FLOW.test(returnTo)) return `${returnTo}?${new URLSearchParams({ unconnected: upstream.id, why }).toString()}`
  const name = plain(upstream.name, 60)
  if (why === 'refused') throw new PageError(403, `${name} was not connected`, 'The service says that it was refused there. Start again whenever you like.', { cause: error, reason })
  if (why === 'unavailable') throw new PageError(503, `${name} does not answer`, 'Please try again in a minute.', { cause: error, reason })
  throw new PageError(502, `${name} could not be connected`, 'Try again. If it happens again, ask your administrator.', { cause: error, reason })
}

function whyNot(error: ConnectionRefused | UpstreamUnavailable): Unconnected {
  if (error instanceof UpstreamUnavailable) return 'unavailable'
  return error.reason === ACCESS_DENIED ? 'refused' : 'failed'
}
