import { html } from 'hono/html'
import { page, plain } from '../http/page.ts'
import { SealError, type Sealer } from '../keys/seal.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { IdentityProvider } from './providers/provider.ts'
import type { SignInOptions } from './sign-in.ts'

const CHOICE_MS = 30 * 60_000

export interface ChoiceDeps {
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly sealer: Sealer
  readonly now: () => number
}

/**
 * Asks where the person's account is. What the sign-in must prove stands sealed in the links, for this browser alone:
 * who chooses the provider does not choose whether the sign-in must be fresh.
 */
export function choicePage(deps: ChoiceDeps, flow: { readonly hash: Hashed; readonly cookie: string }, options: SignInOptions): Promise<Response> {
  const choice = deps.sealer.seal(JSON.stringify({ options, expiresAt: deps.now() + CHOICE_MS }), row(flow.hash))
  return page({
    title: 'Sign in',
    headers: { 'set-cookie': flow.cookie },
    body: html`<h1>Sign in</h1>
      <p>Where is your account?</p>
      <ul class="list">
        ${[...deps.providers.values()].map(
          (provider) => html`<li><a class="button-quiet" href="/login?${new URLSearchParams({ provider: provider.id, choice }).toString()}">${plain(provider.name)}</a></li>`,
        )}
      </ul>`,
  })
}

/** @returns undefined when the choice is of another browser, was changed, or is too old. */
export function openChoice(deps: ChoiceDeps, flowHash: Hashed, choice: string): SignInOptions | undefined {
  try {
    const { options, expiresAt } = JSON.parse(deps.sealer.open(choice as Parameters<Sealer['open']>[0], row(flowHash))) as { options: SignInOptions; expiresAt: number }
    return expiresAt > deps.now() ? options : undefined
  } catch (error) {
    if (error instanceof SealError) return undefined
    throw error
  }
}

function row(flowHash: Hashed): readonly string[] {
  return ['login-choice', flowHash]
}
