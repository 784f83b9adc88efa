// A small log of a few segments, as the engine writes it, and what recovery finds in it.
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { posixStorage } from '../../src/storage/posix.js'
import type { Storage } from '../../src/storage/storage.js'
import { sealFrame } from '../../src/wal/frame.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { classifyEnd } from '../../src/wal/log-end.js'
import { Log, type OpenSegment } from '../../src/wal/log.js'
import { LogReader } from '../../src/wal/log-reader.js'
import { FIRST_LSN, type Lsn, lsnAfter } from '../../src/wal/lsn.js'
import { segmentName } from '../../src/wal/segment.js'
import { expectError, scratchDirectory } from './engine.js'

const UUID = Buffer.from('fedcba9876543210')
export const ALL = Number.MAX_SAFE_INTEGER as Lsn

interface Written {
  readonly lsn: number
  readonly length: number
  readonly segment: number
}

/** A log that is written frame by frame, as the engine does it, or as it would if it had died. */
export class Writer {
  readonly directory: string
  readonly log: Log
  readonly frames: Written[] = []
  tail: number = FIRST_LSN
  segment: OpenSegment

  constructor(segmentBytes = 512) {
    const directory = join(scratchDirectory(), 'wal')
    mkdirSync(directory)
    this.directory = directory
    this.log = openLog(directory, segmentBytes)
    this.segment = this.log.createSegment(FIRST_LSN, 0)
  }

  /** Writes a frame at the tail. `counted` false: its writer died before it had moved the tail. */
  append(valueBytes: number, { watermark = this.tail, counted = true } = {}): Written {
    const builder = new FrameBuilder()
    const key = Buffer.from(`key ${this.frames.length}`)
    builder.put(key, key.length, Buffer.alloc(valueBytes, this.frames.length + 1))
    const frame = builder.take()
    if (lsnAfter(this.tail, frame.length) > this.segment.header.limitLsn) this.switchSegment(frame.length)
    sealFrame(frame, this.tail as Lsn, watermark as Lsn, 0, this.segment.header.salt)
    this.log.write(this.segment, frame, this.tail as Lsn)
    const written = { lsn: this.tail, length: frame.length, segment: this.segment.startLsn }
    if (counted) {
      this.frames.push(written)
      this.tail = lsnAfter(this.tail, frame.length)
    }
    return written
  }

  switchSegment(frameBytes = 0): void {
    this.segment = this.log.createSegment(this.tail as Lsn, frameBytes)
  }
  path(segment = this.segment.startLsn as number): string {
    return join(this.directory, segmentName(segment as Lsn))
  }
  close(): this {
    this.log.close()
    return this
  }
}

export const openLog = (directory: string, segmentBytes = 512, storage: Storage = posixStorage): Log =>
  new Log({ storage, directory, uuid: UUID, segmentBytes, readOnly: false })

/** The real storage, which says how much was read from its files. */
export function countingReads(): { storage: Storage; readBytes: () => number } {
  let readBytes = 0
  const openFile: Storage['openFile'] = (path, access, like) => {
    const file = posixStorage.openFile(path, access, like)
    const read = file.read.bind(file)
    file.read = (into, offset, length, position) => {
      const count = read(into, offset, length, position)
      readBytes += count
      return count
    }
    return file
  }
  return { storage: Object.assign(Object.create(posixStorage) as Storage, { openFile }), readBytes: () => readBytes }
}

/** Reads all frames and says where they end, as recovery does. */
export function recover(
  directory: string,
  from: number = FIRST_LSN,
  storage: Storage = posixStorage,
): { lsns: number[]; end: number; tornBytes: number } {
  const log = openLog(directory, 512, storage)
  try {
    const reader = new LogReader(log, from as Lsn)
    const lsns: number[] = []
    while (reader.next(ALL)) lsns.push(reader.lsn)
    const end = classifyEnd(log, reader.position, reader.segment)
    return { lsns, end: end.lsn, tornBytes: end.tornBytes }
  } finally {
    log.close()
  }
}

export const rot = (directory: string, lsn: number, from?: number): void => {
  const error = expectError(() => recover(directory, from), 'ERR_MMAPDB_CORRUPT', /log is damaged/)
  expect((error as unknown as { site: { lsn: number } }).site.lsn).to.equal(lsn)
}

/** Four segments of two to five frames; every frame knows that all before it is on disk. */
export function sample(): Writer {
  const writer = new Writer()
  for (const bytes of [40, 3, 100, 0, 61, 17, 150, 8, 90, 33, 120, 5]) writer.append(bytes)
  return writer.close()
}

/** The same log in a directory of its own for each accident. */
export function copyOf(writer: Writer): (segment: number) => string {
  const directory = join(scratchDirectory(), 'wal')
  mkdirSync(directory)
  for (const start of new Set(writer.frames.map((f) => f.segment))) {
    copyFileSync(writer.path(start), join(directory, segmentName(start as Lsn)))
  }
  return (segment) => join(directory, segmentName(segment as Lsn))
}
