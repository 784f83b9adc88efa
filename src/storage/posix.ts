// The storage interface over the kernel: regions, locks and waiting through the native addon, files
// and directories through Node's fs.
//
// Policy lives above; here every call is one system call where that is possible. What the system
// refuses becomes a StorageError; a wrong argument stays the TypeError or RangeError that it is.

import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { judgeFileSystem } from './file-systems.js'
import { identityOf, PosixDirectory } from './held-directory.js'
import {
  NATIVE_ANONYMOUS,
  NATIVE_AT_WORKING_DIRECTORY,
  NATIVE_CHANGED,
  NATIVE_PRIVATE,
  NATIVE_PROCESS,
  NATIVE_SHARED,
  NATIVE_WOKEN,
  native,
  type NativeLockFile,
  type NativeRegion,
} from './native.js'
import {
  StorageError,
  type FileAccess,
  type FileIdentity,
  type FileSystemInfo,
  type HeldDirectory,
  type LockMode,
  type LockTable,
  type PathInfo,
  type RandomFile,
  type Region,
  type RegionMode,
  type RegionOptions,
  type Storage,
  type WaitResult,
} from './storage.js'

const NATIVE_MODES: Readonly<Record<RegionMode, number>> = {
  shared: NATIVE_SHARED,
  private: NATIVE_PRIVATE,
  anonymous: NATIVE_ANONYMOUS,
  process: NATIVE_PROCESS,
}

const ANONYMOUS_PATH = '(anonymous memory)'
const WAKE_ALL = 0x7fffffff
const MISSING: PathInfo = { kind: 'missing', sizeBytes: 0 }

/** What a failed call becomes: StorageError if the system refused, else the error itself. */
function storageError(error: unknown, path: string): unknown {
  // Node's own argument errors have a code, too, but no errno.
  if (!(error instanceof Error) || !('errno' in error) || !('code' in error)) return error
  const syscall = 'syscall' in error ? String(error.syscall) : 'call'
  return new StorageError(syscall, String(error.code), path, { cause: error })
}

/**
 * Opens a file for reading and writing, making it if there is none: with the permissions that the umask
 * leaves, or with owner, group and permissions of `like`, and nobody else's to read before it has these.
 */
function openOrMake(path: string, like: string | undefined): number {
  const { O_CREAT, O_EXCL, O_RDWR } = fs.constants
  if (like === undefined) return fs.openSync(path, O_RDWR | O_CREAT)
  let fd: number
  try {
    fd = fs.openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    // Whoever made it has seen to that, and what a link leads to must not be given away.
    return fs.openSync(path, O_RDWR)
  }
  try {
    native.takeAfter(fd, like)
    return fd
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
}

const STICKY = 0o1000

/** In a directory like /tmp (mode +t) files are removed and renamed by their owner, the directory's, and root alone. */
function mayReplace(path: string): boolean {
  const own = process.geteuid?.()
  const file = fs.statSync(path)
  const directory = fs.statSync(dirname(path))
  return own === 0 || !file.isFile() || (directory.mode & STICKY) === 0 || file.uid === own || directory.uid === own
}

/** A umask may take rights from everybody, but for whoever makes it there would be no use in what cannot be used. */
function leaveToOwner(path: string, rights: number): void {
  const mode = fs.statSync(path).mode & 0o7777
  if ((mode & rights) !== rights) fs.chmodSync(path, mode | rights)
}

/** The first file of a database that root makes in somebody's directory is theirs. */
function giveToOwnerOfDirectory(path: string): void {
  if (process.geteuid?.() !== 0) return
  const { uid, gid } = fs.statSync(dirname(path))
  if (uid !== 0) fs.lchownSync(path, uid, gid)
}

/** Where address space is limited, windows are made smaller down to this: see `openNativeRegion`. */
const SMALLEST_WINDOW_BYTES = 16 * 1024 * 1024

/**
 * Opens a region with its first window, making its file if that is asked for. If there is no address
 * space for a window of that size (ulimit -v), a smaller one does as well: a file takes more of them,
 * and that is all.
 */
function openNativeRegion(path: string, options: RegionOptions): { region: NativeRegion; windowBytes: number } {
  const mode = NATIVE_MODES[options.mode]
  const { like, create = false } = options
  try {
    if (like !== undefined && create) fs.closeSync(openOrMake(path, like))
    const isNew = like === undefined && create && !fs.existsSync(path)
    for (let windowBytes = options.windowBytes; ; windowBytes /= 4) {
      try {
        const region = new native.Region(mode, path, windowBytes, create, options.readOnly ?? false)
        if (isNew) {
          leaveToOwner(path, 0o600)
          giveToOwnerOfDirectory(path)
        }
        return { region, windowBytes }
      } catch (error) {
        if (!hasCode(error, 'ENOMEM') || windowBytes / 4 < SMALLEST_WINDOW_BYTES) throw error
      }
    }
  } catch (error) {
    throw storageError(error, options.mode === 'anonymous' ? ANONYMOUS_PATH : path)
  }
}

class PosixRegion implements Region {
  readonly windowBytes: number
  readonly reserveBytes: number
  readonly #path: string
  readonly #native: NativeRegion
  readonly #windows: ArrayBuffer[] = []
  readonly #faultWords: Int32Array
  readonly #readAheadBytes: number
  readsAhead = true
  #closed = false

  constructor(path: string, options: RegionOptions) {
    this.#path = options.mode === 'anonymous' ? ANONYMOUS_PATH : path
    this.reserveBytes = options.reserveBytes
    this.#readAheadBytes = options.readAheadBytes ?? Infinity
    const { region, windowBytes } = openNativeRegion(path, options)
    this.#native = region
    this.windowBytes = windowBytes
    try {
      this.#faultWords = new Int32Array(region.faultWords())
      this.#limitReadAhead()
    } catch (error) {
      region.close()
      throw storageError(error, this.#path)
    }
  }

  /** Asked whenever this thread may be the first of its process to see that the file has grown. */
  #limitReadAhead(): void {
    if (!this.readsAhead || this.#readAheadBytes === Infinity || this.#native.sizeBytes() <= this.#readAheadBytes)
      return
    this.#native.readRandomly()
    this.readsAhead = false
  }

  sizeBytes(): number {
    try {
      return this.#native.sizeBytes()
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  identity(): FileIdentity {
    try {
      return identityOf(this.#native.identity())
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  window(index: number): ArrayBuffer {
    return this.#windows[index] ?? this.#openWindow(index)
  }

  #openWindow(index: number): ArrayBuffer {
    try {
      const window = this.#native.window(index)
      this.#windows[index] = window
      this.#limitReadAhead()
      return window
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  grow(sizeBytes: number): void {
    try {
      this.#native.grow(sizeBytes)
      this.#limitReadAhead()
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  truncate(sizeBytes: number): void {
    try {
      this.#native.truncate(sizeBytes)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  flush(): void {
    try {
      this.#native.flush()
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  willNeed(pages: Uint32Array): void {
    this.#native.willNeed(pages)
  }

  willOverwrite(page: number): void {
    this.#native.willOverwrite(page)
  }

  // One load. Atomic, because the fault handler counts behind the compiler's back.
  faultCount(): number {
    if (this.#closed) throw new StorageError('faultCount', 'EBADF', this.#path)
    return Atomics.load(this.#faultWords, 0)
  }

  wait(offsetBytes: number, expected: number, timeoutMs: number): WaitResult {
    try {
      const result = this.#native.wait(offsetBytes, expected, timeoutMs)
      return result === NATIVE_WOKEN ? 'woken' : result === NATIVE_CHANGED ? 'changed' : 'timed-out'
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  wakeAll(offsetBytes: number): void {
    this.#wake(offsetBytes, WAKE_ALL)
  }

  wakeOne(offsetBytes: number): void {
    this.#wake(offsetBytes, 1)
  }

  #wake(offsetBytes: number, count: number): void {
    try {
      this.#native.wake(offsetBytes, count)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  close(): void {
    this.#closed = true
    this.#windows.length = 0
    this.#native.close()
  }
}

class PosixFile implements RandomFile {
  readonly #path: string
  #fd: number

  constructor(path: string, access: FileAccess, like: string | undefined) {
    this.#path = path
    const { O_RDONLY, O_RDWR } = fs.constants
    try {
      this.#fd = access === 'create' ? openOrMake(path, like) : fs.openSync(path, access === 'read' ? O_RDONLY : O_RDWR)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  #open(method: string): number {
    if (this.#fd < 0) throw new StorageError(method, 'EBADF', this.#path)
    return this.#fd
  }

  read(into: Uint8Array, offset: number, length: number, position: number): number {
    const fd = this.#open('read')
    let done = 0
    try {
      while (done < length) {
        const count = fs.readSync(fd, into, offset + done, length - done, position + done)
        if (count === 0) break
        done += count
      }
    } catch (error) {
      throw storageError(error, this.#path)
    }
    return done
  }

  write(from: Uint8Array, offset: number, length: number, position: number): void {
    const fd = this.#open('write')
    let done = 0
    try {
      while (done < length) {
        const count = fs.writeSync(fd, from, offset + done, length - done, position + done)
        // Never seen from a regular file; going round for ever would be worse than failing.
        if (count === 0) throw new StorageError('write', 'EIO', this.#path)
        done += count
      }
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  flush(): void {
    const fd = this.#open('fdatasync')
    try {
      fs.fdatasyncSync(fd)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  allocate(sizeBytes: number): void {
    const fd = this.#open('fallocate')
    try {
      native.allocate(fd, sizeBytes)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  truncate(sizeBytes: number): void {
    const fd = this.#open('ftruncate')
    try {
      fs.ftruncateSync(fd, sizeBytes)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  sizeBytes(): number {
    const fd = this.#open('fstat')
    try {
      return fs.fstatSync(fd).size
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  identity(): FileIdentity {
    const fd = this.#open('statx')
    try {
      return identityOf(native.identify(fd))
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  close(): void {
    if (this.#fd < 0) return
    const fd = this.#fd
    this.#fd = -1
    try {
      fs.closeSync(fd)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }
}

class PosixLocks implements LockTable {
  readonly #path: string
  readonly #native: NativeLockFile

  constructor(path: string) {
    this.#path = path
    try {
      this.#native = new native.LockFile(path)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  identity(): FileIdentity {
    try {
      return identityOf(this.#native.identity())
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  tryLock(byte: number, mode: LockMode): boolean {
    try {
      return this.#native.tryLock(byte, mode === 'exclusive')
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  lock(byte: number, mode: LockMode, timeoutMs: number): boolean {
    try {
      return this.#native.lock(byte, mode === 'exclusive', timeoutMs)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  isHeldByOther(byte: number, mode: LockMode): boolean {
    try {
      return this.#native.isHeldByOther(byte, mode === 'exclusive')
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  heldByOther(from: number, to: number): number {
    try {
      return this.#native.heldByOther(from, to)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  unlock(byte: number): void {
    try {
      this.#native.unlock(byte)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  close(): void {
    this.#native.close()
  }
}

class PosixStorage implements Storage {
  // Nobody ever notifies it: waiting on it is sleeping.
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
      const stats = fs.statSync(path, { throwIfNoEntry: false })
      if (stats === undefined) return MISSING
      const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other'
      return { kind, sizeBytes: stats.size, links: stats.nlink }
    } catch (error) {
      // Something on the way there is a file, so there is nothing there.
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

  // CLOCK_MONOTONIC, so the same for all threads and processes of the machine; performance.now()
  // starts anew in each.
  monotonicMs(): number {
    return Number(process.hrtime.bigint()) / 1e6
  }

  randomBytes(count: number): Uint8Array {
    return randomBytes(count)
  }
}

/** Under another name until it has its owner: a crash in between leaves that, and the next one goes by it. */
function makeDirectoryLike(path: string, like: string): void {
  const unfinished = `${path}.new`
  fs.rmSync(unfinished, { force: true, recursive: true })
  fs.mkdirSync(unfinished, 0o700)
  leaveToOwner(unfinished, 0o700)
  const fd = fs.openSync(unfinished, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW)
  try {
    native.takeAfter(fd, like)
  } finally {
    fs.closeSync(fd)
  }
  fs.renameSync(unfinished, path)
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

/** What is mounted where, as this process sees it; empty where that cannot be told. */
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

/** One for all callers in a thread: it holds no state but the word it sleeps on. */
export const posixStorage: Storage = new PosixStorage()
