import { html } from 'hono/html'
import { csrfToken } from '../http/csrf.ts'
import { outside, page, plain, type Html } from '../http/page.ts'
import type { Unconnected } from '../upstreams/connections.ts'
import { tokenNotice } from '../upstreams/token-notice.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { answerPurpose, answerTargets, clientName } from './consent-page.ts'
import type { Step } from './step.ts'
import { nameOf, useOf } from './in-words.ts'

export interface MissingConnection {
  readonly upstream: Upstream
  /** What its form carries, see `Connections.connectLink`. */
  readonly link: string
  /** How many are missing besides it. */
  readonly others: number
  /** What its provider is asked for; undefined when that is not known now. */
  readonly asks: readonly string[] | undefined
  /** The last attempt that failed, of this account or of another one. */
  readonly failure?: { readonly upstream: Upstream; readonly why: Unconnected }
}

/** Offers to connect one account that the profile needs, in the same sitting: why, and what its provider will be asked for. */
export function connectionPage(step: Step, { upstream, link, others, asks, failure }: MissingConnection, issuer: string): Promise<Response> {
  const { pending, profile, signedIn } = step
  const here = `/authorize/${pending.id}`
  const name = plain(upstream.name, 60)
  const application = clientName(step)
  return page({
    title: `Connect your ${name} account`,
    formTargets: [...answerTargets(pending.request), ...outside(issuer)],
    body: html`<h1>Connect your ${name} account</h1>
      ${failure === undefined ? '' : failureNotice(failure, upstream)}
      <p>You allowed ${application} to ${useOf(profile)} as you. ${name} works with an account of your own: you sign in there once, and ${tokenNotice(upstream)}.</p>
      <dl class="facts">
        <dt>Service</dt>
        <dd>${name} <span class="muted">(${new URL(upstream.url).host})</span></dd>
        ${profile.upstreams.length === 1 ? '' : html`<dt>Needed for</dt><dd>the tools of ${name} in ${nameOf(profile)}</dd>`}
        <dt>Permissions that it asks for</dt>
        <dd>${asksFor(asks)}</dd>
      </dl>
      <div class="actions">
        <form method="post" action="/connections/${upstream.id}">
          <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, `connect:${upstream.id}`)}">
          <input type="hidden" name="continue" value="${here}">
          <input type="hidden" name="for" value="${link}">
          <button class="button-primary">Connect ${name}</button>
        </form>
        <form method="post" action="${here}">
          <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, answerPurpose(step))}">
          <button class="button-quiet" name="skip" value="${upstream.id}">Continue without</button>
        </form>
      </div>
      <p class="muted">You can connect it later; the first tool that needs it will ask.${others === 0 ? '' : ` ${others === 1 ? 'One more account' : `${others} more accounts`} can be connected after this one.`}</p>`,
  })
}

function asksFor(asks: readonly string[] | undefined): Html {
  if (asks === undefined) return html`<span class="muted">The service says so itself when you sign in there</span>`
  if (asks.length === 0) return html`<span class="muted">None by name: what the service gives to every application</span>`
  return html`<ul>${asks.map((scope) => html`<li><code>${plain(scope, 120)}</code></li>`)}</ul>`
}

const REASONS: Readonly<Record<Unconnected, string>> = {
  refused: 'The service says that it was refused there.',
  unavailable: 'The service does not answer at the moment.',
  failed: 'The service gave an answer that cannot be used. If it happens again, ask your administrator.',
}

function failureNotice({ upstream, why }: NonNullable<MissingConnection['failure']>, current: Upstream): Html {
  const next = upstream.id === current.id ? 'Try again, or continue without it.' : 'You can try it again at the end, or connect it later.'
  return html`<div class="warning" role="status"><p><strong>${plain(upstream.name, 60)} was not connected.</strong> ${REASONS[why]} ${next}</p></div>`
}
