import { OutboundError, type OutboundResponse } from '../../http/outbound.ts'

/** Google does not answer, or answers with an error of its own; another try may help. */
export class GoogleUnavailable extends Error {
  override readonly name = 'GoogleUnavailable'
}

export type GoogleReason = 'not_delegated' | 'unknown_user' | 'bad_key' | 'bad_clock' | 'no_role' | 'may_not_sign' | 'no_machine_identity' | 'not_trusted' | 'too_many_groups' | 'refused'

/** What an administrator does about it; nothing of it is secret. */
const REMEDIES: Readonly<Record<GoogleReason, string>> = {
  not_delegated: "the domain has not delegated these scopes to the service account: an administrator enters its client ID with exactly these scopes in Google's Admin console under Security, Access and data control, API controls, Domain-wide delegation",
  unknown_user: 'Google knows no active user of the domain with this address',
  bad_key: 'Google does not accept the key of the service account: it was deleted or disabled, or is of another account',
  bad_clock: "this gateway's clock is wrong",
  no_role: 'the service account, or the administrator that it acts for, may not read groups: give it the role Groups Reader',
  may_not_sign: 'the identity of this machine may not sign for the service account: give it the role Service Account Token Creator on it, and enable the IAM Service Account Credentials API',
  no_machine_identity: 'this machine has no service account: without a key, that works on Google Cloud alone; elsewhere set workloadIdentity',
  not_trusted: "Google does not trust this gateway: check the issuer and the attribute mapping of the workload identity provider, and that Google can read this gateway's metadata and keys",
  too_many_groups: 'the person is in more groups than can be looked at',
  refused: 'Google refuses the request',
}

/** Google says no, and another try does not help. The message says what an administrator does about it. */
export class GoogleRefused extends Error {
  override readonly name = 'GoogleRefused'
  readonly reason: GoogleReason
  /** @param code what Google said, as far as it is one printable word */
  constructor(reason: GoogleReason, code = '') {
    super(`${REMEDIES[reason]}${/^[\w.-]{1,60}$/.test(code) ? ` (${code})` : ''}`)
    this.reason = reason
  }
}

/** @returns the answer of a server that is calm. @throws GoogleUnavailable */
export async function answered(work: Promise<OutboundResponse>): Promise<OutboundResponse> {
  let answer: OutboundResponse
  try {
    answer = await work
  } catch (error) {
    if (error instanceof OutboundError) throw new GoogleUnavailable(`Google does not answer: ${error.reason}`, { cause: error })
    throw error
  }
  const { status } = answer
  if (status >= 500 || status === 429 || (status >= 300 && status < 400)) throw new GoogleUnavailable(`Google answers with status ${status}`)
  return answer
}
