import { random } from '../oauth/random.ts'
import { EVERYTHING } from './upstream.ts'

/** A name under `/mcp`: what the path of an MCP endpoint, and a scope, may hold. */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
/** Words that mean something else in an address or a scope, or will. */
const RESERVED: ReadonlySet<string> = new Set([EVERYTHING, 'mcp', 'api', 'read', 'write'])
/** Profiles of people's own: nobody else gets a name among them. */
const OWN = 'u-'
const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567'

export function isProfileName(id: string): boolean {
  return NAME.test(id)
}

/** Whether an administrator may give a profile, or an upstream, this name. */
export function isFreeForAdministrators(id: string): boolean {
  return !RESERVED.has(id) && !id.startsWith(OWN)
}

/** A name of 120 bits for a person's own profile: it says nothing, and nobody else can guess it. */
export function newOwnName(): string {
  return `${OWN}${Array.from(random(24), (byte) => LETTERS[byte % LETTERS.length]).join('')}`
}
