import * as z from 'zod'

const text = z.string().catch('')

function list<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.array(z.object(shape).optional().catch(undefined)).catch([])
}

const connector = z.object({ type: text, provider: z.string().optional().catch(undefined) }).catch({ type: '' })

/** What the parts of a configuration say of Entra ID; whatever else is wrong in it does not hide that. */
const lenient = z.object({ identityProviders: list({ id: text, type: text }), upstreams: list({ connector }) })

/** Checks by which identity provider people sign in whom a connector acts for. */
export function checkEntraObo(value: unknown, add: (path: readonly PropertyKey[], message: string) => void): void {
  const { data } = lenient.safeParse(value)
  if (data === undefined) return
  const entra = data.identityProviders.filter((provider) => provider?.type === 'entra-id')
  data.upstreams.forEach((upstream, index) => {
    if (upstream?.connector.type !== 'entra-obo') return
    const { provider } = upstream.connector
    const tell = (message: string): void => add(['upstreams', index, 'connector', 'provider'], message)
    if (entra.length === 0) tell('is missing: there is no identity provider of the type entra-id, so nobody has a sign-in to act for')
    else if (provider === undefined && entra.length > 1) tell('is missing: there are several identity providers of the type entra-id')
    else if (provider !== undefined && !entra.some((each) => each?.id === provider)) tell('must be an identity provider of the type entra-id')
  })
}
