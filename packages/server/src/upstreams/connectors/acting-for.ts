// What connectors share that act for whoever signed in, by what their sign-in brought: for whom they do, what is recorded of
// it, and what it means for the person when a server says no. Nobody connects anything, and nothing is stored.
import * as oauth from 'oauth4webapi'
import type { AuditEvent, Recorder } from '../../audit/event.ts'
import { demandedSignIn } from '../../identity/providers/oidc-exchange.ts'
import { ExchangeRefused, ProviderUnavailable, type LoginRefused } from '../../identity/providers/provider.ts'
import type { User, Users } from '../../identity/user.ts'
import type { SignInRequirement } from '../../policy/rule.ts'
import type { Upstream } from '../upstream.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type ConnectionRefused } from './connector.ts'
import { heldTokens, type HeldTokens, type HeldTokensDeps } from './held-tokens.ts'
import type { IssuedToken } from './oauth/possession.ts'

export interface ActingDeps extends HeldTokensDeps {
  readonly users: Users
  readonly audit: Recorder
}

export interface Acting {
  /** What the connector is called in reasons, and in what is recorded. */
  readonly name: string
  /** Gets a token for the person, and says what is recorded of it. */
  readonly ask: (user: User, upstream: Upstream) => Promise<readonly [token: IssuedToken, detail: NonNullable<AuditEvent['detail']>]>
  /** What an error means for the person: `SignInRequired`, `CredentialRefused`, or the error itself when it is nobody's answer. */
  readonly inWords: (error: unknown) => unknown
}

/** Where a server only says that the person is needed: a sign-in that is no older than this, in seconds. */
export const RECENT: SignInRequirement = { maxAge: 300 }

export function actingFor({ users, audit, ...deps }: ActingDeps, { name, ask, inWords }: Acting): HeldTokens {
  return heldTokens(deps, async (userId, upstream) => {
    const about = { subject: userId, upstream: upstream.id }
    try {
      const user = await users.find(userId)
      if (user === undefined || user.disabled || user.kind === 'machine') throw new CredentialRefused('it acts for people alone, by their sign-in', `${name}: no person`)
      const [token, detail] = await ask(user, upstream)
      await audit.record({ ...about, action: 'connection.refreshed', outcome: 'success', detail })
      return token
    } catch (error) {
      const told = error instanceof ProviderUnavailable ? new UpstreamUnavailable(error.message, { cause: error }) : inWords(error)
      if (told instanceof CredentialRefused || told instanceof SignInRequired) await audit.record({ ...about, action: 'connection.failed', outcome: 'failure', reason: told.reason })
      throw told
    }
  })
}

/** What the next sign-in is to be like, as the server that said no asks for it (RFC 9470 §3). */
export function signInOf(error: LoginRefused | ConnectionRefused): SignInRequirement {
  if (error instanceof ExchangeRefused) return recentUnlessSaid(error.signIn)
  return recentUnlessSaid(error.cause instanceof oauth.ResponseBodyError ? demandedSignIn(error.cause) : {})
}

function recentUnlessSaid(signIn: SignInRequirement): SignInRequirement {
  return Object.keys(signIn).length === 0 ? RECENT : signIn
}
