// The one door through which engine and log reach the world: mapped regions, files, directories,
// locks, waiting and time. `posix.ts` implements it over the native addon and Node's fs; a
// simulated disk can take its place. Every call is synchronous: the callers are worker threads, or
// have chosen to run on their own thread.
//
// Every method throws `StorageError` (with errno) when the system call fails; nothing is retried here. What every
// implementation must do is tested by one contract: test/storage/contract.ts.

import { nameOf } from './names.js'

/** How a lock is held: any number of shared holders, or one exclusive holder. */
export type LockMode = 'shared' | 'exclusive'

/** Result of waiting on a word of a region. */
export type WaitResult = 'woken' | 'changed' | 'timed-out'

/**
 * Tells a file or directory from any other of this machine, for as long as some process has it open: after that
 * another one may be given the same inode.
 */
export interface FileIdentity {
  readonly device: number
  readonly inode: number
}

export const isSameFile = (a: FileIdentity, b: FileIdentity): boolean => a.device === b.device && a.inode === b.inode

/** What lies at a path. */
export interface PathInfo {
  readonly kind: 'missing' | 'file' | 'directory' | 'other'
  readonly sizeBytes: number
  /** Names (hard links) of a file, where they can be told. */
  readonly links?: number
  /** The path itself is a symbolic link, and the rest is said of what it leads to. */
  readonly isSymbolicLink?: boolean
}

/** How far the file system of a path can be trusted. */
export interface FileSystemInfo {
  /** The kernel's name for it: `ext4`, `xfs`, `nfs`, ... or the magic number in hex. */
  readonly name: string
  /** Network file systems do not keep mappings, locks and flushes coherent between hosts. */
  readonly networked: boolean
  readonly readOnly: boolean
}

/**
 * `shared`: stores reach the file and every other thread and process that maps it.
 * `private`: stores stay in this mapping's own memory; the file is never changed.
 * `anonymous`: zeroed memory without a file.
 * `process`: zeroed memory, too, shared by all threads of this process that ask for it under the same file. With
 * `create` it is made again, and regions opened before keep the memory they have; without, ENOENT if it is missing.
 */
export type RegionMode = 'shared' | 'private' | 'anonymous' | 'process'

export interface RegionOptions {
  readonly mode: RegionMode
  /** Most bytes that this opener lets the region grow to. Others may grow it further; it can then read all of it. */
  readonly reserveBytes: number
  /**
   * Bytes of one window; a multiple of the 4096-byte page. A region may get smaller ones where address space is
   * limited.
   */
  readonly windowBytes: number
  /** Create the file if it is missing (`shared`, `process`). Its directory entry is not flushed. */
  readonly create?: boolean
  /** With `create`: the file whose owner, group and permissions a new one takes (see `Storage.openFile`). */
  readonly like?: string
  /** `shared` only: the file is only read, and a store through a window kills the process. */
  readonly readOnly?: boolean
  /**
   * Once the file is longer than this, a load reads the page it needs and no page around it, and a caller that
   * knows what it will need says so with `willNeed`. Default: the system reads ahead, whatever the length.
   */
  readonly readAheadBytes?: number
}

/** A file (or memory) seen through windows of address space. They are mapped when first needed and never move. */
export interface Region {
  readonly windowBytes: number
  readonly reserveBytes: number
  /** The file that is mapped; throws EBADF if the region has no file. */
  identity(): FileIdentity
  /**
   * Bytes of the file at this moment, whichever process grew it last. Beyond them a load faults. A region
   * that is not `shared` has a size of its own: the file's when it was opened (0 without a file), or as grown since.
   */
  sizeBytes(): number
  /**
   * Window `index` as a buffer of full `windowBytes`, also where the file is still shorter.
   * The same thread gets the same buffer each time.
   */
  window(index: number): ArrayBuffer
  /**
   * Makes the region at least `sizeBytes` long with every byte backed by allocated blocks
   * (never a hole); new bytes are zero. Shrinks nothing.
   */
  grow(sizeBytes: number): void
  /** Cuts the file (`shared` only, else EINVAL) to `sizeBytes`; RangeError if that would make it longer. */
  truncate(sizeBytes: number): void
  /** Returns once every store made to the file before this call is on disk (fdatasync). */
  flush(): void
  /** False once the file is longer than `readAheadBytes`. */
  readonly readsAhead: boolean
  /** Starts to read pages of 4096 bytes, given by their numbers in any order. Waits for no page, and never fails. */
  willNeed(pages: Uint32Array): void
  /**
   * True if none of these pages of 4096 bytes would have to be read from disk, as far as the system says so. Never
   * fails; false for pages of windows that have not been touched.
   */
  areInMemory(pages: Uint32Array): boolean
  /**
   * A page of 4096 bytes is about to be overwritten as a whole: its contents need not be read from disk, and
   * are lost. Never fails.
   */
  willOverwrite(page: number): void
  /** How many pages were lost to I/O errors or a file cut short (each reads as zeros since). */
  faultCount(): number
  /** Sleeps while the 32-bit word at `offsetBytes` holds `expected`, at most `timeoutMs`. Works across processes. */
  wait(offsetBytes: number, expected: number, timeoutMs: number): WaitResult
  /** Wakes every thread of every process that waits on the word at `offsetBytes`. */
  wakeAll(offsetBytes: number): void
  /** Wakes one of these threads, if any waits. */
  wakeOne(offsetBytes: number): void
  /**
   * Calls `onChange` in a later turn of the event loop whenever the word at `offsetBytes` has changed and its waiters
   * were woken, from this call on. Several changes may be told as one, and a call may come though the word has its
   * old value again. A watch does not keep the process alive, and ends with the region.
   */
  watch(offsetBytes: number, onChange: () => void): Watch
  /**
   * Flushes a file as `RandomFile.flush` does, on another thread, and calls `done` in a later turn of the event loop,
   * which stays alive until then. If it fails, `value` is stored in the word at `offsetBytes` of this region, if that
   * is 0, before anything else happens. One at a time: EBUSY if another one is under way. When the region is closed,
   * the flush goes on and `done` is not called.
   */
  flushLater(file: RandomFile, offsetBytes: number, value: number, done: (error?: StorageError) => void): void
  /** Releases the region; its windows must not be touched afterwards. Idempotent. */
  close(): void
}

/** Ends a watch: its function is not called afterwards. Idempotent. */
export interface Watch {
  close(): void
}

/** What a file is opened for; `create` makes it if it is missing. */
export type FileAccess = 'read' | 'write' | 'create'

/** A file written and read at offsets; appending needs no state here. */
export interface RandomFile {
  /** Reads up to `length` bytes into `into` from `position`; returns how many there were. */
  read(into: Uint8Array, offset: number, length: number, position: number): number
  /** Writes all of it or throws. */
  write(from: Uint8Array, offset: number, length: number, position: number): void
  /** Returns once all data written before this call, and what is needed to read it, is on disk (fdatasync). */
  flush(): void
  /** Allocates blocks for the first `sizeBytes` and makes the file at least that long; new bytes are zero. */
  allocate(sizeBytes: number): void
  truncate(sizeBytes: number): void
  sizeBytes(): number
  identity(): FileIdentity
  close(): void
}

/**
 * Byte-range locks on one file, held by this object: they exclude other objects in this thread,
 * in other threads and in other processes alike. The kernel releases them when their holder is
 * gone, whatever ended it. Taking a byte that this object holds already converts the lock, atomically.
 */
export interface LockTable {
  /** The file that the locks are on. */
  identity(): FileIdentity
  /** Takes byte `byte` without waiting. False: another object is in the way. */
  tryLock(byte: number, mode: LockMode): boolean
  /** The same, waiting up to `timeoutMs`. */
  lock(byte: number, mode: LockMode, timeoutMs: number): boolean
  /** True if another object holds `byte` in a way that `mode` could not join. */
  isHeldByOther(byte: number, mode: LockMode): boolean
  /**
   * A byte in [from, to) that another object holds in any way, or -1. If there are several, any one of them.
   * One system call, whatever the length.
   */
  heldByOther(from: number, to: number): number
  unlock(byte: number): void
  /** Releases every lock. Idempotent. */
  close(): void
}

/** A directory held open: `storage` finds what is in it, even if the directory's name now leads elsewhere. */
export interface HeldDirectory {
  /** Reaches paths that begin with the path of the directory through the directory itself. */
  readonly storage: Storage
  readonly identity: FileIdentity
  /** Releases the directory; what was opened in it stays open. Idempotent. */
  close(): void
}

export interface Storage {
  /**
   * Holds the directory at `path`. `expected`: joins the threads of this process that hold this very
   * directory, whatever lies at the path by now; throws ENOENT if no thread holds it any more.
   */
  openDirectory(path: string, expected?: FileIdentity): HeldDirectory
  openRegion(path: string, options: RegionOptions): Region
  /**
   * `like`: the file whose owner, group and permissions a new one takes, as far as this user may give them;
   * until then no other user can read it. Default: what the process's umask leaves.
   */
  openFile(path: string, access: FileAccess, like?: string): RandomFile
  /** The file must exist. Where it can only be read, shared locks still work. */
  openLocks(path: string): LockTable
  /** Names in a directory, unsorted. */
  list(directory: string): string[]
  info(path: string): PathInfo
  /**
   * False if this user or the file system may not write to a file, replace it, or make files in a
   * directory.
   */
  mayWrite(path: string): boolean
  /**
   * True if `path` leads to this very file. Cheap enough to be called after every flush. `directory`: the
   * descriptor of the directory that a relative path is looked up from; default: the working directory.
   */
  leadsTo(path: string, file: FileIdentity, directory?: number): boolean
  fileSystem(path: string): FileSystemInfo
  /** Creates a directory; its parent must exist. Succeeds if the directory exists. `like`: as for `openFile`. */
  makeDirectory(path: string, like?: string): void
  /** True if the file at `path` can pass for one made like `like`: its owner and permissions admit the same users. */
  fitsIn(path: string, like: string): boolean
  rename(from: string, to: string): void
  unlink(path: string): void
  /** Removes an empty directory. */
  removeDirectory(path: string): void
  /** Returns once the entries of a directory (created, renamed, removed) are on disk. */
  flushDirectory(path: string): void
  /** Sleeps this thread. */
  sleep(ms: number): void
  /** Wall clock, milliseconds since 1970. */
  now(): number
  /** A clock that never jumps, in milliseconds. */
  monotonicMs(): number
  randomBytes(count: number): Uint8Array
}

/** A system call failed. `code` is the name of its errno, e.g. `ENOSPC`. */
export class StorageError extends Error {
  override readonly name = 'StorageError'
  readonly path: string
  constructor(
    readonly syscall: string,
    readonly code: string,
    path: string,
    options?: { cause?: unknown },
  ) {
    super(`${syscall} failed with ${code} on ${nameOf(path)}`, options)
    this.path = nameOf(path)
  }
}
