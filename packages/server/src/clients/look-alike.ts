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

export interface Named {
  readonly id: string
  readonly name: string
}

/** Those among others whose name could be taken for this one's, or for a longer form of it. */
export function lookAlikes<Other extends Named>(application: Named, others: readonly Other[]): readonly Other[] {
  const own = skeleton(application.name)
  return others.filter(({ id, name }) => {
    const other = skeleton(name)
    if (id === application.id || own === '' || other === '') return false
    return own === other || (Math.min(own.length, other.length) >= 5 && (own.startsWith(other) || other.startsWith(own)))
  })
}
