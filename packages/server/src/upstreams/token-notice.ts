import type { Upstream } from './upstream.ts'

/** Who sees the token of an account, in words for whoever is about to connect it. */
export function tokenNotice({ vending }: Pick<Upstream, 'vending'>): string {
  if (vending === undefined) return "applications never see that account's password or token"
  return "applications never see that account's password; those that your administrator chose can be given a token of it"
}
