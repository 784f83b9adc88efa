// A storage around another one that refuses what the kernel refuses: using what is closed, changing what was opened
// for reading, and paths that lead to nothing or to the wrong kind of file. A stand-in for the real storage that
// accepts anything would hide such mistakes of its callers. Watches on words are here, too: the storages below know
// one thread only.
import { dirname } from 'node:path'
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
  type RegionOptions,
  type Storage,
  type WaitResult,
  type Watch,
} from '../../src/storage/storage.js'
import { LaterFlushes } from './flush-later.js'
import { wakeWord, watchWord } from './word-watches.js'

export class StrictStorage implements Storage {
  constructor(protected readonly inner: Storage) {}

  #refuse(syscall: string, code: string, path: string): never {
    throw new StorageError(syscall, code, path)
  }
  #expectThere(syscall: string, path: string): 'file' | 'directory' | 'other' {
    const { kind } = this.inner.info(path)
    return kind === 'missing' ? this.#refuse(syscall, 'ENOENT', path) : kind
  }
  #expectDirectory(syscall: string, path: string): void {
    if (this.#expectThere(syscall, path) !== 'directory') this.#refuse(syscall, 'ENOTDIR', path)
  }
  /** `create`: a file that is missing is made, where its directory is there. */
  #expectFile(syscall: string, path: string, create = false): void {
    const { kind } = this.inner.info(path)
    if (kind === 'directory') this.#refuse(syscall, 'EISDIR', path)
    if (kind !== 'missing') return
    if (!create) this.#refuse(syscall, 'ENOENT', path)
    this.#expectDirectory(syscall, dirname(path))
  }

  openDirectory(path: string, expected?: FileIdentity): HeldDirectory {
    this.#expectDirectory('open', path)
    return { ...this.inner.openDirectory(path, expected), storage: this }
  }
  openRegion(path: string, options: RegionOptions): Region {
    const { mode, create = false } = options
    if (mode === 'private' && create) throw new RangeError('a private region creates no file')
    if (mode !== 'anonymous') this.#expectFile('open', path, create && mode === 'shared')
    return new StrictRegion(this.inner.openRegion(path, options), path, options)
  }
  openFile(path: string, access: FileAccess, like?: string): RandomFile {
    this.#expectFile('open', path, access === 'create')
    return new StrictFile(this.inner.openFile(path, access, like), path, access)
  }
  openLocks(path: string): LockTable {
    this.#expectFile('open', path)
    return new StrictLocks(this.inner.openLocks(path), path)
  }
  list(directory: string): string[] {
    this.#expectDirectory('scandir', directory)
    return this.inner.list(directory)
  }
  info(path: string): PathInfo {
    return this.inner.info(path)
  }
  mayWrite(path: string): boolean {
    this.#expectThere('access', path)
    return this.inner.mayWrite(path)
  }
  leadsTo(path: string, file: FileIdentity, directory?: number): boolean {
    return this.inner.leadsTo(path, file, directory)
  }
  fileSystem(path: string): FileSystemInfo {
    this.#expectThere('statfs', path)
    return this.inner.fileSystem(path)
  }
  makeDirectory(path: string, like?: string): void {
    const { kind } = this.inner.info(path)
    if (kind === 'directory') return
    if (kind !== 'missing') this.#refuse('mkdir', 'EEXIST', path)
    this.#expectDirectory('mkdir', dirname(path))
    this.inner.makeDirectory(path, like)
  }
  fitsIn(path: string, like: string): boolean {
    for (const each of [path, like]) this.#expectThere('stat', each)
    return this.inner.fitsIn(path, like)
  }
  rename(from: string, to: string): void {
    this.#expectThere('rename', from)
    if (from !== to) this.inner.rename(from, to)
  }
  unlink(path: string): void {
    this.#expectFile('unlink', path)
    this.inner.unlink(path)
  }
  removeDirectory(path: string): void {
    this.#expectDirectory('rmdir', path)
    if (this.inner.list(path).length > 0) this.#refuse('rmdir', 'ENOTEMPTY', path)
    this.inner.removeDirectory(path)
  }
  flushDirectory(path: string): void {
    this.#expectDirectory('open', path)
    this.inner.flushDirectory(path)
  }
  sleep(ms: number): void {
    this.inner.sleep(ms)
  }
  now(): number {
    return this.inner.now()
  }
  monotonicMs(): number {
    return this.inner.monotonicMs()
  }
  randomBytes(count: number): Uint8Array {
    return this.inner.randomBytes(count)
  }
}

/** What is opened, and closed once. */
class StrictHandle<Inner extends { close(): void }> {
  readonly #inner: Inner
  #isOpen = true
  constructor(
    inner: Inner,
    readonly path: string,
  ) {
    this.#inner = inner
  }
  protected use(syscall: string): Inner {
    if (!this.#isOpen) throw new StorageError(syscall, 'EBADF', this.path)
    return this.#inner
  }
  close(): void {
    if (this.#isOpen) this.#inner.close()
    this.#isOpen = false
  }
}

class StrictRegion extends StrictHandle<Region> implements Region {
  readonly #watches: Watch[] = []
  readonly windowBytes: number
  readonly reserveBytes: number
  constructor(
    inner: Region,
    path: string,
    readonly options: RegionOptions,
  ) {
    super(inner, path)
    this.windowBytes = inner.windowBytes
    this.reserveBytes = inner.reserveBytes
  }
  get #isShared(): boolean {
    return this.options.mode === 'shared'
  }
  identity(): FileIdentity {
    if (this.options.mode === 'anonymous') throw new StorageError('statx', 'EBADF', this.path)
    return this.use('statx').identity()
  }
  sizeBytes(): number {
    return this.use('fstat').sizeBytes()
  }
  window(index: number): ArrayBuffer {
    if (index < 0) throw new RangeError(`no window has the number ${index}`)
    return this.use('mmap').window(index)
  }
  grow(sizeBytes: number): void {
    const inner = this.use('fallocate')
    if (this.#isShared && this.options.readOnly) throw new StorageError('fallocate', 'EBADF', this.path)
    inner.grow(sizeBytes)
  }
  truncate(sizeBytes: number): void {
    const inner = this.use('ftruncate')
    if (!this.#isShared || this.options.readOnly) throw new StorageError('ftruncate', 'EINVAL', this.path)
    if (sizeBytes > inner.sizeBytes()) throw new RangeError('truncate() must not make the file longer')
    inner.truncate(sizeBytes)
  }
  flush(): void {
    const inner = this.use('fdatasync')
    if (this.#isShared) inner.flush()
  }
  get readsAhead(): boolean {
    return this.use('madvise').readsAhead
  }
  willNeed(pages: Uint32Array): void {
    this.use('madvise').willNeed(pages)
  }
  areInMemory(pages: Uint32Array): boolean {
    return this.use('madvise').areInMemory(pages)
  }
  willOverwrite(page: number): void {
    this.use('pwrite').willOverwrite(page)
  }
  faultCount(): number {
    return this.use('faultCount').faultCount()
  }
  wait(offsetBytes: number, expected: number, timeoutMs: number): WaitResult {
    const inner = this.use('futex')
    const word = new Int32Array(
      inner.window(Math.floor(offsetBytes / this.windowBytes)),
      offsetBytes % this.windowBytes,
      1,
    )
    if (Atomics.load(word, 0) !== (expected | 0)) return 'changed'
    return inner.wait(offsetBytes, expected, timeoutMs)
  }
  wakeAll(offsetBytes: number): void {
    wakeWord(this.use('futex'), offsetBytes)
  }
  wakeOne(offsetBytes: number): void {
    wakeWord(this.use('futex'), offsetBytes)
  }
  watch(offsetBytes: number, onChange: () => void): Watch {
    const inner = this.use('watch')
    if (offsetBytes + 4 > inner.sizeBytes()) throw new RangeError('offset lies beyond the end of the file')
    const watch = watchWord(inner, offsetBytes, onChange)
    this.#watches.push(watch)
    return watch
  }
  flushLater(file: RandomFile, offsetBytes: number, value: number, done: (error?: StorageError) => void): void {
    this.use('flushLater')
    this.#flushes.start(file, { offsetBytes, value, done })
  }
  readonly #flushes = new LaterFlushes(this)

  override close(): void {
    this.#flushes.close()
    for (const watch of this.#watches.splice(0)) watch.close()
    super.close()
  }
}

class StrictFile extends StrictHandle<RandomFile> implements RandomFile {
  constructor(
    inner: RandomFile,
    path: string,
    readonly access: FileAccess,
  ) {
    super(inner, path)
  }
  #useToChange(syscall: string, code: string): RandomFile {
    const inner = this.use(syscall)
    if (this.access === 'read') throw new StorageError(syscall, code, this.path)
    return inner
  }
  read(into: Uint8Array, offset: number, length: number, position: number): number {
    return this.use('read').read(into, offset, length, position)
  }
  write(from: Uint8Array, offset: number, length: number, position: number): void {
    const inner = this.#useToChange('write', 'EBADF')
    // A write of nothing makes no file longer.
    if (length > 0) inner.write(from, offset, length, position)
  }
  flush(): void {
    this.use('fdatasync').flush()
  }
  allocate(sizeBytes: number): void {
    this.#useToChange('fallocate', 'EBADF').allocate(sizeBytes)
  }
  truncate(sizeBytes: number): void {
    this.#useToChange('ftruncate', 'EINVAL').truncate(sizeBytes)
  }
  sizeBytes(): number {
    return this.use('fstat').sizeBytes()
  }
  identity(): FileIdentity {
    return this.use('statx').identity()
  }
}

class StrictLocks extends StrictHandle<LockTable> implements LockTable {
  identity(): FileIdentity {
    return this.use('statx').identity()
  }
  tryLock(byte: number, mode: LockMode): boolean {
    return this.use('fcntl').tryLock(byte, mode)
  }
  lock(byte: number, mode: LockMode, timeoutMs: number): boolean {
    return this.use('fcntl').lock(byte, mode, timeoutMs)
  }
  isHeldByOther(byte: number, mode: LockMode): boolean {
    return this.use('fcntl').isHeldByOther(byte, mode)
  }
  heldByOther(from: number, to: number): number {
    return this.use('fcntl').heldByOther(from, to)
  }
  unlock(byte: number): void {
    this.use('fcntl').unlock(byte)
  }
}
