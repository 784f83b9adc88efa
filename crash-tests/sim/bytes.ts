// Bytes of a file, zero until written, in chunks that never move, so that they can be mapped. What was
// never touched costs nothing, and is not compared.

/** What a chunk that is not there holds. */
let zeros = Buffer.alloc(0)

export class Bytes {
  readonly #chunks: (Buffer | undefined)[] = []

  /** `first`: memory for the first chunk, all zero. */
  constructor(
    readonly chunkBytes: number,
    first?: Buffer,
  ) {
    if (first !== undefined) this.#chunks.push(first)
  }

  /** The chunk itself, made if need be. */
  chunk(index: number): Buffer {
    return (this.#chunks[index] ??= Buffer.from(new ArrayBuffer(this.chunkBytes)))
  }

  #each(
    position: number,
    length: number,
    visit: (index: number, at: number, bytes: number, done: number) => void,
  ): void {
    for (let done = 0; done < length;) {
      const at = (position + done) % this.chunkBytes
      const bytes = Math.min(length - done, this.chunkBytes - at)
      visit(Math.floor((position + done) / this.chunkBytes), at, bytes, done)
      done += bytes
    }
  }

  read(into: Uint8Array, offset: number, length: number, position: number): void {
    this.#each(position, length, (index, at, bytes, done) => {
      const chunk = this.#chunks[index]
      if (chunk === undefined) into.fill(0, offset + done, offset + done + bytes)
      else into.set(chunk.subarray(at, at + bytes), offset + done)
    })
  }

  slice(position: number, length: number): Buffer {
    const bytes = Buffer.alloc(length)
    this.read(bytes, 0, length, position)
    return bytes
  }

  write(from: Uint8Array, offset: number, length: number, position: number): void {
    this.#each(position, length, (index, at, bytes, done) =>
      this.chunk(index).set(from.subarray(offset + done, offset + done + bytes), at),
    )
  }

  /** Zeros from `position` to the end. */
  clearFrom(position: number): void {
    for (let i = Math.floor(position / this.chunkBytes); i < this.#chunks.length; i++) {
      this.#chunks[i]?.fill(0, Math.max(0, position - i * this.chunkBytes))
    }
  }

  /** Becomes equal to `other`, which has chunks of the same length. */
  copy(other: Bytes): void {
    for (let i = 0; i < Math.max(this.#chunks.length, other.#chunks.length); i++) {
      const source = other.#chunks[i]
      if (source !== undefined) this.chunk(i).set(source)
      else this.#chunks[i]?.fill(0)
    }
  }

  /** Whether both hold the same from `from` to `to`, which are in one chunk. */
  same(other: Bytes, from: number, to: number): boolean {
    const index = Math.floor(from / this.chunkBytes)
    const mine = this.#chunks[index]
    const theirs = other.#chunks[index]
    if (mine === theirs) return true
    if (zeros.length < this.chunkBytes) zeros = Buffer.alloc(this.chunkBytes)
    const at = from % this.chunkBytes
    const end = at + to - from
    return (mine ?? zeros).compare(theirs ?? zeros, at, end, at, end) === 0
  }
}
