/**
 * Gathers what is asked for while earlier questions are under way: one statement for many, as the way to a database costs
 * more than what is done there. What somebody is told was read after they asked.
 */
export function gathered<Answer>(read: (keys: readonly string[]) => Promise<ReadonlyMap<string, Answer>>): (key: string) => Promise<Answer | undefined> {
  // One gathers while the other is under way; and one that waits for a connection that is gone does not hold back all.
  const lanes = [lane(read), lane(read)] as const
  let turn = 0
  return (key) => lanes[(turn ^= 1) === 0 ? 0 : 1](key)
}

interface Question<Answer> {
  readonly keys: Set<string>
  readonly answers: Promise<ReadonlyMap<string, Answer>>
}

function lane<Answer>(read: (keys: readonly string[]) => Promise<ReadonlyMap<string, Answer>>): (key: string) => Promise<Answer | undefined> {
  let open: Question<Answer> | undefined
  let last: Promise<unknown> = Promise.resolve()
  const begin = (): Question<Answer> => {
    const keys = new Set<string>()
    const answers = last.then(() => {
      open = undefined
      return read([...keys])
    })
    last = answers.catch(() => undefined)
    return { keys, answers }
  }
  return async (key) => {
    open ??= begin()
    const { keys, answers } = open
    keys.add(key)
    return (await answers).get(key)
  }
}
