// An input read as a series of choices, so that any bytes at all are a program for a target, and a
// byte changed is a choice changed. After its end all choices are 0.
export class Input {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }
  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length
  }
  u8(): number {
    return this.#bytes[this.#at++] ?? 0
  }
  u16(): number {
    return this.u8() | (this.u8() << 8)
  }
  u32(): number {
    return (this.u16() | (this.u16() << 16)) >>> 0
  }
  /** A whole number below `limit`. */
  below(limit: number): number {
    return limit <= 1 ? 0 : (limit <= 256 ? this.u8() : limit <= 65536 ? this.u16() : this.u32()) % limit
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!
  }
  take(lengthBytes: number): Buffer {
    const part = Buffer.from(this.#bytes.subarray(this.#at, this.#at + lengthBytes))
    this.#at += lengthBytes
    return part
  }
  rest(): Buffer {
    return this.take(this.#bytes.length)
  }
}

/** Numbers at which things tend to break. */
export const EXTREMES = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 39, 40, 63, 64, 127, 128, 255, 256, 1016, 1023, 1024, 1025, 4064, 4065, 4094,
  4095, 4096, 4097, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
] as const
