import type { Recorder } from '../audit/event.ts'
import type { Sealer } from '../keys/seal.ts'
import type { IdentityStore } from './identity-store.ts'
import { LoginRefused, ProviderUnavailable, type IdentityProvider } from './providers/provider.ts'
import type { Recheck } from './sign-in.ts'
import type { IdentityTokens } from './user.ts'

export interface RecheckDeps {
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly store: IdentityStore
  readonly sealer: Sealer
  readonly audit: Recorder
  readonly everyMs: number
  readonly now: () => number
}

/** Asks the identity provider again, with the refresh token that it gave at sign-in. */
export function recheck({ providers, store, sealer, audit, everyMs, now }: RecheckDeps): Recheck {
  return {
    async recheck(userId) {
      const user = await store.findUser(userId)
      const provider = providers.get(user?.provider ?? '')
      // A provider that was removed from the configuration vouches for nobody any more.
      if (user === undefined || user.disabled || provider === undefined) return 'ended'
      const sealed = provider.refresh === undefined ? undefined : await store.claimCheck(userId, now() - everyMs, now())
      if (sealed === undefined || provider.refresh === undefined) return 'active'
      const row = ['users', userId, 'tokens']
      const tokens = JSON.parse(sealer.open(sealed, row)) as IdentityTokens
      if (tokens.refreshToken === undefined) return 'active'
      try {
        const identity = await provider.refresh(tokens, user)
        if (identity === undefined) {
          const reason = 'the identity provider ended the sign-in'
          await store.revokeSubject(userId, now(), { action: 'subject.revoked', outcome: 'success', subject: userId, reason })
          return 'ended'
        }
        await store.updateUser(userId, identity, sealer.seal(JSON.stringify(identity.tokens), row), now())
        return 'active'
      } catch (error) {
        // Whatever else the provider answers says something of it or of our registration there, not of the user.
        if (!(error instanceof ProviderUnavailable || error instanceof LoginRefused)) throw error
        const reason = error instanceof LoginRefused ? error.reason : error.message
        await audit.record({ action: 'provider.degraded', outcome: 'failure', subject: userId, reason, detail: { provider: provider.id } })
        return 'active'
      }
    },
  }
}
