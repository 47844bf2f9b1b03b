import { html } from 'hono/html'
import type { Need } from '../approval/approval.ts'
import { csrfToken } from '../http/csrf.ts'
import { outside, page, plain, referenceLine, type Html } from '../http/page.ts'
import { answerPurpose, answerTargets, clientName, identityBadge } from './consent-page.ts'
import { useOf } from './in-words.ts'
import type { Step } from './step.ts'

const MINUTE_MS = 60_000
/** How long the page asks by itself, and how often by then: a person who left it open asks no longer. */
const PACE: readonly (readonly [untilMs: number, seconds: number])[] = [
  [MINUTE_MS, 3],
  [5 * MINUTE_MS, 6],
  [20 * MINUTE_MS, 15],
]

export interface Waiting {
  readonly issuer: string
  readonly now: number
  /** Whether the person wants to look for themselves (WCAG 2.2.1): a page that loads itself again takes the reader's place. */
  readonly still: boolean
}

/** Says that an administrator must decide, and goes on by itself once they have; no script, so the page is loaded again. */
export function waitingPage(step: Step, needs: readonly Need[], { issuer, now, still }: Waiting): Promise<Response> {
  const { pending, signedIn, profile } = step
  const here = `/authorize/${pending.id}`
  const name = clientName(step)
  const pace = PACE.find(([until]) => now - pending.createdAt < until)?.[1]
  const seconds = still ? undefined : pace
  return page({
    title: 'Waiting for your administrator',
    formTargets: [...answerTargets(pending.request), ...outside(issuer)],
    ...(seconds === undefined ? {} : { refresh: { seconds, url: here } }),
    body: html`<h1>Waiting for your administrator</h1>
      <p>You allowed ${name} to ${useOf(profile)} as you. Your administrator must approve it too; your request is with them.</p>
      <p role="status">${seconds === undefined ? 'This page does not check automatically.' : 'This page goes on by itself as soon as they have decided.'}</p>
      <dl class="facts">
        <dt>Application</dt>
        <dd>${name} ${identityBadge(step)}</dd>
        <dt>Must be approved for</dt>
        <dd><ul class="plain">${wanted(step, needs).map((line) => html`<li>${line}</li>`)}</ul></dd>
      </dl>
      <div class="actions">
        <a class="button-quiet" href="${still ? `${here}?still` : here}">Check now</a>
        ${pace === undefined ? '' : still ? html`<a class="button-quiet" href="${here}">Check automatically</a>` : html`<a class="button-quiet" href="${here}?still">Do not check automatically</a>`}
      </div>
      <form method="post" action="${here}">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, answerPurpose(step))}">
        <div class="actions"><button class="button-quiet" name="decision" value="deny">Stop waiting</button></div>
      </form>
      <p class="muted">If it takes longer, close this page and start again from your application later: what you asked for stays with your administrator.</p>
      ${referenceLine(pending.reference)}`,
  })
}

function wanted({ profile }: Step, needs: readonly Need[]): readonly Html[] {
  const names = new Map(profile.upstreams.map(({ id, name }) => [id, plain(name, 60)]))
  return [...new Set(needs.map(({ upstream }) => upstream))].map((upstream) => {
    const writes = needs.some((need) => need.upstream === upstream && need.access === 'write')
    return html`${names.get(upstream) ?? upstream} <span class="muted">${writes ? 'reading and changing' : 'reading'}</span>`
  })
}
