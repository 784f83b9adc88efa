// Copies a stretch of the log of a database, which may be in use, into the log of one that is being restored. Frames
// keep their LSNs, times and contents. They are sealed for their new segments, whose database has another UUID: so no
// file of one log is ever part of the other.
//
// The source is read without its locks. What is read is whole frames, by their CRCs, one after the other. Where no
// frame follows, it is decided whether the log ends there, or something is damaged or was recycled meanwhile; if it
// is in use, that may change while it is looked at, so that a second look decides.
import { CorruptError, InvalidError, LsnGoneError } from '../errors.js'
import { guarded } from '../storage/errors.js'
import { StorageError, type RandomFile } from '../storage/storage.js'
import { FRAME, readLsn, sealFrame } from '../wal/frame.js'
import { classifyEnd } from '../wal/log-end.js'
import { LogReader } from '../wal/log-reader.js'
import { Log, type OpenSegment } from '../wal/log.js'
import { bytesBetween, lsnAfter, NO_LIMIT, type Lsn } from '../wal/lsn.js'
import type { Steps } from './steps.js'
import { whileMaking } from './unfinished.js'

/** Up to where: frames that begin before `lsn`, and up to the first one that was appended after `timeMs`. */
export interface LogLimit {
  readonly lsn: number | undefined
  readonly timeMs: number | undefined
}

/** A step copies this many bytes. */
const STEP_BYTES = 1024 * 1024
const LOOKS = 3
const PAUSE_MS = 5

/**
 * Copies frames from `from` on, and yields after each step. Returns the LSN after the last one. Throws `InvalidError`
 * if the log does not reach `limit.lsn`, `LsnGoneError` if what is needed of it is gone, `CorruptError` if it is
 * damaged.
 */
export function* copyLog(source: Log, target: Log, from: Lsn, limit: LogLimit): Steps<Lsn> {
  const frames = new SourceFrames(source, from, limit)
  const out = new LogWriter(target)
  let stepLsn = from
  try {
    while (frames.next()) {
      out.add(frames.reader)
      const { position } = frames.reader
      if (bytesBetween(stepLsn, position) < STEP_BYTES) continue
      stepLsn = position
      yield { phase: 'replaying', done: bytesBetween(from, position), total: frames.totalBytes }
    }
    out.finish()
    return frames.reader.position
  } finally {
    out.close()
  }
}

const isMissing = (error: unknown): boolean => error instanceof StorageError && error.code === 'ENOENT'

class SourceFrames {
  readonly reader: LogReader
  readonly #log: Log
  readonly #from: Lsn
  readonly #limit: LogLimit

  constructor(log: Log, from: Lsn, limit: LogLimit) {
    this.#log = log
    this.#from = from
    this.#limit = limit
    this.reader = new LogReader(log, from)
  }

  /** How much there is to copy, as far as that is known. */
  get totalBytes(): number {
    const newest = this.#log.starts().at(-1)
    const end = this.#limit.lsn ?? (newest === undefined ? 0 : (this.#log.segment(newest)?.header.limitLsn ?? newest))
    return bytesBetween(this.#from, Math.max(this.reader.position, end))
  }

  /** Goes to the next frame; false if that is not wanted any more, or if the log ends and may end. */
  next(): boolean {
    const { lsn = NO_LIMIT, timeMs = Infinity } = this.#limit
    if (this.reader.position >= lsn) return false
    if (!guarded('Reading the log', () => this.#step())) return this.#end()
    const { bytes, at } = this.reader
    if (bytes.readDoubleLE(at + FRAME.TIME) <= timeMs) return true
    this.reader.restart(this.reader.lsn)
    return false
  }

  /** False where the log ends. Throws if it does not end there by itself. */
  #step(): boolean {
    const { reader } = this
    const at = reader.position
    for (let look = 1; ; look++) {
      try {
        if (reader.next(NO_LIMIT)) return true
        reader.restart(at)
        if (this.#isGone(at)) throw this.#goneError(at)
        classifyEnd(this.#log, at, this.#segmentAt(at))
        return false
      } catch (error) {
        // Frames may have been appended, or segments recycled, since the reader looked.
        if (!(error instanceof CorruptError || isMissing(error)) || look === LOOKS) throw error
        reader.restart(at)
        this.#log.storage.sleep(PAUSE_MS)
        this.#log.close()
      }
    }
  }

  #segmentAt(lsn: Lsn): OpenSegment | undefined {
    for (const start of this.#log.starts().reverse()) {
      const segment = start <= lsn ? this.#log.segment(start) : undefined
      if (segment !== undefined) return segment
    }
    return undefined
  }

  /** True if the log begins after `lsn`. */
  #isGone(lsn: Lsn): boolean {
    return this.#segmentAt(lsn) === undefined && this.#log.starts().length > 0
  }

  #goneError(lsn: Lsn): LsnGoneError {
    const oldest = this.#log.starts().find((start) => this.#log.segment(start) !== undefined)
    return new LsnGoneError(
      `The log in ${this.#log.directory} no longer has LSN ${lsn}, from which it is needed: ` +
        `${oldest === undefined ? 'no segment of it belongs to that database' : `it begins at LSN ${oldest}`}. ` +
        'Use a newer backup. Programs that open the database with { retain: { bytes } } keep more of the log.',
      oldest ?? 0,
    )
  }

  /** The log ends here. */
  #end(): false {
    const { lsn } = this.#limit
    if (lsn === undefined) return false
    throw new InvalidError(
      `The log in ${this.#log.directory} ends at LSN ${this.reader.position}, before LSN ${lsn}. Give an LSN up to that one.`,
    )
  }
}

/** Appends frames that have an LSN already. */
class LogWriter {
  readonly #log: Log
  #segment: OpenSegment | undefined

  constructor(log: Log) {
    this.#log = log
  }

  add({ bytes, at, lengthBytes, lsn }: LogReader): void {
    whileMaking('Writing the log of the copy', () => {
      const segment = this.#segmentFor(lsn, lengthBytes)
      const frame = Buffer.from(bytes.subarray(at, at + lengthBytes))
      const timeMs = frame.readDoubleLE(FRAME.TIME)
      sealFrame(frame, lsn, readLsn(frame, FRAME.WATERMARK), timeMs, segment.header.salt)
      this.#log.write(segment, frame, lsn)
    })
  }

  #segmentFor(lsn: Lsn, lengthBytes: number): OpenSegment {
    const current = this.#segment
    if (current !== undefined && lsnAfter(lsn, lengthBytes) <= current.header.limitLsn) return current
    if (current !== undefined) this.#log.flush(current)
    return (this.#segment = this.#log.createSegment(lsn, lengthBytes))
  }

  /** All of it is on disk then. */
  finish(): void {
    const segment = this.#segment
    if (segment !== undefined) whileMaking('Flushing the log of the copy', () => this.#log.flush(segment))
  }

  close(): void {
    this.#log.close()
  }
}

/** Copies a file from byte `from` on, a step at a time, and flushes it. */
export function* copyFile(from: RandomFile, to: RandomFile, at: number, end: number): Steps<void> {
  const bytes = Buffer.allocUnsafeSlow(STEP_BYTES)
  for (let done = at; done < end;) {
    const length = guarded('Reading the backup', () => from.read(bytes, 0, Math.min(bytes.length, end - done), done))
    if (length === 0) throw new CorruptError(`The data file of the backup is cut short: it ends at byte ${done}.`)
    guarded('Writing the copy', () => {
      to.write(bytes, 0, length, done)
      to.flush()
    })
    done += length
    yield { phase: 'copying', done, total: end }
  }
}
