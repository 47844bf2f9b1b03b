import * as z from 'zod'

const text = z.string().catch('')
const word = z.string().optional().catch(undefined)

function list<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.array(z.object(shape).optional().catch(undefined)).catch([])
}

/** What the parts of a configuration say of ID-JAGs; whatever else is wrong in it does not hide that. */
const lenient = z.object({
  issuer: text,
  identityProviders: list({ id: text, issuer: word }),
  idJag: z
    .object({ trustedIssuers: list({ id: text, issuer: text, tenant: word, identityProvider: word, linkByEmail: word }), audiences: list({ issuer: text, resources: z.array(text).catch([]) }) })
    .catch({ trustedIssuers: [], audiences: [] }),
})

/** Checks for whom ID-JAGs are issued: each authorization server once, and never this gateway or what it protects. */
function checkAudiences({ issuer: own, idJag: { audiences } }: z.output<typeof lenient>, add: (path: readonly PropertyKey[], message: string) => void): void {
  audiences.forEach((audience, index) => {
    if (audience === undefined || own === '') return
    if (audience.issuer === own) add(['idJag', 'audiences', index, 'issuer'], 'is this gateway: an ID-JAG is never for whoever made it')
    if (audiences.findIndex((other) => other?.issuer === audience.issuer) < index) add(['idJag', 'audiences', index, 'issuer'], 'is taken: another one has it')
    audience.resources.forEach((resource, position) => {
      if (`${resource}/`.startsWith(`${own}/`)) add(['idJag', 'audiences', index, 'resources', position], 'is an address of this gateway')
    })
  })
}

/** Checks whose ID-JAGs are trusted: each issuer and tenant once, none of our own, and each of its own people. */
export function checkIdJagSettings(value: unknown, add: (path: readonly PropertyKey[], message: string) => void): void {
  const { data } = lenient.safeParse(value)
  if (data === undefined) return
  checkAudiences(data, add)
  const { issuer: own, identityProviders, idJag } = data
  const seen = new Set<string>()
  const ids = new Set(identityProviders.map((provider) => provider?.id))
  idJag.trustedIssuers.forEach((trusted, index) => {
    if (trusted === undefined) return
    const tell = (setting: string, message: string): void => add(['idJag', 'trustedIssuers', index, setting], message)
    // Its people would be taken for those who sign in there.
    if (trusted.id !== '' && ids.has(trusted.id)) tell('id', 'is taken: an identity provider or another trusted issuer has it')
    ids.add(trusted.id)
    if (trusted.issuer === own && own !== '') tell('issuer', 'is this gateway: an ID-JAG is never for whoever made it')
    const key = JSON.stringify([trusted.issuer, trusted.tenant])
    if (seen.has(key)) tell('issuer', 'is taken: another one has it (several tenants of one issuer each name their tenant)')
    seen.add(key)
    if (idJag.trustedIssuers.some((other) => other?.issuer === trusted.issuer && other.tenant !== trusted.tenant) && trusted.tenant === undefined) tell('tenant', 'is missing: another trusted issuer is a tenant of this one')
    if (trusted.linkByEmail !== undefined && !identityProviders.some((each) => each?.id === trusted.linkByEmail)) tell('linkByEmail', 'there is no such identity provider')
    const provider = identityProviders.find((each) => each?.id === trusted.identityProvider)
    // Subjects may be equal in two tenants.
    if (trusted.identityProvider !== undefined && idJag.trustedIssuers.slice(0, index).some((other) => other?.identityProvider === trusted.identityProvider)) tell('identityProvider', 'is taken: another trusted issuer has its people')
    if (trusted.identityProvider !== undefined && provider === undefined) tell('identityProvider', 'there is no such identity provider')
    else if (provider?.issuer !== undefined && provider.issuer !== trusted.issuer) tell('identityProvider', 'has another issuer: its people are known by other identifiers')
  })
}
