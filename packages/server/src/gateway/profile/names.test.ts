import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Upstream } from '../../upstreams/upstream.ts'
import { innerId, innerName, innerUri, outerId, outerName, outerUri } from './names.ts'

const ID_UNITS = Array.from('abcdefghijklmnopqrstuvwxyz0123456789-')
const upstreamId = fc.string({ unit: fc.constantFrom(...ID_UNITS), minLength: 1, maxLength: 6 })
/** Names made of what could be confused: separators, other upstreams' identifiers, anything. */
const name = fc.oneof(fc.string({ unit: fc.constantFrom('_', '__', 'a', 'b', '-', ':', '/', 'lanyard:', 'ui://', '{id}'), maxLength: 8 }), fc.string({ unit: 'binary' }))
const ids = fc.uniqueArray(upstreamId, { minLength: 1, maxLength: 5 })

function upstream(id: string): Upstream {
  return { id, name: id, url: 'https://x.example', connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1 }
}

const ways = { name: [outerName, innerName], uri: [outerUri, innerUri], id: [outerId, innerId] } as const

for (const [what, [outer, inner]] of Object.entries(ways)) {
  test(`H08, P-14: each ${what} of a profile is one upstream's, and is read back as it was, whatever they are called`, () => {
    fc.assert(
      fc.property(ids, name, name, fc.nat(), fc.nat(), (given, one, two, first, second) => {
        const profile = { upstreams: given.map(upstream) }
        const [left, right] = [profile.upstreams[first % given.length], profile.upstreams[second % given.length]]
        assert.ok(left !== undefined && right !== undefined)
        assert.deepEqual(inner(profile, outer(left, one)), { upstream: left, name: one })
        assert.equal(outer(left, one) === outer(right, two), left === right && one === two, 'two things have one name only if they are one thing')
      }),
    )
  })

  test(`a ${what} that names no upstream of the profile is nobody's`, () => {
    const profile = { upstreams: [upstream('a')] }
    assert.ok(inner(profile, outer(upstream('a'), 'x')))
    for (const bad of [outer(upstream('b'), 'x'), outer(upstream('constructor'), 'x'), outer(upstream('__proto__'), 'x'), 'x', '', '__x', 'A__x', ':1', 'lanyard:', 'lanyard:/x', 'LANYARD:a/x', 'UI://a/x', 'ui://', 'ui://a', 'ui:///x', 'a']) {
      assert.equal(inner(profile, bad), undefined, bad)
    }
  })
}

test('H08: "a" with "b__c" and "a__b" with "c" cannot be mixed up: no identifier has an underscore', () => {
  assert.deepEqual(innerName({ upstreams: [upstream('a'), upstream('b')] }, outerName(upstream('a'), 'b__c')), { upstream: upstream('a'), name: 'b__c' })
})

test('identifiers of requests keep their type, and every digit', () => {
  const profile = { upstreams: [upstream('notes')] }
  for (const own of ['1', 1, 'notes:1', '', 0, -1, 1.5]) assert.equal(innerId(profile, outerId(upstream('notes'), own))?.name, own)
  const large = JSON.parse('12345678901234567890', (_key, value: unknown, context?: { source: string }) => JSON.rawJSON(context?.source ?? String(value))) as unknown
  assert.equal(JSON.stringify(innerId(profile, outerId(upstream('notes'), large))?.name), '12345678901234567890')
  for (const bad of ['notes:{}', 'notes:[1]', 'notes:null', 'notes:', 'notes:x', 1, null, undefined, {}]) assert.equal(innerId(profile, bad), undefined, JSON.stringify(bad))
})

/** RFC 6570, as far as templates of resources use it: level 1, with what is expanded encoded. */
function expand(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (_all, key: string) => encodeURIComponent(values[key] ?? ''))
}

test('a template in a profile expands to what the expanded template is in the profile (RFC 6570)', () => {
  fc.assert(
    fc.property(upstreamId, fc.webUrl(), fc.string(), (id, base, value) => {
      const own = `${base}/{id}?q={id}`
      assert.equal(expand(outerUri(upstream(id), own), { id: value }), outerUri(upstream(id), expand(own, { id: value })))
    }),
  )
})

test('MCP Apps: a page keeps its scheme, which a host looks for, and leads to its upstream', () => {
  const profile = { upstreams: [upstream('a'), upstream('notes')] }
  for (const [own, outer] of [['ui://report', 'ui://notes/report'], ['ui://weather/view.html?v=1#x', 'ui://notes/weather/view.html?v=1#x'], ['ui://a/x', 'ui://notes/a/x'], ['ui://', 'ui://notes/'], ['ui://{id}/page', 'ui://notes/{id}/page']] as const) {
    assert.equal(outerUri(upstream('notes'), own), outer)
    assert.deepEqual(innerUri(profile, outer), { upstream: upstream('notes'), name: own })
  }
  assert.equal(outerUri(upstream('notes'), 'UI://x'), 'lanyard:notes/UI://x')
})

test('a parser of addresses leaves what is behind the prefix as it is, dots and slashes too', () => {
  for (const uri of ['note://1', 'file:///a/../b', 'https://x.example/a?b#c', '/rooted', '../up', 'urn:x:y']) {
    assert.equal(new URL(outerUri(upstream('notes'), uri)).href, outerUri(upstream('notes'), uri), uri)
  }
})
