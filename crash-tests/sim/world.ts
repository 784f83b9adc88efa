// A world in which several processes use one database on a disk that forgets and may fail. At each
// call into the storage interface, and at each crash point, the world may write pages back, run an
// operation of another process to its end, refuse the call, kill the process that is running, or cut
// the power. `Schedule` decides all of it.
//
// Processes take turns like a stack: another one runs while this one stands still inside a call, and
// is done before this one goes on. A lock that a process further down holds cannot be acquired; the
// operation then ends with `ERR_MMAPDB_LOCKED`, as it would after the time limit.
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
import { basename, dirname } from 'node:path'
import { CRASH_POINTS } from '../../src/crash-points.js'
import { Clocks } from './clocks.js'
import { mix, Random } from '../lib/random.js'
import { StrictStorage } from '../lib/strict-storage.js'
import { clearControl, copyOfControl, newControlFile, restoreControl } from './control-memory.js'
import { SimDirectories } from './directories.js'
import { PAGE_BYTES, SimFile, type SimDirectory } from './disk.js'
import { FileLocks, type ByteLocks } from './file-locks.js'
import { hash, type Schedule } from './schedule.js'

/** The process that is running is dead: unwinds to where it was started. */
export class Killed extends Error {}
/** The machine has lost power, or all processes are killed at once: unwinds everything. */
export class Outage extends Error {}

const POINTS: ReadonlySet<string> = new Set(CRASH_POINTS)

export interface Process {
  readonly name: string
  dead: boolean
}

interface Turns {
  /** Something that another process could do now. */
  interrupt(): void
  /** What others could do to a reader that can be ended: end it, and use what it reads for something else. */
  overtake(): void
}

export interface WorldRates {
  readonly writeBack: number
  /** Another process acts; and so it does, up to three times, in the middle of a flush. */
  readonly interrupt: number
  readonly interruptFlush: number
  readonly kill: number
  /** The power is cut, or now and then all are killed at once. */
  readonly cut: number
  /** A call is refused: the disk is full, or an I/O error. */
  readonly fault: number
  /** How many times as likely a cut or a kill is in the middle of a flush as at another step. */
  readonly flush: number
}

export const CALM: WorldRates = { writeBack: 0, interrupt: 0, interruptFlush: 0, kill: 0, cut: 0, fault: 0, flush: 1 }

/** How many times as often a flush fails as another call. */
const FLUSH_FAULTS = 5

/** That many others may act one after the other while a flush is under way. */
const TURNS_IN_A_FLUSH = 3

/** A step between two loads of a reader that can be ended. */
export const READING = 'reading'

export class World {
  readonly schedule: Schedule
  readonly trace: string[] = []
  readonly directories = new SimDirectories()
  readonly #files = new Set<SimFile>()
  /** By the number of the file. */
  readonly #locks = new Map<number, FileLocks<SimLocks>>()
  rates = CALM
  turns: Turns | undefined
  running: Process | undefined
  outage: 'power cut' | 'all killed' | undefined
  depth = 0
  readonly clocks = new Clocks()
  steps = 0
  /** Calls refused since the last restart of everything. */
  faults = 0
  /** A flush has failed, and pages of the data file that programs use show older contents now. */
  stale = false
  /** Sees every frame on its way to the log. */
  onLogWrite: ((bytes: Uint8Array) => void) | undefined

  constructor(schedule: Schedule) {
    this.schedule = schedule
  }

  /** Called at each step: here the world goes on around the process that is running. */
  step(what: string): void {
    if (this.outage !== undefined) throw new Outage()
    const process = this.running
    if (process?.dead) throw new Killed()
    this.steps++
    const { schedule, rates } = this
    // The protocols have named the places where it would hurt; and a flush takes most of the time, in
    // which several others may act.
    const flushing = what.startsWith('flushing')
    const weight = flushing ? rates.flush : POINTS.has(what) ? 4 : 1
    schedule.step()
    this.note(`${process?.name ?? '-'}: ${what}`)
    if (schedule.strikes('w', rates.writeBack)) this.#writeBack()
    for (let turn = flushing ? TURNS_IN_A_FLUSH : 1; turn > 0; turn--) {
      const interrupt = what === READING ? 1 : flushing ? rates.interruptFlush : rates.interrupt
      schedule.strikesWithin(`i${turn}`, this.depth < 3 ? interrupt : 0, () => {
        this.depth++
        try {
          if (what === READING) this.turns?.overtake()
          else this.turns?.interrupt()
        } finally {
          this.depth--
          this.running = process
        }
      })
    }
    if (schedule.strikes('c', rates.cut * weight))
      this.end(schedule.seedFor('outage') % 3 === 0 ? 'all killed' : 'power cut')
    if (process !== undefined && schedule.strikes('k', rates.kill * weight)) this.kill(process)
  }

  end(how: 'power cut' | 'all killed'): never {
    this.outage = how
    this.note(how === 'power cut' ? 'the power is cut' : 'all are killed')
    throw new Outage()
  }

  /** A step at which the call may be refused. */
  call(what: string, name: string, path: string, codes: readonly string[]): void {
    this.step(what)
    if (!this.schedule.strikes('f', this.rates.fault)) return
    this.faults++
    const code = codes[this.schedule.seedFor('code') % codes.length]!
    this.note(`${name} of ${path} fails: ${code}`)
    throw new StorageError(name, code, path)
  }

  note(what: string): void {
    if (this.trace.length > 20_000) this.trace.splice(0, 10_000)
    this.trace.push('  '.repeat(this.depth) + what)
  }

  kill(process: Process): never {
    if (this.#controlAtDeath !== undefined) throw new Error('a process that died before has not been removed')
    process.dead = true
    this.note(`${process.name} is killed`)
    this.#controlAtDeath = copyOfControl(this.#controlFile()?.sizeBytes ?? 0)
    throw new Killed()
  }
  #controlAtDeath: Uint8Array | undefined

  /** After a dead process has unwound: what its `finally` blocks did to shared memory did not happen. */
  remove(process: Process): void {
    if (this.#controlAtDeath !== undefined) restoreControl(this.#controlAtDeath)
    this.#controlAtDeath = undefined
    for (const [, state] of this.allLocks) {
      if (state.exclusive?.process === process) state.exclusive = undefined
      for (const holder of state.shared) if (holder.process === process) state.shared.delete(holder)
    }
  }

  #controlFile(): SimFile | undefined {
    return this.directories.get('/db')?.live.get('control')
  }

  #writeBack(): void {
    const seed = this.schedule.seedFor('write-back')
    for (const file of this.#files) {
      if (!file.tracked) continue
      const dirty = file.dirtySectors()
      if (dirty.length === 0) continue
      const random = new Random(mix(seed, hash(file.name)))
      const many = random.chance(0.3) ? dirty.length : random.between(1, Math.min(8, dirty.length))
      for (let i = 0; i < many; i++) file.writeBack(many === dirty.length ? dirty[i]! : random.pick(dirty))
    }
  }

  /** Decides what the power cut left, and turns the power on again. */
  restart(): void {
    const seed = this.schedule.seedFor('restart')
    const control = this.#controlFile()
    this.directories.cut(seed)
    // All files of that name share one memory: one that has come back has nothing of what another one had in it.
    if (this.#controlFile() !== control) clearControl()
    for (const file of this.#files) if (file.tracked) file.cut(mix(seed, hash(file.name)))
    this.#forgetFiles()
    this.outage = undefined
    this.faults = 0
    this.stale = false
    this.depth = 0
    this.running = undefined
    this.#locks.clear()
    this.clocks.restart()
  }

  /** All processes are gone, the machine goes on. */
  endAllProcesses(): void {
    for (const file of this.#files) if (file.tracked) file.evict(mix(this.schedule.seedFor('evict'), hash(file.name)))
    this.#forgetFiles()
    this.outage = undefined
    this.faults = 0
    this.stale = false
    this.#locks.clear()
    this.running = undefined
    this.depth = 0
  }

  /** Files that no directory names any more are gone once no process has them open. */
  #forgetFiles(): void {
    const named = new Set(this.directories.all().flatMap((directory) => directory.files()))
    for (const file of this.#files) if (!named.has(file)) this.#files.delete(file)
  }

  storageFor(process: Process): Storage {
    return new StrictStorage(new SimStorage(this, process))
  }

  // ---- for tests that look at the disk from outside, or damage it -------------------------------

  names(path: string): string[] {
    return [...(this.directories.get(path)?.live.keys() ?? [])]
  }
  contents(path: string, position: number, length: number): Buffer {
    const bytes = Buffer.alloc(length)
    this.find(path)?.read(bytes, 0, length, position)
    return bytes
  }
  /** What a power cut would leave for certain; nothing of a file whose name it might take away. */
  durableContents(path: string, position: number, length: number): Buffer {
    const file = this.find(path)
    if (file === undefined || this.directories.get(dirname(path))?.durable.get(basename(path)) !== file)
      return Buffer.alloc(0)
    return file.durableContents(position, length)
  }
  /** Fills a part of a file with nonsense, in memory and on the disk; false if there is no such part. */
  destroy(path: string, position: number, length: number): boolean {
    const file = this.find(path)
    if (file === undefined || file.sizeBytes < position + length) return false
    this.note(`${path} ${position}+${length} is destroyed`)
    const seed = this.schedule.seedFor('destroy')
    file.damage(
      position,
      Uint8Array.from({ length }, (_, i) => mix(seed, i)),
    )
    return true
  }
  /** Flips a bit of a file, in memory and on the disk; again, and it is as it was. */
  flip(path: string, position: number): void {
    this.note(`a bit of ${path} at ${position} flips`)
    this.find(path)!.damage(position, Buffer.from([this.contents(path, position, 1)[0]! ^ 4]))
  }
  find(path: string): SimFile | undefined {
    return this.directories.get(dirname(path))?.live.get(basename(path))
  }

  // ---- what the storage of each process works on -------------------------------------------------

  directory(path: string): SimDirectory {
    const found = this.directories.get(path)
    if (found === undefined) throw new StorageError('scandir', 'ENOENT', path)
    return found
  }
  directoriesIn(path: string): string[] {
    return this.directories
      .paths()
      .filter((other) => other !== '/' && dirname(other) === path)
      .map((other) => basename(other))
  }
  hasDirectory(path: string): boolean {
    return this.directories.has(path)
  }
  flushDirectory(path: string): void {
    this.directory(path)
    this.directories.flush(path)
  }
  locate(path: string): { directory: SimDirectory; name: string } {
    return { directory: this.directory(dirname(path)), name: basename(path) }
  }
  file(path: string, create: boolean, chunkBytes: number): SimFile {
    const { directory, name } = this.locate(path)
    const found = directory.live.get(name)
    if (found !== undefined) return found
    if (!create) throw new StorageError('open', 'ENOENT', path)
    const isControl = name === 'control'
    const file = isControl ? newControlFile(name) : new SimFile(name, chunkBytes)
    this.#files.add(file)
    directory.link(name, file)
    return file
  }
  /** What the threads of a process share. Only `control` is ever there, and then it is not a file. */
  memoryOf(process: Process, path: string, create: boolean): SimFile {
    const found = this.#memories.get(process)
    if (!create && found === undefined) throw new StorageError('open', 'ENOENT', path)
    if (!create) return found!
    const memory = newControlFile('memory')
    this.#memories.set(process, memory)
    return memory
  }
  readonly #memories = new Map<Process, SimFile>()
  locksOn(file: SimFile): FileLocks<SimLocks> {
    let locks = this.#locks.get(file.id)
    if (locks === undefined) this.#locks.set(file.id, (locks = new FileLocks()))
    return locks
  }
  get allLocks(): readonly [byte: number, ByteLocks<SimLocks>][] {
    return [...this.#locks.values()].flatMap(({ bytes }) => [...bytes])
  }
}

class SimLocks implements LockTable {
  constructor(
    readonly world: World,
    readonly process: Process,
    readonly file: SimFile,
  ) {}

  get #locks(): FileLocks<SimLocks> {
    return this.world.locksOn(this.file)
  }
  identity(): FileIdentity {
    return identityOf(this.file)
  }
  tryLock(byte: number, mode: LockMode): boolean {
    this.world.step(`lock ${byte} ${mode}`)
    const state = this.#locks.of(byte)
    if (state.exclusive !== undefined && state.exclusive !== this) return false
    if (mode === 'exclusive') {
      for (const holder of state.shared) if (holder !== this) return false
      state.shared.delete(this)
      state.exclusive = this
    } else {
      state.exclusive = undefined
      state.shared.add(this)
    }
    return true
  }
  lock(byte: number, mode: LockMode, timeoutMs: number): boolean {
    if (this.tryLock(byte, mode)) return true
    this.world.clocks.pass(timeoutMs)
    return false
  }
  isHeldByOther(byte: number, mode: LockMode): boolean {
    const state = this.#locks.of(byte)
    if (state.exclusive !== undefined && state.exclusive !== this) return true
    return mode === 'exclusive' && [...state.shared].some((holder) => holder !== this)
  }
  heldByOther(from: number, to: number): number {
    for (const byte of this.#locks.bytes.keys())
      if (byte >= from && byte < to && this.isHeldByOther(byte, 'exclusive')) return byte
    return -1
  }
  unlock(byte: number): void {
    if (this.process.dead || this.world.outage !== undefined) return
    this.#locks.drop(byte, this)
  }
  close(): void {
    for (const byte of this.#locks.bytes.keys()) this.#locks.drop(byte, this)
  }
}

/** Takes time: others run meanwhile. If it fails, the kernel may have given up what was dirty. */
function flushFile(world: World, file: SimFile, name: string): void {
  world.step(`flush ${name}`)
  const flush = file.beginFlush()
  world.step(`flushing ${name}`)
  if (world.schedule.strikes('f', world.rates.fault * FLUSH_FAULTS)) {
    world.faults++
    world.note(`flush of ${name} fails`)
    if (file.failFlush(flush, world.schedule.seedFor('lost'))) world.stale = true
    throw new StorageError('fdatasync', 'EIO', name)
  }
  file.completeFlush(flush)
  world.step(`flushed ${name}`)
}

const DEVICE = 1
const identityOf = (file: SimFile): FileIdentity => ({ device: DEVICE, inode: file.id })

class SimRegion implements Region {
  readonly windowBytes: number
  readonly reserveBytes: number
  readonly #readAheadBytes: number
  constructor(
    readonly world: World,
    readonly file: SimFile,
    options: RegionOptions,
    readonly original = file,
  ) {
    this.windowBytes = options.windowBytes
    this.reserveBytes = options.reserveBytes
    this.#readAheadBytes = options.readAheadBytes ?? Infinity
  }
  get readsAhead(): boolean {
    return this.file.sizeBytes <= this.#readAheadBytes
  }
  identity(): FileIdentity {
    return identityOf(this.original)
  }
  sizeBytes(): number {
    return this.file.sizeBytes
  }
  window(index: number): ArrayBuffer {
    return this.file.chunk(index).buffer as ArrayBuffer
  }
  grow(sizeBytes: number): void {
    if (this.file.name !== 'memory' && sizeBytes > this.file.sizeBytes)
      this.world.call('grow', 'fallocate', this.file.name, ['ENOSPC', 'EIO'])
    this.file.grow(sizeBytes)
  }
  truncate(sizeBytes: number): void {
    this.world.call('truncate', 'ftruncate', this.file.name, ['EIO'])
    if (this.file.tracked) this.file.truncate(sizeBytes)
    else {
      this.file.chunk(0).fill(0, 0, this.file.sizeBytes)
      this.file.sizeBytes = sizeBytes
    }
  }
  flush(): void {
    flushFile(this.world, this.file, 'data')
  }
  willNeed(): void {}
  areInMemory = (): boolean => true
  /** What was on the page is lost: here it becomes bytes that would be noticed. */
  willOverwrite(page: number): void {
    const perWindow = this.windowBytes / PAGE_BYTES
    const window = new Uint8Array(this.window(Math.floor(page / perWindow)))
    window.fill(0xee, (page % perWindow) * PAGE_BYTES, ((page % perWindow) + 1) * PAGE_BYTES)
  }
  faultCount(): number {
    return 0
  }
  wait(_offsetBytes: number, _expected: number, timeoutMs: number): WaitResult {
    this.world.step('wait')
    this.world.clocks.pass(timeoutMs)
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
  close(): void {}
}

class SimRandomFile implements RandomFile {
  constructor(
    readonly world: World,
    readonly simFile: SimFile,
    readonly path: string,
  ) {}
  read(into: Uint8Array, offset: number, length: number, position: number): number {
    return this.simFile.read(into, offset, length, position)
  }
  write(from: Uint8Array, offset: number, length: number, position: number): void {
    const { world } = this
    world.step(`write ${this.path} ${position}+${length}`)
    // A process may die in the middle of it, or the disk be full.
    const dies = world.schedule.strikes('t', world.rates.kill) && world.running !== undefined
    const fails = world.schedule.strikes('f', world.rates.fault)
    if ((dies || fails) && length > 1) {
      this.simFile.write(from, offset, 1 + (world.schedule.seedFor('torn') % (length - 1)), position)
      // It may be whole all the same: the bytes after it may already be what was to be written.
      world.onLogWrite?.(from.subarray(offset, offset + length))
      if (dies) world.kill(world.running!)
      world.faults++
      world.note(`write of ${this.path} fails`)
      throw new StorageError('write', world.schedule.seedFor('code') % 2 === 0 ? 'ENOSPC' : 'EIO', this.path)
    }
    this.simFile.write(from, offset, length, position)
    world.onLogWrite?.(from.subarray(offset, offset + length))
    world.step(`written ${this.path}`)
  }
  flush(): void {
    flushFile(this.world, this.simFile, this.path)
  }
  allocate(sizeBytes: number): void {
    this.world.call(`allocate ${this.path}`, 'fallocate', this.path, ['ENOSPC', 'EIO'])
    this.simFile.grow(sizeBytes)
  }
  truncate(sizeBytes: number): void {
    this.world.call(`truncate ${this.path}`, 'ftruncate', this.path, ['EIO'])
    this.simFile.truncate(sizeBytes)
  }
  identity(): FileIdentity {
    return identityOf(this.simFile)
  }
  sizeBytes(): number {
    return this.simFile.sizeBytes
  }
  close(): void {}
}

class SimStorage implements Storage {
  constructor(
    readonly world: World,
    readonly process: Process,
  ) {}
  openRegion(path: string, options: RegionOptions): Region {
    if (options.mode === 'process')
      return new SimRegion(this.world, this.world.memoryOf(this.process, path, options.create ?? false), options)
    if (options.mode === 'anonymous')
      return new SimRegion(this.world, new SimFile('memory', options.windowBytes), options)
    const file = this.world.file(path, options.create ?? false, options.windowBytes)
    return options.mode === 'private'
      ? new SimRegion(this.world, file.copy(), options, file)
      : new SimRegion(this.world, file, options)
  }
  openFile(path: string, access: FileAccess): RandomFile {
    this.world.call(`open ${path}`, 'open', path, ['EMFILE', 'EIO'])
    return new SimRandomFile(this.world, this.world.file(path, access === 'create', 65536), path)
  }
  openLocks(path: string): LockTable {
    return new SimLocks(this.world, this.process, this.world.find(path)!)
  }
  openDirectory(): HeldDirectory {
    return { storage: this, identity: { device: DEVICE, inode: 0 }, close: () => undefined }
  }
  list(directory: string): string[] {
    return [...this.world.directory(directory).live.keys(), ...this.world.directoriesIn(directory)]
  }
  info(path: string): PathInfo {
    if (this.world.hasDirectory(path)) return { kind: 'directory', sizeBytes: 0 }
    const file = this.world.find(path)
    return file === undefined ? { kind: 'missing', sizeBytes: 0 } : { kind: 'file', sizeBytes: file.sizeBytes }
  }
  mayWrite(): boolean {
    return true
  }
  leadsTo(path: string, file: FileIdentity): boolean {
    return file.device === DEVICE && this.world.find(path)?.id === file.inode
  }
  fileSystem(): FileSystemInfo {
    return { name: 'simulated', networked: false, readOnly: false }
  }
  makeDirectory(path: string): void {
    this.world.directories.make(path)
  }
  fitsIn(): boolean {
    return true
  }
  rename(from: string, to: string): void {
    this.world.call(`rename ${from} ${to}`, 'rename', from, ['EIO', 'ENOSPC'])
    if (this.world.hasDirectory(from)) {
      this.world.directories.rename(from, to)
      this.world.step(`renamed ${from}`)
      return
    }
    const source = this.world.locate(from)
    const target = this.world.locate(to)
    if (source.directory !== target.directory || !source.directory.live.has(source.name))
      throw new StorageError('rename', 'ENOENT', from)
    source.directory.rename(source.name, target.name)
  }
  unlink(path: string): void {
    this.world.call(`unlink ${path}`, 'unlink', path, ['EIO'])
    const { directory, name } = this.world.locate(path)
    directory.unlink(name)
  }
  removeDirectory(path: string): void {
    this.world.call(`remove directory ${path}`, 'rmdir', path, ['EIO'])
    this.world.directories.remove(path)
  }
  flushDirectory(path: string): void {
    this.world.call(`flush directory ${path}`, 'fsync', path, ['EIO'])
    this.world.flushDirectory(path)
    this.world.step(`flushed directory ${path}`)
  }
  sleep(ms: number): void {
    this.world.step('sleep')
    this.world.clocks.pass(ms)
  }
  now(): number {
    return this.world.clocks.systemMs
  }
  monotonicMs(): number {
    return this.world.clocks.monotonicMs
  }
  randomBytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, (_, i) => this.world.schedule.seedFor(`random ${i}`) & 0xff)
  }
}
