// What connectors share that act for whoever signed in, by what their sign-in brought: for whom they do, what is recorded of
// it, and what it means for the person when a server says no. Nobody connects anything, and nothing is stored.
import * as oauth from 'oauth4webapi'
import type { AuditEvent, Recorder } from '../../audit/event.ts'
import { demandedSignIn } from '../../identity/providers/oidc-exchange.ts'
import { ExchangeRefused, ProviderUnavailable, type LoginRefused } from '../../identity/providers/provider.ts'
import type { User, Users } from '../../identity/user.ts'
import type { SignInRequirement } from '../../policy/rule.ts'
import type { Upstream } from '../upstream.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type ConnectionRefused, type Connector } from './connector.ts'
import { heldTokens, type HeldTokens, type HeldTokensDeps } from './held-tokens.ts'
import { challengeParameters, type Discovery } from './oauth/discovery.ts'
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
const MAX_ACR_VALUES = 512

export function actingFor({ users, audit, ...deps }: ActingDeps, { name, ask, inWords }: Acting): HeldTokens {
  return heldTokens(deps, async (userId, upstream) => {
    const about = { subject: userId, upstream: upstream.id }
    try {
      const user = await users.find(userId)
      if (user === undefined || user.disabled || user.kind === 'machine') throw new CredentialRefused('it acts for people alone, by their sign-in', `${name}: no person`)
      const [token, detail] = await ask(user, upstream)
      await audit.record({ ...about, action: 'connection.refreshed', outcome: 'success', detail: { ...detail, ...(token.proofKey === undefined ? {} : { bound: true }) } })
      return token
    } catch (error) {
      const told = error instanceof ProviderUnavailable ? new UpstreamUnavailable(error.message, { cause: error }) : inWords(error)
      if (told instanceof CredentialRefused || told instanceof SignInRequired) await audit.record({ ...about, action: 'connection.failed', outcome: 'failure', reason: told.reason })
      throw told
    }
  })
}

/**
 * What becomes of a token that the upstream refused: it is replaced by one of the newest sign-in, once. When that is refused
 * for want of a stronger or more recent sign-in as well, the person is asked for it (RFC 9470 §3).
 *
 * @param found doubts the authorization server of a token that was discarded
 */
export function refusing(tokens: HeldTokens, { audit }: ActingDeps, name: string, found: Pick<Discovery, 'doubt'>): Connector['refused'] {
  return async (userId, upstream, version, challenge = '') => {
    const signIn = demandOf(challenge)
    const refusal = tokens.refused(userId, version, JSON.stringify(signIn))
    if (refusal === 'discarded' && signIn === undefined) found.doubt(upstream)
    if (refusal !== 'kept' || signIn === undefined) return
    const reason = `${name}: upstream: insufficient_user_authentication`
    await audit.record({ action: 'connection.failed', outcome: 'failure', subject: userId, upstream: upstream.id, reason })
    throw new SignInRequired(reason, signIn)
  }
}

/** What the next sign-in is to be like, as an upstream's challenge says it. */
function demandOf(challenge: string): SignInRequirement | undefined {
  const parameters = challengeParameters(challenge)
  if (parameters.get('error') !== 'insufficient_user_authentication') return undefined
  const [acrValues = '', maxAge = ''] = [parameters.get('acr_values'), parameters.get('max_age')]
  return recentUnlessSaid({
    ...(/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(acrValues) && acrValues.length <= MAX_ACR_VALUES ? { acrValues: acrValues.split(' ') } : {}),
    ...(/^\d{1,9}$/.test(maxAge) ? { maxAge: Number(maxAge) } : {}),
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
