import { html } from 'hono/html'
import { applicationOf, voucherOf } from '../clients/application.ts'
import { directoryEntries } from '../clients/directory.ts'
import { lookAlikesAmong } from '../clients/look-alike.ts'
import { csrfToken } from '../http/csrf.ts'
import { formTarget, outside, page, plain, type Html } from '../http/page.ts'
import { isLoopback, redirectClass } from '../oauth/redirect-uri.ts'
import { hash } from '../oauth/secret.ts'
import type { Connections } from '../upstreams/connections.ts'
import { reachOf, toolsOf } from '../upstreams/profile.ts'
import { hasSharedAccount } from '../upstreams/shared-account.ts'
import type { Profile, Upstream } from '../upstreams/upstream.ts'
import type { AuthorizationRequest } from './authorize-store.ts'
import { deviceFacts, deviceWarning, type DeviceFactsDeps } from './device-facts.ts'
import { useOf } from './in-words.ts'
import type { Step } from './step.ts'

const DAY_SECONDS = 86_400

/** Where an application is reached: its host, `loopback` for any program on the user's machine, or its private scheme. */
export function redirectHost(redirectUri: string): string {
  if (isLoopback(redirectUri)) return 'loopback'
  return redirectClass(redirectUri) === 'https' ? new URL(redirectUri).host : new URL(redirectUri).protocol
}

/** Where the answer to a request goes. A place with a space in its name is no host and no scheme. */
export function answerPlace(request: AuthorizationRequest): string {
  return request.device === undefined ? redirectHost(request.redirectUri) : 'device code'
}

/** Where the browser goes by itself after an answer: nowhere, when it is for a device. */
export function answerTargets(request: AuthorizationRequest): readonly string[] {
  return request.device === undefined ? [formTarget(request.redirectUri)] : []
}

/**
 * What an answer's form is for: this request, of the client, the profile and the scope as the page shows them. A document
 * that changed since then, a profile or a scope that grew, was not approved by it (AS-24, D06).
 */
export function answerPurpose({ pending, client, profile }: Pick<Step, 'pending' | 'client' | 'profile'>): string {
  return `consent:${pending.id}:${client.digest}:${hash(JSON.stringify([reachOf(profile), pending.request.scope]))}`
}

interface ConsentDeps extends DeviceFactsDeps {
  readonly issuer: string
  readonly grantSeconds: number
  readonly connections: Pick<Connections, 'asks'>
}

/** Shows who asks for what, and where the answer goes (P-3, AS-20, AS-21). */
export async function consentPage(step: Step, deps: ConsentDeps): Promise<Response> {
  const { pending, client, profile, upstreams, signedIn } = step
  const { request } = pending
  const { issuer, grantSeconds, connections } = deps
  const name = clientName(step)
  const contents = await Promise.all(upstreams.map(async (upstream) => contentOf(upstream, profile, await thirdPartyScopes(upstream, connections))))
  return page({
    title: `Allow ${name}?`,
    // Denying and approving both end at the client, by redirect.
    formTargets: [...answerTargets(request), ...outside(issuer)],
    body: html`<h1>Allow ${name}${request.device === undefined ? '' : ' on a device'} to ${useOf(profile)} as you?</h1>
      ${account(step)}
      <dl class="facts">
        <dt>Application</dt>
        <dd>${name} ${identityBadge(step)}</dd>
        ${request.device === undefined ? html`<dt>Returns to</dt>
        <dd>${returnPlace(request.redirectUri)}</dd>` : deviceFacts(deps, request.device, step)}
        ${upstreams.length === 0 ? '' : html`<dt>Tools of</dt>
        <dd><ul class="plain">${contents.map((content) => html`<li>${content}</li>`)}</ul></dd>`}
        <dt>May</dt>
        <dd><ul>${pending.request.scope.map((scope) => html`<li>${describeScope(scope, upstreams)} <code>${scope}</code></li>`)}</ul></dd>
        <dt>For how long</dt>
        <dd>${Math.floor(grantSeconds / DAY_SECONDS)} days at most, or until you or your administrator end it</dd>
      </dl>
      ${warning(step)}
      <form method="post" action="/authorize/${pending.id}">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, answerPurpose(step))}">
        <div class="actions">
          <button class="button-primary" name="decision" value="approve">Allow</button>
          <button class="button-quiet" name="decision" value="deny">Do not allow</button>
        </div>
      </form>
      <details class="more">
        <summary>Technical details</summary>
        <dl class="facts">
          <dt>Client identifier</dt>
          <dd><code>${plain(client.id, 512)}</code></dd>
          ${request.device === undefined ? html`<dt>Redirect URI</dt>
          <dd><code>${plain(request.redirectUri, 512)}</code></dd>` : ''}
          <dt>Resource</dt>
          <dd><code>${request.resource}</code></dd>
        </dl>
      </details>`,
  })
}

export function clientName({ client }: Pick<Step, 'client'>): string {
  const name = plain(client.name, 60)
  return name === '' ? 'an application without a name' : name
}

/** Who approves: an identity provider may have chosen the account silently, so it is easy to choose another one. */
function account(step: Step): Html {
  const { user, secret } = step.signedIn
  const name = plain(user.name ?? user.email ?? user.subject, 80)
  return html`<form class="account" method="post" action="/authorize/${step.pending.id}">
    <input type="hidden" name="csrf" value="${csrfToken(secret, answerPurpose(step))}">
    <span>Signed in as <strong>${name}</strong>${user.email === undefined || user.name === undefined ? '' : html` <span class="muted">${plain(user.email, 80)}</span>`}</span>
    <button class="button-link" name="account" value="another">Use another account</button>
  </form>`
}

/** Whether anybody vouches for the application: beside its name, wherever that stands. */
export function identityBadge({ client }: Pick<Step, 'client'>): Html {
  const voucher = voucherOf(client)
  if (voucher !== undefined) return html`<span class="badge verified">${plain(voucher, 120)}</span>`
  return html`<span class="badge unverified">unverified: it chose this name itself</span>`
}

function returnPlace(redirectUri: string): Html {
  const host = redirectHost(redirectUri)
  if (host === 'loopback') return html`a program on this computer <code>${new URL(redirectUri).host}</code>`
  return host.endsWith(':') ? html`an application that opens <code>${host}</code> links` : html`<strong>${host}</strong>`
}

/** P-3: what of a third party's is used, and with which scopes there when they are known. */
function contentOf(upstream: Upstream, profile: Profile, asked: readonly string[]): Html {
  const { id, name, connector } = upstream
  const tools = toolsOf(profile, id)
  const shown = tools === undefined ? html`${plain(name, 60)}` : html`${plain(name, 60)}, only ${tools.map((pattern) => html` <code>${plain(pattern, 120)}</code>`)}`
  if (hasSharedAccount(upstream)) return html`${shown} <span class="muted">with one account there that everybody shares</span>`
  if (connector.type !== 'oauth') return shown
  const scopes = asked.map((scope) => html` <code>${plain(scope, 120)}</code>`)
  return html`${shown} <span class="muted">with your own account there${scopes.length === 0 ? '' : ':'}</span>${scopes}`
}

/** What its provider is asked for when the account is connected: as discovered, without a word of the person or the client. */
async function thirdPartyScopes(upstream: Upstream, connections: ConsentDeps['connections']): Promise<readonly string[]> {
  const { connector } = upstream
  return connector.type === 'oauth' ? (connector.scopes ?? (await connections.asks(upstream)) ?? []) : []
}

function describeScope(scope: string, upstreams: readonly Upstream[]): string {
  if (scope === 'admin') return 'Administer this gateway: its rules, applications and everything else that you may change here'
  const [, middle, last] = /^mcp\.(?:(.+)\.)?(read|write)$/.exec(scope) ?? []
  const upstream = upstreams.find(({ id }) => id === middle)
  const where = upstream === undefined ? '' : ` of ${plain(upstream.name, 60)}`
  return last === 'read' ? `Use tools${where} that only read` : `Use every tool${where} that you may use, also those that change something`
}

/** F13: well-known applications that a name could be taken for. */
const wellKnownLike = lookAlikesAmong(directoryEntries())

/** AS-22: whatever listens on a loopback port gets the answer, so the name on the page proves nothing. */
function warning(step: Step): Html {
  const { request } = step.pending
  if (request.device !== undefined) return deviceWarning(request.device, step, clientName(step))
  const host = redirectHost(request.redirectUri)
  if (host === 'loopback') {
    return html`<div class="warning">
      <p><strong>Any program on this computer could be asking.</strong> Go on only if you started this yourself in ${clientName(step)} just now.</p>
    </div>`
  }
  if (!applicationOf(step.client).verified) {
    const [known] = wellKnownLike(step.client)
    return html`<div class="warning">
      <p><strong>Nobody has verified this application.</strong> Its name is its own claim. Go on only if you know why it sends you back to ${host}.</p>
      ${known === undefined ? '' : html`<p>Its name resembles ${known.name} (${known.voucher}); nothing proves that it is the same.</p>`}
    </div>`
  }
  return html``
}
