// Header slots: where a checkpoint says which tree is on disk. Checkpoint k writes the same header
// into slots k mod 2 and 2 + (k mod 2); the newest one whose CRC matches is the one that counts. So any
// one of the four may be destroyed and nothing is lost: its twin says the same.
//
//   offset size (after the 32 bytes that every slot begins with; type = 1)
//       32    8  magic "mmapdb\r\n"
//       40    4  format version
//       44    4  encoding of the values: 1 msgpack, 2 json, 3 utf8, 4 binary
//       48   16  UUID of the database
//       64    8  checkpoint number
//       72    8  LSN up to which the log is in the tree
//       80    4  root slot (0 if the tree is empty)
//       84    4  height: levels of the tree
//       88    8  entries
//       96    8  slots that are used or free-listed: those from here on have never been used
//      104    4  first slot of the free list (0 if it is empty)
//      108    4  slots of the free list itself
//      112    8  leaves
//      120    8  branches
//      128    8  overflow slots
//      136    8  time the database was created, milliseconds since 1970 (float64)
//      144    8  internal entries, which `entries` includes
//      152    4  root slot of the trash (0 if there is none)
//      156    4  levels of the trash
//      160    8  bytes of log that are kept for its readers (float64; retention.ts); 0 if none are
//      168    8  for how many milliseconds at most (float64)
//      176    8  LSN of the newest frame with operations that is in the tree; 0 if there was none
//      184    8  entries of the index of those that expire, which `internal entries` includes
//      192    8  earliest time in it, milliseconds since 1970 (float64; 0 if it is empty)
//      200    8  time of the checkpoint by the database's clock, milliseconds since 1970 (float64)
import { crc32c } from '../../encoding/crc32c.js'
import { isTime } from '../../encoding/expiry-key.js'
import { FIRST_LSN, MAX_LSN, type Lsn } from '../../wal/lsn.js'
import type { Retention } from '../../wal/retention.js'
import { HEADER_SLOTS, MAX_HEIGHT, SLOT, SLOT_BYTES, TYPE, type SlotNo } from './layout.js'

/** What is written. */
export const FORMAT_VERSION = 5
/** The oldest that is read: its free lists are stacks that nothing was added to, and all else is the same. */
export const OLDEST_FORMAT_VERSION = 4
const MAGIC = Buffer.from('mmapdb\r\n', 'latin1')
const AT = {
  MAGIC: 32,
  VERSION: 40,
  ENCODING: 44,
  UUID: 48,
  NUMBER: 64,
  LSN: 72,
  ROOT: 80,
  HEIGHT: 84,
  ENTRIES: 88,
  NEXT_SLOT: 96,
  FREE_LIST_HEAD: 104,
  FREE_LIST_SLOTS: 108,
  LEAVES: 112,
  BRANCHES: 120,
  OVERFLOWS: 128,
  CREATED: 136,
  INTERNAL_ENTRIES: 144,
  TRASH_ROOT: 152,
  TRASH_HEIGHT: 156,
  RETAINED_BYTES: 160,
  RETAINED_MS: 168,
  CHANGED: 176,
  EXPIRING: 184,
  EARLIEST_EXPIRY: 192,
  CLOCK: 200,
} as const

export interface Header {
  readonly version: number
  /** Number of the encoding of the values: see `encodingOf`. */
  readonly encodingNo: number
  readonly uuid: Buffer
  readonly checkpointNumber: number
  readonly lsn: Lsn
  readonly root: SlotNo
  readonly height: number
  readonly entries: number
  readonly nextSlot: number
  readonly freeListHead: SlotNo
  readonly freeListSlots: number
  readonly leaves: number
  readonly branches: number
  readonly overflows: number
  readonly createdMs: number
  /** Those of `entries` that the database keeps for itself. */
  readonly internalEntries: number
  /** What was cut out of the tree and is not freed yet; 0 and 0 if there is none. */
  readonly trashRoot: SlotNo
  readonly trashHeight: number
  readonly retention: Retention
  /** LSN of the newest frame with operations that is in the tree; 0 if there was none. */
  readonly changedLsn: number
  /** Entries of the index of those that expire, and the earliest time in it; 0 and 0 if there is none. */
  readonly expiring: number
  readonly earliestExpiryMs: number
  /** What the database's clock has reached. */
  readonly clockMs: number
}

/** The fields of a tree from which nothing is waiting to be freed that was cut out of it. */
export const NO_TRASH = { trashRoot: 0 as SlotNo, trashHeight: 0 } as const

/** The two slots that checkpoint `number` writes. */
export const headerSlots = (checkpointNumber: number): [number, number] => [
  checkpointNumber % 2,
  2 + (checkpointNumber % 2),
]

export function encodeHeader(header: Header, slotNo: number): Buffer {
  const b = Buffer.alloc(SLOT_BYTES)
  b[SLOT.TYPE] = TYPE.HEADER
  b.writeUInt32LE(slotNo, SLOT.NUMBER)
  b.writeBigUInt64LE(BigInt(header.lsn), SLOT.LSN)
  MAGIC.copy(b, AT.MAGIC)
  b.writeUInt32LE(header.version, AT.VERSION)
  b.writeUInt32LE(header.encodingNo, AT.ENCODING)
  header.uuid.copy(b, AT.UUID, 0, 16)
  b.writeBigUInt64LE(BigInt(header.checkpointNumber), AT.NUMBER)
  b.writeBigUInt64LE(BigInt(header.lsn), AT.LSN)
  b.writeUInt32LE(header.root, AT.ROOT)
  b.writeUInt32LE(header.height, AT.HEIGHT)
  b.writeBigUInt64LE(BigInt(header.entries), AT.ENTRIES)
  b.writeBigUInt64LE(BigInt(header.nextSlot), AT.NEXT_SLOT)
  b.writeUInt32LE(header.freeListHead, AT.FREE_LIST_HEAD)
  b.writeUInt32LE(header.freeListSlots, AT.FREE_LIST_SLOTS)
  b.writeBigUInt64LE(BigInt(header.leaves), AT.LEAVES)
  b.writeBigUInt64LE(BigInt(header.branches), AT.BRANCHES)
  b.writeBigUInt64LE(BigInt(header.overflows), AT.OVERFLOWS)
  b.writeDoubleLE(header.createdMs, AT.CREATED)
  b.writeBigUInt64LE(BigInt(header.internalEntries), AT.INTERNAL_ENTRIES)
  b.writeUInt32LE(header.trashRoot, AT.TRASH_ROOT)
  b.writeUInt32LE(header.trashHeight, AT.TRASH_HEIGHT)
  b.writeDoubleLE(header.retention.bytes, AT.RETAINED_BYTES)
  b.writeDoubleLE(header.retention.ms, AT.RETAINED_MS)
  b.writeBigUInt64LE(BigInt(header.changedLsn), AT.CHANGED)
  b.writeBigUInt64LE(BigInt(header.expiring), AT.EXPIRING)
  b.writeDoubleLE(header.earliestExpiryMs, AT.EARLIEST_EXPIRY)
  b.writeDoubleLE(header.clockMs, AT.CLOCK)
  b.writeUInt32LE(crc32c(b.subarray(SLOT.TYPE)) >>> 0, SLOT.CRC)
  return b
}

/** What `decodeHeader` says of a slot to which no header was ever written. */
export const NO_HEADER = 'it holds no header'

/** The header in these 4096 bytes, or what is wrong with them. */
export function decodeHeader(b: Buffer, slotNo: number): Header | string {
  if (!b.subarray(AT.MAGIC, AT.MAGIC + MAGIC.length).equals(MAGIC))
    return b.some((byte) => byte !== 0) ? 'its magic bytes are not those of a header' : NO_HEADER
  if (crc32c(b.subarray(SLOT.TYPE, SLOT_BYTES)) >>> 0 !== b.readUInt32LE(SLOT.CRC))
    return 'its CRC does not match its bytes'
  if (b[SLOT.TYPE] !== TYPE.HEADER) return 'its type is not that of a header'
  if (b.readUInt32LE(SLOT.NUMBER) !== slotNo) return `it says that it is slot ${b.readUInt32LE(SLOT.NUMBER)}`
  const checkpointNumber = Number(b.readBigUInt64LE(AT.NUMBER))
  if (!headerSlots(checkpointNumber).includes(slotNo))
    return `the header of checkpoint ${checkpointNumber} does not belong in this slot`
  const header: Header = {
    version: b.readUInt32LE(AT.VERSION),
    encodingNo: b.readUInt32LE(AT.ENCODING),
    uuid: Buffer.from(b.subarray(AT.UUID, AT.UUID + 16)),
    checkpointNumber,
    lsn: Number(b.readBigUInt64LE(AT.LSN)) as Lsn,
    root: b.readUInt32LE(AT.ROOT) as SlotNo,
    height: b.readUInt32LE(AT.HEIGHT),
    entries: Number(b.readBigUInt64LE(AT.ENTRIES)),
    nextSlot: Number(b.readBigUInt64LE(AT.NEXT_SLOT)),
    freeListHead: b.readUInt32LE(AT.FREE_LIST_HEAD) as SlotNo,
    freeListSlots: b.readUInt32LE(AT.FREE_LIST_SLOTS),
    leaves: Number(b.readBigUInt64LE(AT.LEAVES)),
    branches: Number(b.readBigUInt64LE(AT.BRANCHES)),
    overflows: Number(b.readBigUInt64LE(AT.OVERFLOWS)),
    createdMs: b.readDoubleLE(AT.CREATED),
    internalEntries: Number(b.readBigUInt64LE(AT.INTERNAL_ENTRIES)),
    trashRoot: b.readUInt32LE(AT.TRASH_ROOT) as SlotNo,
    trashHeight: b.readUInt32LE(AT.TRASH_HEIGHT),
    retention: { bytes: b.readDoubleLE(AT.RETAINED_BYTES), ms: b.readDoubleLE(AT.RETAINED_MS) },
    changedLsn: Number(b.readBigUInt64LE(AT.CHANGED)),
    expiring: Number(b.readBigUInt64LE(AT.EXPIRING)),
    earliestExpiryMs: b.readDoubleLE(AT.EARLIEST_EXPIRY),
    clockMs: b.readDoubleLE(AT.CLOCK),
  }
  // The fields of another format may mean anything; all that matters here is that it is another one.
  if (header.version > FORMAT_VERSION || (header.version > 0 && header.version < OLDEST_FORMAT_VERSION)) return header
  return Number(b.readBigUInt64LE(SLOT.LSN)) !== header.lsn || !isPossible(header)
    ? 'its fields contradict each other'
    : header
}

/** False for fields that no checkpoint writes: an opener that trusted them would read or write outside the tree. */
function isPossible(h: Header): boolean {
  const used = HEADER_SLOTS + h.leaves + h.branches + h.overflows + h.freeListSlots
  const within = (slot: number): boolean => slot >= HEADER_SLOTS && slot < h.nextSlot
  const isRoot = (root: number, height: number): boolean =>
    height === 0 ? root === 0 : height < MAX_HEIGHT && within(root) && h.branches >= height - 1
  const contents =
    h.height + h.trashHeight === 0
      ? h.leaves + h.branches + h.overflows + h.entries === 0
      : h.leaves > 0 && h.entries >= h.leaves
  return (
    isRoot(h.root, h.height) &&
    isRoot(h.trashRoot, h.trashHeight) &&
    contents &&
    h.internalEntries <= h.entries &&
    h.expiring <= h.internalEntries &&
    isTime(h.earliestExpiryMs) &&
    isTime(h.clockMs) &&
    h.version > 0 &&
    h.lsn >= FIRST_LSN &&
    h.lsn <= MAX_LSN &&
    h.nextSlot <= 2 ** 32 &&
    used <= h.nextSlot &&
    (h.freeListSlots === 0 ? h.freeListHead === 0 : within(h.freeListHead)) &&
    Number.isSafeInteger(h.checkpointNumber) &&
    Number.isSafeInteger(h.entries) &&
    // The range of a Date.
    Math.abs(h.createdMs) <= 8.64e15 &&
    h.retention.bytes >= 0 &&
    h.retention.ms >= 0 &&
    h.changedLsn < h.lsn
  )
}

/** Fields of a header that differ from database to database, and its CRC. */
const DATABASE_FIELDS = [
  [SLOT.CRC, SLOT.CRC + 4],
  [AT.ENCODING, AT.ENCODING + 4],
  [AT.UUID, AT.UUID + 16],
  [AT.CREATED, AT.CREATED + 8],
] as const

/** True if these bytes of `slotNo` are 0, or a part of `header` as some database has it: a header half written. */
export function isPartOf(header: Header, slotNo: number, bytes: Buffer): boolean {
  const whole = encodeHeader(header, slotNo)
  return bytes.every(
    (byte, i) => byte === 0 || byte === whole[i] || DATABASE_FIELDS.some(([from, end]) => i >= from && i < end),
  )
}

/** True if slot `slot` has the header of that database (`uuid`, four words) and checkpoint. `words`: first window. */
export function isHeaderOf(words: Int32Array, slot: number, uuid: Int32Array, checkpointNumber: number): boolean {
  const at = (slot * SLOT_BYTES) >> 2
  const uuidAt = at + (AT.UUID >> 2)
  for (let i = 0; i < 4; i++) if (words[uuidAt + i] !== uuid[i]) return false
  return words[at + (AT.NUMBER >> 2)] === (checkpointNumber | 0)
}

/** True if these bytes were once written as a header, whatever has become of them. */
export const looksLikeHeader = (b: Buffer): boolean => b.subarray(AT.MAGIC, AT.MAGIC + 6).equals(MAGIC.subarray(0, 6))

/** The header of an empty database. */
export const emptyHeader = (uuid: Buffer, createdMs: number, encodingNo: number): Header => ({
  version: FORMAT_VERSION,
  encodingNo,
  uuid,
  checkpointNumber: 0,
  lsn: FIRST_LSN,
  root: 0 as SlotNo,
  height: 0,
  entries: 0,
  nextSlot: HEADER_SLOTS,
  freeListHead: 0 as SlotNo,
  freeListSlots: 0,
  leaves: 0,
  branches: 0,
  overflows: 0,
  createdMs,
  internalEntries: 0,
  ...NO_TRASH,
  retention: { bytes: 0, ms: 0 },
  changedLsn: 0,
  expiring: 0,
  earliestExpiryMs: 0,
  clockMs: 0,
})
