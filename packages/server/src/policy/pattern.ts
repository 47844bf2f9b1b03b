export type Match = (value: string) => boolean

const HTTPS = 'https://'

/** A list that is absent, or has an entry of stars alone. */
export function isEverything(patterns: readonly string[] | undefined): boolean {
  return patterns === undefined || patterns.some((pattern) => pattern.startsWith('*') && /^\*+$/.test(pattern))
}

const ANYTHING: Match = () => true

/** Matches what one of the patterns of a rule's list stands for. */
export function matcher(patterns: readonly string[] | undefined): Match {
  if (patterns === undefined || isEverything(patterns)) return ANYTHING
  const [only = ''] = patterns
  if (patterns.length === 1) return only.includes('*') ? wildcard(only) : (value) => value === only
  const exact = new Set(patterns.filter((pattern) => !pattern.includes('*')))
  const wild = patterns.filter((pattern) => pattern.includes('*')).map(wildcard)
  return (value) => exact.has(value) || wild.some((matches) => matches(value))
}

/**
 * Matches a pattern with stars. In the host of an https address a star stands for no `/`: whoever may choose a path must
 * not be taken for another host. Only a star at the very end stands for the path too.
 */
function wildcard(pattern: string): Match {
  const [, host, path = ''] = /^https:\/\/([^/]*\*[^/]*)(\/.*)?$/s.exec(pattern) ?? []
  if (host === undefined) return starred(pattern)
  const open = path === '' && host.endsWith('*')
  const [isHost, isPath] = [starred(host), open ? () => true : starred(path)]
  return (value) => {
    if (!value.startsWith(HTTPS)) return false
    const slash = value.indexOf('/', HTTPS.length)
    const end = slash === -1 ? value.length : slash
    return isHost(value.slice(HTTPS.length, end)) && isPath(value.slice(end))
  }
}

/** Looks for the parts between stars one after the other: no backtracking, whatever the name. */
function starred(pattern: string): Match {
  const parts = pattern.split('*')
  if (parts.length === 1) return (value) => value === pattern
  const [head = '', tail = ''] = [parts[0], parts.at(-1)]
  const middle = parts.slice(1, -1).filter((part) => part !== '')
  return (value) => {
    if (value.length < head.length + tail.length || !value.startsWith(head) || !value.endsWith(tail)) return false
    let at = head.length
    const end = value.length - tail.length
    for (const part of middle) {
      const found = value.indexOf(part, at)
      if (found === -1 || found + part.length > end) return false
      at = found + part.length
    }
    return true
  }
}
