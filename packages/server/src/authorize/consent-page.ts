import { html } from 'hono/html'
import { csrfToken } from '../http/csrf.ts'
import { formTarget, page, plain, type Html } from '../http/page.ts'
import { isLoopback, redirectClass } from '../oauth/redirect-uri.ts'
import type { Step } from './dispatch.ts'

/** Where an application is reached: its host, `loopback` for any program on the user's machine, or its private scheme. */
export function redirectHost(redirectUri: string): string {
  if (isLoopback(redirectUri)) return 'loopback'
  return redirectClass(redirectUri) === 'https' ? new URL(redirectUri).host : new URL(redirectUri).protocol
}

/** Shows who asks for what, and where the answer goes (P-3, AS-20, AS-21). */
export function consentPage(step: Step): Promise<Response> {
  const { pending, client, profile, signedIn } = step
  const name = plain(client.name, 60)
  return page({
    title: `Allow ${name}?`,
    // Denying and approving both end at the client, by redirect.
    formTargets: [formTarget(pending.request.redirectUri), ...connectTargets(step)],
    body: html`<h1>Allow ${name} to use ${plain(profile.name, 60)} as you?</h1>
      <p class="muted">
        Signed in as <strong>${plain(signedIn.user.name ?? signedIn.user.email ?? signedIn.user.subject, 80)}</strong>${
          signedIn.user.email === undefined ? '' : html` (${plain(signedIn.user.email, 80)})`
        }.
      </p>
      <dl class="facts">
        <dt>Application</dt>
        <dd>${name} ${identityBadge(step)}</dd>
        <dt>Returns to</dt>
        <dd>${returnPlace(pending.request.redirectUri)}</dd>
        <dt>Tools of</dt>
        <dd>${profile.upstreams.map((upstream) => plain(upstream.name, 60)).join(', ')}</dd>
        <dt>May</dt>
        <dd><ul>${pending.request.scope.map((scope) => html`<li>${describeScope(scope)} <code>${scope}</code></li>`)}</ul></dd>
        <dt>For how long</dt>
        <dd>Until you or your administrator end it</dd>
      </dl>
      ${warning(step)}
      <form method="post" action="/authorize/${pending.id}">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, `consent:${pending.id}`)}">
        <div class="actions">
          <button class="button-primary" name="decision" value="approve">Allow</button>
          <button class="button-quiet" name="decision" value="deny">Do not allow</button>
        </div>
      </form>
      <form method="post" action="/logout">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, 'logout')}">
        <input type="hidden" name="return_to" value="/authorize/${pending.id}">
        <p class="muted">Not you? <button class="button-quiet">Sign out</button></p>
      </form>`,
  })
}

/** An approval may lead on to the sign-in of an upstream: its provider is reached by a form of ours that comes next. */
function connectTargets({ profile }: Step): readonly string[] {
  return profile.upstreams.some((upstream) => upstream.connector.type === 'oauth') ? ['https:'] : []
}

function identityBadge({ client }: Step): Html {
  if (client.verifiedHost !== undefined) return html`<span class="badge verified">verified: ${client.verifiedHost}</span>`
  if (client.kind === 'pre-registered') return html`<span class="badge verified">registered by your administrator</span>`
  return html`<span class="badge unverified">unverified: it chose this name itself</span>`
}

function returnPlace(redirectUri: string): Html {
  const host = redirectHost(redirectUri)
  if (host === 'loopback') return html`a program on this computer (<code>${new URL(redirectUri).host}</code>)`
  return host.endsWith(':') ? html`an application that opens <code>${host}</code> links` : html`<strong>${host}</strong>`
}

function describeScope(scope: string): string {
  const [, middle, last] = /^mcp\.(?:(.+)\.)?(read|write)$/.exec(scope) ?? []
  const where = middle === undefined ? '' : ` of ${middle}`
  return last === 'read' ? `Use tools${where} that only read` : `Use every tool${where} that you may use, also those that change something`
}

/** AS-22: whatever listens on a loopback port gets the answer, so the name on the page proves nothing. */
function warning({ client, pending }: Step): Html {
  const host = redirectHost(pending.request.redirectUri)
  if (host === 'loopback') {
    return html`<div class="warning">
      <p><strong>Any program on this computer could be asking.</strong> Go on only if you started this yourself, just now, in ${plain(client.name, 60)}.</p>
    </div>`
  }
  if (client.kind === 'dynamic') {
    return html`<div class="warning">
      <p><strong>Nobody has verified this application.</strong> Its name is its own claim. Go on only if you know why it sends you back to ${host}.</p>
    </div>`
  }
  return html``
}
