// A mapped file, or mapped memory, through the native addon.
import * as fs from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { identityOf } from './held-directory.js'
import {
  NATIVE_ANONYMOUS,
  NATIVE_CHANGED,
  NATIVE_PRIVATE,
  NATIVE_PROCESS,
  NATIVE_SHARED,
  NATIVE_WOKEN,
  native,
  type NativeRegion,
} from './native.js'
import { PosixFile } from './posix-file.js'
import { hasCode, storageError } from './system-errors.js'
import { giveToOwnerOfDirectory, leaveToOwner, openOrMake } from './ownership.js'
import {
  StorageError,
  type FileIdentity,
  type RandomFile,
  type Region,
  type RegionMode,
  type RegionOptions,
  type WaitResult,
  type Watch,
} from './storage.js'

const NATIVE_MODES: Readonly<Record<RegionMode, number>> = {
  shared: NATIVE_SHARED,
  private: NATIVE_PRIVATE,
  anonymous: NATIVE_ANONYMOUS,
  process: NATIVE_PROCESS,
}

const ANONYMOUS_PATH = '(anonymous memory)'
const WAKE_ALL = 0x7fffffff
/** Where address space is limited, windows are made smaller, down to this: see `openNativeRegion`. */
const SMALLEST_WINDOW_BYTES = 16 * 1024 * 1024

/**
 * Opens a region with its first window, and makes its file if that is asked for. If there is no address
 * space for a window of that size (ulimit -v), a smaller one does as well: the file then merely needs
 * more windows.
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

export class PosixRegion implements Region {
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

  /** Called whenever this thread may be the first of its process to see that the file has grown. */
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

  areInMemory(pages: Uint32Array): boolean {
    return this.#native.areInMemory(pages)
  }

  willOverwrite(page: number): void {
    this.#native.willOverwrite(page)
  }

  // One load. Atomic, because the compiler does not know that the fault handler counts.
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

  watch(offsetBytes: number, onChange: () => void): Watch {
    try {
      const watch = this.#native.watch(offsetBytes, onChange)
      return { close: () => this.#native.unwatch(watch) }
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  flushLater(file: RandomFile, offsetBytes: number, value: number, done: (error?: StorageError) => void): void {
    if (!(file instanceof PosixFile)) throw new TypeError('the file was not opened by this storage')
    const { path } = file
    if (this.#onFlushed !== undefined) throw new StorageError('fdatasync', 'EBUSY', path)
    try {
      if (!this.#hasFlusher) this.#native.startFlusher((errno) => this.#flushed(errno))
      this.#hasFlusher = true
      this.#native.flushLater(offsetBytes, value, file.descriptor)
    } catch (error) {
      throw storageError(error, path)
    }
    this.#onFlushed = (errno) =>
      errno === 0 ? done() : done(new StorageError('fdatasync', getSystemErrorName(-errno), path))
  }
  #hasFlusher = false
  #onFlushed: ((errno: number) => void) | undefined

  #flushed(errno: number): void {
    const onFlushed = this.#onFlushed!
    this.#onFlushed = undefined
    onFlushed(errno)
  }

  close(): void {
    this.#closed = true
    this.#windows.length = 0
    this.#native.close()
  }
}
