// The write-ahead log: a directory of segments. This file creates, finds, recycles and flushes
// segments and writes frames into them; `log-reader.ts` mirrors it. This file does not know where the log
// ends: the append state does. An appender holds the append lock.
//
// The order of a switch to a new segment, and what a crash after each step leaves:
//   1. the old segment is flushed, and   everything before the new one is on disk from here on; the
//      the append state says it is full  next appender starts the new one again
//   2. the file appears under its name   an unfinished segment: its header does not name its own
//      (a spare renamed, or created)     start, so it is ignored and made again
//      (if it was there: the directory   the same, and the name survives a power cut
//      is flushed)
//      a frame of this segment that     (only if it is made again) the old header over nothing: still an
//      never counted is erased          empty segment, or torn before, and unfinished now
//   3. the header is written and flushed an empty segment, found and used by the next appender
//   4. the directory is flushed          the same, and it survives a power cut
//   5. the frame is written
// Where the disk is full, a segment may instead be moved to its new start, once a checkpoint includes all of it:
//   2. it is renamed                     its header names the old start: unfinished, and made again
//   3. the directory is flushed          the same, and it survives a power cut
//   4. the header is written and flushed an empty segment
// So a segment with a good header proves that all of the log before it had been on disk.
import { join } from 'node:path'
import { crashPoint } from '../crash-points.js'
import { VersionError } from '../errors.js'
import { isFullDisk } from '../storage/errors.js'
import { StorageError, type FileIdentity, type RandomFile, type Storage } from '../storage/storage.js'
import { flushed } from './flush.js'
import { FRAME } from './frame.js'
import { bytesBetween, lsnToHex, lsnWithin, MAX_LSN, paddedBytes, type Lsn } from './lsn.js'
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  filePosition,
  firstFrameLsn,
  isHeaderOf,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  segmentName,
  segmentStart,
  type SegmentHeader,
} from './segment.js'
import { setAside } from './set-aside.js'

const SPARE_PREFIX = 'spare-'
/** Files kept open. A caller that needs a segment for longer asks for it again. */
const MAX_OPEN = 8
/** Room for frames in the first segment of a log; each that follows has twice as much, up to `segmentBytes`. */
const FIRST_CAPACITY_BYTES = 256 * 1024
/**
 * On a full disk a segment may be this short, if its first frame is not longer. A shorter segment is used only if it
 * exists already.
 */
const WORTHWHILE_BYTES = 64 * 1024
/**
 * What a clean close leaves of a segment: entries can then be deleted even if the disk is full at the next opening.
 */
export const CLOSED_BYTES = 16 * 1024
/** Spares kept for later segments; any more are removed. */
const MAX_SPARES = 2

export interface OpenSegment {
  readonly startLsn: Lsn
  readonly path: string
  readonly file: RandomFile
  /** Tells the file from any other that takes its name. */
  readonly identity: FileIdentity
  readonly header: SegmentHeader
}

interface LogOptions {
  readonly storage: Storage
  /** The directory of the segments. */
  readonly directory: string
  /** The file whose owner, group and permissions new segments take; needed only where segments are made. */
  readonly like?: string
  readonly uuid: Buffer
  /**
   * Bytes allocated for a segment once there is much to write: the first segments of a log are shorter. A longer
   * frame gets a longer segment of its own.
   */
  readonly segmentBytes: number
  readonly readOnly: boolean
  /** Segments of another database or format count as damaged. For salvage: the rest is still of use. */
  readonly ownOnly?: boolean
}

export class Log {
  readonly storage: Storage
  readonly directory: string
  readonly uuid: Buffer
  readonly segmentBytes: number
  readonly #readOnly: boolean
  readonly #ownOnly: boolean
  readonly #like: string | undefined
  readonly #open = new Map<number, OpenSegment>()

  constructor(options: LogOptions) {
    this.storage = options.storage
    this.directory = options.directory
    this.uuid = options.uuid
    this.segmentBytes = options.segmentBytes
    this.#readOnly = options.readOnly
    this.#ownOnly = options.ownOnly ?? false
    this.#like = options.like
  }

  /** Where the segments on disk begin, by their names, ascending. Their headers are not read. */
  starts(): Lsn[] {
    return this.storage
      .list(this.directory)
      .map(segmentStart)
      .filter((lsn): lsn is Lsn => lsn !== undefined)
      .sort((a, b) => a - b)
  }

  /**
   * The segment that begins at `startLsn`. Its file stays open until eight others have been asked
   * for. Undefined if it is missing, or if it was never finished: its header is torn or names
   * another position. An appender names its `salt`, as the append state has it: if the segment was
   * restarted since it was opened here, it is opened again. Frames with the old salt would not count.
   */
  segment(startLsn: Lsn, salt?: number): OpenSegment | undefined {
    if (salt !== undefined && this.#open.get(startLsn)?.header.salt !== salt) this.#forget(startLsn)
    const known = this.#open.get(startLsn)
    if (known !== undefined) {
      if (startLsn !== this.#newest) this.#remember(known)
      return known
    }
    const path = join(this.directory, segmentName(startLsn))
    const { kind, sizeBytes } = this.storage.info(path)
    // A file without a header may belong to another user, whose process died before giving it to the owner of the
    // others.
    if (kind !== 'file' || sizeBytes < SEGMENT_HEADER_BYTES) return undefined
    const file = this.#openIfThere(path)
    if (file === undefined) return undefined
    let segment: OpenSegment | undefined
    try {
      const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
      const got = file.read(bytes, 0, bytes.length, 0)
      const header = got === bytes.length ? decodeSegmentHeader(bytes) : undefined
      if (header === undefined || header.startLsn !== startLsn) return undefined
      if (this.#ownOnly && (!header.uuid.equals(this.uuid) || header.version > SEGMENT_VERSION)) return undefined
      if (header.version > SEGMENT_VERSION) {
        throw new VersionError(
          `${path} was written in format ${header.version}; this version of mmapdb reads up to ${SEGMENT_VERSION}. Update mmapdb.`,
        )
      }
      segment = { startLsn, path, file, identity: file.identity(), header }
      this.#remember(segment)
      return segment
    } finally {
      if (segment === undefined) file.close()
    }
  }

  /** Undefined if it has just been recycled. */
  #openIfThere(path: string): RandomFile | undefined {
    try {
      return this.storage.openFile(path, this.#readOnly ? 'read' : 'write')
    } catch (error) {
      if (error instanceof StorageError && error.code === 'ENOENT') return undefined
      throw error
    }
  }

  /** The path of the segment that begins at `startLsn`, whether it exists or not. */
  pathOf(startLsn: Lsn): string {
    return join(this.directory, segmentName(startLsn))
  }

  /** True if the name of the segment leads to this very file. */
  isInPlace({ path, identity }: OpenSegment): boolean {
    return this.storage.leadsTo(path, identity)
  }

  /** True if the file of the segment still begins with its header. If not, another header was written over it. */
  isWhole({ file, header }: OpenSegment): boolean {
    const bytes = this.#header
    return file.read(bytes, 0, bytes.length, 0) === bytes.length && isHeaderOf(bytes, header)
  }
  readonly #header = Buffer.alloc(SEGMENT_HEADER_BYTES)

  /** Keeps a few segments open: the ones that were asked for last. A map is in the order of insertion. */
  #remember(segment: OpenSegment): void {
    this.#open.delete(segment.startLsn)
    if (this.#open.size >= MAX_OPEN) this.#forget(this.#open.keys().next().value!)
    this.#open.set(segment.startLsn, segment)
    this.#newest = segment.startLsn
  }
  #newest = 0

  /**
   * Makes the segment that begins at `startLsn`, with `roomBytes` for frames, or `frameBytes` if that is more. On a
   * full disk it is shorter, or a spare. If there is no room even for `frameBytes`, nothing is left of it. Everything
   * appended before must be flushed. `changedLsn`: see `SegmentHeader`. The caller holds the append lock (or has the
   * database to itself).
   */
  createSegment(startLsn: Lsn, frameBytes: number, changedLsn = 0, roomBytes = this.#roomAfter(startLsn)): OpenSegment {
    this.#forget(startLsn)
    const leastBytes = paddedBytes(frameBytes)
    const path = join(this.directory, segmentName(startLsn))
    // An appender may have died between making it and publishing it. It keeps its salt and its room:
    // others may have read its header already.
    const made = this.segment(startLsn)?.header
    const left = made?.uuid.equals(this.uuid) ? made : undefined
    this.#forget(startLsn)
    const most = Math.min(this.segmentBytes - SEGMENT_HEADER_BYTES, bytesBetween(startLsn, MAX_LSN))
    const leftBytes = left === undefined ? 0 : bytesBetween(startLsn, left.limitLsn)
    const capacity = Math.max(Math.min(roomBytes, most), leastBytes, leftBytes)
    // Left by an appender that died, or just moved here. After a power cut it could have its former name again, which
    // must not meet a header that says otherwise.
    const isMissing = this.storage.info(path).kind === 'missing'
    if (!isMissing && left === undefined) this.#flushDirectory()
    const wantedBytes = SEGMENT_HEADER_BYTES + capacity
    const { file, sizeBytes } = this.#fileFor(path, isMissing, wantedBytes, SEGMENT_HEADER_BYTES + leastBytes)
    try {
      this.#eraseFirstFrame(file, startLsn)
      const salt = left?.salt ?? Buffer.from(this.storage.randomBytes(4)).readUInt32LE(0)
      const limitLsn = lsnWithin(startLsn, sizeBytes - SEGMENT_HEADER_BYTES)
      const header = { version: SEGMENT_VERSION, salt, uuid: this.uuid, startLsn, limitLsn, changedLsn }
      this.#writeHeader(file, header)
      crashPoint('segment-linked')
      this.#flushDirectory()
      const segment = { startLsn, path, file, identity: file.identity(), header }
      this.#remember(segment)
      return segment
    } catch (error) {
      file.close()
      throw error
    }
  }

  /** A segment's file under its name, with `wantedBytes` allocated, or at least `leastBytes` on a full disk. */
  #fileFor(
    path: string,
    isMissing: boolean,
    wantedBytes: number,
    leastBytes: number,
  ): { file: RandomFile; sizeBytes: number } {
    if (isMissing) this.#takeSpare(path, wantedBytes)
    let file = this.#openOrMake(path)
    crashPoint('segment-created')
    try {
      return {
        file,
        sizeBytes: setAside(
          file,
          wantedBytes,
          Math.max(leastBytes, Math.min(wantedBytes, WORTHWHILE_BYTES)),
          leastBytes,
        ),
      }
    } catch (error) {
      file.close()
      if (!isMissing || !isFullDisk(error)) throw error
      this.storage.unlink(path)
      if (!this.#takeSpare(path, leastBytes)) throw error
      file = this.#openOrMake(path)
      return { file, sizeBytes: Math.min(file.sizeBytes(), wantedBytes) }
    }
  }

  /** Gives the longest spare of at least `sizeBytes` the name `path`. False if there is no such spare. */
  #takeSpare(path: string, sizeBytes: number): boolean {
    let longest: { spare: string; bytes: number } | undefined
    for (const name of this.#spares()) {
      const spare = join(this.directory, name)
      const bytes = this.storage.info(spare).sizeBytes
      // Spares keep the permissions that they were made with. Those of the database may have changed since.
      const isOfUse = bytes >= sizeBytes && (this.#like === undefined || this.storage.fitsIn(spare, this.#like))
      if (isOfUse && bytes > (longest?.bytes ?? 0)) longest = { spare, bytes }
    }
    if (longest !== undefined) this.storage.rename(longest.spare, path)
    return longest !== undefined
  }

  /** Removes all spares, which gives their room back to a full disk. False if there are no spares. */
  dropSpares(): boolean {
    const spares = this.#spares()
    for (const name of spares) this.storage.unlink(join(this.directory, name))
    return spares.length > 0
  }

  /**
   * For a full disk: the segment that begins at `startLsn`, of which nothing is needed any more, begins at `tail`
   * from now on. Its name changes first, also on disk: as long as the header does not match the name, the segment
   * counts as unfinished, and the next appender makes it again. Then the header changes, and with it the salt: so its
   * old frames do not count.
   */
  moveSegment(startLsn: Lsn, tail: Lsn, changedLsn: number): OpenSegment {
    const from = this.segment(startLsn)
    const roomBytes =
      from === undefined
        ? 0
        : Math.min(from.file.sizeBytes() - SEGMENT_HEADER_BYTES, bytesBetween(startLsn, from.header.limitLsn))
    this.#forget(startLsn)
    if (from !== undefined) this.storage.rename(from.path, join(this.directory, segmentName(tail)))
    crashPoint('segment-moved')
    return this.createSegment(tail, 0, changedLsn, roomBytes)
  }

  #openOrMake(path: string): RandomFile {
    try {
      return this.storage.openFile(path, 'create', this.#like)
    } catch (error) {
      if (!(error instanceof StorageError && error.code === 'EACCES')) throw error
      const { kind, sizeBytes } = this.storage.info(path)
      if (kind !== 'file' || sizeBytes > 0) throw error
      // Left empty by another user's process, which died before giving it to the owner of the others.
      this.storage.unlink(path)
      return this.storage.openFile(path, 'create', this.#like)
    }
  }

  /** Room in the segment that begins at `startLsn`: twice as much as in the segment before. */
  #roomAfter(startLsn: Lsn): number {
    const before = this.starts().findLast((start) => start < startLsn)
    const header = before === undefined ? undefined : this.segment(before)?.header
    return header === undefined
      ? FIRST_CAPACITY_BYTES
      : Math.max(FIRST_CAPACITY_BYTES, 2 * bytesBetween(header.startLsn, header.limitLsn))
  }

  /**
   * What an appender left in a segment that is made again never counted. It is erased before the header is
   * written: recovery takes a torn header followed by a frame of this segment for damage.
   */
  #eraseFirstFrame(file: RandomFile, startLsn: Lsn): void {
    if (firstFrameLsn(file) !== startLsn) return
    file.write(Buffer.alloc(FRAME.HEADER_BYTES), 0, FRAME.HEADER_BYTES, SEGMENT_HEADER_BYTES)
    flushed('Flushing a new segment of the log', () => file.flush())
  }

  /** Writes a sealed frame. Its segment must have room for it. */
  write(segment: OpenSegment, frame: Buffer, lsn: Lsn): void {
    segment.file.write(frame, 0, frame.length, filePosition(segment.startLsn, lsn))
  }

  /**
   * Recycles every segment that ends at or before `lsn`: up to two become spares, the others are removed.
   * `current` is the segment that the append state names: it stays, and so do segments after
   * it, which an appender that died may have started. The caller holds the checkpoint lock. A crash in
   * between leaves a segment that is no longer needed; the next call recycles it.
   */
  releaseBefore(lsn: Lsn, current: Lsn): number {
    const starts = this.starts()
    let released = 0
    let spares = this.#spares().length
    // A segment that was started and given up counts for nothing: frames may go on in the one before it.
    const needed = starts.findLastIndex(
      (start) => start <= lsn && start <= current && this.segment(start) !== undefined,
    )
    for (const start of starts.slice(0, Math.max(0, needed))) {
      const path = join(this.directory, segmentName(start))
      this.#forget(start)
      crashPoint('recycling-segment')
      const reusable = this.storage.info(path).sizeBytes === this.segmentBytes
      if (reusable && spares < MAX_SPARES) {
        this.storage.rename(path, join(this.directory, SPARE_PREFIX + lsnToHex(start)))
        spares++
      } else {
        this.storage.unlink(path)
      }
      released++
    }
    if (released > 0) this.#flushDirectory()
    return released
  }

  /** Bytes of the segment's file; 0 if it has just been removed. */
  sizeBytes(startLsn: Lsn): number {
    return this.storage.info(join(this.directory, segmentName(startLsn))).sizeBytes
  }

  /**
   * At a clean close: starts a segment at `tail`, cut down to a few pages, and removes all before it.
   * The tree on disk includes everything up to there. `changedLsn`: see `SegmentHeader`.
   */
  restartAt(tail: Lsn, changedLsn: number): void {
    const newest = this.starts().at(-1)
    const segment = (newest === tail ? this.segment(tail) : undefined) ?? this.#begin(tail, newest, changedLsn)
    segment.file.truncate(Math.min(CLOSED_BYTES, segment.file.sizeBytes()))
    this.releaseBefore(tail, tail)
    this.#removeSpares()
  }

  /**
   * The same if the log is to be kept from `from` on: the last segment stays, and is cut down to a few pages after
   * `tail`. So a database that is opened and closed often does not get a segment each time.
   */
  cutAt(tail: Lsn, current: Lsn, from: Lsn): void {
    const segment = this.segment(current)
    if (segment !== undefined) {
      const bytes = filePosition(current, tail) + CLOSED_BYTES
      segment.file.truncate(Math.min(bytes, segment.file.sizeBytes()))
    }
    this.releaseBefore(from, current)
    this.#removeSpares()
  }

  #begin(tail: Lsn, newest: Lsn | undefined, changedLsn: number): OpenSegment {
    try {
      return this.createSegment(tail, 0, changedLsn, FIRST_CAPACITY_BYTES)
    } catch (error) {
      if (!isFullDisk(error) || newest === undefined) throw error
      return this.moveSegment(newest, tail, changedLsn)
    }
  }

  /** Overwrites a torn tail with zeros and flushes. */
  eraseTail(segment: OpenSegment, from: Lsn, lengthBytes: number): void {
    const zeros = Buffer.alloc(Math.min(lengthBytes, 1024 * 1024))
    for (let done = 0; done < lengthBytes; done += zeros.length) {
      const bytes = Math.min(zeros.length, lengthBytes - done)
      segment.file.write(zeros, 0, bytes, filePosition(segment.startLsn, from) + done)
    }
    this.flush(segment)
  }

  /** Erases the headers of segments that were started at or after `end` and not finished, and flushes that. */
  eraseUnfinished(end: Lsn): void {
    for (const start of this.starts()) {
      if (start < end || this.segment(start) !== undefined) continue
      const path = this.pathOf(start)
      const { kind, sizeBytes } = this.storage.info(path)
      // A shorter file never had a header.
      if (kind !== 'file' || sizeBytes < SEGMENT_HEADER_BYTES) continue
      const file = this.storage.openFile(path, 'write')
      try {
        file.write(Buffer.alloc(SEGMENT_HEADER_BYTES), 0, SEGMENT_HEADER_BYTES, 0)
        flushed('Flushing a segment of the log that was not finished', () => file.flush())
      } finally {
        file.close()
      }
    }
  }

  /** Returns once everything written to the segment is on disk. */
  flush(segment: OpenSegment): void {
    flushed('Flushing the log', () => segment.file.flush())
  }

  #writeHeader(file: RandomFile, header: SegmentHeader): void {
    file.write(encodeSegmentHeader(header), 0, SEGMENT_HEADER_BYTES, 0)
    flushed('Flushing a new segment of the log', () => file.flush())
  }

  #flushDirectory(): void {
    flushed('Flushing the directory of the log', () => this.storage.flushDirectory(this.directory))
  }

  /**
   * Makes a segment that was found ready for appending. It flushes the segment's name, since the appender that made
   * it may have died before that. With `forWriting` it gives back the blocks that a clean close took from it. The
   * header is written once more, the same bytes: if its flush had failed, it could be in memory only. Returns where
   * frames must end: bytes without blocks are not written to.
   */
  adopt(segment: OpenSegment, forWriting: boolean): Lsn {
    const { file, header, startLsn } = segment
    const sizeBytes = forWriting
      ? setAside(file, filePosition(startLsn, header.limitLsn), WORTHWHILE_BYTES, 0)
      : file.sizeBytes()
    this.#writeHeader(file, header)
    this.#flushDirectory()
    return Math.min(header.limitLsn, lsnWithin(startLsn, sizeBytes - SEGMENT_HEADER_BYTES)) as Lsn
  }

  #removeSpares(): void {
    for (const name of this.#spares()) this.storage.unlink(join(this.directory, name))
    this.#flushDirectory()
  }

  #spares(): string[] {
    const isFile = (name: string): boolean => this.storage.info(join(this.directory, name)).kind === 'file'
    return this.storage.list(this.directory).filter((name) => name.startsWith(SPARE_PREFIX) && isFile(name))
  }

  #forget(startLsn: number): void {
    this.#open.get(startLsn)?.file.close()
    this.#open.delete(startLsn)
  }

  close(): void {
    for (const segment of this.#open.values()) segment.file.close()
    this.#open.clear()
  }
}
