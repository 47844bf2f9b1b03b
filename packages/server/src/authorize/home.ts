import { html } from 'hono/html'
import { applicationOf } from '../clients/application.ts'
import type { Clients } from '../clients/client.ts'
import { checkCsrf, csrfToken } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { outside, page, plain, type Html } from '../http/page.ts'
import { Params } from '../http/params.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import { seeOther } from '../http/see-other.ts'
import type { SignedIn } from '../identity/sign-in.ts'
import type { Policy } from '../policy/policy.ts'
import type { Connections, ConnectionSummary } from '../upstreams/connections.ts'
import type { Profile, Profiles, Upstream } from '../upstreams/upstream.ts'
import { isFor } from '../upstreams/profile.ts'
import type { AuthorizeStore, GrantSummary } from './authorize-store.ts'
import { ownProfileRoutes, ownProfilesSection, type OwnProfilesDeps } from './own-profiles.ts'

export interface HomeDeps extends OwnProfilesDeps {
  readonly clients: Clients
  readonly profiles: Profiles
  readonly connections: Connections
  readonly policy: Pick<Policy, 'mayConnect'>
  readonly store: AuthorizeStore
  readonly now: () => number
}

/** A person's own page: what they may use, what they granted to which application, which accounts they connected, and the end of each. */
export function homeRoutes(deps: HomeDeps): readonly Route[] {
  return [
    { method: 'GET', path: '/', access: 'public', errors: 'page', respond: (request) => home(deps, request) },
    { method: 'POST', path: '/grants/:id/revoke', access: 'session', errors: 'page', respond: (request, context) => revoke(deps, request, context) },
    ...ownProfileRoutes(deps),
  ]
}

async function home(deps: HomeDeps, request: Request): Promise<Response> {
  const signedIn = await deps.sessions.current(request)
  if (signedIn === undefined) {
    return page({
      title: 'Your access',
      body: html`<h1>Your access</h1>
        <p>See what you may use, which applications use it as you, and end what you no longer need.</p>
        <div class="actions"><a class="button-primary" href="/login?return_to=/">Sign in</a></div>`,
    })
  }
  const [grants, connections] = await Promise.all([deps.store.grantsOf(signedIn.user.id, deps.now()), deps.connections.list(signedIn.user.id)])
  const [rows, offered] = await Promise.all([Promise.all(accessOf(grants).map((grant) => grantRow(deps, grant, signedIn))), profileRows(deps, signedIn)])
  return page({
    title: 'Your access',
    formTargets: outside(deps.issuer),
    body: html`<h1>Your access</h1>
      <p class="muted">Signed in as <strong>${plain(signedIn.user.name ?? signedIn.user.email ?? signedIn.user.subject, 80)}</strong>.</p>
      <h2>What you may use</h2>
      ${offered.length === 0 ? html`<p>No rule lets you use anything yet. Ask your administrator.</p>` : html`<p>Add one of these addresses to your application; it finds the rest by itself.</p><ul class="list">${offered}</ul>`}
      ${ownProfilesSection(deps, signedIn, usableUpstreams(deps, signedIn))}
      <h2>Applications</h2>
      ${rows.length === 0 ? html`<p>No application may act as you at the moment.</p>` : html`<ul class="list">${rows}</ul>`}
      <h2>Connected accounts</h2>
      ${connections.length === 0 ? html`<p>You have connected no accounts. A tool that needs one will ask.</p>` : html`<ul class="list">${connections.map((connection) => connectionRow(connection, signedIn))}</ul>`}
      <form method="post" action="/logout">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, 'logout')}">
        <div class="actions"><button class="button-quiet">Sign out</button></div>
      </form>`,
  })
}

/** The MCP servers that any rule lets the person use, from whatever application; what each offers, the upstream says. */
async function profileRows(deps: HomeDeps, signedIn: SignedIn): Promise<readonly Html[]> {
  const { profiles, connections } = deps
  const { user, secret } = signedIn
  const usable = usableUpstreams(deps, signedIn)
  const missing = await connections.missing(user.id, usable)
  const offered = profiles.all().filter((profile) => isFor(profile, user) && profile.upstreams.some((upstream) => usable.includes(upstream)))
  return offered.map((profile) => profileRow(profile, missing.filter((upstream) => profile.upstreams.includes(upstream)), secret))
}

/** Those that any rule lets the person use, from whatever application. */
function usableUpstreams({ profiles, policy }: HomeDeps, { user }: SignedIn): readonly Upstream[] {
  const all = new Set(profiles.all().flatMap((profile) => profile.upstreams))
  return [...all].filter(({ id: upstream }) => policy.mayConnect({ groups: user.groups, subject: user.id, upstream }))
}

/** The account of an upstream alone is connected here, those of a profile in one flow with its application. */
function profileRow({ name, resource, upstreams }: Profile, missing: readonly Upstream[], secret: string): Html {
  const [first] = missing
  const needs = upstreams.length === 1 ? 'needs an account of yours' : `needs accounts of yours: ${missing.map((upstream) => plain(upstream.name, 60)).join(', ')}`
  return html`<li>
    <span><strong>${plain(name, 60)}</strong>${first === undefined ? '' : html` <span class="muted">${needs}</span>`}<br><code>${resource}</code></span>
    ${first === undefined || upstreams.length > 1 ? '' : connectionForm(first, 'connect', 'Connect', secret)}
  </li>`
}

/** One line for an application and a resource, however often it was approved: ending it ends all of it. */
function accessOf(grants: readonly GrantSummary[]): readonly GrantSummary[] {
  const access = new Map<string, GrantSummary>()
  for (const grant of grants) {
    const key = JSON.stringify([grant.clientId, grant.resource])
    const newer = access.get(key)
    access.set(key, newer === undefined ? grant : { ...newer, scope: [...new Set([...newer.scope, ...grant.scope])] })
  }
  return [...access.values()]
}

async function grantRow(deps: HomeDeps, grant: GrantSummary, signedIn: SignedIn): Promise<Html> {
  // A client may be gone, or its document out of reach: its grant is shown and can be ended all the same.
  const client = await deps.clients.find(grant.clientId).catch(() => undefined)
  const shown = plain(client?.name ?? grant.clientId, 60) || 'An application without a name'
  const badge = client === undefined || applicationOf(client).verified ? '' : html` <span class="badge unverified">unverified</span>`
  const profile = deps.profiles.byResource(grant.resource)?.name ?? grant.resource
  return html`<li>
    <span><strong>${shown}</strong> may use ${plain(profile, 60)}${badge}<br><span class="muted">${grant.scope.join(' ')} · last used ${day(grant.lastUsedAt * 1000)}</span></span>
    <form method="post" action="/grants/${grant.id}/revoke">
      <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, `revoke:${grant.id}`)}">
      <button class="button-quiet" aria-label="End access of ${shown}">End access</button>
    </form>
  </li>`
}

function connectionRow({ upstream, state, connectedAt }: ConnectionSummary, signedIn: SignedIn): Html {
  return html`<li>
    <span><strong>${plain(upstream.name, 60)}</strong> ${state === 'active' ? '' : html`<span class="badge unverified">${state === 'unused' ? 'not used any more' : 'must be connected again'}</span>`}<br><span class="muted">since ${day(connectedAt)}</span></span>
    ${state === 'reconnect_needed' ? connectionForm(upstream, 'connect', 'Connect again', signedIn.secret) : ''} ${connectionForm(upstream, 'disconnect', 'Disconnect', signedIn.secret)}
  </li>`
}

function connectionForm({ id: upstreamId, name }: Pick<Upstream, 'id' | 'name'>, purpose: 'connect' | 'disconnect', label: string, secret: string): Html {
  return html`<form method="post" action="/connections/${upstreamId}${purpose === 'disconnect' ? '/disconnect' : ''}">
    <input type="hidden" name="csrf" value="${csrfToken(secret, `${purpose}:${upstreamId}`)}">
    <input type="hidden" name="continue" value="/">
    <button class="button-quiet" aria-label="${label} ${plain(name, 60)}">${label}</button>
  </form>`
}

async function revoke(deps: HomeDeps, request: Request, context: RequestContext): Promise<Response> {
  requireSameOrigin(request, deps.issuer)
  const params = await Params.fromForm(request)
  const signedIn = await deps.sessions.current(request)
  const grantId = context.params['id'] ?? ''
  if (signedIn === undefined) return seeOther('/')
  if (!checkCsrf(params.get('csrf'), signedIn.secret, `revoke:${grantId}`)) throw new PageError(403, 'This form is out of date', 'Load the page again, and end the access from there.', { reason: 'csrf' })
  const subject = signedIn.user.id
  await deps.store.endAccess(grantId, subject, deps.now(), ({ id, clientId, resource }) => ({
    action: 'consent.revoked',
    outcome: 'success',
    subject,
    clientId,
    resource,
    grantId: id,
    reference: context.reference,
    address: context.address,
  }))
  return seeOther('/')
}

function day(milliseconds: number): string {
  return new Date(milliseconds).toISOString().slice(0, 10)
}
