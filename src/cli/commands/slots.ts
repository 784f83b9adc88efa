// mmapdb slots: the map of the data file, and single slots decoded. Read from the file itself, as
// the last checkpoint left it and with what was written since: works on a database in use and on a
// damaged one.
import { Command } from 'commander'
import { CorruptError, InvalidError } from '../../errors.js'
import { readRuns } from '../../engine/space/free-list.js'
import { eachSlot } from '../../engine/format/runs.js'
import { decodeHeader, headerSlots, NO_HEADER } from '../../engine/format/header.js'
import { decodeKey } from '../../encoding/keys.js'
import {
  HEADER_SLOTS,
  LEAF_CELL_HEADER,
  SLOT,
  SLOT_BODY_BYTES,
  SLOT_BYTES,
  TYPE,
  TYPE_NAMES,
  type SlotNo,
} from '../../engine/format/layout.js'
import { Node } from '../../engine/format/node.js'
import { overflowPointer } from '../../engine/space/overflow.js'
import {
  DEFAULT_ENCODING,
  encodingOf,
  valueCodec,
  type ValueCodec,
  type ValueEncoding,
} from '../../encoding/values/codec.js'
import { attempt, globalsOf, valueEncodingOption, whole, engineOptions } from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { slotBytes, withFile, type DataFile } from '../../inspect/offline-files.js'
import { plain, plainKey, preview, printable, showKey } from '../shared/notation.js'
import { bytes, coloured, number, plural, print } from '../shared/output.js'
import { columnsOf } from '../shared/terminal.js'
import { slotDamage, structureDamage } from '../../engine/format/slot-damage.js'

interface SlotsOptions {
  readonly width?: number
  readonly valueEncoding?: ValueEncoding
}

export const slotsCommand = (): Command =>
  new Command('slots')
    .description(
      'Draw the map of the data file, one character per slot or group of slots; or decode slot N. Exit code 3 for damage.',
    )
    .argument('[n]', 'number of a slot', whole(0, 2 ** 32 - 1))
    .option(
      '--width <n>',
      'characters in a line of the map (default: 64, or what the terminal has room for)',
      whole(8, 1024),
    )
    .addOption(valueEncodingOption())
    .addHelpText(
      'after',
      `
Capital letters are slots that the last checkpoint sealed, small ones those written since. A slot is
free if the checkpoint's free list names it. Where a character stands for several slots, it is the
kind that most of them are, or ! if any is damaged.`,
    )
    .action(async (slotNo: number | undefined, options: SlotsOptions, command: Command) => {
      const { db, json } = globalsOf(command)
      const { text, damaged } = withFile(engineOptions(db), (file) =>
        slotNo === undefined ? drawMap(file, options, json) : showSlot(file, slotNo, options, json),
      )
      await print(text)
      if (damaged) throw new Ended(EXIT.CORRUPT)
    })

interface View {
  readonly text: string
  readonly damaged: boolean
}

// ---- the map -----------------------------------------------------------------------------------

const KINDS = [
  { name: 'header', mark: 'H', colour: 35, what: 'header' },
  { name: 'branch', mark: 'B', colour: 34, what: 'branch' },
  { name: 'leaf', mark: 'L', colour: 32, what: 'leaf' },
  { name: 'overflow', mark: 'O', colour: 36, what: 'overflow: a part of a long value' },
  { name: 'freeList', mark: 'F', colour: 33, what: 'free list' },
  { name: 'free', mark: '.', colour: 90, what: 'free' },
  { name: 'unused', mark: '_', colour: 90, what: 'never used' },
  { name: 'newBranch', mark: 'b', colour: 94, what: 'branch, newer than the checkpoint' },
  { name: 'newLeaf', mark: 'l', colour: 92, what: 'leaf, newer than the checkpoint' },
  { name: 'newOverflow', mark: 'o', colour: 96, what: 'overflow, newer than the checkpoint' },
  { name: 'newFreeList', mark: 'f', colour: 93, what: 'free list, newer than the checkpoint' },
  { name: 'damaged', mark: '!', colour: 91, what: 'damaged' },
] as const
const KIND = Object.fromEntries(KINDS.map(({ name }, i) => [name, i])) as Record<(typeof KINDS)[number]['name'], number>
const SEALED = {
  [TYPE.BRANCH]: KIND.branch,
  [TYPE.LEAF]: KIND.leaf,
  [TYPE.OVERFLOW]: KIND.overflow,
  [TYPE.FREE_LIST]: KIND.freeList,
}
const NEWER = {
  [TYPE.BRANCH]: KIND.newBranch,
  [TYPE.LEAF]: KIND.newLeaf,
  [TYPE.OVERFLOW]: KIND.newOverflow,
  [TYPE.FREE_LIST]: KIND.newFreeList,
}

const MAX_MAP_LINES = 48
const DEFAULT_WIDTH = 64

interface FileMap {
  /** A kind for each slot. */
  readonly kinds: Uint8Array
  readonly damage: { slotNo: number; why: string }[]
  /** Bytes of leaves that entries take up. */
  readonly leafBytesUsed: number
}

const MAX_DAMAGE = 100

function mapOf({ space, slots, headers, inUse }: DataFile): FileMap {
  const kinds = new Uint8Array(slots)
  const damage: { slotNo: number; why: string }[] = []
  const note = (slotNo: number, why: string): void => {
    kinds[slotNo] = KIND.damaged
    if (damage.length < MAX_DAMAGE) damage.push({ slotNo, why })
  }
  const { header } = headers
  const free = new Uint8Array(slots)
  try {
    for (const slot of freeSlots(
      space,
      header?.freeListHead ?? 0,
      header?.freeListSlots ?? 0,
      slots,
      header?.nextSlot ?? 0,
    ))
      free[slot] = 1
  } catch (error) {
    if (!(error instanceof CorruptError)) throw error
    damage.push({ slotNo: error.site.slotNo ?? 0, why: error.message })
  }
  if (header !== undefined && header.nextSlot > slots) {
    damage.push({
      slotNo: slots,
      why: `the file is cut short: it has ${plural(slots, 'slot')} of the ${header.nextSlot} that its header counts`,
    })
  }
  const checkpointLsn = header?.lsn ?? 0
  const scratch = new Node()
  let leafBytesUsed = 0
  for (let slotNo = 0; slotNo < slots; slotNo++) {
    const b = slotBytes(space, slotNo)
    const type = b[SLOT.TYPE]!
    if (slotNo < HEADER_SLOTS) {
      kinds[slotNo] = KIND.header
      const why = headers.damage.find((d) => d.slotNo === slotNo)?.why
      const due =
        header === undefined ||
        headerSlots(header.checkpointNumber).includes(slotNo) ||
        (why !== undefined && why !== NO_HEADER)
      if (why !== undefined && due && !inUse) note(slotNo, why)
      else if (why !== undefined) kinds[slotNo] = KIND.unused
      continue
    }
    const newer = b.readUIntLE(SLOT.LSN, 6) > checkpointLsn
    const within = header !== undefined && slotNo < header.nextSlot && free[slotNo] === 0
    if (type === TYPE.UNUSED && !within) kinds[slotNo] = free[slotNo] ? KIND.free : KIND.unused
    else if (newer && !within) {
      const kind = NEWER[type as keyof typeof NEWER]
      // It may be half-written: that is no damage, nobody can reach it yet.
      kinds[slotNo] = kind ?? KIND.unused
    } else if (free[slotNo]) kinds[slotNo] = KIND.free
    else if (!within) kinds[slotNo] = KIND.unused
    else {
      const why = slotDamage(space, slotNo as SlotNo, scratch)
      if (why !== undefined) note(slotNo, why)
      else kinds[slotNo] = SEALED[type as keyof typeof SEALED] ?? KIND.unused
    }
    if (kinds[slotNo] === KIND.leaf) leafBytesUsed += new Node().at(space, slotNo as SlotNo).usedBytes
  }
  return { kinds, damage, leafBytesUsed }
}

/** Slots that a free list names. Throws `CorruptError` if it cannot be followed. */
function freeSlots(
  space: DataFile['space'],
  first: number,
  length: number,
  slots: number,
  nextSlot: number,
): Iterable<number> {
  const chain: SlotNo[] = []
  for (let slot = first; slot !== 0 && chain.length < length;) {
    if (slot >= slots || slotBytes(space, slot)[SLOT.TYPE] !== TYPE.FREE_LIST) {
      throw new CorruptError(`the free list leads to slot ${slot}, which is none of it`, {
        slotNo: Math.min(slot, slots),
      })
    }
    chain.push(slot as SlotNo)
    slot = slotBytes(space, slot).readUInt32LE(SLOT.NEXT)
  }
  return eachSlot(readRuns(space, chain, nextSlot))
}

function drawMap(file: DataFile, options: SlotsOptions, json: boolean): View {
  const { kinds, damage, leafBytesUsed } = mapOf(file)
  const counts = new Array<number>(KINDS.length).fill(0)
  for (const kind of kinds) counts[kind]!++
  const leaves = counts[KIND.leaf]!
  const fill = leaves === 0 ? 0 : leafBytesUsed / (leaves * SLOT_BODY_BYTES)
  const digits = String(file.slots).length
  const room = (columnsOf(process.stdout) ?? DEFAULT_WIDTH + digits + 2) - digits - 2
  const width = options.width ?? Math.max(8, Math.min(DEFAULT_WIDTH, room))
  const group = Math.max(1, Math.ceil(file.slots / (width * MAX_MAP_LINES)))
  const marks: number[] = []
  for (let at = 0; at < kinds.length; at += group) marks.push(strongest(kinds.subarray(at, at + group)))
  const { header } = file.headers
  if (json) {
    const text = JSON.stringify({
      slots: file.slots,
      slotsPerCharacter: group,
      map: marks.map((kind) => KINDS[kind]!.mark).join(''),
      counts: Object.fromEntries(KINDS.map(({ name }, i) => [name, counts[i]])),
      leafFill: fill,
      inUse: file.inUse,
      checkpoint: header && {
        number: header.checkpointNumber,
        lsn: header.lsn,
        root: header.root,
        height: header.height,
        entries: header.entries,
      },
      damage,
    })
    return { text, damaged: damage.length > 0 }
  }
  const paint = painter()
  const lines: string[] = []
  for (let at = 0; at < marks.length; at += width) {
    lines.push(`${String(at * group).padStart(digits)}  ${painted(marks.slice(at, at + width), paint)}`)
  }
  lines.push('')
  if (group > 1) lines.push(`Each character stands for ${plural(group, 'slot')}.`)
  KINDS.forEach(({ mark, what }, kind) => {
    const extra = kind === KIND.leaf ? `   (${(fill * 100).toFixed(0)} % full)` : ''
    if (counts[kind]! > 0) lines.push(`  ${paint(kind, mark)}  ${number(counts[kind]!).padStart(12)}  ${what}${extra}`)
  })
  lines.push(
    header === undefined
      ? 'No header is good.'
      : `Checkpoint ${header.checkpointNumber} at LSN ${header.lsn}: ${plural(header.entries, 'entry')}, ` +
          `${header.height === 0 ? 'an empty tree' : `root in slot ${header.root}, height ${header.height}`}. ${bytes(file.slots * SLOT_BYTES)}.${file.inUse ? ' The database is in use.' : ''}`,
  )
  for (const { slotNo, why } of damage) lines.push(`DAMAGED: slot ${slotNo}: ${why}`)
  return { text: lines.join('\n'), damaged: damage.length > 0 }
}

/** The kind that stands for a group: damage if there is any, else the most frequent. */
function strongest(kinds: Uint8Array): number {
  const counts = new Array<number>(KINDS.length).fill(0)
  for (const kind of kinds) counts[kind]!++
  if (counts[KIND.damaged]! > 0) return KIND.damaged
  return counts.indexOf(Math.max(...counts))
}

/** A row of the map: a run of one kind is painted at once. */
function painted(kinds: readonly number[], paint: (kind: number, text: string) => string): string {
  let row = ''
  for (let at = 0; at < kinds.length;) {
    let end = at
    while (kinds[end] === kinds[at]) end++
    row += paint(kinds[at]!, KINDS[kinds[at]!]!.mark.repeat(end - at))
    at = end
  }
  return row
}

function painter(): (kind: number, text: string) => string {
  const colours = coloured()
  return (kind, text) => (colours ? `\u001b[${KINDS[kind]!.colour}m${text}\u001b[0m` : text)
}

// ---- one slot ----------------------------------------------------------------------------------

interface EntryView {
  readonly key?: unknown
  readonly keyText: string
  readonly version?: number
  readonly valueBytes?: number
  readonly value?: unknown
  readonly valueText?: string
  readonly overflow?: { first: number; lengthBytes: number; crc: number }
  readonly child?: number
}

const PREVIEW_CHARACTERS = 60

function showSlot(file: DataFile, slotNo: number, options: SlotsOptions, json: boolean): View {
  if (slotNo >= file.slots)
    throw new InvalidError(
      `There is no slot ${slotNo}: the file has ${file.slots === 0 ? 'no slots yet' : `slots 0 to ${file.slots - 1}`}.`,
    )
  const { space } = file
  const b = Buffer.from(slotBytes(space, slotNo))
  const type = b[SLOT.TYPE]!
  const crc = b.readUInt32LE(SLOT.CRC)
  const common = {
    slot: slotNo,
    type: TYPE_NAMES[type] ?? `unknown (${type})`,
    level: b[SLOT.LEVEL]!,
    entries: b.readUInt16LE(SLOT.COUNT),
    number: b.readUInt32LE(SLOT.NUMBER),
    lsn: b.readUIntLE(SLOT.LSN, 6),
    crc: `0x${crc.toString(16).padStart(8, '0')}`,
  }
  const damage = type === TYPE.UNUSED ? undefined : damageOf(file, slotNo, crc)
  const detail: Record<string, unknown> = {}
  let entries: EntryView[] = []
  if (type === TYPE.HEADER) Object.assign(detail, headerDetail(b, slotNo))
  if (type === TYPE.OVERFLOW) {
    const used = Math.min(b.readUInt32LE(SLOT.USED), SLOT_BODY_BYTES)
    Object.assign(detail, {
      next: b.readUInt32LE(SLOT.NEXT),
      usedBytes: b.readUInt32LE(SLOT.USED),
      begins: b.toString('latin1', SLOT.BODY, SLOT.BODY + Math.min(used, PREVIEW_CHARACTERS)),
    })
  }
  if (type === TYPE.FREE_LIST) {
    const runs = Array.from({ length: Math.min(common.entries, SLOT_BODY_BYTES / 8) }, (_, i) => ({
      first: b.readUInt32LE(SLOT.BODY + i * 8),
      slots: b.readUInt32LE(SLOT.BODY + i * 8 + 4),
    }))
    Object.assign(detail, { next: b.readUInt32LE(SLOT.NEXT), runs })
  }
  // The inside of a damaged slot leads anywhere.
  if (
    (type === TYPE.LEAF || type === TYPE.BRANCH) &&
    structureDamage(space, slotNo as SlotNo, new Node()) === undefined
  ) {
    const node = new Node().at(space, slotNo as SlotNo)
    Object.assign(detail, {
      prefixBytes: node.prefix,
      usedBytes: node.usedBytes,
      freeBytes: node.freeBytes,
      garbageBytes: node.garbage,
    })
    const codec = valueCodec(
      options.valueEncoding ?? encodingOf(file.headers.header?.encodingNo ?? 0) ?? DEFAULT_ENCODING,
    )
    entries = Array.from({ length: node.count }, (_, i) => entryOf(node, i, codec))
  }
  if (json) {
    const views = entries.map(({ keyText, valueText, ...view }) => ({
      ...view,
      ...('key' in view || view.child !== undefined ? {} : { keyHex: keyText }),
      ...(valueText === undefined || 'value' in view ? {} : { valueHex: valueText }),
    }))
    const text = JSON.stringify({
      ...common,
      ...detail,
      ...(views.length > 0 ? { contents: views } : {}),
      damage: damage ?? null,
    })
    return { text, damaged: damage !== undefined }
  }
  const sealed = crc === 0 ? ' (not sealed yet)' : damage === undefined ? ' (good)' : ''
  const lines = [`slot ${slotNo}: ${common.type}${type === TYPE.BRANCH ? ` at level ${common.level}` : ''}`]
  const row = (name: string, value: unknown): void =>
    void lines.push(`  ${name.padEnd(18)} ${printable(String(value))}`)
  row('number', common.number)
  row('CRC-32C', `${common.crc}${sealed}`)
  row('made at LSN', common.lsn)
  if (type === TYPE.LEAF || type === TYPE.BRANCH || type === TYPE.FREE_LIST) row('entries', common.entries)
  for (const [name, value] of Object.entries(detail)) {
    if (name === 'runs')
      for (const run of value as { first: number; slots: number }[])
        row(
          'free',
          `${run.first}${run.slots > 1 ? ` to ${run.first + run.slots - 1}` : ''} (${plural(run.slots, 'slot')})`,
        )
    else row(name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/ bytes$/, ' (bytes)'), value)
  }
  if (entries.length > 0) {
    const width = Math.min(40, Math.max(...entries.map(({ keyText }) => keyText.length)))
    lines.push('')
    const versionWidth = Math.max(...entries.map(({ version }) => String(version ?? '').length))
    entries.forEach((entry, i) => {
      const what =
        entry.child !== undefined
          ? `-> slot ${entry.child}`
          : `version ${String(entry.version).padStart(versionWidth)}  ${entry.overflow ? `${number(entry.overflow.lengthBytes)} bytes, from slot ${entry.overflow.first}` : entry.valueText}`
      lines.push(`  ${String(i).padStart(4)}  ${entry.keyText.padEnd(width)}  ${what}`)
    })
  }
  if (damage !== undefined) lines.push('', `DAMAGED: ${damage}`)
  return { text: lines.join('\n'), damaged: damage !== undefined }
}

/** What is wrong with a slot that the checkpoint counts on. */
function damageOf({ space, headers, inUse }: DataFile, slotNo: number, crc: number): string | undefined {
  if (slotNo < HEADER_SLOTS) return inUse ? undefined : headers.damage.find((d) => d.slotNo === slotNo)?.why
  // Written since the checkpoint: not sealed, or sealed for one that is not finished.
  if (crc === 0) return structureDamage(space, slotNo as SlotNo, new Node())
  return slotDamage(space, slotNo as SlotNo, new Node())
}

function headerDetail(b: Buffer, slotNo: number): Record<string, unknown> {
  const header = decodeHeader(b, slotNo)
  if (typeof header === 'string') return {}
  const { uuid, createdMs, version, encodingNo, freeListHead: chain, freeListSlots: chainSlots, ...rest } = header
  return {
    formatVersion: version,
    valueEncoding: encodingOf(encodingNo) ?? encodingNo,
    uuid: uuid.toString('hex'),
    ...rest,
    freeList: chain,
    freeListSlots: chainSlots,
    created: new Date(createdMs).toISOString(),
  }
}

function entryOf(node: Node, i: number, codec: ValueCodec): EntryView {
  const at = node.keyAt(i)
  const length = node.keyLength(i)
  const raw = Buffer.from(node.u8.buffer, node.u8.byteOffset, node.u8.byteLength)
  const first = !node.isLeaf && i === 0
  // A branch's key is cut to what tells its children apart; it need not be a whole key.
  const key = first ? undefined : attempt(() => decodeKey(node.u8, at, at + length))
  const keyView = {
    ...(key ? { key: plainKey(key.value) } : {}),
    keyText: first ? '(below)' : key ? showKey(key.value) : `0x${raw.toString('hex', at, at + length)}`,
  }
  if (!node.isLeaf) return { ...keyView, child: node.child(i) }
  const version = raw.readUIntLE(at - LEAF_CELL_HEADER, 6)
  if (node.overflows(i)) {
    const { first: slot, lengthBytes, crc } = overflowPointer(node, i)
    return { ...keyView, version, valueBytes: lengthBytes, overflow: { first: slot, lengthBytes, crc: crc >>> 0 } }
  }
  const bytesOfValue = node.payloadBytes(i)
  const valueAt = at + length
  const value = attempt(() => codec.decode(raw, valueAt, valueAt + bytesOfValue))
  return {
    ...keyView,
    version,
    valueBytes: bytesOfValue,
    ...(value ? { value: plain(value.value) } : {}),
    valueText: value
      ? preview(value.value, PREVIEW_CHARACTERS)
      : `0x${raw.toString('hex', valueAt, valueAt + Math.min(bytesOfValue, 30))}`,
  }
}
