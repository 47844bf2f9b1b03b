/** A fault behind three conditions: chance alone would need some ten million tries to meet all of them at once. */
export function planted(input: Buffer): void {
  if (input[0] !== 0xb1) return
  if (input[1] !== 0xc2) return
  if (input[2] === 0xd3) throw new Error('found')
}
