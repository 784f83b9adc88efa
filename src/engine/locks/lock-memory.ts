// The words of `locks` (lock-layout.ts), wherever they lie in its windows.
import { FullError, IoError } from '../../errors.js'
import type { Region } from '../../storage/storage.js'
import { AT, CELL_BYTES, CELL_WORDS, CELLS_PER_WINDOW, LOCKS_RESERVE_BYTES } from './lock-layout.js'

const WINDOW_SHIFT = Math.log2(CELLS_PER_WINDOW)
const IN_WINDOW = CELLS_PER_WINDOW - 1
const CELL_SHIFT = Math.log2(CELL_WORDS)

/** The file grows by a quarter, within these bounds: seldom, and never for long under the mutex. */
const LEAST_GROWTH_BYTES = 64 * 1024
const MOST_GROWTH_BYTES = 4 * 1024 * 1024
const MAX_CELLS = LOCKS_RESERVE_BYTES / CELL_BYTES

export class LockMemory {
  readonly region: Region
  /** The header, the seats and the buckets: all of them lie in the first window. */
  readonly i32: Int32Array
  readonly f64: Float64Array
  readonly #i32s: Int32Array[]
  readonly #f64s: Float64Array[]
  readonly #bytes: Uint8Array[]
  /** How long the file was when this thread last looked: it only grows. */
  #sizeBytes: number
  /** Cells below this are mapped. */
  #mappedCells = CELLS_PER_WINDOW

  constructor(region: Region) {
    this.region = region
    const window = region.window(0)
    this.i32 = new Int32Array(window)
    this.f64 = new Float64Array(window)
    this.#i32s = [this.i32]
    this.#f64s = [this.f64]
    this.#bytes = [new Uint8Array(window)]
    this.#sizeBytes = region.sizeBytes()
  }

  #open(index: number): void {
    const window = this.region.window(index)
    this.#i32s[index] = new Int32Array(window)
    this.#f64s[index] = new Float64Array(window)
    this.#bytes[index] = new Uint8Array(window)
  }

  /** True if all cells below `end` are mapped. */
  isMapped(end: number): boolean {
    return end <= this.#mappedCells
  }
  /**
   * Maps all cells below `end`, so that nothing can fail for lack of address space in the middle of a change. Throws
   * what the storage throws.
   */
  map(end: number): void {
    // The number comes from the file, and the file may be damaged.
    if (end > MAX_CELLS) throw pageLost()
    while (this.#mappedCells < end) {
      this.#open(this.#mappedCells >>> WINDOW_SHIFT)
      this.#mappedCells += CELLS_PER_WINDOW
    }
  }

  get(cell: number, word: number): number {
    const index = cell >>> WINDOW_SHIFT
    if (this.#i32s[index] === undefined) this.#open(index)
    return this.#i32s[index]![((cell & IN_WINDOW) << CELL_SHIFT) + word]!
  }
  set(cell: number, word: number, value: number): void {
    const index = cell >>> WINDOW_SHIFT
    if (this.#i32s[index] === undefined) this.#open(index)
    this.#i32s[index]![((cell & IN_WINDOW) << CELL_SHIFT) + word] = value
  }
  getF64(cell: number, at: number): number {
    const index = cell >>> WINDOW_SHIFT
    if (this.#f64s[index] === undefined) this.#open(index)
    return this.#f64s[index]![((cell & IN_WINDOW) << (CELL_SHIFT - 1)) + at]!
  }
  setF64(cell: number, at: number, value: number): void {
    const index = cell >>> WINDOW_SHIFT
    if (this.#f64s[index] === undefined) this.#open(index)
    this.#f64s[index]![((cell & IN_WINDOW) << (CELL_SHIFT - 1)) + at] = value
  }

  /** What the cell is: its first word. Earlier stores are seen by all who see this one. */
  state(cell: number): number {
    const index = cell >>> WINDOW_SHIFT
    if (this.#i32s[index] === undefined) this.#open(index)
    return Atomics.load(this.#i32s[index]!, (cell & IN_WINDOW) << CELL_SHIFT)
  }
  setState(cell: number, state: number): void {
    const index = cell >>> WINDOW_SHIFT
    if (this.#i32s[index] === undefined) this.#open(index)
    Atomics.store(this.#i32s[index]!, (cell & IN_WINDOW) << CELL_SHIFT, state)
  }
  /** False if its state is not `from` any more. */
  changeState(cell: number, from: number, to: number): boolean {
    const index = cell >>> WINDOW_SHIFT
    if (this.#i32s[index] === undefined) this.#open(index)
    return Atomics.compareExchange(this.#i32s[index]!, (cell & IN_WINDOW) << CELL_SHIFT, from, to) === from
  }

  /** The bytes of the window that a cell lies in, and where in it `word` of the cell begins. */
  bytesOf(cell: number): Uint8Array {
    const index = cell >>> WINDOW_SHIFT
    if (this.#bytes[index] === undefined) this.#open(index)
    return this.#bytes[index]!
  }
  byteOf(cell: number, word: number): number {
    return ((cell & IN_WINDOW) * CELL_BYTES + word * 4) | 0
  }

  /** Index in `i32` of a word of a seat. */
  seatWord(seat: number, word: number): number {
    return (AT.SEATS >> 2) + seat * CELL_WORDS + word
  }

  get isLost(): boolean {
    return this.region.faultCount() > 0
  }
  /** Throws `IoError` if a page of the file was lost to this process: what it loads and stores there is not true. */
  assertWhole(): void {
    if (this.isLost) throw pageLost()
  }

  /** The same for a file that was cut short, though this process may not have touched what is gone. */
  assertNotCut(): void {
    if (this.region.sizeBytes() < this.#sizeBytes) throw pageLost()
  }

  /** Others may have made the file longer. */
  lookAgain(): void {
    this.#sizeBytes = Math.max(this.#sizeBytes, this.region.sizeBytes())
  }

  /** True if the file is known to be long enough for this cell. */
  has(cell: number): boolean {
    return (cell + 1) * CELL_BYTES <= this.#sizeBytes
  }

  /** Makes it long enough. Throws `FullError` and what the storage throws. */
  ensure(cell: number): void {
    this.lookAgain()
    if (this.has(cell)) return
    const neededBytes = (cell + 1) * CELL_BYTES
    if (neededBytes > LOCKS_RESERVE_BYTES)
      throw new FullError('There are too many record locks at this moment. Release some, or hold fewer at a time.')
    const growth = Math.min(MOST_GROWTH_BYTES, Math.max(LEAST_GROWTH_BYTES, this.#sizeBytes / 4))
    const wantedBytes = Math.ceil(Math.max(neededBytes, this.#sizeBytes + growth) / 4096) * 4096
    this.region.grow(Math.min(wantedBytes, LOCKS_RESERVE_BYTES))
    this.#sizeBytes = this.region.sizeBytes()
  }
}

const pageLost = (): IoError =>
  new IoError(
    'A page of the table of record locks was lost: the file "locks" was cut short while the database is open, or its ' +
      'disk failed. Close the database everywhere and open it again; nothing that was written is lost.',
  )
