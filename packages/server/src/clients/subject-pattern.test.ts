import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { subjectMatcher, subjectPatternProblem } from './subject-pattern.ts'

const CASES: readonly (readonly [pattern: string, matching: readonly string[], others: readonly string[]])[] = [
  ['repo:acme/app:ref:refs/heads/main', ['repo:acme/app:ref:refs/heads/main'], ['repo:acme/app:ref:refs/heads/main2', 'repo:acme/App:ref:refs/heads/main', 'repo:acme:app:ref:refs/heads/main', '']],
  ['repo:acme/*:ref:refs/heads/main', ['repo:acme/app:ref:refs/heads/main', 'repo:acme/-:ref:refs/heads/main'], ['repo:acme/:ref:refs/heads/main', 'repo:acme/a/b:ref:refs/heads/main', 'repo:acme-evil/app:ref:refs/heads/main', 'repo:acme/app:ref:refs/heads/main/x', 'repo:acme/app:ref:refs/heads/main:x', 'x:repo:acme/app:ref:refs/heads/main']],
  ['repo:acme/app:**', ['repo:acme/app:pull_request', 'repo:acme/app:ref:refs/heads/feature/x'], ['repo:acme/app', 'repo:acme/app:', 'repo:acme/app2:pull_request', 'repo:acme/app/pull_request']],
  ['system:serviceaccount:ci:*', ['system:serviceaccount:ci:deployer'], ['system:serviceaccount:ci2:deployer', 'system:serviceaccount:ci:deployer:x', 'system:serviceaccount:ci:']],
  ['spiffe://example.org/ns/ci/sa/*', ['spiffe://example.org/ns/ci/sa/job'], ['spiffe://example.org.evil/ns/ci/sa/job', 'spiffe://example.org/ns/ci/sa/job/x', 'spiffe://example.org/ns/ci/sa/']],
]

test('a star is one whole segment, two at the end are all that follows, and a subject fits as a whole', () => {
  for (const [pattern, matching, others] of CASES) {
    assert.equal(subjectPatternProblem(pattern), undefined, pattern)
    const matches = subjectMatcher(pattern)
    for (const subject of matching) assert.equal(matches(subject), true, `${pattern} ${subject}`)
    for (const subject of others) assert.equal(matches(subject), false, `${pattern} ${subject}`)
  }
})

test('a pattern that could be worn by somebody else is none', () => {
  for (const pattern of ['repo:acme*', 'repo:acme*/app', 'repo:acme/ap*:ref:x', 'repo:acme/**:ref:x', 'repo:acme/***']) assert.notEqual(subjectPatternProblem(pattern), undefined, pattern)
  for (const pattern of ['*', '**', 'repo:*', 'repo:**', '*:acme/app', 'repo:*/app:ref:x']) assert.equal(subjectPatternProblem(pattern), 'must begin with two segments that are written out', pattern)
})

test('whatever a pattern matches begins with what it writes out', () => {
  const segment = fc.stringMatching(/^[a-z]{0,3}$/)
  const joined = fc.array(fc.tuple(segment, fc.constantFrom(':', '/')), { maxLength: 6 }).map((parts) => parts.flat().join(''))
  fc.assert(
    fc.property(joined, joined, (rest, other) => {
      const matches = subjectMatcher(`repo:acme/${rest}*`)
      if (matches(other)) assert.ok(other.startsWith(`repo:acme/${rest}`))
      assert.equal(matches(`repo:acme/${rest}x`), true)
    }),
  )
})
