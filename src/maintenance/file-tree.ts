// The tree in a data file that no engine has open, as a header describes it: a copy that is being made, or a database
// that is closed everywhere. Nothing in the file is changed.
import { crc32c } from '../encoding/crc32c.js'
import { CorruptError } from '../errors.js'
import type { Region, Storage } from '../storage/storage.js'
import { DamageList } from '../engine/format/damage.js'
import type { Header } from '../engine/format/header.js'
import { LEAF_CELL_HEADER, SLOT_BYTES } from '../engine/format/layout.js'
import type { Node } from '../engine/format/node.js'
import { SlotSpace } from '../engine/format/slot-space.js'
import { findHeader } from '../engine/lifecycle/find-header.js'
import type { DatabasePaths } from '../engine/lifecycle/paths.js'
import { privateControl } from '../engine/lifecycle/control-file.js'
import { stateOf } from '../engine/lifecycle/format-control.js'
import { Control, type StateFields } from '../engine/shared/control.js'
import { overflowPointer, readOverflow } from '../engine/space/overflow.js'
import { SlotChecker } from '../engine/space/slot-checker.js'
import { Cursor, TreeReader } from '../engine/tree/reader.js'
import { TreeWalk } from './verify.js'

interface Mapping {
  readonly reserveBytes: number
  readonly windowBytes: number
}

export class FileTree {
  readonly space: SlotSpace
  readonly checker: SlotChecker
  readonly control: Control
  readonly reader: TreeReader
  readonly state: StateFields
  readonly #header: Header
  readonly #regions: Region[] = []

  constructor(storage: Storage, path: string, header: Header, { reserveBytes, windowBytes }: Mapping) {
    this.#header = header
    try {
      const region = this.#keep(
        storage.openRegion(path, {
          mode: 'shared',
          readOnly: true,
          // The file may be longer than what an opener of the source would let it grow to.
          reserveBytes: Math.max(reserveBytes, header.nextSlot * SLOT_BYTES),
          windowBytes,
        }),
      )
      this.control = new Control(this.#keep(privateControl(storage, region.sizeBytes())))
      this.control.format(header.uuid, header.nextSlot, header.lsn)
      this.control.fileSlots = Math.floor(region.sizeBytes() / SLOT_BYTES)
      this.space = new SlotSpace(region)
      this.checker = new SlotChecker(this.space, this.control)
      this.reader = new TreeReader(this.space, this.control, this.checker)
      this.state = stateOf(header)
    } catch (error) {
      this.close()
      throw error
    }
  }

  #keep(region: Region): Region {
    this.#regions.push(region)
    return region
  }

  close(): void {
    for (const region of this.#regions.splice(0)) region.close()
  }

  /** The leaves in the order of their keys, where they lie. */
  *leaves(): Generator<Node, void> {
    const cursor = new Cursor(this.reader, this.state)
    for (let found = cursor.first(); found; found = cursor.nextLeaf()) yield cursor.leaf
    this.checker.checkFaults()
  }

  /** The value of entry i of a leaf, which overflows. */
  overflowValue(leaf: Node, i: number): Buffer {
    return readOverflow(this.space, this.checker, overflowPointer(leaf, i))
  }

  /**
   * Reads all of it, in steps. Throws `CorruptError` if anything is wrong, or if it does not hold what `digest` was
   * made of. Yields how many entries were read. Only for a file without free slots.
   */
  *verify(digest: number | undefined): Generator<number, void> {
    const { fileSlots } = this.checker
    if (fileSlots < this.#header.nextSlot)
      throw new CorruptError(`The copy is cut short: it has ${fileSlots} slots of ${this.#header.nextSlot}.`)
    const damage = new DamageList()
    const moment = { state: this.state, waiting: new Float64Array(0), listSlots: [], pendingListSlots: [] }
    const walk = new TreeWalk(this, moment, damage)
    const found = new EntryDigest()
    walk.onLeaf = (leaf) => found.addLeaf(leaf)
    for (const steps = walk.steps(); !steps.next().done;) yield walk.entries
    this.checker.checkFaults()
    const [first] = damage.found
    if (first !== undefined)
      throw new CorruptError(`The copy is damaged in slot ${first.slotNo}: ${first.why}.`, { slotNo: first.slotNo })
    if (digest !== undefined && found.value !== digest)
      throw new CorruptError('The copy does not hold the entries that were to be copied.')
  }
}

/** The newest header of a database that is not open. */
export function headerIn(storage: Storage, { data, directory }: DatabasePaths): Header {
  const file = storage.openFile(data, 'read')
  try {
    const { header } = findHeader((slotNo) => {
      const slot = Buffer.alloc(SLOT_BYTES)
      return slot.subarray(0, Math.max(0, file.read(slot, 0, SLOT_BYTES, slotNo * SLOT_BYTES)))
    }, data)
    if (header === undefined) throw new CorruptError(`The data file of ${directory} is empty.`, { path: data })
    return header
  } finally {
    file.close()
  }
}

/** A CRC-32C over the entries of leaves: keys, versions, times and values, wherever they lie. */
export class EntryDigest {
  value = 0
  readonly #pointer = Buffer.alloc(8)

  addLeaf(leaf: Node, from = 0): void {
    const { u8 } = leaf
    for (let i = from; i < leaf.count; i++) {
      const at = leaf.keyAt(i) - LEAF_CELL_HEADER
      const overflows = leaf.overflows(i)
      const bytes = leaf.valueAt(i) - at + (overflows ? 0 : leaf.payloadBytes(i))
      this.value = crc32c(Buffer.from(u8.buffer as ArrayBuffer, u8.byteOffset + at, bytes), this.value)
      if (!overflows) continue
      const { lengthBytes, crc } = overflowPointer(leaf, i)
      this.#pointer.writeUInt32LE(lengthBytes, 0)
      this.#pointer.writeUInt32LE(crc >>> 0, 4)
      this.value = crc32c(this.#pointer, this.value)
    }
    this.value >>>= 0
  }
}
