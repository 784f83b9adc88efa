// A database that is being made beside its place: a backup, or what is restored from one. It gets its name when it is
// whole and on disk. Until then it is a directory of its own, TARGET.unfinished.
//
//                                                        What a crash there leaves:
//   1. the directory and an empty data file are made,      TARGET.unfinished, whose lock is free again: the
//      and the data file is locked (LOCK.MAKING)           next one that makes TARGET takes it over
//   2. everything is written and flushed but for the       the same. It holds no database: the headers are
//      headers: slots, log, record                         blank
//   3. the headers are written and flushed; then the       the same, with a database in it
//      directory
//   4. it is renamed to TARGET                             either name, and whole under both
//   5. the directory above is flushed                      TARGET, whole. If not, who opens it first does that:
//                                                          there is no control in it
//
// So TARGET is whole or absent. The lock is on the data file, so it goes with it when that is renamed, and ends with
// its holder. Who finds TARGET.unfinished without its holder empties it, except for the data file, on which it holds
// the lock meanwhile. Who gets the lock of a file that has been removed or renamed since notices that (`leadsTo`).
import { basename, dirname, join } from 'node:path'
import { ExistsError, InvalidError, IoError, LockedError, NotADatabaseError, NotFoundError } from '../errors.js'
import { guarded, typedError } from '../storage/errors.js'
import { isSameFile, StorageError, type LockTable, type RandomFile, type Storage } from '../storage/storage.js'
import { Log } from '../wal/log.js'
import type { Header } from '../engine/format/header.js'
import { quoted } from '../describe.js'
import { BACKUP_RECORD } from './backup-record.js'
import { databasePaths, type DatabasePaths } from '../engine/lifecycle/paths.js'
import { flushParent, unsettleNames } from '../engine/lifecycle/settle-names.js'
import { LOCK } from '../engine/shared/lock-bytes.js'

const MAX_TRIES = 5
/** Of the log of a copy; one that is opened has its own. */
const SEGMENT_BYTES = 64 * 1024 * 1024

/** What is made under this name becomes `target`. */
const unfinishedName = (target: string): string => `${target}.unfinished`

/** Throws if nothing may be made at `target`. `sources`: directories that it must not lie in. */
export function checkTarget(storage: Storage, target: string, sources: readonly string[]): void {
  const parent = dirname(target)
  for (const source of sources) {
    if (target === source || target.startsWith(`${source}/`))
      throw new InvalidError(`${target} lies inside ${source}, which is to be copied. Give a path outside of it.`)
  }
  const { kind } = storage.info(parent)
  if (kind === 'missing') throw new NotFoundError(`${parent} does not exist. Create it first.`)
  if (kind !== 'directory') throw new NotADatabaseError(`${parent} is a file, so nothing can be inside it.`)
  refuseExisting(storage, target)
}

/** A link that leads to nothing counts as something, too. */
function refuseExisting(storage: Storage, target: string): void {
  if (storage.info(target).kind === 'missing' && !namesIn(storage, dirname(target)).includes(basename(target))) return
  throw new ExistsError(`There is something at ${target} already, and nothing is written over it. Give another path.`)
}

/** None for a directory that this user may use, but not list. */
function namesIn(storage: Storage, directory: string): string[] {
  try {
    return storage.list(directory)
  } catch (error) {
    if (error instanceof StorageError && error.code === 'EACCES') return []
    throw error
  }
}

/** What a copy that was cut short may have in its directory. */
const NAMES = ['data', 'wal', 'wal.new', 'control', 'locks', BACKUP_RECORD]

/** Throws if something else is there than what a crash has left of a copy: that is not to be removed or written to. */
function refuseOthers(storage: Storage, directory: string): void {
  const { kind, isSymbolicLink } = storage.info(directory)
  if (kind === 'missing' && isSymbolicLink !== true) return
  const refusal = (why: string): ExistsError =>
    new ExistsError(
      `${directory} would be made first, and ${why}. Move it away if it is of use, remove it if it is not, or give ` +
        'another path.',
    )
  if (isSymbolicLink === true) throw refusal('there is a symbolic link of that name')
  if (kind !== 'directory') throw refusal('there is something else of that name')
  const other = namesIn(storage, directory).find((name) => !NAMES.includes(name))
  if (other !== undefined) throw refusal(`there is a directory of that name that holds ${quoted(other)}`)
  if (storage.info(join(directory, 'data')).isSymbolicLink === true)
    throw refusal('the data file in it is a symbolic link')
}

export class Unfinished {
  readonly paths: DatabasePaths
  /** The data file. */
  readonly file: RandomFile
  readonly #storage: Storage
  readonly #target: string
  readonly #locks: LockTable

  private constructor(storage: Storage, target: string, file: RandomFile, locks: LockTable) {
    this.#storage = storage
    this.#target = target
    this.paths = databasePaths(unfinishedName(target))
    this.file = file
    this.#locks = locks
  }

  /**
   * Makes the directory and its data file, which is empty. `like`: the database directory whose owner, group and
   * permissions it takes. Throws `ExistsError`, and `LockedError` while another one makes the same.
   */
  static claim(storage: Storage, target: string, like: DatabasePaths): Unfinished {
    return guarded(`Making ${target}`, () => {
      for (let tries = 1; ; tries++) {
        const claimed = Unfinished.#tryToClaim(storage, target, like)
        if (claimed !== undefined) return claimed
        if (tries === MAX_TRIES)
          throw new LockedError(`${unfinishedName(target)} comes and goes: others make ${target}. Try again later.`)
      }
    })
  }

  /** Undefined if the one that made it before has just removed or renamed it. */
  static #tryToClaim(storage: Storage, target: string, like: DatabasePaths): Unfinished | undefined {
    const { directory, data } = databasePaths(unfinishedName(target))
    let file: RandomFile | undefined
    let locks: LockTable | undefined
    let claimed: Unfinished | undefined
    refuseOthers(storage, directory)
    storage.makeDirectory(directory, like.directory)
    try {
      file = storage.openFile(data, 'create', like.data)
      locks = storage.openLocks(data)
      if (!locks.tryLock(LOCK.MAKING, 'exclusive')) {
        throw new LockedError(
          `Another backup or restore is writing to ${target}. Wait until it has ended, or give another path.`,
        )
      }
      const identity = file.identity()
      if (!isSameFile(locks.identity(), identity) || !storage.leadsTo(data, identity)) return undefined
      claimed = new Unfinished(storage, target, file, locks)
      claimed.#clear()
      return claimed
    } catch (error) {
      if (claimed !== undefined) claimed.discard()
      else removeIfEmpty(storage, directory)
      if (error instanceof StorageError && error.code === 'ENOENT' && tryAgain(storage, target)) return undefined
      throw error
    } finally {
      if (claimed === undefined) {
        locks?.close()
        file?.close()
      }
    }
  }

  /** Removes what another one has left. */
  #clear(): void {
    const { directory, data } = this.paths
    refuseExisting(this.#storage, this.#target)
    removeAllBut(this.#storage, directory, basename(data))
    this.file.truncate(0)
  }

  /** Gives it its name, which is on disk then. Everything in it must be on disk. It is closed. */
  publish(): void {
    const { directory } = this.paths
    guarded(`Making ${this.#target}`, () => {
      unsettleNames(this.#storage, this.paths)
      this.#storage.flushDirectory(directory)
      refuseExisting(this.#storage, this.#target)
      this.#storage.rename(directory, this.#target)
    })
    try {
      flushParent(this.#storage, this.#target)
    } catch (error) {
      // It is not known to be on disk under its name: then it is not to have that name.
      this.#storage.rename(this.#target, directory)
      throw typedError(error, `Flushing the directory of ${this.#target}`)
    }
    this.#close()
  }

  /** Removes all of it. If that is not possible, the next one that makes the same does it. */
  discard(): void {
    const { directory, data } = this.paths
    try {
      removeAllBut(this.#storage, directory, basename(data))
      this.#storage.unlink(data)
      this.#storage.removeDirectory(directory)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
    } finally {
      this.#close()
    }
  }

  #close(): void {
    this.#locks.close()
    this.file.close()
  }
}

/** The directory was removed between two steps: true if it can be made again. */
const tryAgain = (storage: Storage, target: string): boolean => storage.info(dirname(target)).kind === 'directory'

/** For one that has no lock on what is in it. */
function removeIfEmpty(storage: Storage, directory: string): void {
  try {
    storage.removeDirectory(directory)
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
  }
}

/** Removes what is in a directory, and follows no link. */
function removeAllBut(storage: Storage, directory: string, kept?: string): void {
  for (const name of storage.list(directory)) {
    if (name === kept) continue
    const path = join(directory, name)
    try {
      storage.unlink(path)
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'EISDIR') throw error
      removeAllBut(storage, path)
      storage.removeDirectory(path)
    }
  }
}

/** Makes the log of a database whose tree includes everything before `header.lsn`: one segment, which is empty. */
export function makeEmptyLog(storage: Storage, paths: DatabasePaths, { uuid, lsn, changedLsn }: Header): void {
  whileMaking('Making the log of the copy', () => {
    const { wal: directory, data: like } = paths
    storage.makeDirectory(directory, paths.directory)
    const log = new Log({ storage, directory, like, uuid, segmentBytes: SEGMENT_BYTES, readOnly: false })
    try {
      log.restartAt(lsn, changedLsn)
    } finally {
      log.close()
    }
  })
}

/**
 * Runs what writes to a log that is not in use yet. Its errors say that writes are refused, and that is not so here.
 */
export function whileMaking<T>(what: string, act: () => T): T {
  try {
    return guarded(what, act)
  } catch (error) {
    if (!(error instanceof IoError)) throw error
    const cause = error.cause instanceof StorageError ? error.cause : error
    throw new IoError(`${what}: ${cause.message}.`, { cause })
  }
}
