// mmapdb wal: the log, segment by segment and frame by frame, read from the files themselves. Works
// on a database in use and on a damaged one; it shows where the log ends, and why.
import { Command } from 'commander'
import { CorruptError, InvalidError } from '../../errors.js'
import { findHeader } from '../../engine/lifecycle/find-header.js'
import { decodeKey } from '../../encoding/keys.js'
import { SLOT_BYTES } from '../../engine/format/layout.js'
import { DEFAULT_ENCODING, valueCodec, type ValueCodec, type ValueEncoding } from '../../encoding/values/codec.js'
import { posixStorage } from '../../storage/posix.js'
import { forEachOperation, FRAME, FRAME_TYPE_OPERATIONS, OP_PUT } from '../../wal/frame.js'
import { Log } from '../../wal/log.js'
import { lsnToHex, MAX_LSN, type Lsn } from '../../wal/lsn.js'
import { LogReader } from '../../wal/log-reader.js'
import { segmentName } from '../../wal/segment.js'
import { attempt, globalsOf, valueEncodingOption, whole, engineOptions } from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { checkThere, encodingInHeader, isInUse } from '../../inspect/offline-files.js'
import { plain, plainKey, preview, showKey } from '../shared/notation.js'
import { bytes, Lines, number, plural } from '../shared/output.js'
import { classifyEnd } from '../../wal/log-end.js'

interface WalOptions {
  readonly segment?: string
  readonly from?: number
  readonly limit: number
  readonly ops?: boolean
  readonly valueEncoding?: ValueEncoding
}

const DEFAULT_LIMIT = 50
const PREVIEW_CHARACTERS = 60

export const walCommand = (): Command =>
  new Command('wal')
    .description(
      'List the segments and frames of the log, and say where and why it ends. Exit code 3 if it is damaged.',
    )
    .option('--segment <lsn>', 'only frames of this segment: the hexadecimal name of its file')
    .option('--from <lsn>', 'frames from this LSN on', whole(0))
    .option('--limit <n>', 'at most so many frames; 0 for all', whole(0), DEFAULT_LIMIT)
    .option('--ops', 'decode the operations of each frame')
    .addOption(valueEncodingOption())
    .addHelpText(
      'after',
      `
Columns of a frame: LSN, type, operations, bytes, time it was appended, and how far the log was known
to be on disk by then (watermark). With --json one object per line: segments, frames, then the end.
The log ends in one of these ways:
  end     behind the last frame nothing was begun
  torn    a frame was begun and never acknowledged; recovery drops it
  rot     acknowledged frames are damaged; only "recover --salvage" goes on (exit code 3)
  in use  the database is open; more may be appended at any moment`,
    )
    .action(async (options: WalOptions, command: Command) => {
      const { db, json } = globalsOf(command)
      const lines = new Lines()
      const end = await list(db, options, json, lines)
      await lines.flush()
      if (end === 'rot') throw new Ended(EXIT.CORRUPT)
    })

type EndKind = 'end' | 'torn' | 'rot' | 'in use' | 'segment'

async function list(db: string, options: WalOptions, json: boolean, lines: Lines): Promise<EndKind> {
  const paths = checkThere(db)
  if (posixStorage.info(paths.wal).kind !== 'directory') {
    throw new CorruptError(`The log, ${paths.wal}, is missing. Restore the database from a backup.`, {
      path: paths.wal,
    })
  }
  const checkpointLsn = checkpointOf(paths.data)
  const inUse = posixStorage.info(paths.data).kind === 'file' && isInUse(db)
  const log = new Log({
    storage: posixStorage,
    directory: paths.wal,
    uuid: Buffer.alloc(16),
    segmentBytes: 0,
    readOnly: true,
  })
  try {
    const starts = log.starts()
    for (const start of starts) await lines.write(describeSegment(log, start, checkpointLsn, json))
    if (!json)
      await lines.write(
        checkpointLsn === undefined
          ? 'No header says where the checkpoint is.'
          : `The tree on disk includes everything before LSN ${checkpointLsn}.`,
      )
    const range = rangeOf(options, starts)
    const codec = options.ops
      ? valueCodec(options.valueEncoding ?? encodingInHeader(engineOptions(db)) ?? DEFAULT_ENCODING)
      : undefined
    let shown = 0
    let left = 0
    const walk = new Walk(log, range.from as Lsn, checkpointLsn, inUse)
    while (walk.next() && walk.frame.lsn < range.until) {
      for (const gap of walk.takeGaps()) {
        const text = `  damaged from LSN ${gap.from} to ${gap.to}: the tree on disk includes that; nothing is lost`
        await lines.write(json ? JSON.stringify({ gap }) : text)
      }
      if (options.from !== undefined && walk.frame.lsn < options.from) continue
      if (options.limit > 0 && shown >= options.limit) {
        left++
        continue
      }
      if (!json && shown === 0) await lines.write(`\n${HEADINGS}`)
      shown++
      const waiting = lines.write(describeFrame(walk.frame, json, codec))
      if (waiting) await waiting
    }
    const { kind, text } =
      walk.frame.lsn >= range.until ? { kind: 'segment' as const, text: 'The next segment follows.' } : walk.ending()
    if (json) await lines.write(JSON.stringify({ end: { kind, lsn: walk.position, framesNotShown: left, text } }))
    else {
      if (left > 0) await lines.write(`... and ${plural(left, 'more frame')}; --limit 0 shows all of them.`)
      await lines.write(`\n${text}`)
    }
    return kind
  } finally {
    log.close()
  }
}

/** The LSN that the newest checkpoint reaches, if there is a good header. */
function checkpointOf(data: string): number | undefined {
  if (posixStorage.info(data).kind !== 'file') return undefined
  const file = posixStorage.openFile(data, 'read')
  try {
    const search = findHeader((slotNo) => {
      const slot = Buffer.alloc(SLOT_BYTES)
      return slot.subarray(0, Math.max(0, file.read(slot, 0, SLOT_BYTES, slotNo * SLOT_BYTES)))
    }, data)
    return search.header?.lsn
  } catch (error) {
    // Four damaged headers keep nobody from looking at the log.
    if (error instanceof CorruptError) return undefined
    throw error
  } finally {
    file.close()
  }
}

/** Where to begin reading, and where to stop. */
function rangeOf(options: WalOptions, starts: readonly Lsn[]): { from: number; until: number } {
  if (options.segment === undefined) {
    return {
      from: starts.findLast((start) => start <= (options.from ?? 0)) ?? starts[0] ?? 0,
      until: Number.POSITIVE_INFINITY,
    }
  }
  const name = options.segment.replace(/\.wal$/, '')
  const wanted = /^[0-9a-f]+$/i.test(name) ? Number.parseInt(name, 16) : Number.NaN
  const index = starts.findIndex((start) => start === wanted)
  if (index < 0)
    throw new InvalidError(
      `There is no segment ${options.segment}. There are: ${starts.map(segmentName).join(', ') || 'none'}.`,
    )
  return { from: wanted, until: starts[index + 1] ?? Number.POSITIVE_INFINITY }
}

interface Frame {
  lsn: number
  bytes: Buffer
  at: number
  lengthBytes: number
}

/** Walks the frames of a log that may be damaged, and may be appended to meanwhile. */
class Walk {
  readonly #log: Log
  readonly #reader: LogReader
  readonly #checkpointLsn: number
  readonly #inUse: boolean
  #gaps: { from: number; to: number }[] = []
  readonly frame: Frame = { lsn: 0, bytes: Buffer.alloc(0), at: 0, lengthBytes: 0 }

  constructor(log: Log, from: Lsn, checkpointLsn: number | undefined, inUse: boolean) {
    this.#log = log
    this.#reader = new LogReader(log, from)
    this.#checkpointLsn = checkpointLsn ?? 0
    this.#inUse = inUse
  }

  get position(): Lsn {
    return this.#reader.position
  }

  next(): boolean {
    const reader = this.#reader
    if (!reader.next(MAX_LSN)) {
      // What the tree on disk includes may be damaged: recovery begins behind it.
      if (reader.position >= this.#checkpointLsn) return false
      this.#gaps.push({ from: reader.position, to: this.#checkpointLsn })
      reader.seek(this.#checkpointLsn as Lsn, 0 as Lsn)
      if (!reader.next(MAX_LSN)) return false
    }
    this.frame.lsn = reader.lsn
    this.frame.bytes = reader.bytes
    this.frame.at = reader.at
    this.frame.lengthBytes = reader.lengthBytes
    return true
  }

  takeGaps(): { from: number; to: number }[] {
    return this.#gaps.splice(0)
  }

  /** Why no frame follows. */
  ending(): { kind: EndKind; text: string } {
    const lsn = this.position
    try {
      const { tornBytes } = classifyEnd(this.#log, lsn, this.#reader.segment)
      if (this.#inUse) return { kind: 'in use', text: `The log ends at LSN ${lsn} for now: the database is in use.` }
      return tornBytes === 0
        ? { kind: 'end', text: `The log ends at LSN ${lsn}.` }
        : {
            kind: 'torn',
            text: `The log ends at LSN ${lsn}. A torn frame follows it (${plural(tornBytes, 'byte')}): it was never acknowledged, and recovery drops it.`,
          }
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      // Appended since: what was the end is none any more.
      if (this.#inUse) return { kind: 'in use', text: `The log goes on behind LSN ${lsn}: the database is in use.` }
      return { kind: 'rot', text: `ROT: ${error.message}` }
    }
  }
}

// ---- in words ----------------------------------------------------------------------------------

const HEADINGS = `${'LSN'.padStart(15)}  ${'type'.padEnd(10)} ${'ops'.padStart(8)} ${'bytes'.padStart(11)}  ${'time'.padEnd(24)} ${'watermark'.padStart(15)}`

function describeSegment(log: Log, start: Lsn, checkpointLsn: number | undefined, json: boolean): string {
  const segment = log.segment(start)
  const size = log.sizeBytes(start)
  const needed = checkpointLsn === undefined || segment === undefined || segment.header.limitLsn > checkpointLsn
  if (json) {
    const { limitLsn, salt, uuid, version } = segment?.header ?? {}
    return JSON.stringify({
      segment: {
        file: segmentName(start),
        start,
        bytes: size,
        good: segment !== undefined,
        limit: limitLsn,
        version,
        salt,
        uuid: uuid?.toString('hex'),
      },
    })
  }
  const what =
    segment === undefined
      ? 'its header is damaged or was never finished'
      : `LSN ${start} to at most ${segment.header.limitLsn}`
  return `segment ${lsnToHex(start)}.wal  ${bytes(size).padStart(9)}  ${what}${needed ? '' : ' (no longer needed)'}`
}

function describeFrame(frame: Frame, json: boolean, codec: ValueCodec | undefined): string {
  const { bytes: b, at, lengthBytes, lsn } = frame
  const type = b[at + FRAME.TYPE] === FRAME_TYPE_OPERATIONS ? 'operations' : `type ${b[at + FRAME.TYPE]}`
  const count = b.readUInt32LE(at + FRAME.OP_COUNT)
  const ms = b.readDoubleLE(at + FRAME.TIME)
  const time = Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : String(ms)
  const watermark = b.readUIntLE(at + FRAME.WATERMARK, 6)
  if (json) {
    const operations = codec ? decodeOperations(frame, codec) : undefined
    return JSON.stringify({
      frame: {
        lsn,
        type,
        operationCount: count,
        bytes: lengthBytes,
        time,
        watermark,
        ...(operations ? { operations } : {}),
      },
    })
  }
  const line = `${String(lsn).padStart(15)}  ${type.padEnd(10)} ${number(count).padStart(8)} ${number(lengthBytes).padStart(11)}  ${time} ${String(watermark).padStart(15)}`
  if (!codec) return line
  return [
    line,
    ...decodeOperations(frame, codec).map(
      (op) => `${' '.repeat(17)}${op.kind} ${op.keyText}${op.kind === 'put' ? ` = ${op.text}` : ''}`,
    ),
  ].join('\n')
}

interface Decoded {
  readonly kind: string
  readonly key: unknown
  readonly valueBytes: number
  readonly value?: unknown
  /** For people; not part of the JSON. */
  readonly keyText: string
  readonly text: string
}

function decodeOperations(frame: Frame, codec: ValueCodec): Decoded[] {
  const list: Decoded[] = []
  try {
    forEachOperation(frame.bytes, frame.at, frame.lengthBytes, (b, kind, keyAt, keyLength, valueAt, valueLength) => {
      const key = attempt(() => decodeKey(b, keyAt, keyAt + keyLength))
      const value = kind === OP_PUT ? attempt(() => codec.decode(b, valueAt, valueAt + valueLength)) : undefined
      const raw = `${plural(valueLength, 'byte')}`
      const decoded: Decoded = {
        kind: kind === OP_PUT ? 'put' : 'del',
        key: key ? plainKey(key.value) : b.toString('hex', keyAt, keyAt + keyLength),
        valueBytes: valueLength,
        ...(value ? { value: plain(value.value) } : {}),
        keyText: key ? showKey(key.value) : `0x${b.toString('hex', keyAt, keyAt + keyLength)}`,
        text: value ? `${preview(value.value, PREVIEW_CHARACTERS)} (${raw})` : raw,
      }
      Object.defineProperty(decoded, 'keyText', { enumerable: false })
      Object.defineProperty(decoded, 'text', { enumerable: false })
      list.push(decoded)
    })
  } catch (error) {
    list.push({ kind: 'malformed', key: null, valueBytes: 0, keyText: (error as Error).message, text: '' })
  }
  return list
}
