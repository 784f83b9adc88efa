// CRC-32C of stretches of a file, any number of which may overlap: each takes about the same time, however long it is.
// Without that, bytes that only look like the beginnings of long records would make a search for real ones quadratic.
//
// What a CRC does to its register is linear. So the register after a stretch follows from the registers after what ends
// where the stretch begins and after what ends where it ends, both counted from one place: the first is brought forward
// by as many zero bytes as the stretch is long, which is a multiplication by a power of x, and the two are added. The
// registers at every block's border are computed once. (As crc32_combine does in zlib, by Mark Adler.)
import type { RandomFile } from '../storage/storage.js'
import { crc32c } from './crc32c.js'

const BLOCK_BYTES = 1024
/** The polynomial, and the numbers 1 and x, with the lowest power in the highest bit. */
const POLYNOMIAL = 0x82f63b78
const ONE = 0x80000000
const X = 0x40000000

export class StretchCrcs {
  readonly #file: RandomFile
  readonly #begin: number
  readonly #end: number
  readonly #block = Buffer.alloc(BLOCK_BYTES)
  /** The register after each whole number of blocks from `begin`. */
  #registers: Uint32Array | undefined
  #computedBytes = 0

  /** Stretches of `file` between the bytes `begin` and `end`, which nobody writes meanwhile. */
  constructor(file: RandomFile, begin: number, end: number) {
    this.#file = file
    this.#begin = begin
    this.#end = Math.max(begin, Math.min(end, file.sizeBytes()))
  }

  /** CRC-32C of the bytes `from` to `to`, continued from `initial`; undefined if the file does not hold them all. */
  crc(from: number, to: number, initial: number): number | undefined {
    if (from < this.#begin || to > this.#end) return undefined
    // A few stretches are computed as they are. Once that has taken as long as the table takes, there is the table.
    this.#computedBytes += to - from
    if (this.#registers === undefined && this.#computedBytes <= this.#end - this.#begin)
      return ~this.#feed(~initial, from, to) >>> 0
    const before = ~initial ^ this.#registerAt(from)
    return ~(multiplied(before >>> 0, powerOfX(to - from)) ^ this.#registerAt(to)) >>> 0
  }

  /** The register after all bytes from `begin` to `at`. */
  #registerAt(at: number): number {
    const registers = (this.#registers ??= this.#table())
    const block = Math.floor((at - this.#begin) / BLOCK_BYTES)
    return this.#feed(registers[block]!, this.#begin + block * BLOCK_BYTES, at)
  }

  #table(): Uint32Array {
    const registers = new Uint32Array(Math.floor((this.#end - this.#begin) / BLOCK_BYTES) + 1)
    for (let i = 1; i < registers.length; i++) {
      const at = this.#begin + i * BLOCK_BYTES
      registers[i] = this.#feed(registers[i - 1]!, at - BLOCK_BYTES, at)
    }
    return registers
  }

  /** What the register becomes over the bytes `from` to `to`. */
  #feed(register: number, from: number, to: number): number {
    for (let at = from; at < to; at += BLOCK_BYTES) {
      const length = Math.min(BLOCK_BYTES, to - at)
      this.#file.read(this.#block, 0, length, at)
      register = ~crc32c(this.#block.subarray(0, length), ~register >>> 0)
    }
    return register >>> 0
  }
}

/** The product of two registers. */
function multiplied(a: number, b: number): number {
  let product = 0
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= b
    b = (b & 1) !== 0 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1
  }
  return product >>> 0
}

/** x to the power of 2, 4, 8, ... */
const SQUARES: number[] = [X]
while (SQUARES.length < 48) SQUARES.push(multiplied(SQUARES.at(-1)!, SQUARES.at(-1)!))

/** What a register is multiplied by over `bytes` zero bytes. */
function powerOfX(bytes: number): number {
  let power = ONE
  // Eight bits to a byte, so the lowest bit of `bytes` stands for x to the power of 8.
  for (let k = 3, left = bytes; left > 0; k++, left = Math.floor(left / 2))
    if (left % 2 === 1) power = multiplied(power, SQUARES[k]!)
  return power
}
