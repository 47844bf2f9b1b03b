// What a run of tests reported, by the identifiers in their titles: shared by the documents that are made of it.
import { readFileSync } from 'node:fs'
import type { TestLine } from './reporter.ts'

export type Groups = ReadonlyMap<string, readonly TestLine[]>

export function readLines(file: string): readonly TestLine[] {
  return readFileSync(file, 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as TestLine)
}

export function group(tests: readonly TestLine[], keys: (title: string) => readonly string[]): Groups {
  const groups = new Map<string, TestLine[]>()
  for (const test of tests) for (const key of new Set(keys(test.title))) groups.set(key, [...(groups.get(key) ?? []), test])
  return groups
}

/** Each file once, with how many of its tests there are. */
export function list(tests: readonly TestLine[]): string {
  const files = Map.groupBy(tests, ({ file }) => file.replace(/^packages\/server\//, ''))
  return [...files]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([file, found]) => `${file}${found.length === 1 ? '' : ` (${found.length})`}${found.some(({ result }) => result === 'failed') ? ' FAILED' : ''}`)
    .join(', ')
}
