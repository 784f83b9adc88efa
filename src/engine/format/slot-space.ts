// The slots of the data file as typed arrays over the windows of its region. Each window is mapped
// when it is first needed; it never moves or goes away while the region is open.
import type { Region } from '../../storage/storage.js'
import { SLOT_BYTES, SLOT_SHIFT } from './layout.js'
import { ReadAhead } from './read-ahead.js'

export class SlotSpace {
  readonly region: Region
  /** Slot n lies in window n >>> shift ... */
  readonly shift: number
  /** ... at byte (n & mask) << 12 of it. */
  readonly mask: number
  /** Undefined where a window has not been needed yet. */
  readonly u8: Uint8Array[] = []
  readonly u16: Uint16Array[] = []
  readonly i32: Int32Array[] = []
  readonly buffers: Buffer[] = []
  readonly readAhead: ReadAhead

  constructor(region: Region) {
    const perWindow = region.windowBytes / SLOT_BYTES
    if (!Number.isInteger(Math.log2(perWindow))) throw new RangeError('a window must hold a power of two of slots')
    this.region = region
    this.readAhead = new ReadAhead(region)
    this.shift = Math.log2(perWindow)
    this.mask = perWindow - 1
    this.windowOf(0)
  }

  /** How many slots this opener lets the file grow to. */
  get maxSlots(): number {
    return Math.floor(this.region.reserveBytes / SLOT_BYTES)
  }

  /** Makes the window of `slot` available and returns its index. */
  windowOf(slot: number): number {
    const window = slot >>> this.shift
    if (this.u8[window] === undefined) this.#open(window)
    return window
  }

  #open(window: number): void {
    const buffer = this.region.window(window)
    // Earlier windows that are not mapped yet become `undefined`, not holes: holes make every access slower.
    while (this.u8.length <= window) {
      for (const list of [this.u8, this.u16, this.i32, this.buffers] as unknown[][]) list.push(undefined)
    }
    this.u16[window] = new Uint16Array(buffer)
    this.i32[window] = new Int32Array(buffer)
    this.buffers[window] = Buffer.from(buffer)
    this.u8[window] = new Uint8Array(buffer)
  }

  /** Byte at which `slot` begins in its window. */
  byteOf(slot: number): number {
    return (slot & this.mask) << SLOT_SHIFT
  }
}
