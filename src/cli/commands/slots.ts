// mmapdb slots: the map of the data file, and single slots decoded. Read from the file itself, as
// the last checkpoint left it and with what was written since: works on a database in use and on a
// damaged one.
import { Command } from 'commander'
import { InvalidError } from '../../errors.js'
import { DEFAULT_ENCODING, encodingOf, type ValueEncoding } from '../../encoding/values/codec.js'
import type { Header } from '../../engine/format/header.js'
import { SLOT_BYTES, TYPE } from '../../engine/format/layout.js'
import type { Decoded } from '../../inspect/decoded.js'
import { withFile, type DataFile } from '../../inspect/offline-files.js'
import { mapOf, SLOT_KINDS, strongest, type SlotKind, type SlotMap } from '../../inspect/slot-map.js'
import { viewOf, type EntryView, type FreeRun, type SlotContent, type SlotView } from '../../inspect/slot-view.js'
import type { Key } from '../../encoding/keys.js'
import { globalsOf, valueEncodingOption, whole, engineOptions } from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { plain, plainKey, preview, printable, showKey } from '../../encoding/notation.js'
import { bytes, coloured, dateText, number, plural, print } from '../shared/output.js'
import { belowHelp, columnsOf } from '../shared/terminal.js'

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
      belowHelp(`
Capital letters are slots that the last checkpoint sealed, small ones those written since. A slot is
free if the checkpoint's free list names it. If a character stands for several slots, it is the kind
that most of them are, or ! if any is damaged.`),
    )
    .action(async (slotNo: number | undefined, options: SlotsOptions, command: Command) => {
      const { db, json } = globalsOf(command)
      const { text, damaged } = withFile(engineOptions(db), (file) =>
        slotNo === undefined ? showMap(file, options, json) : showSlot(file, slotNo, options, json),
      )
      await print(text)
      if (damaged) throw new Ended(EXIT.CORRUPT)
    })

interface Shown {
  readonly text: string
  readonly damaged: boolean
}

// ---- the map -----------------------------------------------------------------------------------

/** How the map shows a slot of each kind. */
const LOOKS: Readonly<Record<SlotKind, { readonly mark: string; readonly colour: number; readonly what: string }>> = {
  header: { mark: 'H', colour: 35, what: 'header' },
  branch: { mark: 'B', colour: 34, what: 'branch' },
  leaf: { mark: 'L', colour: 32, what: 'leaf' },
  overflow: { mark: 'O', colour: 36, what: 'overflow: a part of a long value' },
  freeList: { mark: 'F', colour: 33, what: 'free list' },
  free: { mark: '.', colour: 90, what: 'free' },
  unused: { mark: '_', colour: 90, what: 'never used' },
  newBranch: { mark: 'b', colour: 94, what: 'branch, newer than the checkpoint' },
  newLeaf: { mark: 'l', colour: 92, what: 'leaf, newer than the checkpoint' },
  newOverflow: { mark: 'o', colour: 96, what: 'overflow, newer than the checkpoint' },
  newFreeList: { mark: 'f', colour: 93, what: 'free list, newer than the checkpoint' },
  damaged: { mark: '!', colour: 91, what: 'damaged' },
}

const MAX_MAP_LINES = 48
const DEFAULT_WIDTH = 64

function showMap(file: DataFile, options: SlotsOptions, json: boolean): Shown {
  const map = mapOf(file)
  const digits = String(file.slots).length
  const room = (columnsOf(process.stdout) ?? DEFAULT_WIDTH + digits + 2) - digits - 2
  const width = options.width ?? Math.max(8, Math.min(DEFAULT_WIDTH, room))
  const group = Math.max(1, Math.ceil(file.slots / (width * MAX_MAP_LINES)))
  const marks: SlotKind[] = []
  for (let at = 0; at < file.slots; at += group) marks.push(strongest(map.kinds.subarray(at, at + group)))
  const text = json ? mapJson(file, map, marks, group) : mapText(file, map, marks, group, width)
  return { text, damaged: map.damage.length > 0 }
}

function mapJson(file: DataFile, map: SlotMap, marks: readonly SlotKind[], group: number): string {
  const { header } = file.headers
  return JSON.stringify({
    slots: file.slots,
    slotsPerCharacter: group,
    map: marks.map((kind) => LOOKS[kind].mark).join(''),
    counts: map.counts,
    leafFill: map.leafFill,
    inUse: file.inUse,
    checkpoint: header && {
      number: header.checkpointNumber,
      lsn: header.lsn,
      root: header.root,
      height: header.height,
      entries: header.entries,
    },
    damage: map.damage,
  })
}

function mapText(file: DataFile, map: SlotMap, marks: readonly SlotKind[], group: number, width: number): string {
  const paint = painter()
  const digits = String(file.slots).length
  const lines: string[] = []
  for (let at = 0; at < marks.length; at += width) {
    lines.push(`${String(at * group).padStart(digits)}  ${painted(marks.slice(at, at + width), paint)}`)
  }
  lines.push('')
  if (group > 1) lines.push(`Each character stands for ${plural(group, 'slot')}.`)
  for (const kind of SLOT_KINDS.filter((each) => map.counts[each] > 0)) {
    const { mark, what } = LOOKS[kind]
    const extra = kind === 'leaf' ? `   (${(map.leafFill * 100).toFixed(0)} % full)` : ''
    lines.push(`  ${paint(kind, mark)}  ${number(map.counts[kind]).padStart(12)}  ${what}${extra}`)
  }
  lines.push(checkpointLine(file))
  for (const { slotNo, why } of map.damage) lines.push(`DAMAGED: slot ${slotNo}: ${why}`)
  return lines.join('\n')
}

function checkpointLine({ headers: { header }, slots, inUse }: DataFile): string {
  if (header === undefined) return 'No header is intact.'
  const tree = header.height === 0 ? 'an empty tree' : `root in slot ${header.root}, height ${header.height}`
  const checkpoint = `Checkpoint ${header.checkpointNumber} at LSN ${header.lsn}: ${plural(header.entries, 'entry')}, ${tree}.`
  return `${checkpoint} ${bytes(slots * SLOT_BYTES)}.${inUse ? ' The database is in use.' : ''}`
}

type Paint = (kind: SlotKind, text: string) => string

/** A row of the map: a run of one kind is painted at once. */
function painted(kinds: readonly SlotKind[], paint: Paint): string {
  let row = ''
  for (let at = 0; at < kinds.length;) {
    const kind = kinds[at]!
    let end = at
    while (kinds[end] === kind) end++
    row += paint(kind, LOOKS[kind].mark.repeat(end - at))
    at = end
  }
  return row
}

function painter(): Paint {
  const colours = coloured()
  return (kind, text) => (colours ? `\u001b[${LOOKS[kind].colour}m${text}\u001b[0m` : text)
}

// ---- one slot ----------------------------------------------------------------------------------

const PREVIEW_CHARACTERS = 60
const PREVIEW_BYTES = 30

function showSlot(file: DataFile, slotNo: number, options: SlotsOptions, json: boolean): Shown {
  if (slotNo >= file.slots)
    throw new InvalidError(
      `There is no slot ${slotNo}: the file has ${file.slots === 0 ? 'no slots yet' : `slots 0 to ${file.slots - 1}`}.`,
    )
  const encoding = options.valueEncoding ?? encodingOf(file.headers.header?.encodingNo ?? 0) ?? DEFAULT_ENCODING
  const view = viewOf(file, slotNo, encoding)
  return { text: json ? slotJson(view) : slotText(view), damaged: view.damage !== undefined }
}

const crcText = (crc: number): string => `0x${crc.toString(16).padStart(8, '0')}`
const hex = (bytesOfIt: Buffer): string => `0x${bytesOfIt.toString('hex')}`

function slotJson(view: SlotView): string {
  const entries = view.content.node?.entries ?? []
  return JSON.stringify({
    slot: view.slotNo,
    type: view.typeName,
    level: view.level,
    entries: view.count,
    number: view.number,
    lsn: view.lsn,
    crc: crcText(view.crc),
    ...detailOf(view.content),
    ...(entries.length > 0 ? { contents: entries.map(entryJson) } : {}),
    damage: view.damage ?? null,
  })
}

/** The fields that only slots of this type have. */
function detailOf({ header, overflow, freeList, node }: SlotContent): Record<string, unknown> {
  if (header) return headerDetail(header)
  if (overflow) {
    const { next, usedBytes, body } = overflow
    return { next, usedBytes, begins: body.toString('latin1', 0, PREVIEW_CHARACTERS) }
  }
  if (freeList) return { ...freeList }
  if (node) {
    const { prefixBytes, usedBytes, freeBytes, garbageBytes } = node
    return { prefixBytes, usedBytes, freeBytes, garbageBytes }
  }
  return {}
}

function headerDetail(header: Header): Record<string, unknown> {
  const { uuid, createdMs, version, encodingNo, freeListHead, freeListSlots, ...rest } = header
  return {
    formatVersion: version,
    valueEncoding: encodingOf(encodingNo) ?? encodingNo,
    uuid: uuid.toString('hex'),
    ...rest,
    freeList: freeListHead,
    freeListSlots,
    created: new Date(createdMs).toISOString(),
  }
}

function entryJson(entry: EntryView): Record<string, unknown> {
  const key = entry.key?.decoded && { key: plainKey(entry.key.decoded.value) }
  if ('child' in entry) return { ...key, child: entry.child }
  const { version, valueBytes, value, overflow, expiresAt } = entry
  return {
    ...key,
    version,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    valueBytes,
    ...(overflow && { overflow }),
    ...(value?.decoded && { value: plain(value.decoded.value) }),
    ...(key ? {} : { keyHex: hex(entry.key.bytes) }),
    ...(value && !value.decoded ? { valueHex: valueText(value) } : {}),
  }
}

function slotText(view: SlotView): string {
  const { slotNo, type, typeName, level, crc, damage, content } = view
  const lines = [`slot ${slotNo}: ${typeName}${type === TYPE.BRANCH ? ` at level ${level}` : ''}`]
  const row = (name: string, value: unknown): void =>
    void lines.push(
      `  ${name.padEnd(18)} ${printable(typeof value === 'object' ? JSON.stringify(value) : String(value))}`,
    )
  const sealed = crc === 0 ? ' (not sealed yet)' : damage === undefined ? ' (good)' : ''
  row('number', view.number)
  row('CRC-32C', `${crcText(crc)}${sealed}`)
  row('made at LSN', view.lsn)
  if (type === TYPE.LEAF || type === TYPE.BRANCH || type === TYPE.FREE_LIST) row('entries', view.count)
  for (const [name, value] of Object.entries(detailOf(content))) {
    if (name === 'runs' || name === 'taken') continue
    row(name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/ bytes$/, ' (bytes)'), value)
  }
  for (const run of content.freeList?.runs ?? []) row('free', runText(run))
  for (const run of content.freeList?.taken ?? []) row('taken', runText(run))
  const entries = content.node?.entries ?? []
  if (entries.length > 0) lines.push('', ...entryLines(entries))
  if (damage !== undefined) lines.push('', `DAMAGED: ${damage}`)
  return lines.join('\n')
}

const runText = ({ first, slots }: FreeRun): string =>
  `${first}${slots > 1 ? ` to ${first + slots - 1}` : ''} (${plural(slots, 'slot')})`

const MAX_KEY_COLUMNS = 40

function entryLines(entries: readonly EntryView[]): string[] {
  const keys = entries.map(({ key }) => (key === undefined ? '(below)' : keyText(key)))
  const versions = entries.map((entry) => ('child' in entry ? '' : String(entry.version)))
  const keyColumns = Math.min(MAX_KEY_COLUMNS, Math.max(...keys.map(({ length }) => length)))
  const versionColumns = Math.max(...versions.map(({ length }) => length))
  return entries.map((entry, i) => {
    const what =
      'child' in entry
        ? `-> slot ${entry.child}`
        : `version ${versions[i]!.padStart(versionColumns)}  ${
            entry.overflow
              ? `${number(entry.overflow.lengthBytes)} bytes, from slot ${entry.overflow.first}`
              : valueText(entry.value!)
          }${entry.expiresAt === undefined ? '' : `, expires ${dateText(entry.expiresAt)}`}`
    return `  ${String(i).padStart(4)}  ${keys[i]!.padEnd(keyColumns)}  ${what}`
  })
}

const keyText = ({ bytes: raw, decoded }: Decoded<Key>): string => (decoded ? showKey(decoded.value) : hex(raw))

const valueText = ({ bytes: raw, decoded }: Decoded): string =>
  decoded ? preview(decoded.value, PREVIEW_CHARACTERS) : hex(raw.subarray(0, PREVIEW_BYTES))
