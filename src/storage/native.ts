// Loads the native addon and declares its types. Only files of this folder and encoding/crc32c.ts use it.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { inPackage } from '../package-root.js'

/** How a region lies over its file; the addon's numbers for `RegionMode`. */
export const NATIVE_SHARED = 0
export const NATIVE_PRIVATE = 1
export const NATIVE_ANONYMOUS = 2
export const NATIVE_PROCESS = 3

/** What `NativeRegion.wait` returns; 2 if the time ran out. */
export const NATIVE_WOKEN = 0
export const NATIVE_CHANGED = 1

/** Device and inode of a file. */
export type NativeIdentity = readonly [device: number, inode: number]

/** A relative path is looked up from the working directory. */
export const NATIVE_AT_WORKING_DIRECTORY = -100

/**
 * Every call throws TypeError or RangeError for a wrong argument, and an Error with `code`, `errno`
 * and `syscall` for what the kernel refuses; `code` is `EBADF` once the object is closed.
 */
export interface NativeRegion {
  sizeBytes(): number
  identity(): NativeIdentity
  /** The same buffer each time; detached by `close()`. */
  window(index: number): ArrayBuffer
  /** Four bytes: the live count of lost pages, an Int32. Detached by `close()`. */
  faultWords(): ArrayBuffer
  grow(sizeBytes: number): void
  truncate(sizeBytes: number): void
  flush(): void
  /** From now on a load reads the page it needs and no page around it. */
  readRandomly(): void
  /** Starts to read pages of 4096 bytes, given by their numbers in any order; returns at once. */
  willNeed(pages: Uint32Array): void
  /** True if none of these pages would have to be read from disk. */
  areInMemory(pages: Uint32Array): boolean
  /** Fills a page of 4096 bytes with zeros without reading it; returns at once. */
  willOverwrite(page: number): void
  wait(offset: number, expected: number, timeoutMs: number): number
  /** Returns how many were woken. */
  wake(offset: number, count: number): number
  /** Calls `onChange` from the event loop after the word has changed and was woken, until `unwatch`. */
  watch(offset: number, onChange: () => void): number
  unwatch(watch: number): void
  /** `onDone` is called from the event loop after each flush, with its errno, or 0 if it went well. */
  startFlusher(onDone: (errno: number) => void): void
  /**
   * Flushes the file of a descriptor on another thread; one at a time, else EBUSY. If that fails, `value` is stored in
   * the word at `offset` if it is 0, at once.
   */
  flushLater(offset: number, value: number, fd: number): void
  close(): void
}

/** One open file description's locks; closed when its thread ends, however it ends. */
export interface NativeLockFile {
  identity(): NativeIdentity
  tryLock(byte: number, exclusive: boolean): boolean
  lock(byte: number, exclusive: boolean, timeoutMs: number): boolean
  isHeldByOther(byte: number, exclusive: boolean): boolean
  /** A byte in [from, to) that another holds, or -1. */
  heldByOther(from: number, to: number): number
  unlock(byte: number): void
  close(): void
}

/** A directory that the process holds open once for all its threads. */
export interface NativeDirectory {
  fd(): number
  identity(): NativeIdentity
  close(): void
}

interface Native {
  readonly Region: new (
    mode: number,
    path: string,
    windowBytes: number,
    create: boolean,
    readOnly: boolean,
  ) => NativeRegion
  readonly LockFile: new (path: string) => NativeLockFile
  /** With device and inode, the path is ignored: a thread of this process must hold that directory already. */
  readonly Directory: new (path: string, device?: number, inode?: number) => NativeDirectory
  allocate(fd: number, sizeBytes: number): void
  identify(fd: number): NativeIdentity
  /** True if the path leads to this very file. A relative path is looked up from `directory`. */
  leadsTo(directory: number, path: string, device: number, inode: number): boolean
  /** Gives a new file the owner, group and permissions of the file at `path`, as far as this user is allowed to. */
  takeAfter(fd: number, path: string): void
  /** Frees the memory of the buffer; all views of it are empty from now on. Nothing may be reading it any more. */
  detach(buffer: ArrayBuffer): void
  /** The same, but the memory stays for as long as anyone has the result. */
  transfer(buffer: ArrayBuffer): ArrayBuffer
  /** CRC-32C, continued from `initial`; undefined where the processor has no instruction for it. */
  readonly crc32c?: (bytes: Uint8Array, initial?: number) => number
}

// From dist/src/storage.
const ADDON_PATH = inPackage('build/Release/mmapdb_native.node')

function load(): Native {
  if (process.platform !== 'linux') {
    throw new Error(
      `mmapdb runs on Linux only: it needs OFD locks and futexes, which ${process.platform} does not have`,
    )
  }
  if (!existsSync(ADDON_PATH)) {
    throw new Error(
      `mmapdb's native addon is not built: ${ADDON_PATH} is missing. ` +
        'Run "npm rebuild mmapdb" (in a checkout: "npx node-gyp rebuild"); it needs a C++17 compiler, make and Python.',
    )
  }
  try {
    return createRequire(import.meta.url)(ADDON_PATH) as Native
  } catch (cause) {
    throw new Error(
      `mmapdb's native addon could not be loaded: ${ADDON_PATH} was built for another machine or C library. ` +
        'Run "npm rebuild mmapdb" on this one.',
      { cause },
    )
  }
}

export const native: Native = load()
