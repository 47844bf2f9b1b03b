import type { Change, ChangeFeed } from './change.ts'

/** What this node knows of the store, until a change on any node says that it is out of date. */
export interface Remembered<Value> {
  get(key: string): Value | undefined
  /** To be called before the store is asked. @returns what keeps its answer */
  asking(key: string): (answer: Value) => void
}

export function remembered<Value>(feed: Pick<ChangeFeed, 'subscribe'>, kinds: readonly Change['kind'][], max: number): Remembered<Value> {
  const known = new Map<string, Value>()
  let changes = 0
  feed.subscribe(({ kind, key }) => {
    if (!kinds.includes(kind)) return
    changes += 1
    known.delete(key)
  })
  return {
    get: (key) => known.get(key),
    asking(key) {
      const before = changes
      return (answer) => {
        // What changed while it was read may have been read as it was.
        if (changes !== before) return
        if (known.size >= max) known.clear()
        known.set(key, answer)
      }
    },
  }
}
