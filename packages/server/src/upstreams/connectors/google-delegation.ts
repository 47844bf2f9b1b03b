// Google's APIs in the name of a domain's users, by a service account with domain-wide delegation. Its key reaches every
// mailbox of the domain, so whose name it acts in is never a caller's to say: it is the verified address with which the
// signed-in user came from the domain's own provider, or the one that an administrator wrote down for them.
import type { Recorder } from '../../audit/event.ts'
import { GoogleRefused, GoogleUnavailable } from '../../identity/google/errors.ts'
import { serviceAccount, type GoogleDeps, type GoogleToken } from '../../identity/google/service-account.ts'
import type { User, Users } from '../../identity/user.ts'
import { hash } from '../../oauth/secret.ts'
import type { GoogleDelegationSettings, Upstream } from '../upstream.ts'
import { CredentialRefused, UpstreamUnavailable, type Connector } from './connector.ts'

export interface GoogleDelegationDeps extends GoogleDeps {
  readonly users: Users
  readonly audit: Recorder
}

/** An upstream that refuses everything does not make Google issue a token for each call. */
const DOUBT_MS = 30_000
const MAX_DOUBTS = 10_000

export function googleDelegation(settings: GoogleDelegationSettings, deps: GoogleDelegationDeps): Connector {
  const account = serviceAccount(settings.serviceAccount, deps)
  const doubts = new Map<string, number>()
  const tokenFor = async (userId: string, upstream: Upstream): Promise<GoogleToken> => {
    const address = addressOf(await deps.users.find(userId), settings)
    const detail = { connector: settings.type, serviceAccount: settings.serviceAccount.email, scopes: settings.scopes }
    const record = (): Promise<void> => deps.audit.record({ action: 'connection.refreshed', outcome: 'success', subject: userId, upstream: upstream.id, detail })
    try {
      return await account.token(settings.scopes, address, record)
    } catch (error) {
      if (error instanceof GoogleUnavailable) throw new UpstreamUnavailable(error.message, { cause: error })
      if (error instanceof GoogleRefused) throw new CredentialRefused(error.message, `google: ${error.reason}`, error)
      throw error
    }
  }
  return {
    perUser: true,
    async credential(userId, upstream) {
      const { accessToken } = await tokenFor(userId, upstream)
      return { headers: { authorization: `Bearer ${accessToken}` }, version: hash(accessToken) }
    },
    async refused(userId, upstream, version) {
      const token = await tokenFor(userId, upstream)
      if (hash(token.accessToken) !== version || (doubts.get(userId) ?? 0) > deps.now()) return
      doubts.delete(userId)
      doubts.set(userId, deps.now() + DOUBT_MS)
      const [oldest] = doubts.keys()
      if (doubts.size > MAX_DOUBTS && oldest !== undefined) doubts.delete(oldest)
      account.refused(token)
    },
  }
}

/** @throws CredentialRefused for whoever is nobody of the domain, as far as their own sign-in proves */
function addressOf(user: User | undefined, settings: GoogleDelegationSettings): string {
  if (user === undefined || user.disabled) throw new CredentialRefused('it acts for people alone', 'google: no user')
  const { provider, domains, users } = settings
  const mapped = users.find((entry) => entry.provider === user.provider && entry.subject === user.subject)
  const isOfDomain = provider !== undefined && user.provider === provider.id && user.issuer === provider.issuer
  if (mapped === undefined && !isOfDomain) throw new CredentialRefused('you did not sign in with an account of the Google domain that it acts for', 'google: another provider')
  // An address that nobody verified is whatever somebody typed.
  const address = mapped?.address ?? (user.emailVerified === true ? user.email : undefined)
  const domain = /^[^\s@"(),:;<>[\]\\]+@([^\s@]+)$/.exec(address ?? '')?.[1]?.toLowerCase()
  if (address === undefined || domain === undefined) throw new CredentialRefused('your sign-in at Google told no verified address', 'google: no verified address')
  if (!domains.includes(domain)) throw new CredentialRefused('your address is not one of the domain that it acts for', 'google: another domain')
  return address.toLowerCase()
}
