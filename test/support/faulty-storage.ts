// A storage that fails where it is told to: the n-th call of some kind, once or from then on. It counts
// what it has handed out, so that a test sees what was never given back.
import { LaterFlushes } from '../../crash-tests/lib/flush-later.js'
import {
  StorageError,
  type FileIdentity,
  type HeldDirectory,
  type FileAccess,
  type FileSystemInfo,
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

/** Kinds of calls that can fail. Those on a path are told apart by what it is a path of. */
export type Call =
  | 'create'
  | 'open'
  | 'list'
  | 'look'
  | 'make directory'
  | 'grow data'
  | 'grow control'
  | 'allocate'
  | 'write'
  | 'read'
  | 'flush log'
  | 'flush data'
  | 'flush directory'
  | 'rename'
  | 'unlink'
  | 'truncate'
  | 'lock'

export interface Plan {
  readonly calls: readonly Call[]
  /** errno's name. */
  readonly code: string
  /** The first call to fail, from 1. */
  readonly n: number
  /** Fails once, or from then on until healed. */
  readonly lasting: boolean
}

export class Faults {
  #plan: Plan | undefined
  #seen = 0
  /** How often the plan has struck. */
  struck = 0
  /** What was struck, for messages. */
  readonly where: string[] = []
  readonly flushesAfterFailure: string[] = []
  readonly #failedFlushes = new Set<string>()
  /** Regions, files and lock tables that are open. */
  open = 0

  arm(plan: Plan): void {
    this.#plan = plan
    this.#seen = 0
  }
  heal(): void {
    this.#plan = undefined
  }
  /** All processes have gone: a flush after this is another opener's. */
  forget(): void {
    this.#failedFlushes.clear()
  }

  /** Calls of each kind while armed. */
  readonly counts = new Map<Call, number>()

  /** True if this call is to fail. */
  strikes(call: Call): boolean {
    const plan = this.#plan
    if (plan === undefined) return false
    this.counts.set(call, (this.counts.get(call) ?? 0) + 1)
    if (!plan.calls.includes(call)) return false
    this.#seen++
    return plan.lasting ? this.#seen >= plan.n : this.#seen === plan.n
  }
  fail(call: Call, path: string): never {
    this.struck++
    this.where.push(`${call} ${path}`)
    if (call.startsWith('flush')) this.#failedFlushes.add(path)
    throw new StorageError(call, this.#plan!.code, path)
  }
  check(call: Call, path: string): void {
    if (call.startsWith('flush') && this.#failedFlushes.has(path)) this.flushesAfterFailure.push(path)
    if (this.strikes(call)) this.fail(call, path)
  }
}

export class FaultyStorage implements Storage {
  constructor(
    readonly inner: Storage,
    readonly faults: Faults,
  ) {}

  openDirectory(path: string, expected?: FileIdentity): HeldDirectory {
    this.faults.check('open', path)
    const held = this.inner.openDirectory(path, expected)
    const counted = new Counted(this.faults)
    return {
      storage: new FaultyStorage(held.storage, this.faults),
      identity: held.identity,
      close: () => {
        counted.gaveBack()
        held.close()
      },
    }
  }
  openRegion(path: string, options: RegionOptions): Region {
    this.#checkOpen(path, options.create ?? false)
    return new FaultyRegion(this.inner.openRegion(path, options), options.mode === 'process' ? '' : path, this.faults)
  }
  openFile(path: string, access: FileAccess, like?: string): RandomFile {
    this.#checkOpen(path, access === 'create')
    return new FaultyFile(this.inner.openFile(path, access, like), path, this.faults)
  }
  #checkOpen(path: string, create: boolean): void {
    this.faults.check('open', path)
    if (create && this.inner.info(path).kind === 'missing') this.faults.check('create', path)
  }
  openLocks(path: string): LockTable {
    this.faults.check('open', path)
    return new FaultyLocks(this.inner.openLocks(path), path, this.faults)
  }
  list(directory: string): string[] {
    this.faults.check('list', directory)
    return this.inner.list(directory)
  }
  info(path: string): PathInfo {
    this.faults.check('look', path)
    return this.inner.info(path)
  }
  mayWrite(path: string): boolean {
    this.faults.check('look', path)
    return this.inner.mayWrite(path)
  }
  leadsTo(path: string, file: FileIdentity, directory?: number): boolean {
    this.faults.check('look', path)
    return this.inner.leadsTo(path, file, directory)
  }
  fileSystem(path: string): FileSystemInfo {
    this.faults.check('look', path)
    return this.inner.fileSystem(path)
  }
  makeDirectory(path: string, like?: string): void {
    this.faults.check('make directory', path)
    this.inner.makeDirectory(path, like)
  }
  fitsIn(path: string, like: string): boolean {
    this.faults.check('look', path)
    return this.inner.fitsIn(path, like)
  }
  rename(from: string, to: string): void {
    this.faults.check('rename', from)
    this.inner.rename(from, to)
  }
  unlink(path: string): void {
    this.faults.check('unlink', path)
    this.inner.unlink(path)
  }
  removeDirectory(path: string): void {
    this.faults.check('unlink', path)
    this.inner.removeDirectory(path)
  }
  flushDirectory(path: string): void {
    this.faults.check('flush directory', path)
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

/** What is closed once counts as given back once. */
class Counted {
  #open = true
  constructor(readonly faults: Faults) {
    faults.open++
  }
  gaveBack(): void {
    if (this.#open) this.faults.open--
    this.#open = false
  }
}

class FaultyRegion extends Counted implements Region {
  readonly windowBytes: number
  readonly reserveBytes: number
  constructor(
    readonly inner: Region,
    readonly path: string,
    faults: Faults,
  ) {
    super(faults)
    this.windowBytes = inner.windowBytes
    this.reserveBytes = inner.reserveBytes
  }
  identity(): FileIdentity {
    return this.inner.identity()
  }
  sizeBytes(): number {
    return this.inner.sizeBytes()
  }
  window(index: number): ArrayBuffer {
    return this.inner.window(index)
  }
  grow(sizeBytes: number): void {
    // Memory does not run out.
    if (sizeBytes > this.inner.sizeBytes() && this.path !== '')
      this.faults.check(this.path.endsWith('data') ? 'grow data' : 'grow control', this.path)
    this.inner.grow(sizeBytes)
  }
  truncate(sizeBytes: number): void {
    this.faults.check('truncate', this.path)
    this.inner.truncate(sizeBytes)
  }
  flush(): void {
    this.faults.check('flush data', this.path)
    this.inner.flush()
  }
  get readsAhead(): boolean {
    return this.inner.readsAhead
  }
  willNeed(pages: Uint32Array): void {
    this.inner.willNeed(pages)
  }
  areInMemory(pages: Uint32Array): boolean {
    return this.inner.areInMemory(pages)
  }
  willOverwrite(page: number): void {
    this.inner.willOverwrite(page)
  }
  faultCount(): number {
    return this.inner.faultCount()
  }
  wait(offsetBytes: number, expected: number, timeoutMs: number): WaitResult {
    return this.inner.wait(offsetBytes, expected, timeoutMs)
  }
  wakeAll(offsetBytes: number): void {
    this.inner.wakeAll(offsetBytes)
  }
  wakeOne(offsetBytes: number): void {
    this.inner.wakeOne(offsetBytes)
  }
  watch(offsetBytes: number, onChange: () => void): Watch {
    return this.inner.watch(offsetBytes, onChange)
  }
  flushLater(file: RandomFile, offsetBytes: number, value: number, done: (error?: StorageError) => void): void {
    this.#flushes.start(file, { offsetBytes, value, done })
  }
  readonly #flushes = new LaterFlushes(this)
  close(): void {
    this.#flushes.close()
    this.gaveBack()
    this.inner.close()
  }
}

class FaultyFile extends Counted implements RandomFile {
  constructor(
    readonly inner: RandomFile,
    readonly path: string,
    faults: Faults,
  ) {
    super(faults)
  }
  read(into: Uint8Array, offset: number, length: number, position: number): number {
    this.faults.check('read', this.path)
    return this.inner.read(into, offset, length, position)
  }
  write(from: Uint8Array, offset: number, length: number, position: number): void {
    if (this.faults.strikes('write')) {
      // Some of it gets there.
      this.inner.write(from, offset, Math.floor(length / 2), position)
      this.faults.fail('write', this.path)
    }
    this.inner.write(from, offset, length, position)
  }
  flush(): void {
    this.faults.check('flush log', this.path)
    this.inner.flush()
  }
  allocate(sizeBytes: number): void {
    if (sizeBytes > this.inner.sizeBytes()) this.faults.check('allocate', this.path)
    this.inner.allocate(sizeBytes)
  }
  truncate(sizeBytes: number): void {
    this.faults.check('truncate', this.path)
    this.inner.truncate(sizeBytes)
  }
  sizeBytes(): number {
    return this.inner.sizeBytes()
  }
  identity(): FileIdentity {
    return this.inner.identity()
  }
  close(): void {
    this.gaveBack()
    this.inner.close()
  }
}

class FaultyLocks extends Counted implements LockTable {
  constructor(
    readonly inner: LockTable,
    readonly path: string,
    faults: Faults,
  ) {
    super(faults)
  }
  identity(): FileIdentity {
    return this.inner.identity()
  }
  tryLock(byte: number, mode: LockMode): boolean {
    this.faults.check('lock', `byte ${byte} of ${this.path}`)
    return this.inner.tryLock(byte, mode)
  }
  lock(byte: number, mode: LockMode, timeoutMs: number): boolean {
    this.faults.check('lock', `byte ${byte} of ${this.path}`)
    return this.inner.lock(byte, mode, timeoutMs)
  }
  isHeldByOther(byte: number, mode: LockMode): boolean {
    this.faults.check('lock', `byte ${byte} of ${this.path}`)
    return this.inner.isHeldByOther(byte, mode)
  }
  heldByOther(from: number, to: number): number {
    this.faults.check('lock', `bytes from ${from} of ${this.path}`)
    return this.inner.heldByOther(from, to)
  }
  unlock(byte: number): void {
    this.inner.unlock(byte)
  }
  close(): void {
    this.gaveBack()
    this.inner.close()
  }
}
