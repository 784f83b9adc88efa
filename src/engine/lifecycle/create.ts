// Creating an empty database.
import { join } from 'node:path'
import { advice, CorruptError } from '../../errors.js'
import { DEFAULT_ENCODING, encodingNumber } from '../../encoding/values/codec.js'
import { guarded, isFullDisk } from '../../storage/errors.js'
import type { Region, Storage } from '../../storage/storage.js'
import { Log } from '../../wal/log.js'
import { FIRST_LSN, MAX_LSN } from '../../wal/lsn.js'
import { LogReader } from '../../wal/log-reader.js'
import { segmentName } from '../../wal/segment.js'
import { emptyHeader } from '../format/header.js'
import { writeHeaders } from '../format/header-slots.js'
import { SLOT_BYTES } from '../format/layout.js'
import { SlotSpace } from '../format/slot-space.js'
import type { ResolvedOptions } from '../options.js'
import { INITIAL_SLOTS } from '../space/growth.js'
import type { DatabasePaths } from './paths.js'

/**
 * Creates an empty database: first the log's directory and first segment, then the headers. The headers make it a
 * database, so the names of all that they refer to are flushed first. A crash before the last flush leaves blank or
 * torn headers and a log without frames: the next opener starts again. The name of the data file is on disk before
 * (settle-names.ts), since a log without a data file is damage.
 */
export function createDatabase(
  storage: Storage,
  { directory, data, wal }: DatabasePaths,
  region: Region,
  options: ResolvedOptions,
): void {
  guarded('Creating the database', () => {
    storage.makeDirectory(wal, directory)
    const uuid = Buffer.from(storage.randomBytes(16))
    const log = new Log({
      storage,
      directory: wal,
      like: data,
      uuid,
      segmentBytes: options.segmentBytes,
      readOnly: false,
    })
    log.createSegment(FIRST_LSN, 0)
    log.close()
    storage.flushDirectory(directory)
    try {
      region.grow(INITIAL_SLOTS * SLOT_BYTES)
    } catch (error) {
      // Take away what was made so far: a creation that was cut short must take no room.
      if (isFullDisk(error)) {
        region.truncate(0)
        storage.unlink(join(wal, segmentName(FIRST_LSN)))
      }
      throw error
    }
    writeHeaders(
      new SlotSpace(region),
      emptyHeader(uuid, storage.now(), encodingNumber(options.valueEncoding ?? DEFAULT_ENCODING)),
    )
  })
}

/**
 * For a database without a header: throws `CorruptError` if the log has frames, which means that there was a header.
 */
export function refuseFrames(storage: Storage, { wal }: DatabasePaths, segmentBytes: number): void {
  guarded('Looking at the log', () => {
    if (storage.info(wal).kind !== 'directory') return
    const log = new Log({ storage, directory: wal, uuid: Buffer.alloc(16), segmentBytes, readOnly: true })
    try {
      const reader = new LogReader(log, FIRST_LSN)
      if (log.starts().every((start) => start === FIRST_LSN) && !reader.next(MAX_LSN)) return
      throw new CorruptError(`The data file is empty and its log is not. ${advice.restore}`)
    } finally {
      log.close()
    }
  })
}
