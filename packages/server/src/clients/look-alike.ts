/** Letters that pass for others at a glance; those that Unicode itself takes apart are not among them. */
const PASSES_FOR: Readonly<Record<string, string>> = {
  а: 'a', в: 'b', с: 'c', ԁ: 'd', е: 'e', н: 'h', і: 'i', ј: 'j', к: 'k', ӏ: 'l', м: 'm', о: 'o', р: 'p', ѕ: 's', т: 't', у: 'y', х: 'x', ѵ: 'v',
  α: 'a', β: 'b', ε: 'e', η: 'n', ι: 'i', κ: 'k', ν: 'v', ο: 'o', ρ: 'p', τ: 't', υ: 'u', χ: 'x', ω: 'w', ı: 'i', ɡ: 'g', ł: 'l', ø: 'o',
  0: 'o', 1: 'l', 3: 'e', 5: 's', $: 's', '@': 'a', '|': 'l', '!': 'i',
}

/** What is left of a name for an eye that does not look closely: equal for names that could be taken for one another. */
export function skeleton(name: string): string {
  const letters = Array.from(name.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase(), (letter) => PASSES_FOR[letter] ?? letter)
  // A capital I, an l and a 1 are one stroke.
  return letters.join('').replace(/[^\p{L}\p{N}]/gu, '').replaceAll('i', 'l').replaceAll('rn', 'm').replaceAll('vv', 'w')
}

/** A shorter name begins too many others. */
const MIN_PART = 5

export interface Named {
  readonly id: string
  readonly name: string
  /** Who vouches for it. */
  readonly voucher?: string
}

/** Finds, among others, those whose name could be taken for an application's, or for a longer form of it; who is vouched for comes first. */
export function lookAlikesAmong<Other extends Named>(others: readonly Other[]): (application: Named) => readonly Other[] {
  const known = others.map((other) => ({ other, name: skeleton(other.name) })).filter(({ name }) => name !== '')
  known.sort((a, b) => Number(b.other.voucher !== undefined) - Number(a.other.voucher !== undefined))
  return (application) => {
    const own = skeleton(application.name)
    if (own === '') return []
    return known.filter(({ other, name }) => other.id !== application.id && (own === name || (Math.min(own.length, name.length) >= MIN_PART && (own.startsWith(name) || name.startsWith(own))))).map(({ other }) => other)
  }
}
