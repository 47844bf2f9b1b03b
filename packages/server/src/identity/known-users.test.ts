import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from '../audit/change.ts'
import { knownUsers } from './known-users.ts'
import type { User } from './user.ts'

const user = (groups: readonly string[]): User => ({ id: 'usr_1', provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups, disabled: false })

function house() {
  const listeners: ((change: Change) => void)[] = []
  const state = { stored: user(['a']) as User | undefined, reads: 0, fresh: true, reading: Promise.resolve() }
  const read = async (): Promise<User | undefined> => {
    state.reads += 1
    const found = state.stored
    await state.reading
    return found
  }
  const feed = { subscribe: (listener: (change: Change) => void) => void listeners.push(listener), get fresh() { return state.fresh } }
  return { state, users: knownUsers(read, feed), change: (kind: Change['kind'], key = 'usr_1') => listeners.forEach((listener) => listener({ kind, key, at: 0 })) }
}

test('a user is read once, and again after a change of theirs', async () => {
  const { state, users, change } = house()
  await users.find('usr_1')
  state.stored = user(['b'])
  assert.deepEqual((await users.find('usr_1'))?.groups, ['a'])
  change('user', 'usr_2')
  change('connection')
  assert.deepEqual((await users.find('usr_1'))?.groups, ['a'])
  change('user')
  assert.deepEqual((await users.find('usr_1'))?.groups, ['b'])
  state.stored = undefined
  change('subject')
  assert.equal(await users.find('usr_1'), undefined)
  assert.equal(state.reads, 3)
})

test('who changes while they are read is read again, and so is everybody while changes are not heard of', async () => {
  const { state, users, change } = house()
  let go = (): void => undefined
  state.reading = new Promise((resolve) => { go = resolve })
  const first = users.find('usr_1')
  change('user')
  state.stored = user(['b'])
  go()
  assert.deepEqual((await first)?.groups, ['a'])
  assert.deepEqual((await users.find('usr_1'))?.groups, ['b'])
  state.stored = user(['c'])
  state.fresh = false
  assert.deepEqual((await users.find('usr_1'))?.groups, ['c'])
})
