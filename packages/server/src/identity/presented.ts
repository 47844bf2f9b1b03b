// Tokens of identity providers that somebody presents to Lanyard, at the token endpoint or at an MCP endpoint, and the
// people whom they are about.
import { errors, decodeJwt } from 'jose'
import type { IdentityProvider, KnownIdentity, PresentedClaims, PresentedKind } from './providers/provider.ts'
import { LoginRefused } from './providers/provider.ts'
import { kindOf, readUnverified } from './providers/oidc-presented.ts'
import type { Recognized } from './recognize.ts'
import type { User } from './user.ts'

export interface PresentedTokens {
  /** The identity provider that a token says that it is of; undefined for every other token. Nothing is verified. */
  providerOf(token: string): string | undefined
  /** What the token says that it is. Nothing is verified. @throws LoginRefused for what is no JWT */
  kindOf(token: string): PresentedKind | undefined
  /**
   * Verifies a token of a configured identity provider: signature, issuer, kind and times, not for whom it is.
   * @throws LoginRefused, ProviderUnavailable
   */
  verify(token: string, kind: PresentedKind): Promise<PresentedClaims>
  /** Redeems a refresh token at the provider. @throws LoginRefused, ProviderUnavailable */
  redeem(provider: string, refreshToken: string, replaced: (successor: string) => void): Promise<PresentedClaims>
  /**
   * The person whom it is about, by (provider, issuer, subject): made when this is the first that is heard of them. For whom
   * it is, was decided before: the provider may be asked for groups.
   * @throws LoginRefused, ProviderUnavailable
   */
  person(claims: PresentedClaims, token: string): Promise<User>
}

export interface PresentedDeps {
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly people: Recognized
}

export function presentedTokens({ providers, people }: PresentedDeps): PresentedTokens {
  const find = (token: string): IdentityProvider | undefined => {
    const issuer = issuerOf(token)
    return issuer === undefined ? undefined : [...providers.values()].find((provider) => provider.issues?.(issuer) === true)
  }
  return {
    providerOf: (token) => find(token)?.id,
    kindOf: (token) => kindOf(readUnverified(token)),
    async verify(token, kind) {
      const provider = find(token)
      if (provider?.present === undefined) throw new LoginRefused('it is of no identity provider that is known here')
      return provider.present(token, kind)
    },
    async redeem(id, refreshToken, replaced) {
      const provider = providers.get(id)
      if (provider?.presentRefreshToken === undefined) throw new LoginRefused('the identity provider has no refresh tokens that could be presented')
      return provider.presentRefreshToken(refreshToken, replaced)
    },
    async person(claims, token) {
      const { provider, issuer, subject, name, email, groups, roles, issuedAt } = claims
      const who = { provider, issuer, subject }
      // What the provider says now is newer than all that the token says.
      const asked = claims.groupsElsewhere === true ? await groupsOf(providers.get(provider), claims, token) : undefined
      const told = await people.recognize({
        ...who,
        ...(name === undefined ? {} : { name }),
        // An attribute, never a key: nobody becomes somebody else by an address.
        ...(email === undefined ? {} : { email }),
        ...(groups === undefined ? {} : { groups }),
        ...(roles === undefined ? {} : { roles }),
        toldAt: issuedAt * 1000,
      })
      return asked === undefined ? told : people.recognize({ ...who, groups: asked })
    },
  }
}

async function groupsOf(provider: IdentityProvider | undefined, person: KnownIdentity, token: string): Promise<readonly string[]> {
  if (provider?.groupsOf === undefined) throw new LoginRefused('groups are given by reference only')
  return provider.groupsOf(person, token)
}

/** Whoever says that they made a token: decides whose keys verify it, and nothing else. */
export function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError) return undefined
    throw error
  }
}
