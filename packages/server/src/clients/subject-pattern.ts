/** What separates the segments of a subject: `repo:acme/app:ref:refs/heads/main`, `system:serviceaccount:ci:deployer`, `spiffe://example.org/ns/ci`. */
const SEPARATORS = /([:/])/

/**
 * Why a text is no pattern of subjects. `*` stands for one whole segment and `**`, at the end alone, for all that follows:
 * `acme*` would be `acme-evil` too. The first two segments say whose workloads are meant, so they are written out.
 */
export function subjectPatternProblem(pattern: string): string | undefined {
  const parts = pattern.split(SEPARATORS)
  const segments = parts.filter((_, index) => index % 2 === 0)
  if (segments.some((segment) => segment.includes('*') && segment !== '*' && segment !== '**')) return 'has a * that is not a whole segment between : or /'
  if (segments.slice(0, -1).includes('**')) return 'has ** before its end'
  const literal = segments.findIndex((segment) => segment === '*' || segment === '**')
  return literal !== -1 && literal < 2 ? 'must begin with two segments that are written out' : undefined
}

/** Matches a subject as a whole, separators and all; without a star it is compared as a text. */
export function subjectMatcher(pattern: string): (subject: string) => boolean {
  if (!pattern.includes('*')) return (subject) => subject === pattern
  const wanted = pattern.split(SEPARATORS)
  const open = wanted.at(-1) === '**'
  const head = open ? wanted.slice(0, -1) : wanted
  return (subject) => {
    const given = subject.split(SEPARATORS)
    if (open ? given.length <= head.length : given.length !== head.length) return false
    return head.every((part, index) => (part === '*' ? given[index] !== '' : given[index] === part)) && (!open || given[head.length] !== '')
  }
}
