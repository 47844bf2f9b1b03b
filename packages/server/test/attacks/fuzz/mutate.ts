// Changes inputs at random, from a seed: bytes, words of the format, pieces of other inputs.

/** Numbers from 0 (inclusive) to `below` (exclusive). */
export type Random = (below: number) => number

/** xorshift: the same seed gives the same run. */
export function randomFrom(seed: number): Random {
  let state = (seed >>> 0) || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

const ODD = ['\0', '\r\n', '\n', '"', '\\', '\\u0000', '\\ud800', '{', '}', '[', ']', '[[[[[[[[', ':', ',', '=', '&', '%00', '%', '../', '//', '__proto__', 'constructor', '1e400', '-0', '9007199254740993', 'null', 'true', '\ufeff', '\u2028', '\u202e', '\u017f', 'K', '\ud83d\ude00']
const MAX_LENGTH = 4096

export interface Material {
  readonly corpus: readonly Buffer[]
  readonly words: readonly string[]
}

export function mutate(input: Buffer, { corpus, words }: Material, random: Random): Buffer {
  let value = input
  for (let changes = 1 + random(4); changes > 0; changes -= 1) value = change(value, { corpus, words }, random)
  return value.subarray(0, MAX_LENGTH)
}

function change(value: Buffer, { corpus, words }: Material, random: Random): Buffer {
  const at = random(value.length + 1)
  const end = at + random(Math.min(value.length - at, 64) + 1)
  const [before, after, inside] = [value.subarray(0, at), value.subarray(end), value.subarray(at, end)]
  const join = (...middle: readonly Buffer[]): Buffer => Buffer.concat([before, ...middle, after])
  switch (random(8)) {
    case 0: {
      const flipped = Buffer.from(value)
      if (at < flipped.length) flipped[at] = (flipped[at] ?? 0) ^ (1 << random(8))
      return flipped
    }
    case 1:
      return Buffer.concat([before, Buffer.from([random(256)]), value.subarray(at)])
    case 2:
      return join()
    case 3:
      return join(...Array.from({ length: 1 + random(8) }, () => inside))
    case 4: {
      const other = corpus[random(corpus.length)] ?? value
      const from = random(other.length + 1)
      return join(other.subarray(from, from + random(other.length - from + 1)))
    }
    case 5:
      return join(Buffer.from(ODD[random(ODD.length)] ?? ''))
    default:
      return Buffer.concat([before, Buffer.from(words[random(words.length)] ?? ''), random(2) === 0 ? after : value.subarray(at)])
  }
}
