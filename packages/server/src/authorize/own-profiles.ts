import { html } from 'hono/html'
import { checkCsrf, csrfToken } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { plain, type Html } from '../http/page.ts'
import { Params } from '../http/params.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import { seeOther } from '../http/see-other.ts'
import type { Sessions, SignedIn } from '../identity/sign-in.ts'
import { ProfileRefused, type Doer, type ProfileEditing } from '../upstreams/profile-edit.ts'
import type { LiveProfiles } from '../upstreams/stored-profiles.ts'
import type { Profile, Profiles, Upstream } from '../upstreams/upstream.ts'

export interface OwnProfilesDeps {
  readonly issuer: string
  readonly sessions: Sessions
  readonly profiles: Pick<Profiles, 'byId'>
  readonly stored: Pick<LiveProfiles, 'ownedBy'>
  readonly editing: Pick<ProfileEditing, 'createOwn' | 'removeOwn'>
}

/** Forms of a person's own page that make and remove profiles of their own. */
export function ownProfileRoutes(deps: OwnProfilesDeps): readonly Route[] {
  return [
    { method: 'POST', path: '/profiles', access: 'session', errors: 'page', respond: (request, context) => create(deps, request, context) },
    { method: 'POST', path: '/profiles/:id/delete', access: 'session', errors: 'page', respond: (request, context) => remove(deps, request, context) },
  ]
}

const CREATE = 'profile'

/** The part of the page about a person's own profiles. @param usable the upstreams that they may choose from */
export function ownProfilesSection({ profiles, stored }: OwnProfilesDeps, { user, secret }: SignedIn, usable: readonly Upstream[]): Html {
  const own = stored.ownedBy(user.id).map(({ id, name }) => ownRow(id, name, profiles.byId(id), secret))
  return html`<h2>Your own profiles</h2>
    <p>A profile puts several of these behind one address: your application signs in once and finds all of their tools.</p>
    ${own.length === 0 ? '' : html`<ul class="list">${own}</ul>`}
    ${usable.length === 0 ? '' : buildForm(usable, secret)}`
}

/** One whose upstreams are all gone is served no more, and can still be deleted. */
function ownRow(id: string, name: string, profile: Profile | undefined, secret: string): Html {
  const shown = plain(name, 60)
  return html`<li>
    <span><strong>${shown}</strong> <span class="muted">${profile === undefined ? 'nothing of it is there any more' : profile.upstreams.map((upstream) => plain(upstream.name, 60)).join(', ')}</span>${profile === undefined ? '' : html`<br><code>${profile.resource}</code>`}</span>
    <form method="post" action="/profiles/${id}/delete">
      <input type="hidden" name="csrf" value="${csrfToken(secret, `delete-profile:${id}`)}">
      <button class="button-quiet" aria-label="Delete ${shown}">Delete</button>
    </form>
  </li>`
}

function buildForm(usable: readonly Upstream[], secret: string): Html {
  return html`<details class="more">
    <summary>Build a profile</summary>
    <form method="post" action="/profiles" class="fields">
      <input type="hidden" name="csrf" value="${csrfToken(secret, CREATE)}">
      <label>Name <input name="name" required maxlength="60" autocomplete="off"></label>
      <fieldset>
        <legend>Made of</legend>
        ${usable.map(({ id, name }) => html`<label class="choice"><input type="checkbox" name="upstream.${id}" value="yes"> ${plain(name, 60)}</label>`)}
      </fieldset>
      <div class="actions"><button class="button-quiet">Build</button></div>
    </form>
  </details>`
}

async function create(deps: OwnProfilesDeps, request: Request, context: RequestContext): Promise<Response> {
  const posted = await postedForm(deps, request, CREATE)
  if (posted === undefined) return seeOther('/')
  const { signedIn, params } = posted
  const upstreams = params.entries().flatMap(([name]) => (name.startsWith('upstream.') ? [name.slice('upstream.'.length)] : []))
  await told(deps.editing.createOwn(signedIn.user, { name: params.get('name') ?? '', upstreams }, doer(signedIn, context)))
  return seeOther('/')
}

async function remove(deps: OwnProfilesDeps, request: Request, context: RequestContext): Promise<Response> {
  const id = context.params['id'] ?? ''
  const posted = await postedForm(deps, request, `delete-profile:${id}`)
  if (posted === undefined) return seeOther('/')
  const { signedIn } = posted
  // One that is gone is as it was meant to be.
  await deps.editing.removeOwn(signedIn.user, id, doer(signedIn, context)).catch((error: unknown) => {
    if (!(error instanceof ProfileRefused && error.code === 'not_found')) throw error
  })
  return seeOther('/')
}

async function postedForm({ issuer, sessions }: OwnProfilesDeps, request: Request, purpose: string): Promise<{ readonly signedIn: SignedIn; readonly params: Params } | undefined> {
  requireSameOrigin(request, issuer)
  const params = await Params.fromForm(request)
  const signedIn = await sessions.current(request)
  if (signedIn === undefined) return undefined
  if (!checkCsrf(params.get('csrf'), signedIn.secret, purpose)) throw new PageError(403, 'This form is out of date', 'Load the page again, and try from there.', { reason: 'csrf' })
  return { signedIn, params }
}

function doer({ user }: SignedIn, { reference, address }: RequestContext): Doer {
  return { subject: user.id, reference, address }
}

async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof ProfileRefused) throw new PageError(400, 'The profile was not built', `${error.message} Go back and try again.`, { reason: error.code, cause: error })
    throw error
  }
}
