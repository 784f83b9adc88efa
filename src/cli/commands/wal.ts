// mmapdb wal: the log, segment by segment and frame by frame, read from the files themselves. Works
// on a database in use and on a damaged one; it shows where the log ends, and why.
import { Command } from 'commander'
import { InvalidError } from '../../errors.js'
import type { Key } from '../../encoding/keys.js'
import { DEFAULT_ENCODING, valueCodec, type ValueCodec, type ValueEncoding } from '../../encoding/values/codec.js'
import {
  LogWalk,
  segmentView,
  withLog,
  type FrameView,
  type LogEnding,
  type LogGap,
  type OfflineLog,
  type ConditionsView,
  type OperationView,
  type RangeView,
  type SegmentView,
} from '../../inspect/log-walk.js'
import type { DecidedFrame } from '../../inspect/decided-view.js'
import type { Decoded } from '../../inspect/decoded.js'
import { encodingInHeader } from '../../inspect/offline-files.js'
import { lsnToHex, type Lsn } from '../../wal/lsn.js'
import { segmentName } from '../../wal/segment.js'
import { globalsOf, valueEncodingOption, whole, engineOptions } from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { plain, plainKey, preview, showKey } from '../../encoding/notation.js'
import { bytes, dateText, Lines, number, plural } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

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
    .option('--limit <n>', 'at most this many frames; 0 for all', whole(0), DEFAULT_LIMIT)
    .option('--ops', 'decode the operations of each frame, and what became of them')
    .addOption(valueEncodingOption())
    .addHelpText(
      'after',
      belowHelp(`
Columns of a frame: LSN, type, operations, bytes, time it was appended, and how far the log was known
to be on disk by then (watermark). With --json one object per line: segments, frames, then the end.
The log ends in one of these ways:
  end     nothing was started after the last frame
  torn    a frame was started and never acknowledged; recovery drops it
  rot     acknowledged frames are damaged; only "recover --salvage" gets past them (exit code 3)
  in use  the database is open; more may be appended at any moment`),
    )
    .action(async (options: WalOptions, command: Command) => {
      const { db, json } = globalsOf(command)
      const codec = options.ops
        ? valueCodec(options.valueEncoding ?? encodingInHeader(engineOptions(db)) ?? DEFAULT_ENCODING)
        : undefined
      const lines = new Lines()
      const renderer = json ? new JsonRenderer(codec) : new TextRenderer(codec)
      const end = await withLog(db, (log) => list(log, options, lines, renderer))
      await lines.flush()
      if (end === 'rot') throw new Ended(EXIT.CORRUPT)
    })

/** Why the list ends; "segment": with the last frame of the segment that was asked for. */
type Ending = LogEnding | { readonly kind: 'segment' }

/** Writes everything that is asked for, and returns in which way it ends. */
async function list(
  offline: OfflineLog,
  options: WalOptions,
  lines: Lines,
  renderer: JsonRenderer | TextRenderer,
): Promise<Ending['kind']> {
  const starts = offline.log.starts()
  for (const start of starts) await lines.write(renderer.segment(segmentView(offline, start)))
  for (const line of renderer.checkpoint(offline.checkpointLsn)) await lines.write(line)
  const range = rangeOf(options, starts)
  let shown = 0
  let left = 0
  const walk = new LogWalk(offline, range.from as Lsn)
  while (walk.next() && walk.lsn < range.until) {
    for (const gap of walk.takeGaps()) await lines.write(renderer.gap(gap))
    if (options.from !== undefined && walk.lsn < options.from) continue
    if (options.limit > 0 && shown >= options.limit) {
      left++
      continue
    }
    const waiting = lines.write(renderer.frame(walk, shown === 0))
    if (waiting) await waiting
    shown++
  }
  const ending: Ending = walk.lsn >= range.until ? { kind: 'segment' } : walk.ending()
  for (const line of renderer.ending(ending, walk.position, left)) await lines.write(line)
  return ending.kind
}

/** Where to start reading, and where to stop. */
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

function endingText(ending: Ending, lsn: Lsn): string {
  switch (ending.kind) {
    case 'segment':
      return 'The next segment follows.'
    case 'end':
      return `The log ends at LSN ${lsn}.`
    case 'torn':
      return `The log ends at LSN ${lsn}. A torn frame follows it (${plural(ending.tornBytes, 'byte')}): it was never acknowledged, and recovery drops it.`
    case 'rot':
      return `ROT: ${ending.why}`
    case 'in use':
      return ending.hasGrown
        ? `The log goes on after LSN ${lsn}: the database is in use.`
        : `The log ends at LSN ${lsn} for now: the database is in use.`
  }
}

const timeText = ({ timeMs }: FrameView): string => dateText(timeMs)

// ---- as JSON -----------------------------------------------------------------------------------

class JsonRenderer {
  readonly #codec: ValueCodec | undefined

  /** `codec`: of the values of operations; undefined if these are not asked for. */
  constructor(codec: ValueCodec | undefined) {
    this.#codec = codec
  }

  segment({ file, startLsn, bytes: size, header }: SegmentView): string {
    const { limitLsn, salt, uuid, version } = header ?? {}
    const segment = {
      file,
      start: startLsn,
      bytes: size,
      good: header !== undefined,
      limit: limitLsn,
      version,
      salt,
      uuid: uuid?.toString('hex'),
    }
    return JSON.stringify({ segment })
  }

  checkpoint(): string[] {
    return []
  }

  gap(gap: LogGap): string {
    return JSON.stringify({ gap })
  }

  frame(walk: LogWalk): string {
    const view = walk.frame()
    const operations = this.#codec && walk.operations(this.#codec).map(operationJson)
    const frame = {
      lsn: view.lsn,
      type: view.type,
      operationCount: view.operationCount,
      bytes: view.lengthBytes,
      time: timeText(view),
      watermark: view.watermarkLsn,
      ...(operations && view.type === 'operations' ? { operations } : {}),
      ...(view.type === 'outcomes' ? { decided: walk.decidedLsns() } : {}),
      ...(this.#codec && view.type === 'outcomes' ? { outcomes: walk.decided().map(outcomeJson) } : {}),
    }
    return JSON.stringify({ frame })
  }

  ending(ending: Ending, lsn: Lsn, left: number): string[] {
    const end = { kind: ending.kind, lsn, framesNotShown: left, text: endingText(ending, lsn) }
    return [JSON.stringify({ end })]
  }
}

function operationJson(operation: OperationView): Record<string, unknown> {
  if (operation.kind === 'malformed') return { kind: 'malformed', key: null, valueBytes: 0 }
  const { kind, key, valueBytes, value, conditions, expiresAt } = operation
  return {
    kind,
    ...conditions,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    beginsWrite: operation.beginsWrite,
    key: jsonKey(key),
    ...(operation.to && { to: jsonKey(operation.to) }),
    valueBytes,
    ...(operation.range && { range: rangeJson(operation.range) }),
    ...(value ? { value: plain(value.value) } : {}),
  }
}

const outcomeJson = ({ lsn, operations }: DecidedFrame): Record<string, unknown> => ({
  lsn,
  operations:
    operations?.map(({ kind, key, beginsWrite, verdict, removed, sum }) => ({
      kind,
      beginsWrite,
      key: jsonKey(key),
      verdict,
      ...(removed !== undefined && { removed }),
      ...(sum && { sum: plain(sum.value) }),
    })) ?? null,
})

const jsonKey = (key: Decoded<Key>): unknown => (key.decoded ? plainKey(key.decoded.value) : key.bytes.toString('hex'))

const rangeJson = ({ fromAfter, to, toInclusive, entries, lsn }: RangeView): Record<string, unknown> => ({
  fromAfter,
  to: to === undefined ? null : jsonKey(to),
  toInclusive,
  entries,
  olderThan: lsn,
})

// ---- in words ----------------------------------------------------------------------------------

const HEADINGS = `${'LSN'.padStart(15)}  ${'type'.padEnd(10)} ${'ops'.padStart(8)} ${'bytes'.padStart(11)}  ${'time'.padEnd(24)} ${'watermark'.padStart(15)}`

class TextRenderer {
  readonly #codec: ValueCodec | undefined

  /** `codec`: of the values of operations; undefined if these are not asked for. */
  constructor(codec: ValueCodec | undefined) {
    this.#codec = codec
  }

  segment({ startLsn, bytes: size, header, isNeeded }: SegmentView): string {
    const what =
      header === undefined
        ? 'its header is damaged or was never finished'
        : `LSN ${startLsn} to at most ${header.limitLsn}`
    const unneeded = isNeeded ? '' : ' (no longer needed)'
    return `segment ${lsnToHex(startLsn)}.wal  ${bytes(size).padStart(9)}  ${what}${unneeded}`
  }

  checkpoint(lsn: number | undefined): string[] {
    return [
      lsn === undefined
        ? 'No header says where the checkpoint is.'
        : `The tree on disk includes everything before LSN ${lsn}.`,
    ]
  }

  gap({ from, to }: LogGap): string {
    return `  damaged from LSN ${from} to ${to}: the tree on disk includes that; nothing is lost`
  }

  frame(walk: LogWalk, isFirst: boolean): string {
    const view = walk.frame()
    const line = [
      String(view.lsn).padStart(15),
      ` ${view.type.padEnd(10)}`,
      number(view.operationCount).padStart(8),
      number(view.lengthBytes).padStart(11),
      ` ${timeText(view)}`,
      String(view.watermarkLsn).padStart(15),
    ].join(' ')
    const operations = this.#codec ? walk.operations(this.#codec).map(operationLine) : []
    if (this.#codec) for (const decided of walk.decided()) operations.push(...outcomeLines(decided))
    return [...(isFirst ? [`\n${HEADINGS}`] : []), line, ...operations].join('\n')
  }

  ending(ending: Ending, lsn: Lsn, left: number): string[] {
    const more = left > 0 ? [`... and ${plural(left, 'more frame')}; --limit 0 shows all of them.`] : []
    return [...more, `\n${endingText(ending, lsn)}`]
  }
}

const INDENT = ' '.repeat(17)

function operationLine(operation: OperationView): string {
  if (operation.kind === 'malformed') return `${INDENT}malformed ${operation.why}`
  const { kind, key, valueBytes, value, beginsWrite, conditions, expiresAt } = operation
  const indent = beginsWrite ? INDENT : `${INDENT}+ `
  const keyText = textKey(key)
  if (operation.range !== undefined) return `${indent}${rangeText(keyText, operation.range)}`
  const expires = expiresAt === undefined ? '' : `, ${kind === 'del' ? 'expired' : 'expires'} ${dateText(expiresAt)}`
  const only = `${conditionText(conditions)}${expires}`
  if (kind === 'del' || kind === 'check') return `${indent}${kind} ${keyText}${only}`
  if (kind === 'clear')
    return `${indent}clear from ${keyText} ${operation.to ? `to before ${textKey(operation.to)}` : 'to the end'}`
  const size = plural(valueBytes, 'byte')
  const valueText = value ? `${preview(value.value, PREVIEW_CHARACTERS)} (${size})` : size
  return `${indent}${kind} ${keyText} ${kind === 'add' ? '+' : '='} ${valueText}${only}`
}

const textKey = (key: Decoded<Key>): string =>
  key.decoded ? showKey(key.decoded.value) : `0x${key.bytes.toString('hex')}`

function outcomeLines({ lsn, operations }: DecidedFrame): string[] {
  if (operations === undefined)
    return [`${INDENT}of the frame at LSN ${lsn}, which is not in the log any more, or does not go with it`]
  const lines = operations.map(({ kind, key, beginsWrite, verdict, removed, sum }) => {
    const result = sum ? `, ${preview(sum.value, PREVIEW_CHARACTERS)}` : removed === false ? ', there was none' : ''
    return `${INDENT}  ${beginsWrite ? '' : '+ '}${kind} ${textKey(key)}: ${verdict}${result}`
  })
  return [`${INDENT}of the frame at LSN ${lsn}`, ...lines]
}

function rangeText(from: string, { fromAfter, to, toInclusive, entries, lsn }: RangeView): string {
  const end = to === undefined ? 'to the end' : `${toInclusive ? 'up to and with' : 'before'} ${textKey(to)}`
  const found = entries === 0 ? 'no entries' : `${plural(entries, 'entry')}, older than LSN ${lsn}`
  return `check range ${fromAfter ? 'after' : 'from'} ${from}, ${end}: ${found}`
}

function conditionText({ ifVersion, ifAbsent, ifPresent }: ConditionsView): string {
  if (ifVersion !== undefined) return ` if its version is ${ifVersion}`
  return ifAbsent ? ' if it is absent' : ifPresent ? ' if it is present' : ''
}
