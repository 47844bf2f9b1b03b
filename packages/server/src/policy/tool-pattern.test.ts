import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { policy } from './policy.ts'
import { addressProblem, toolMatcher } from './tool-pattern.ts'

const allows = (patterns: readonly string[], value: string): boolean => toolMatcher(patterns, false)(value)
const restricts = (patterns: readonly string[], value: string): boolean => toolMatcher(patterns, true)(value)

test('what allows an address is exact: a star in the middle is part of one segment, one at the end is all below', () => {
  for (const [pattern, value] of [['GET /repos/*', 'GET /repos/a'], ['GET /repos/*', 'GET /repos/a/b'], ['* /repos/*/keys', 'PUT /repos/a/keys'], ['GET /repos/a*/x', 'GET /repos/ab/x'], ['GET /', 'GET /'], ['GET /*', 'GET /a/b'], ['GET /a/', 'GET /a'], ['GET *', 'GET /a'], ['*', 'GET /a'], ['GET /a*', 'GET /ab/c']] as const) {
    assert.ok(allows([pattern], value), `${pattern} ${value}`)
  }
  for (const [pattern, value] of [['GET /repos/*', 'GET /repos'], ['GET /repos/*', 'POST /repos/a'], ['GET /repos/*', 'GET /Repos/a'], ['* /repos/*/keys', 'GET /repos/a/b/keys'], ['GET /repos/*/keys', 'GET /repos/a/keys/b'], ['GET /', 'GET /a'], ['GET /a', 'GET /a/b'], ['read_*', 'GET /read_a'], ['GET /a', 'GETX /a']] as const) {
    assert.ok(!allows([pattern], value), `${pattern} ${value}`)
  }
})

test('what restricts an address holds in every spelling of it, and a star leads anywhere', () => {
  for (const [pattern, value] of [['* /admin', 'GET /ADMIN'], ['GET /a/*/secrets', 'GET /a/b/c/Secrets'], ['DELETE /x/', 'DELETE /X'], ['*/admin*', 'GET /v1/Admin/x'], ['DELETE /a/b', 'DELETE /a%2Fb'], ['* /a/*', 'GET /A%2Fb%2Fc'], ['GET /a%2Fb', 'GET /a%2Fb']] as const) assert.ok(restricts([pattern], value), `${pattern} ${value}`)
  for (const [pattern, value] of [['* /admin', 'GET /admin/x'], ['GET /a', 'POST /a'], ['delete_*', 'Delete_x'], ['GET /a%2Fb', 'GET /a/b'], ['DELETE /a/b', 'DELETE /a%2Fbc']] as const) assert.ok(!restricts([pattern], value), `${pattern} ${value}`)
  const rules = policy([{ id: 'all', effect: 'allow' }, { id: 'no-admin', effect: 'deny', tools: ['GET /admin'] }, { id: 'careful', effect: 'approval', tools: ['DELETE /users/*'] }])
  const decide = (tool: string): string => rules.decide({ subject: 'u', groups: [], clientId: 'c', upstream: 'api', tool }).rule
  assert.deepEqual(['GET /admin', 'GET /Admin', 'GET /other', 'DELETE /Users/1', 'DELETE /items/1'].map(decide), ['no-admin', 'no-admin', 'all', 'careful', 'all'])
})

test('what restricts one name of a tool is found whatever allows it by another', () => {
  const rules = policy([{ id: 'tool', effect: 'allow', tools: ['dropUser'] }, { id: 'no-admin', effect: 'deny', tools: ['* /admin/*'] }, { id: 'careful', effect: 'step-up', tools: ['DELETE /users/*'], require: { maxAge: 60 } }])
  const held = (tool: string) => rules.restriction({ subject: 'u', groups: [], clientId: 'c', upstream: 'api', tool })
  assert.deepEqual([held('DELETE /users/1')?.effect, held('DELETE /users/1')?.challenge, held('GET /admin/x')?.rule, held('GET /users/1'), held('dropUser')], ['step-up', { maxAge: 60 }, 'no-admin', undefined, undefined])
})

test('whatever is allowed by a pattern is restricted by it, and nothing is allowed that does not begin as its pattern does', () => {
  const piece = fc.constantFrom('a', 'B', '*', '/', '/x', 'GET ', '* ', '.', 'ab')
  const pattern = fc.array(piece, { maxLength: 5 }).map((pieces) => `GET /${pieces.join('').replaceAll(/\/+/g, '/').trim()}`)
  const value = fc.array(fc.constantFrom('a', 'b', 'ab', 'B', 'x'), { maxLength: 4 }).map((segments) => `GET /${segments.join('/')}`)
  fc.assert(
    fc.property(pattern, value, (one, address) => {
      if (!allows([one], address)) return
      assert.ok(restricts([one], address))
      assert.ok(address.startsWith(one.split('*')[0]?.replace(/(?<! )\/$/, '') ?? ''))
    }),
    { numRuns: 3000 },
  )
})

test('a pattern that no call can have is a mistake', () => {
  for (const good of ['GET /a', '* /a/*', 'GET /users/a@b', 'POST /a/', 'tool', 'tool with / slash', 'GET *', 'PUT /a%20b']) assert.equal(addressProblem(good), undefined, good)
  for (const bad of ['GET /a//b', 'GET /a b', 'GET /a/../b', 'HEAD /a', 'GET /users/a%40b', 'GET /%61', 'GET /a?x=1', 'GET /é']) assert.notEqual(addressProblem(bad), undefined, bad)
})
