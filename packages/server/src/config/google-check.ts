import * as z from 'zod'

const text = z.string().catch('')

function list<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.array(z.object(shape).optional().catch(undefined)).catch([])
}

const account = z.object({ workloadIdentity: z.unknown().optional() }).optional().catch(undefined)
const connector = z.object({ type: text, serviceAccount: account, provider: z.string().optional().catch(undefined), domains: z.unknown().optional(), users: list({ provider: text, address: text }) }).catch({ type: '', users: [] })

/** What the parts of a configuration say of delegations; whatever else is wrong in it does not hide that. */
const lenient = z.object({ signing: z.object({ algorithm: text }).catch({ algorithm: '' }), identityProviders: list({ id: text, type: text, directory: z.object({ serviceAccount: account }).optional().catch(undefined) }), upstreams: list({ connector }) })

/** Checks for whom a service account acts: the users of one domain of Google, or those that are written down. */
export function checkDelegations(value: unknown, add: (path: readonly PropertyKey[], message: string) => void): void {
  const { data } = lenient.safeParse(value)
  if (data === undefined) return
  if (data.signing.algorithm === 'EdDSA') tellOfAlgorithm(data, add)
  const google = data.identityProviders.filter((provider) => provider?.type === 'google-workspace')
  data.upstreams.forEach((upstream, index) => {
    if (upstream?.connector.type !== 'google-delegation') return
    const { provider, domains, users } = upstream.connector
    const tell = (setting: readonly PropertyKey[], message: string): void => add(['upstreams', index, 'connector', ...setting], message)
    if (provider !== undefined && !google.some((each) => each?.id === provider)) tell(['provider'], 'must be an identity provider of the type google-workspace')
    if (provider === undefined && google.length > 1) tell(['provider'], 'is missing: there are several identity providers of the type google-workspace')
    if (google.length === 0 && users.length === 0) tell(['users'], 'is missing: there is no identity provider of the type google-workspace, so nobody has an address at Google')
    if (google.length === 0 && domains === undefined) tell(['domains'], 'is missing: the domains whose users it acts for')
    users.forEach((user, place) => {
      if (user !== undefined && !data.identityProviders.some((each) => each?.id === user.provider)) tell(['users', place, 'provider'], 'there is no such identity provider')
    })
  })
}

/** Google's workload identity federation verifies RS256 and ES256 alone. */
function tellOfAlgorithm({ identityProviders, upstreams }: z.output<typeof lenient>, add: (path: readonly PropertyKey[], message: string) => void): void {
  const message = 'needs signing.algorithm ES256: Google verifies no EdDSA'
  identityProviders.forEach((provider, index) => {
    if (provider?.directory?.serviceAccount?.workloadIdentity !== undefined) add(['identityProviders', index, 'directory', 'serviceAccount', 'workloadIdentity'], message)
  })
  upstreams.forEach((upstream, index) => {
    if (upstream?.connector.serviceAccount?.workloadIdentity !== undefined) add(['upstreams', index, 'connector', 'serviceAccount', 'workloadIdentity'], message)
  })
}
