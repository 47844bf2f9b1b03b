import { OAuthError } from '../oauth/error.ts'
import type { Claims, SignInRequirement } from '../policy/rule.ts'

const MAX_LENGTH = 4096
const MAX_CLAIMS = 16
const MAX_VALUES = 32
const MAX_TEXT = 256

type Value = string | number | boolean

/**
 * Reads of the `claims` parameter (OpenID Connect Core §5.5) what the sign-in must prove: the claims that are essential
 * and of which values are named, as a claims challenge names them. Everything else in it asks for nothing that Lanyard
 * would tell the client, and is left out, as §5.5 allows.
 *
 * @throws OAuthError `invalid_request` for what is no claims request, or a large one
 */
export function readClaimsParameter(given: string): Pick<SignInRequirement, 'acrValues' | 'claims'> {
  if (given.length > MAX_LENGTH) throw malformed('is too long')
  const request = object(parsed(given))
  const claims = new Map<string, readonly Value[]>()
  // A challenge of a resource server speaks of its access token; what the ID token says, the access token says as well.
  for (const part of ['id_token', 'access_token']) {
    for (const [name, member] of Object.entries(request[part] === undefined ? {} : object(request[part]))) {
      const values = essentialValues(member)
      if (values === undefined) continue
      const before = claims.get(name)
      claims.set(name, before === undefined ? values : before.filter((value) => values.includes(value)))
    }
  }
  if (claims.size > MAX_CLAIMS || [...claims.keys()].some((name) => name.length > MAX_TEXT)) throw malformed('names too much')
  const acr = claims.get('acr')?.map(String)
  if (acr?.some((value) => !/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value)) === true) throw malformed('names an acr that is none')
  claims.delete('acr')
  const others: Claims = Object.fromEntries(claims)
  return { ...(acr === undefined ? {} : { acrValues: acr }), ...(claims.size === 0 ? {} : { claims: others }) }
}

/** OpenID Connect Core §5.5.1: `null`, or an object with `essential`, `value` and `values`. */
function essentialValues(member: unknown): readonly Value[] | undefined {
  if (member === null) return undefined
  const { essential, value, values } = object(member)
  if (essential !== undefined && typeof essential !== 'boolean') throw malformed('says of a claim neither true nor false')
  const named = value === undefined ? values : [value]
  if (named !== undefined && !(Array.isArray(named) && named.length <= MAX_VALUES && named.every(isValue))) throw malformed('names values that are none')
  return essential === true ? named : undefined
}

function isValue(value: unknown): value is Value {
  return typeof value === 'boolean' || typeof value === 'number' || (typeof value === 'string' && value.length <= MAX_TEXT)
}

function parsed(given: string): unknown {
  try {
    return JSON.parse(given)
  } catch {
    throw malformed('is no JSON')
  }
}

function object(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('is no claims request')
  return value as Readonly<Record<string, unknown>>
}

function malformed(what: string): OAuthError {
  return new OAuthError('invalid_request', `claims ${what}`)
}
