import { operationName, pathProblem } from '../http/api-path.ts'
import { isEverything, matcher, type Match } from './pattern.ts'

/** What stands in the place of a tool at an HTTP API, and a pattern of it: `GET /repos/*`. */
const ADDRESS = /^(?:[A-Z]+|\*) \//

export function isAddress(pattern: string): boolean {
  return ADDRESS.test(pattern)
}

/** Why a pattern of addresses matches no call; undefined when it may match one. */
export function addressProblem(pattern: string): string | undefined {
  if (!isAddress(pattern)) return undefined
  const [method = '', path = ''] = split(pattern)
  if (method === 'HEAD') return 'HEAD is decided as GET'
  const whole = path.replaceAll('*', 'x')
  const problem = pathProblem({ path: whole, query: '' }, { encodedSlashes: true })
  if (problem !== undefined) return `no call has such an address: ${problem}`
  return operationName(method, trimmed(whole)) === `${method} ${trimmed(whole)}` ? undefined : 'characters such as @ or , stand for themselves in it'
}

/**
 * Matches the tools of a rule. Of two readings of an address the one counts that protects: what restricts holds whatever
 * the case of its letters, however its slashes are written and wherever its stars lead, as some APIs do not tell those apart; what allows is exact, and a
 * star in the middle of it is part of one segment. A slash at the end makes no other address.
 */
export function toolMatcher(patterns: readonly string[] | undefined, restricts: boolean): Match {
  if (patterns === undefined || isEverything(patterns)) return () => true
  const plain = matcher(patterns.filter((pattern) => !isAddress(pattern)))
  if (restricts) {
    const folded = matcher(patterns.map((pattern) => trimmed(pattern).toLowerCase()))
    const holds = (address: string): boolean => folded(address) || (address.includes('%2f') && folded(address.replaceAll('%2f', '/')))
    return (value) => plain(value) || (isAddress(value) && holds(value.toLowerCase()))
  }
  const addresses = patterns.filter(isAddress).map(exactly)
  return addresses.length === 0 ? plain : (value) => plain(value) || (isAddress(value) && addresses.some((matches) => matches(value)))
}

/** Whether a list of tools can be looked up by name: what restricts an address matches others than it names. */
export function isListOfNames(patterns: readonly string[], restricts: boolean): boolean {
  return !patterns.some((pattern) => pattern.includes('*') || (isAddress(pattern) && (restricts || pattern !== trimmed(pattern))))
}

function exactly(pattern: string): Match {
  const [method = '', path = ''] = split(pattern)
  const [isMethod, segments] = [matcher([method]), trimmed(path).split('/')]
  const open = segments.at(-1)?.endsWith('*') === true
  const parts = segments.map((segment) => matcher([segment]))
  const last = parts.length - 1
  return (value) => {
    const [asked = '', at = ''] = split(value)
    const found = at.split('/')
    if (!isMethod(asked) || found.length < parts.length || (!open && found.length > parts.length)) return false
    // A star at the very end stands for all that is below, too.
    return parts.every((matches, index) => matches(index === last && open ? found.slice(last).join('/') : (found[index] ?? '')))
  }
}

function split(address: string): readonly string[] {
  const space = address.indexOf(' ')
  return [address.slice(0, space), address.slice(space + 1)]
}

function trimmed(text: string): string {
  return text.endsWith('/') && !text.endsWith(' /') && text.length > 1 ? text.slice(0, -1) : text
}
