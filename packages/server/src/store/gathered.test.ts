import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gathered } from './gathered.ts'

/** A store that answers when it is told to. */
function slow(): { readonly asked: string[][]; readonly answer: () => void; readonly read: (keys: readonly string[]) => Promise<Map<string, string>> } {
  const asked: string[][] = []
  const waiting: (() => void)[] = []
  return {
    asked,
    answer: () => waiting.shift()?.(),
    read: (keys) => {
      asked.push([...keys])
      return new Promise((resolve) => waiting.push(() => resolve(new Map(keys.filter((key) => key !== 'none').map((key) => [key, `${key}!`])))))
    },
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('what is asked at once, or while something is under way, is one question; each gets its own answer', async () => {
  const store = slow()
  const find = gathered(store.read)
  const first = ['a', 'b', 'c', 'a', 'none', 'd'].map((key) => find(key))
  await turn()
  assert.deepEqual(store.asked.map((keys) => keys.length).reduce((sum, count) => sum + count), 6)
  assert.equal(store.asked.length, 2)
  const later = ['e', 'f', 'g', 'h'].map((key) => find(key))
  await turn()
  assert.equal(store.asked.length, 2, 'nothing more is asked while both are under way')
  store.answer()
  store.answer()
  assert.deepEqual(await Promise.all(first), ['a!', 'b!', 'c!', 'a!', undefined, 'd!'])
  await turn()
  assert.equal(store.asked.length, 4)
  store.answer()
  store.answer()
  assert.deepEqual(await Promise.all(later), ['e!', 'f!', 'g!', 'h!'])
})

test('what was asked before is never the answer to what is asked later', async () => {
  let value = 'before'
  const find = gathered(async (keys) => new Map(keys.map((key) => [key, value])))
  assert.equal(await find('a'), 'before')
  value = 'after'
  assert.deepEqual(await Promise.all([find('a'), find('a'), find('a')]), ['after', 'after', 'after'])
})

test('a question that fails, fails for who asked it, and the next one is asked', async () => {
  let works = false
  const find = gathered(async (keys) => {
    if (!works) throw new Error('gone')
    return new Map(keys.map((key) => [key, key]))
  })
  await assert.rejects(Promise.all([find('a'), find('b')]), /gone/)
  works = true
  assert.equal(await find('a'), 'a')
})
