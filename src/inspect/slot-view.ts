// One slot of the data file, decoded as far as it can be: also a damaged one.
import { valueCodec, type ValueCodec, type ValueEncoding } from '../encoding/values/codec.js'
import { decodeHeader, type Header } from '../engine/format/header.js'
import {
  HEADER_SLOTS,
  LEAF_CELL_HEADER,
  SLOT,
  SLOT_BODY_BYTES,
  TYPE,
  TYPE_NAMES,
  type SlotNo,
} from '../engine/format/layout.js'
import { readVersion } from '../engine/format/leaf-cell.js'
import { Node } from '../engine/format/node.js'
import { slotDamage, structureDamage } from '../engine/format/slot-damage.js'
import { overflowPointer } from '../engine/space/overflow.js'
import type { Key } from '../encoding/keys.js'
import { attempt, decodedKey, type Decoded } from './decoded.js'
import { slotBytes, type DataFile } from './offline-files.js'

export interface SlotView {
  readonly slotNo: number
  /** One of `TYPE`, unless the slot is damaged. */
  readonly type: number
  readonly typeName: string
  readonly level: number
  /** Entries that its header counts. */
  readonly count: number
  /** The number that the slot itself gives as its own. */
  readonly number: number
  readonly lsn: number
  /** 0: not sealed yet. */
  readonly crc: number
  /** What is wrong with the slot; undefined if nothing is. */
  readonly damage: string | undefined
  readonly content: SlotContent
}

/** The inside of a slot: none of these if it cannot be decoded. */
export interface SlotContent {
  readonly header?: Header
  readonly overflow?: OverflowView
  readonly freeList?: FreeListView
  readonly node?: NodeView
}

interface OverflowView {
  /** The next slot of the value; 0 in the last. */
  readonly next: number
  readonly usedBytes: number
  /** The part of the value that lies here. */
  readonly body: Buffer
}

interface FreeListView {
  /** The next slot of the free list; 0 in the last. */
  readonly next: number
  /** Runs of slots that are free since the checkpoint that wrote this, and of slots that are not free any more. */
  readonly runs: readonly FreeRun[]
  readonly taken: readonly FreeRun[]
}

export interface FreeRun {
  readonly first: number
  readonly slots: number
}

interface NodeView {
  readonly prefixBytes: number
  readonly usedBytes: number
  readonly freeBytes: number
  readonly garbageBytes: number
  readonly entries: readonly EntryView[]
}

export type EntryView = ChildView | LeafEntryView

interface ChildView {
  /** Undefined in the first entry: its child holds everything below the second. */
  readonly key: Decoded<Key> | undefined
  readonly child: number
}

interface LeafEntryView {
  readonly key: Decoded<Key>
  readonly version: number
  /** In milliseconds since 1970; undefined for an entry that stays. */
  readonly expiresAt: number | undefined
  readonly valueBytes: number
  /** Undefined for a value that lies in overflow slots. */
  readonly value: Decoded | undefined
  readonly overflow: { readonly first: number; readonly lengthBytes: number; readonly crc: number } | undefined
}

/** Decodes slot `slotNo`, which must be in the file; its values as `encoding` says. */
export function viewOf(file: DataFile, slotNo: number, encoding: ValueEncoding): SlotView {
  const bytes = Buffer.from(slotBytes(file.space, slotNo))
  const type = bytes[SLOT.TYPE]!
  const crc = bytes.readUInt32LE(SLOT.CRC)
  return {
    slotNo,
    type,
    typeName: TYPE_NAMES[type] ?? `unknown (${type})`,
    level: bytes[SLOT.LEVEL]!,
    count: bytes.readUInt16LE(SLOT.COUNT),
    number: bytes.readUInt32LE(SLOT.NUMBER),
    lsn: Number(bytes.readBigUInt64LE(SLOT.LSN)),
    crc,
    damage: type === TYPE.UNUSED ? undefined : damageOf(file, slotNo, crc),
    content: contentOf(file, slotNo, bytes, encoding),
  }
}

/** What is wrong with a slot that the checkpoint counts on. */
function damageOf({ space, headers, inUse }: DataFile, slotNo: number, crc: number): string | undefined {
  if (slotNo < HEADER_SLOTS) return inUse ? undefined : headers.damage.find((d) => d.slotNo === slotNo)?.why
  // Written since the checkpoint: not sealed, or sealed for one that is not finished.
  if (crc === 0) return structureDamage(space, slotNo as SlotNo, new Node())
  return slotDamage(space, slotNo as SlotNo, new Node())
}

function contentOf({ space }: DataFile, slotNo: number, bytes: Buffer, encoding: ValueEncoding): SlotContent {
  switch (bytes[SLOT.TYPE]) {
    case TYPE.HEADER: {
      const header = decodeHeader(bytes, slotNo)
      return typeof header === 'string' ? {} : { header }
    }
    case TYPE.OVERFLOW:
      return { overflow: overflowView(bytes) }
    case TYPE.FREE_LIST:
      return { freeList: freeListView(bytes) }
    case TYPE.LEAF:
    case TYPE.BRANCH: {
      // The inside of a damaged slot leads anywhere.
      if (structureDamage(space, slotNo as SlotNo, new Node()) !== undefined) return {}
      return { node: nodeView(new Node().at(space, slotNo as SlotNo), valueCodec(encoding)) }
    }
    default:
      return {}
  }
}

function overflowView(bytes: Buffer): OverflowView {
  const usedBytes = bytes.readUInt32LE(SLOT.USED)
  const body = bytes.subarray(SLOT.BODY, SLOT.BODY + Math.min(usedBytes, SLOT_BODY_BYTES))
  return { next: bytes.readUInt32LE(SLOT.NEXT), usedBytes, body }
}

function freeListView(bytes: Buffer): FreeListView {
  const count = Math.min(bytes.readUInt16LE(SLOT.COUNT), SLOT_BODY_BYTES / 8)
  const runs = Array.from({ length: count }, (_, i) => ({
    first: bytes.readUInt32LE(SLOT.BODY + i * 8),
    slots: bytes.readUInt32LE(SLOT.BODY + i * 8 + 4),
  }))
  const firstTaken = Math.max(0, count - bytes.readUInt32LE(SLOT.TAKEN))
  return { next: bytes.readUInt32LE(SLOT.NEXT), runs: runs.slice(0, firstTaken), taken: runs.slice(firstTaken) }
}

const nodeView = (node: Node, codec: ValueCodec): NodeView => ({
  prefixBytes: node.prefix,
  usedBytes: node.usedBytes,
  freeBytes: node.freeBytes,
  garbageBytes: node.garbage,
  entries: Array.from({ length: node.count }, (_, i) => (node.isLeaf ? leafEntry(node, i, codec) : childOf(node, i))),
})

/** A copy: the view outlives the file. */
const copied = (node: Node, at: number, length: number): Buffer => Buffer.from(node.u8.subarray(at, at + length))

/** A branch's key is cut to what tells its children apart; it need not be a whole key. */
const childOf = (node: Node, i: number): ChildView => ({
  key: i === 0 ? undefined : decodedKey(copied(node, node.keyAt(i), node.keyLength(i))),
  child: node.child(i),
})

function leafEntry(node: Node, i: number, codec: ValueCodec): LeafEntryView {
  const at = node.keyAt(i)
  const length = node.keyLength(i)
  const key = decodedKey(copied(node, at, length))
  const version = readVersion(node.u16, at - LEAF_CELL_HEADER)
  const expiresAt = node.expires(i) ? node.expiresAt(i) : undefined
  if (node.overflows(i)) {
    const { first, lengthBytes, crc } = overflowPointer(node, i)
    return { key, version, expiresAt, valueBytes: lengthBytes, value: undefined, overflow: { first, lengthBytes, crc } }
  }
  const bytes = copied(node, node.valueAt(i), node.payloadBytes(i))
  const value = { bytes, decoded: attempt(() => codec.decode(bytes, 0, bytes.length)) }
  return { key, version, expiresAt, valueBytes: bytes.length, value, overflow: undefined }
}
