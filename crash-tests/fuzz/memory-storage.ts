// A file system in memory, for one process and one thread: a database in it opens in a fraction of
// the time that mapping and unmapping files takes, and damage to it costs a store. Nothing is ever
// flushed, locked or waited for. What it refuses it refuses as the kernel would.
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import {
  isSameFile,
  StorageError,
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
  type WaitResult,
  type Watch,
} from '../../src/storage/storage.js'
import { StrictStorage } from '../lib/strict-storage.js'

const CHUNK_BYTES = 65536
/** Files do not grow beyond this: a database that wants more was told so by damage. */
const MAX_FILE_BYTES = 64 * 1024 * 1024
/** What is mapped of `control`: its end stays untouched in all but the oddest databases. */
const CONTROL_BYTES = 4 * 1024 * 1024

/** The memory of a `control`. Clearing it costs what was used of it, and allocating it far more. */
class ControlMemory {
  readonly buffer = new ArrayBuffer(CONTROL_BYTES)
  usedBytes = 0

  clear(): this {
    new Uint8Array(this.buffer, 0, this.usedBytes).fill(0)
    this.usedBytes = 0
    return this
  }
}
/** Those of regions that were closed. */
const spareControls: ControlMemory[] = []

let files = 0

class MemoryFile {
  readonly identity: FileIdentity
  chunks: ArrayBuffer[] = []
  sizeBytes = 0

  constructor(identity: FileIdentity = { device: 1, inode: ++files }) {
    this.identity = identity
  }

  ensure(sizeBytes: number, path: string): void {
    if (sizeBytes > MAX_FILE_BYTES) throw new StorageError('fallocate', 'ENOSPC', path)
    while (this.chunks.length * CHUNK_BYTES < sizeBytes) this.chunks.push(new ArrayBuffer(CHUNK_BYTES))
    this.sizeBytes = Math.max(this.sizeBytes, sizeBytes)
  }
  truncate(sizeBytes: number, path: string): void {
    this.ensure(sizeBytes, path)
    for (let at = sizeBytes; at < this.sizeBytes;) {
      const offset = at % CHUNK_BYTES
      const length = Math.min(CHUNK_BYTES - offset, this.sizeBytes - at)
      new Uint8Array(this.chunks[Math.floor(at / CHUNK_BYTES)]!, offset, length).fill(0)
      at += length
    }
    this.sizeBytes = sizeBytes
  }
  read(into: Uint8Array, offset: number, length: number, position: number): number {
    const count = Math.max(0, Math.min(length, this.sizeBytes - position))
    this.#each(position, count, (chunk, done) => into.set(chunk, offset + done))
    return count
  }
  write(from: Uint8Array, offset: number, length: number, position: number, path: string): void {
    this.ensure(position + length, path)
    this.#each(position, length, (chunk, done) => chunk.set(from.subarray(offset + done, offset + done + chunk.length)))
  }
  #each(position: number, length: number, act: (chunk: Uint8Array, done: number) => void): void {
    for (let done = 0; done < length;) {
      const at = position + done
      const offset = at % CHUNK_BYTES
      const bytes = Math.min(CHUNK_BYTES - offset, length - done)
      act(new Uint8Array(this.chunks[Math.floor(at / CHUNK_BYTES)]!, offset, bytes), done)
      done += bytes
    }
  }
  /** `identity`: of a copy that stands for the file itself. */
  copy(identity?: FileIdentity): MemoryFile {
    const copy = new MemoryFile(identity)
    copy.chunks = this.chunks.map((chunk) => chunk.slice(0))
    copy.sizeBytes = this.sizeBytes
    return copy
  }
}

class MemoryRegion implements Region {
  readonly windowBytes: number
  readonly reserveBytes: number
  readonly #file: MemoryFile
  readonly #path: string
  #control: ControlMemory | undefined
  readonly #readAheadBytes: number

  constructor(path: string, file: MemoryFile, { windowBytes, reserveBytes, readAheadBytes = Infinity }: RegionOptions) {
    this.#readAheadBytes = readAheadBytes
    this.windowBytes = windowBytes
    this.reserveBytes = reserveBytes
    this.#path = path
    this.#file = file
    this.#control = windowBytes > CHUNK_BYTES ? (spareControls.pop() ?? new ControlMemory()).clear() : undefined
    if (this.#control === undefined && windowBytes !== CHUNK_BYTES)
      throw new RangeError('windows in memory have 64 KiB')
  }
  get readsAhead(): boolean {
    return this.sizeBytes() <= this.#readAheadBytes
  }
  identity(): FileIdentity {
    return this.#file.identity
  }
  sizeBytes(): number {
    return this.#control === undefined ? this.#file.sizeBytes : this.#control.usedBytes
  }
  window(index: number): ArrayBuffer {
    if (this.#control !== undefined) {
      if (index !== 0) throw new StorageError('mmap', 'ENOMEM', this.#path)
      return this.#control.buffer
    }
    // Damage must not make it take memory without end. Another opener may have let the file grow further.
    if (index * CHUNK_BYTES >= Math.max(this.reserveBytes, this.#file.sizeBytes))
      throw new RangeError('beyond the reserved range')
    while (this.#file.chunks.length <= index) this.#file.chunks.push(new ArrayBuffer(CHUNK_BYTES))
    return this.#file.chunks[index]!
  }
  grow(sizeBytes: number): void {
    if (this.#control === undefined) this.#file.ensure(sizeBytes, this.#path)
    else if (sizeBytes > CONTROL_BYTES) throw new StorageError('fallocate', 'ENOSPC', this.#path)
    else this.#control.usedBytes = Math.max(this.#control.usedBytes, sizeBytes)
  }
  truncate(sizeBytes: number): void {
    if (this.#control === undefined) this.#file.truncate(sizeBytes, this.#path)
    else this.#control.clear()
  }
  flush(): void {}
  willNeed(): void {}
  areInMemory(): boolean {
    return true
  }
  willOverwrite(): void {}
  faultCount(): number {
    return 0
  }
  wait(): WaitResult {
    return 'timed-out'
  }
  wakeAll(): void {}
  wakeOne(): void {}
  watch(): Watch {
    throw new Error('StrictRegion has the watches')
  }
  flushLater(): void {
    throw new Error('StrictRegion flushes later')
  }
  close(): void {
    if (this.#control !== undefined) spareControls.push(this.#control)
    this.#control = undefined
  }
}

class MemoryHandle implements RandomFile {
  constructor(
    readonly file: MemoryFile,
    readonly path: string,
  ) {}
  read(into: Uint8Array, offset: number, length: number, position: number): number {
    return this.file.read(into, offset, length, position)
  }
  write(from: Uint8Array, offset: number, length: number, position: number): void {
    this.file.write(from, offset, length, position, this.path)
  }
  flush(): void {}
  allocate(sizeBytes: number): void {
    this.file.ensure(sizeBytes, this.path)
  }
  truncate(sizeBytes: number): void {
    this.file.truncate(sizeBytes, this.path)
  }
  sizeBytes(): number {
    return this.file.sizeBytes
  }
  identity(): FileIdentity {
    return this.file.identity
  }
  close(): void {}
}

const locksOn = (file: MemoryFile): LockTable => ({
  identity: () => file.identity,
  tryLock: () => true,
  lock: () => true,
  isHeldByOther: () => false,
  heldByOther: () => -1,
  unlock: () => undefined,
  close: () => undefined,
})

/** The files, and what can be done with them. It checks neither paths nor handles: StrictStorage does. */
class MemoryDisk implements Storage {
  readonly files = new Map<string, MemoryFile>()
  readonly directories = new Set<string>(['/'])
  #clockMs = 1_700_000_000_000
  #random = 1

  find(path: string, syscall: string): MemoryFile {
    const file = this.files.get(path)
    if (file === undefined) throw new StorageError(syscall, this.directories.has(path) ? 'EISDIR' : 'ENOENT', path)
    return file
  }
  #create(path: string): MemoryFile {
    if (!this.files.has(path) && !this.directories.has(path)) this.files.set(path, new MemoryFile())
    return this.find(path, 'open')
  }

  openRegion(path: string, options: RegionOptions): Region {
    if (options.mode === 'anonymous') return new MemoryRegion(path, new MemoryFile(), options)
    const file = options.create ? this.#create(path) : this.find(path, 'open')
    return new MemoryRegion(path, options.mode === 'private' ? file.copy(file.identity) : file, options)
  }
  openFile(path: string, access: FileAccess): RandomFile {
    return new MemoryHandle(access === 'create' ? this.#create(path) : this.find(path, 'open'), path)
  }
  openLocks(path: string): LockTable {
    return locksOn(this.find(path, 'open'))
  }
  openDirectory(): HeldDirectory {
    return { storage: this, identity: { device: 1, inode: 0 }, close: () => undefined }
  }
  list(directory: string): string[] {
    if (!this.directories.has(directory))
      throw new StorageError('scandir', this.files.has(directory) ? 'ENOTDIR' : 'ENOENT', directory)
    return [...this.files.keys(), ...this.directories]
      .filter((path) => path !== '/' && dirname(path) === directory)
      .map((path) => basename(path))
  }
  info(path: string): PathInfo {
    const file = this.files.get(path)
    if (file !== undefined) return { kind: 'file', sizeBytes: file.sizeBytes }
    return { kind: this.directories.has(path) ? 'directory' : 'missing', sizeBytes: 0 }
  }
  mayWrite(): boolean {
    return true
  }
  leadsTo(path: string, file: FileIdentity): boolean {
    const found = this.files.get(path)
    return found !== undefined && isSameFile(found.identity, file)
  }
  fileSystem(): FileSystemInfo {
    return { name: 'memory', networked: false, readOnly: false }
  }
  makeDirectory(path: string): void {
    if (this.files.has(path)) throw new StorageError('mkdir', 'EEXIST', path)
    this.directories.add(path)
  }
  fitsIn(): boolean {
    return true
  }
  rename(from: string, to: string): void {
    const isMoved = (path: string): boolean => path === from || path.startsWith(`${from}/`)
    for (const path of [...this.directories].filter(isMoved)) {
      this.directories.delete(path)
      this.directories.add(to + path.slice(from.length))
    }
    for (const [path, file] of [...this.files].filter(([path]) => isMoved(path))) {
      this.files.delete(path)
      this.files.set(to + path.slice(from.length), file)
    }
  }
  unlink(path: string): void {
    this.find(path, 'unlink')
    this.files.delete(path)
  }
  removeDirectory(path: string): void {
    this.directories.delete(path)
  }
  flushDirectory(): void {}
  sleep(ms: number): void {
    this.#clockMs += ms
  }
  now(): number {
    return this.#clockMs++
  }
  monotonicMs(): number {
    return this.#clockMs++
  }
  randomBytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count)
    for (let i = 0; i < count; i++)
      bytes[i] = (this.#random = (Math.imul(this.#random, 1664525) + 1013904223) >>> 0) >>> 24
    return bytes
  }
}

export class MemoryStorage extends StrictStorage {
  readonly #disk: MemoryDisk

  constructor() {
    const disk = new MemoryDisk()
    super(disk)
    this.#disk = disk
  }

  /** Copies a directory of the real file system to `at`. */
  load(from: string, at: string): void {
    this.#disk.directories.add(at)
    for (const name of readdirSync(from)) {
      const path = join(from, name)
      if (lstatSync(path).isDirectory()) this.load(path, join(at, name))
      else this.put(join(at, name), readFileSync(path))
    }
  }

  /** Every file and its bytes, by path. */
  files(): Map<string, Buffer> {
    return new Map([...this.#disk.files.keys()].map((path) => [path, this.bytes(path)]))
  }
  bytes(path: string): Buffer {
    const file = this.#disk.find(path, 'read')
    const bytes = Buffer.alloc(file.sizeBytes)
    file.read(bytes, 0, bytes.length, 0)
    return bytes
  }
  put(path: string, bytes: Uint8Array): void {
    const file = new MemoryFile()
    file.write(bytes, 0, bytes.length, 0, path)
    this.#disk.files.set(path, file)
  }
  poke(path: string, at: number, bytes: Uint8Array): void {
    this.#disk.find(path, 'write').write(bytes, 0, bytes.length, at, path)
  }
  /** The same files, to be changed without changing these. */
  copy(): MemoryStorage {
    const copy = new MemoryStorage()
    for (const directory of this.#disk.directories) copy.#disk.directories.add(directory)
    for (const [path, file] of this.#disk.files) copy.#disk.files.set(path, file.copy())
    return copy
  }
}
