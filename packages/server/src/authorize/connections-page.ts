import { html } from 'hono/html'
import { csrfToken } from '../http/csrf.ts'
import { formTarget, outside, page, plain } from '../http/page.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { answerPurpose } from './consent-page.ts'
import type { Step } from './step.ts'

/** Offers to connect the accounts that the profile's upstreams need, in the same sitting; each can wait. */
export function connectionsPage(step: Step, missing: readonly Upstream[], issuer: string): Promise<Response> {
  const { pending, profile, signedIn } = step
  const here = `/authorize/${pending.id}`
  return page({
    title: 'Connect your accounts',
    formTargets: [formTarget(pending.request.redirectUri), ...outside(issuer)],
    body: html`<h1>Connect your accounts</h1>
      <p>${plain(profile.name, 60)} works with accounts of your own. You sign in there once; applications never see those accounts' passwords or tokens.</p>
      <ul class="list">
        ${missing.map(
          (upstream) => html`<li>
            <span><strong>${plain(upstream.name, 60)}</strong> <span class="muted">${new URL(upstream.url).host}</span></span>
            <form method="post" action="/connections/${upstream.id}">
              <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, `connect:${upstream.id}`)}">
              <input type="hidden" name="continue" value="${here}">
              <button class="button-primary" aria-label="Connect ${plain(upstream.name, 60)}">Connect</button>
            </form>
          </li>`,
        )}
      </ul>
      <form method="post" action="${here}">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, answerPurpose(step))}">
        <div class="actions"><button class="button-quiet" name="connections" value="skip">Continue without</button></div>
        <p class="muted">You can connect them later; the first tool that needs one will ask.</p>
      </form>`,
  })
}
