/** Bytes that come piece by piece. */
export interface GrowingBytes {
  readonly size: number
  add(chunk: Buffer): void
  bytes(): Buffer
  clear(): void
}

/** Gathers bytes into one buffer: of a body in single bytes, a list of its pieces would be five hundred times as large. */
export function growingBytes(): GrowingBytes {
  let buffer: Buffer = Buffer.alloc(0)
  let size = 0
  return {
    get size() {
      return size
    },
    add(chunk) {
      // Most bodies are one piece, and are not copied.
      if (size === 0) buffer = chunk
      else {
        if (size + chunk.length > buffer.length) buffer = Buffer.concat([buffer.subarray(0, size)], Math.max(2 * buffer.length, size + chunk.length))
        chunk.copy(buffer, size)
      }
      size += chunk.length
    },
    bytes: () => buffer.subarray(0, size),
    clear() {
      buffer = Buffer.alloc(0)
      size = 0
    },
  }
}
