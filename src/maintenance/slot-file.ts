// The data file of a copy, as it is written: slot after slot, in order. A part at a time is written and flushed, so
// that little is dirty at any time and the flushes of others, on the same disk, do not wait for it.
import { guarded } from '../storage/errors.js'
import type { RandomFile } from '../storage/storage.js'
import { encodeHeader, headerSlots, type Header } from '../engine/format/header.js'
import { HEADER_SLOTS, SLOT_BYTES } from '../engine/format/layout.js'

const PART_SLOTS = 256

export class SlotFile {
  readonly #file: RandomFile
  readonly #part = Buffer.allocUnsafeSlow(PART_SLOTS * SLOT_BYTES)
  /** Slots that are in the file. */
  #written = HEADER_SLOTS
  /** Slots that are in the part. */
  #filled = 0

  /** Sets aside the header slots, which are blank until `writeHeader`. */
  constructor(file: RandomFile) {
    this.#file = file
    guarded('Writing the copy', () =>
      file.write(Buffer.alloc(HEADER_SLOTS * SLOT_BYTES), 0, HEADER_SLOTS * SLOT_BYTES, 0),
    )
  }

  /** Takes the next slot, and copies it. */
  add(slot: Buffer): void {
    slot.copy(this.#part, this.#filled++ * SLOT_BYTES)
    if (this.#filled === PART_SLOTS) this.#writePart()
  }

  /** Writes what was added, and flushes the file. */
  flush(): void {
    this.#writePart()
    guarded('Flushing the copy', () => this.#file.flush())
  }

  /** Makes it a database: writes the headers, and flushes them. All that they name must be on disk. */
  writeHeader(header: Header): void {
    guarded('Writing the headers of the copy', () => {
      for (const slot of headerSlots(header.checkpointNumber))
        this.#file.write(encodeHeader(header, slot), 0, SLOT_BYTES, slot * SLOT_BYTES)
      this.#file.flush()
    })
  }

  #writePart(): void {
    guarded('Writing the copy', () =>
      this.#file.write(this.#part, 0, this.#filled * SLOT_BYTES, this.#written * SLOT_BYTES),
    )
    this.#written += this.#filled
    this.#filled = 0
  }
}
