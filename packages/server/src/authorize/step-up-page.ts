// Owns the page where a person signs in again for something that an application wants to do as them, and what is known
// of the sign-in behind that application's grant then. It grants nothing: what was granted stays as it was.
import { html } from 'hono/html'
import type { Recorder } from '../audit/event.ts'
import type { Clients } from '../clients/client.ts'
import { checkCsrf, csrfToken } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { errorPage, outside, page, plain } from '../http/page.ts'
import { Params } from '../http/params.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import { authenticationOf } from '../identity/authentication.ts'
import type { SignedIn, SignIn, Sessions } from '../identity/sign-in.ts'
import type { StateSealer } from '../keys/seal.ts'
import { hash } from '../oauth/secret.ts'
import { clientName, identityBadge } from './consent-page.ts'
import { isProven, SKEW_MS, withUnmet } from './sign-in-again.ts'
import { openStepUpLink, stepUpPath, type StepUpLink } from './step-up-link.ts'
import type { StepUpStore } from './step-up-store.ts'

export interface StepUpPageDeps {
  readonly issuer: string
  readonly clients: Pick<Clients, 'find'>
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly stepUps: Pick<StepUpStore, 'raise'>
  readonly state: StateSealer
  readonly audit: Recorder
  readonly now: () => number
}

/** A link that was opened, by somebody who is signed in. */
interface Visit {
  readonly sealed: string
  readonly link: StepUpLink
  readonly signedIn: SignedIn
  readonly context: RequestContext
}

const CONFIRMED = 'step-up confirmed'
const CONFIRMED_MS = 15 * 60_000

export function stepUpRoutes(deps: StepUpPageDeps): readonly Route[] {
  return [
    { method: 'GET', path: '/step-up', access: 'public', errors: 'page', respond: (request, context) => open(deps, request, context) },
    { method: 'POST', path: '/step-up', access: 'session', errors: 'page', respond: (request, context) => confirm(deps, request, context) },
  ]
}

async function open(deps: StepUpPageDeps, request: Request, context: RequestContext): Promise<Response> {
  const params = Params.from(new URL(request.url).searchParams)
  const visit = await visitOf(deps, request, context, params.get('for'))
  if (visit instanceof Response) return visit
  if (params.get('unmet') !== undefined) return unproven(deps, visit)
  const confirmed = params.get('confirmed')
  if (confirmed === undefined) return confirmPage(deps, visit)
  // Only the browser that confirmed learns this path, once it has signed in again.
  const started = deps.state.open(CONFIRMED, [visit.link.userId, visit.link.grantId], confirmed, deps.now()) as { readonly at: number } | undefined
  if (started === undefined) return confirmPage(deps, visit)
  return isProven(visit.link.requirement, visit.signedIn.session, started.at - SKEW_MS) ? raise(deps, visit) : unproven(deps, visit)
}

/** RS-36: whoever opens the link must be who the token is of, whatever brought them here. */
async function visitOf(deps: StepUpPageDeps, request: Request, context: RequestContext, sealed: string | undefined): Promise<Visit | Response> {
  const link = openStepUpLink(deps.state, sealed, deps.now())
  if (link === undefined || sealed === undefined) throw new PageError(400, 'This link is out of date', 'Go back to your application and try there again: it gets a new one.', { reason: 'step-up link' })
  const signedIn = await deps.sessions.current(request)
  const here = stepUpPath(sealed)
  if (signedIn === undefined) return deps.signIn.start(request, { ...asked(link), returnTo: here, startAgainAt: here, unmetAt: withUnmet(here), reference: context.reference })
  const visit = { sealed, link, signedIn, context }
  if (signedIn.user.id === link.userId) return visit
  await record(deps, visit, 'refused', 'another person')
  throw new PageError(403, 'This link is for somebody else', 'You are signed in with another account than the application. Sign out here, and open the link again.', { reason: 'another person' })
}

async function confirm(deps: StepUpPageDeps, request: Request, context: RequestContext): Promise<Response> {
  requireSameOrigin(request, deps.issuer)
  const params = await Params.fromForm(request)
  const visit = await visitOf(deps, request, context, params.get('for'))
  if (visit instanceof Response) return visit
  const { sealed, link, signedIn } = visit
  if (!checkCsrf(params.get('csrf'), signedIn.secret, formPurpose(sealed))) throw new PageError(403, 'This form is out of date', 'Go back, load the page again, and answer there.', { reason: 'csrf' })
  // What somebody else demanded is proven by a sign-in that it was asked for.
  if (link.requirement.demanded === undefined && isProven(link.requirement, signedIn.session, deps.now())) return raise(deps, visit)
  const here = stepUpPath(sealed)
  const confirmed = deps.state.seal(CONFIRMED, [link.userId, link.grantId], { at: deps.now() }, deps.now() + CONFIRMED_MS)
  return deps.signIn.start(request, {
    ...asked(link),
    provider: signedIn.session.provider,
    returnTo: `${here}&confirmed=${confirmed}`,
    startAgainAt: here,
    unmetAt: withUnmet(here),
    reference: context.reference,
  })
}

function asked({ requirement: { acrValues, maxAge, claims, demanded } }: StepUpLink) {
  return {
    ...(acrValues === undefined ? {} : { acrValues: acrValues.join(' ') }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(claims === undefined ? {} : { claims }),
    ...(demanded === undefined ? {} : { demanded }),
  }
}

async function confirmPage({ issuer, clients }: StepUpPageDeps, { sealed, link, signedIn }: Visit): Promise<Response> {
  // An application that is gone has no grant either.
  const client = await clients.find(link.clientId)
  const name = clientName({ client })
  const { user } = signedIn
  return page({
    title: 'Confirm that it is you',
    formTargets: outside(issuer),
    body: html`<h1>Confirm that it is you</h1>
      <p><strong>${name}</strong> wants to use ${plain(link.use, 200)} as you. For this your administrator asks you to sign in again.</p>
      <dl class="facts">
        <dt>Application</dt>
        <dd>${name} ${identityBadge({ client })}</dd>
        <dt>You</dt>
        <dd>${plain(user.name ?? user.email ?? user.subject, 80)}</dd>
      </dl>
      <div class="warning"><p><strong>Go on only if you asked ${name} for this just now.</strong> If you did not, close this page: nothing happens then.</p></div>
      <form method="post" action="/step-up">
        <input type="hidden" name="for" value="${sealed}">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, formPurpose(sealed))}">
        <div class="actions"><button class="button-primary" name="decision" value="confirm">Continue</button></div>
      </form>`,
  })
}

async function raise(deps: StepUpPageDeps, visit: Visit): Promise<Response> {
  const { link, signedIn } = visit
  const { session } = signedIn
  const grant = { id: link.grantId, userId: signedIn.user.id, sessionId: session.id }
  if (!(await deps.stepUps.raise(grant, authenticationOf(session), deps.now(), event(visit, 'granted')))) {
    throw new PageError(400, 'The application’s access has ended', 'Connect it again from the application itself.', { reason: 'grant ended' })
  }
  return page({
    title: 'Thank you',
    body: html`<h1>Thank you</h1>
      <p role="status">You can close this page and go back to your application: it goes on there.</p>`,
  })
}

/** RFC 9470 §5: said once, and not asked again. */
async function unproven(deps: StepUpPageDeps, visit: Visit): Promise<Response> {
  await record(deps, visit, 'refused', 'the sign-in was not as strong or as recent as was asked for')
  return errorPage({
    status: 403,
    title: 'That was not enough',
    message: 'The sign-in was not as strong or as recent as this needs. Ask your administrator how your account can give more, then try again from your application.',
    reference: visit.context.reference,
  })
}

function formPurpose(sealed: string): string {
  return `step-up:${hash(sealed)}`
}

function event({ link, context, signedIn }: Visit, outcome: 'granted' | 'refused') {
  const { clientId, grantId, resource } = link
  const base = { subject: signedIn.user.id, clientId, grantId, resource, reference: context.reference, address: context.address }
  return outcome === 'granted' ? ({ action: 'step-up.granted', outcome: 'success', ...base } as const) : ({ action: 'step-up.refused', outcome: 'failure', ...base } as const)
}

function record(deps: StepUpPageDeps, visit: Visit, outcome: 'refused', reason: string): Promise<void> {
  return deps.audit.record({ ...event(visit, outcome), reason })
}
