// The data file as one thread has opened it: mapping and locks are of the same file, and it is the one that
// its name led to when the opener's turn came.
//
// If the file is removed or replaced while it is open, it goes on working for the users who have it open, locks
// and all, but no other will ever find what they write; and the opener of the file that took its place knows
// nothing of them. So its name is looked up again every few milliseconds while something is acknowledged, and before a
// checkpoint: one statx(2).
import { CorruptError } from '../../errors.js'
import type { FileIdentity, LockTable, Region, Storage } from '../../storage/storage.js'

export class DataFile {
  readonly #storage: Storage
  readonly path: string
  readonly region: Region
  readonly locks: LockTable
  readonly identity: FileIdentity

  constructor(storage: Storage, path: string, region: Region, locks: LockTable) {
    this.#storage = storage
    this.path = path
    this.region = region
    this.locks = locks
    this.identity = region.identity()
  }

  /** True if the name still leads to this very file. */
  isInPlace(): boolean {
    return this.#storage.leadsTo(this.path, this.identity)
  }

  close(): void {
    this.locks.close()
    this.region.close()
  }
}

/** A file of an open database is not where this process looks for it, or its contents are those of another. */
export class DisplacedError extends CorruptError {
  constructor(path: string, whatHappened: string, whatToDo: string) {
    super(`Writes are refused: ${path} was ${whatHappened} while the database is open. ${whatToDo}`, { path })
  }
}
export const displaced = (path: string): DisplacedError =>
  new DisplacedError(path, 'removed or replaced', PUT_DATA_BACK)

export const PUT_DATA_BACK =
  'Close the database everywhere and put the file back: it and the log hold every acknowledged write.'
