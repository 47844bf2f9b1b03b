// The parameter `claims` as Entra ID reads it: what a sign-in must prove, what a resource demanded, and that this client
// understands when a resource demands more (claims challenges and continuous access evaluation).
import type { LoginOptions } from '../providers/provider.ts'

type Members = Readonly<Record<string, unknown>>

/** A client that says so gets tokens that live long and can be refused at any time. */
const CAPABLE: Members = { access_token: { xms_cc: { values: ['cp1'] } } }

/** @param demanded what a resource or a token endpoint demanded, as JSON that was checked */
export function claimsRequest(demanded?: string, { acrValues, claims = {} }: Pick<LoginOptions, 'acrValues' | 'claims'> = {}): string {
  // Authentication contexts are values of a claim here, and not of `acr`.
  const contexts = acrValues === undefined ? {} : { acrs: { essential: true, ...oneOf(acrValues.split(' ')) } }
  const wanted = Object.fromEntries(Object.entries(claims).map(([name, values]) => [name, { essential: true, ...oneOf(values) }]))
  const idToken = { ...wanted, ...contexts }
  const own = Object.keys(idToken).length === 0 ? {} : { id_token: idToken }
  return JSON.stringify(merged(merged(own, demanded === undefined ? {} : (JSON.parse(demanded) as Members)), CAPABLE))
}

function oneOf(values: readonly unknown[]): Members {
  return values.length === 1 ? { value: values[0] } : { values }
}

/** Of two requests for one claim of one token, the second stands. */
function merged(first: Members, second: Members): Members {
  const names = new Set([...Object.keys(first), ...Object.keys(second)])
  return Object.fromEntries([...names].map((name) => [name, { ...(first[name] as Members | undefined), ...(second[name] as Members | undefined) }]))
}
