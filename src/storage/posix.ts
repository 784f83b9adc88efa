// The storage interface over the kernel: regions, locks and waiting through the native addon, files
// and directories through Node's fs.
//
// Policy lives above; here every call is one system call where that is possible. An error of the system
// becomes a StorageError; a wrong argument stays the TypeError or RangeError that it is.

import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { judgeFileSystem } from './file-systems.js'
import { PosixDirectory } from './held-directory.js'
import { NATIVE_AT_WORKING_DIRECTORY, native } from './native.js'
import {
  type FileAccess,
  type FileIdentity,
  type FileSystemInfo,
  type HeldDirectory,
  type LockTable,
  type PathInfo,
  type RandomFile,
  type Region,
  type RegionOptions,
  type Storage,
} from './storage.js'

import { hasCode, storageError } from './system-errors.js'
import { leaveToOwner, makeDirectoryLike, mayReplace } from './ownership.js'
import { PosixFile } from './posix-file.js'
import { PosixLocks } from './posix-locks.js'
import { PosixRegion } from './posix-region.js'

const MISSING: PathInfo = { kind: 'missing', sizeBytes: 0 }

class PosixStorage implements Storage {
  // No thread ever notifies it: waiting on it is sleeping.
  readonly #sleepWord = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))

  openDirectory(path: string, expected?: FileIdentity): HeldDirectory {
    return new PosixDirectory(this, path, expected, (error) => storageError(error, path))
  }

  openRegion(path: string, options: RegionOptions): Region {
    return new PosixRegion(path, options)
  }

  openFile(path: string, access: FileAccess, like?: string): RandomFile {
    return new PosixFile(path, access, like)
  }

  openLocks(path: string): LockTable {
    return new PosixLocks(path)
  }

  list(directory: string): string[] {
    try {
      return fs.readdirSync(directory)
    } catch (error) {
      throw storageError(error, directory)
    }
  }

  info(path: string): PathInfo {
    try {
      const own = fs.lstatSync(path, { throwIfNoEntry: false })
      if (own === undefined) return MISSING
      const isSymbolicLink = own.isSymbolicLink()
      const stats = isSymbolicLink ? fs.statSync(path, { throwIfNoEntry: false }) : own
      if (stats === undefined) return { ...MISSING, isSymbolicLink }
      const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other'
      return { kind, sizeBytes: stats.size, links: stats.nlink, isSymbolicLink }
    } catch (error) {
      // Part of the path is a file, so nothing can lie at the path.
      if (hasCode(error, 'ENOTDIR')) return MISSING
      throw storageError(error, path)
    }
  }

  mayWrite(path: string): boolean {
    try {
      fs.accessSync(path, fs.constants.W_OK)
      return mayReplace(path)
    } catch (error) {
      if (['EACCES', 'EPERM', 'EROFS'].some((code) => hasCode(error, code))) return false
      throw storageError(error, path)
    }
  }

  leadsTo(path: string, file: FileIdentity, directory = NATIVE_AT_WORKING_DIRECTORY): boolean {
    try {
      return native.leadsTo(directory, path, file.device, file.inode)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  fileSystem(path: string): FileSystemInfo {
    try {
      const at = fs.realpathSync.native(path)
      // Signed on some machines.
      const { name, networked } = judgeFileSystem(fs.statfsSync(path).type >>> 0, mountInfo(), at)
      return { name, networked, readOnly: isReadOnly(path) }
    } catch (error) {
      throw storageError(error, path)
    }
  }

  makeDirectory(path: string, like?: string): void {
    try {
      if (like === undefined) {
        fs.mkdirSync(path)
        leaveToOwner(path, 0o700)
      } else if (this.info(path).kind !== 'directory') makeDirectoryLike(path, like)
    } catch (error) {
      if (hasCode(error, 'EEXIST') && this.info(path).kind === 'directory') return
      throw storageError(error, path)
    }
  }

  fitsIn(path: string, like: string): boolean {
    try {
      const it = fs.lstatSync(path)
      const model = fs.statSync(like)
      const mine = process.geteuid?.() !== 0 || it.uid === model.uid
      return it.isFile() && mine && it.gid === model.gid && (it.mode & 0o777) === (model.mode & 0o777)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  rename(from: string, to: string): void {
    try {
      fs.renameSync(from, to)
    } catch (error) {
      throw storageError(error, from)
    }
  }

  unlink(path: string): void {
    try {
      fs.unlinkSync(path)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  removeDirectory(path: string): void {
    try {
      fs.rmdirSync(path)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  flushDirectory(path: string): void {
    let fd = -1
    try {
      fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
      fs.fsyncSync(fd)
    } catch (error) {
      throw storageError(error, path)
    } finally {
      if (fd >= 0) fs.closeSync(fd)
    }
  }

  sleep(ms: number): void {
    Atomics.wait(this.#sleepWord, 0, 0, ms)
  }

  now(): number {
    return Date.now()
  }

  // CLOCK_MONOTONIC: the same for all threads and processes of the machine. performance.now()
  // starts from zero in each.
  monotonicMs(): number {
    return Number(process.hrtime.bigint()) / 1e6
  }

  randomBytes(count: number): Uint8Array {
    return randomBytes(count)
  }
}

/** What is mounted where, as this process sees it; empty if it cannot be read. */
function mountInfo(): string {
  try {
    return fs.readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    return ''
  }
}

// A missing permission is not a read-only file system.
function isReadOnly(path: string): boolean {
  try {
    fs.accessSync(path, fs.constants.W_OK)
    return false
  } catch (error) {
    if (hasCode(error, 'EROFS')) return true
    if (hasCode(error, 'EACCES') || hasCode(error, 'EPERM')) return false
    throw error
  }
}

/** One for all callers in a thread: its only state is the word it sleeps on. */
export const posixStorage: Storage = new PosixStorage()
