const NONE = Buffer.alloc(0)

/** Gathers bytes into one buffer: of a body in single bytes, a list of its pieces would be five hundred times as large. */
export class GrowingBytes {
  #buffer: Buffer = NONE
  size = 0

  add(chunk: Buffer): void {
    const { size } = this
    // Most bodies are one piece, and are not copied.
    if (size === 0) this.#buffer = chunk
    else {
      if (size + chunk.length > this.#buffer.length) this.#buffer = Buffer.concat([this.#buffer.subarray(0, size)], Math.max(2 * this.#buffer.length, size + chunk.length))
      chunk.copy(this.#buffer, size)
    }
    this.size += chunk.length
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.size)
  }

  clear(): void {
    this.#buffer = NONE
    this.size = 0
  }
}
