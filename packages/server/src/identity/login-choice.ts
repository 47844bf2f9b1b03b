import { html } from 'hono/html'
import { page, plain } from '../http/page.ts'
import type { StateSealer } from '../keys/seal.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { IdentityProvider } from './providers/provider.ts'
import type { Flow, SignInOptions } from './sign-in.ts'

const CHOICE_MS = 30 * 60_000
const PURPOSE = 'login choice'

export interface ChoiceDeps {
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly state: StateSealer
  readonly now: () => number
}

/**
 * Asks where the person's account is. What the sign-in must prove stands sealed in the links, for this browser alone:
 * who chooses the provider does not choose whether the sign-in must be fresh.
 */
export function choicePage(deps: ChoiceDeps, flow: Flow, options: SignInOptions): Promise<Response> {
  const at = (provider: string): string => signInAt(deps, flow.hash, provider, options)
  return page({
    title: 'Sign in',
    headers: { 'set-cookie': flow.setCookie },
    body: html`<h1>Sign in</h1>
      <p>Where is your account?</p>
      <ul class="list">
        ${[...deps.providers.values()].map(
          (provider) => html`<li><a class="button-quiet" href="${at(provider.id)}">${plain(provider.name)}</a></li>`,
        )}
      </ul>`,
  })
}

/** The path that begins a sign-in at one provider, for this browser. */
export function signInAt({ state, now }: Pick<ChoiceDeps, 'state' | 'now'>, flowHash: Hashed, provider: string, options: SignInOptions): string {
  const choice = state.seal(PURPOSE, [flowHash], options, now() + CHOICE_MS)
  return `/login?${new URLSearchParams({ provider, choice }).toString()}`
}

/** @returns undefined when the choice is of another browser, was changed, or is too old. */
export function openChoice(deps: ChoiceDeps, flowHash: Hashed, choice: string): SignInOptions | undefined {
  return deps.state.open(PURPOSE, [flowHash], choice, deps.now()) as SignInOptions | undefined
}
