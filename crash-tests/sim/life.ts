// The lives of one database, decided by one seed, against a model.
//
// The model is the log itself: every frame that reaches it, by its LSN. Whatever is read at an LSN
// must be what the frames before it say; after a crash the database must be at an LSN that leaves no
// acknowledged frame behind, nor one that somebody has read, and the frames behind it are gone for good.
//
// Between lives a header may be destroyed, which must do no harm; or a frame of the log that others
// behind it prove to have been on disk, which must be noticed if it is still needed.
import { observeCrashPoints } from '../../src/crash-points.js'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import { Engine } from '../../src/engine/engine.js'
import { observeReads } from '../../src/engine/shared/read-guard.js'
import { resolveOptions } from '../../src/engine/options.js'
import { SLOT_BYTES } from '../../src/engine/format/layout.js'
import type { EngineSnapshot } from '../../src/engine/read/snapshot.js'
import { verify } from '../../src/maintenance/verify.js'
import { MmapdbError } from '../../src/errors.js'
import { encodeKey, KEY_BUFFER_BYTES } from '../../src/encoding/keys.js'
import { FRAME, frameStride, OP } from '../../src/wal/frame.js'
import { FIRST_LSN, type Lsn } from '../../src/wal/lsn.js'
import { filePosition, segmentName, segmentStart } from '../../src/wal/segment.js'
import { SECTOR_BYTES } from './disk.js'
import { Schedule } from './schedule.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import { frameOf, stateAt, type ModelFrame } from './frames.js'
import { CALM, Killed, Outage, READING, World, type Process, type WorldRates } from './world.js'

/** What was wrong, with the seed that shows it again. */
export class Failure extends Error {}

export interface LifeReport {
  lives: number
  steps: number
  operations: number
  acknowledged: number
  cuts: number
  kills: number
  recoveries: number
  interruptedRecoveries: number
  faults: number
}

export const newReport = (): LifeReport => ({
  lives: 0,
  steps: 0,
  operations: 0,
  acknowledged: 0,
  cuts: 0,
  kills: 0,
  recoveries: 0,
  interruptedRecoveries: 0,
  faults: 0,
})

const OPTIONS = {
  workers: 0,
  valueEncoding: 'utf8',
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  timeoutMs: 1,
} as const

/** One that is more than may be held back, one that ends the reader, and some until its slots have their turn. */
const GROUPS_TO_OVERTAKE = 5

class SimProcess implements Process {
  dead = false
  busy = false
  engine: Engine | undefined
  /** Snapshots that it keeps open from one operation to another. */
  held: EngineSnapshot[] = []
  constructor(readonly name: string) {}

  /** Lets go of all: the locks of a world know their process, and so nothing of it would ever be collected. */
  end(): void {
    this.engine = undefined
    this.held = []
  }
}

export class Simulation {
  readonly #schedule: Schedule
  readonly #world: World
  #frames: ModelFrame[] = []
  /** Frames of writers that died before they moved the tail, with others in their places since. */
  #overwritten: ModelFrame[] = []
  #acknowledged = 0
  /** The newest tree that somebody has read. What has been read is not lost either. */
  #seen = 0
  /** Puts right what was damaged in the log, while it is. */
  #undoRot: (() => void) | undefined
  #headerRot = false
  /**
   * Where frames begin that the last power cut left out of the log, because something before them is missing, and
   * left there whole.
   */
  #stranded: number[] = []
  #powerWasCut = false
  /** Somebody has died in the middle of something since everything was verified last. */
  #deathsUnverified = false
  /** Whoever acts mostly writes. */
  #isWriteBurst = false
  #actors: SimProcess[] = []
  /** All that there ever were. */
  readonly #everyActor: SimProcess[] = []
  #nextActor = 1
  #nextValue = 1
  readonly #options
  /** Bytes of a usual value; 0 for so many that its frame ends where a sector does. */
  readonly #usualLength: number
  readonly report = newReport()

  /** `only`: the events that may happen; all that the seed holds if left out. */
  constructor(
    readonly seed: number,
    only?: ReadonlySet<string>,
  ) {
    this.#schedule = new Schedule(seed, only)
    this.#world = new World(this.#schedule)
    this.#world.onLogWrite = (bytes) => this.#noteFrame(bytes)
    this.#world.turns = { interrupt: () => this.#act(), overtake: () => this.#overtake() }
    this.#usualLength = this.#schedule.random.pick([24, 24, 200, 0, 0, 0, 1500])
    this.#options = resolveOptions('/db', {
      ...OPTIONS,
      segmentBytes: this.#schedule.random.pick([4096, 8192, 16384, 65536]),
      checkpointBytes: 65536,
      // So little that readers are ended all the time, or never.
      maxHeldBytes: this.#schedule.random.pick([65536, 65536, Infinity]),
      readAheadBytes: this.#schedule.random.pick([Infinity, 0]),
    })
  }

  get #random() {
    return this.#schedule.random
  }
  /** Names of all events that happened. */
  get events(): readonly string[] {
    return this.#schedule.happened
  }
  get trace(): readonly string[] {
    return this.#world.trace
  }

  /** Lives `lives` lives. Throws `Failure`. */
  run(lives: number): LifeReport {
    observeCrashPoints((point) => this.#world.step(point))
    observeReads(() => this.#stepOfReader())
    try {
      for (let i = 1; i <= lives; i++) this.#schedule.within(`life ${i}`, () => this.#live())
      this.#schedule.within('what is left', () => this.#recover(CALM))
    } finally {
      for (const actor of this.#everyActor) actor.end()
      observeCrashPoints(undefined)
      observeReads(undefined)
      this.report.steps = this.#world.steps
    }
    return this.report
  }

  // ---- the model -------------------------------------------------------------------------------

  #noteFrame(bytes: Uint8Array): void {
    const noted = frameOf(bytes, (this.#world.running as SimProcess | undefined)?.name ?? '')
    if (noted === undefined) return
    // A writer that died before it moved the tail left room for this one. What it wrote may be on the
    // disk all the same, and come back if the power is cut before this one is there.
    this.#overwritten.push(...this.#frames.filter((frame) => frame.lsn === noted.lsn))
    this.#frames = [...this.#frames.filter((frame) => frame.lsn < noted.lsn), noted]
  }

  /** The log ends at `toLsn` now: which frames are in it? */
  #settle(toLsn: number, isRight: () => boolean): void {
    const frames = this.#frames
    this.#frames = frames.filter((frame) => frame.end <= toLsn)
    if (isRight()) return this.#forgetOverwritten()
    for (const other of this.#overwritten) {
      if (other.end !== toLsn || other.lsn < this.#acknowledged) continue
      this.#frames = [...frames.filter((frame) => frame.lsn < other.lsn), other]
      if (isRight()) return this.#forgetOverwritten()
    }
    this.#frames = frames.filter((frame) => frame.end <= toLsn)
  }

  #forgetOverwritten(): void {
    this.#overwritten = []
  }

  #compare(what: string, found: Map<string, string>, lsn: number): void {
    this.#seen = Math.max(this.#seen, lsn)
    const wrong = difference(found, stateAt(this.#frames, lsn))
    if (wrong !== undefined) throw this.#failure(`${what} at LSN ${lsn}: ${wrong}`)
  }

  #failure(why: string): Failure {
    return new Failure(`seed ${this.seed}, life ${this.report.lives}: ${why}`)
  }

  // ---- one life --------------------------------------------------------------------------------

  #live(): void {
    const random = this.#random
    this.report.lives++
    const stormy = random.next()
    const interrupt = random.pick([0, 0.05, 0.2])
    const rates: WorldRates = {
      writeBack: random.pick([0, 0.02, 0.1]),
      interrupt,
      interruptFlush: interrupt,
      kill: random.pick([0, 0, 0.002, 0.01]),
      cut: random.pick([0, 0, 0.0005, 0.005]),
      fault: random.pick([0, 0, 0, 0.005, 0.02]),
      flush: random.pick([2, 4, 10]),
    }
    // Short ones leave the log ending where the one before may have left something behind.
    const operations = stormy < 0.45 ? random.between(0, 3) : random.between(5, stormy < 0.55 ? 120 : 40)
    const ending = random.next()
    const beginsLarge = random.chance(0.2)
    const revisitRoll = this.#powerWasCut ? random.next() : 1
    this.#stranded = [...this.#frames, ...this.#overwritten]
      .filter((frame) => this.#inLog(frame))
      .map((frame) => frame.lsn)
    this.#powerWasCut = false
    this.#deathsUnverified = false
    this.#isWriteBurst = false
    try {
      // What an interrupted recovery has erased, the next one flushes.
      this.#recover(this.#stranded.length > 0 && revisitRoll < 0.7 ? { ...CALM, writeBack: rates.writeBack } : rates)
      if (revisitRoll < (this.#stranded.length > 0 ? 0.8 : 0.1))
        this.#schedule.within('echo', () => this.#revisitTornTail())
      this.#world.rates = rates
      if (beginsLarge) this.#schedule.within('large', () => this.#beginLarge())
      for (let i = 1; i <= operations; i++) this.#schedule.within(`${i}`, () => this.#act())
      this.#schedule.within('end', () => this.#end(ending))
    } catch (error) {
      if (!(error instanceof Outage)) throw error
    }
    // Whatever ended it, its processes are gone.
    if (this.#world.outage === 'power cut') this.#afterCut()
    else this.#endAllProcesses()
  }

  /**
   * Writes more than the segment may hold that the log goes on in: once; or a few times, most of which fail, and then
   * it is over.
   */
  #beginLarge(): void {
    const isTroubled = this.#random.chance(0.4)
    if (isTroubled) this.#world.rates = { ...CALM, fault: 0.2 }
    for (let i = isTroubled ? 3 : 1; i > 0 && this.#actors.length > 0; i--) {
      const actor = this.#actors[0]!
      this.#as(actor, () => this.#writeMuch(actor))
    }
    if (isTroubled) this.#world.end(this.#random.chance(0.5) ? 'power cut' : 'all killed')
  }

  /**
   * Leads the log up to where the power cut before this life left a whole frame behind a torn one, if it did.
   * Then all are killed, or the power is cut in the middle of it.
   */
  #revisitTornTail(): void {
    const random = this.#random
    const isCut = random.chance(0.8)
    if (isCut) this.#world.rates = { ...CALM, writeBack: 0.1, cut: 0.005, flush: 200 }
    const actor = this.#actors[0]!
    for (let i = random.between(1, 2); i > 0; i--) {
      this.#as(actor, () => {
        const visible = actor.engine!.stats().log.visibleLsn
        const ahead = this.#stranded.filter((lsn) => lsn > visible)
        const value = ahead.length > 0 ? this.#valueOf(random.pick(ahead) - visible) : this.#usualValue()
        actor.engine!.put(keyOf(i), value)
        this.#acknowledge()
      })
    }
    this.#world.end(isCut ? 'power cut' : 'all killed')
  }

  /** Opens the database, perhaps interrupted again and again, and checks what is there. */
  #recover(rates: WorldRates): void {
    // What a power cut during the last opening kept from being noticed is still there.
    if (this.#undoRot === undefined) this.#schedule.within('rot', () => this.#rot())
    this.#world.rates = {
      writeBack: rates.writeBack,
      interrupt: 0,
      interruptFlush: 0,
      kill: rates.kill * 2,
      // A database that is being made has more to lose than one that is being recovered.
      cut: this.#acknowledged === 0 ? rates.cut * 6 : this.#random.chance(0.3) ? rates.cut * 3 : 0,
      fault: rates.fault,
      flush: 10,
    }
    for (;;) {
      const actor = this.#spawn()
      if (actor.engine === undefined) {
        this.#undoRot?.()
        this.#undoRot = undefined
        this.report.interruptedRecoveries++
        this.#endAllProcesses()
        const { kill, fault } = this.#world.rates
        this.#world.rates = { ...this.#world.rates, kill: kill / 2, fault: fault / 2 }
        continue
      }
      this.report.recoveries++
      const { freeListDamage } = actor.engine.recovery ?? {}
      // It can be made again, but nothing here damages it.
      if (freeListDamage !== undefined) throw this.#failure(`the free list is damaged: ${freeListDamage.why}`)
      this.#undoRot = undefined
      this.#headerRot = false
      const toLsn = actor.engine.stats().log.visibleLsn
      if (toLsn < this.#acknowledged) {
        throw this.#failure(`acknowledged up to LSN ${this.#acknowledged}, and recovered only up to ${toLsn}`)
      }
      if (toLsn < this.#seen) throw this.#failure(`read at LSN ${this.#seen}, and recovered only up to ${toLsn}`)
      this.#stranded = this.#stranded.filter((lsn) => lsn > toLsn)
      this.#world.rates = CALM
      this.#as(actor, () => {
        const found = entriesOf(actor.engine!)
        this.#settle(toLsn, () => difference(found, stateAt(this.#frames, toLsn)) === undefined)
      })
      this.#checkAll(actor)
      return
    }
  }

  #rot(): void {
    const random = this.#random
    const roll = random.next()
    // There is nothing to be kept yet in a database that is still being made.
    if (roll < 0.1 && !this.#headerRot && this.report.recoveries > 0) {
      this.#headerRot = this.#world.destroy('/db/data', random.between(0, 3) * SLOT_BYTES, SLOT_BYTES)
    } else if (roll < 0.2) {
      const proven = this.#frames.filter((frame) => this.#inLog(frame))
      // What proves them must be on the disk itself, or the next power cut may take it away.
      const proofs = proven.filter((frame) => this.#onDisk(frame))
      const furthest = proofs.reduce((most, frame) => Math.max(most, frame.watermark), 0)
      const candidates = proven.filter((frame) => frame.end <= furthest)
      // The newest are the ones that may be needed.
      const frame = candidates.at(-random.between(1, Math.min(4, candidates.length)))
      if (frame === undefined) return
      const { path, position } = this.#place(frame)!
      const at = position + random.between(FRAME.LENGTH, frame.bytes.length - 1)
      this.#world.flip(path, at)
      this.#undoRot = () => {
        const now = this.#world.contents(path, position, frame.bytes.length)
        now[at - position] = frame.bytes[at - position]!
        // An opener may have got so far that the segment is no longer needed.
        if (now.equals(frame.bytes)) this.#world.flip(path, at)
      }
    }
  }

  /** Where in which segment a frame should be. */
  #place(frame: ModelFrame): { path: string; position: number } | undefined {
    const start = this.#segmentOf(frame.lsn)
    if (start === undefined) return undefined
    return { path: `/db/wal/${segmentName(start)}`, position: filePosition(start, frame.lsn as Lsn) }
  }

  /** Where the segment begins in which `lsn` should be. */
  #segmentOf(lsn: number): Lsn | undefined {
    const starts = this.#world.names('/db/wal').map((name) => segmentStart(name) ?? Infinity)
    const start = Math.max(...starts.filter((start) => start <= lsn))
    return Number.isFinite(start) ? (start as Lsn) : undefined
  }

  #inLog(frame: ModelFrame): boolean {
    const place = this.#place(frame)
    return (
      place !== undefined && this.#world.contents(place.path, place.position, frame.bytes.length).equals(frame.bytes)
    )
  }

  #onDisk(frame: ModelFrame): boolean {
    const place = this.#place(frame)
    return (
      place !== undefined &&
      this.#world.durableContents(place.path, place.position, frame.bytes.length).equals(frame.bytes)
    )
  }

  #spawn(): SimProcess {
    const actor = new SimProcess(`p${this.#nextActor++}`)
    this.#everyActor.push(actor)
    this.#as(actor, () => {
      actor.engine = Engine.open(this.#options, this.#world.storageFor(actor))
    })
    if (!actor.dead && actor.engine !== undefined) this.#actors.push(actor)
    return actor
  }

  /** Runs `act` as a process of this world. What it is refused for lack of a lock is not a failure. */
  #as(actor: SimProcess, act: () => void): void {
    const before = this.#world.running
    this.#world.running = actor
    actor.busy = true
    try {
      act()
      // Its code may have taken its death for an error of no consequence, where what it did had been done.
      if (actor.dead) throw new Killed()
    } catch (error) {
      if (error instanceof Outage) throw error
      // Typed errors may wrap what the world threw.
      if (this.#world.outage !== undefined) throw new Outage()
      if (error instanceof Killed || actor.dead) {
        this.#world.remove(actor)
        this.#actors = this.#actors.filter((other) => other !== actor)
        this.#deathsUnverified = true
        actor.engine = undefined
        this.report.kills++
        return
      }
      // What readers see then is not promised; what the next opener finds is.
      if (this.#world.stale) return
      // What another process found wrong while this one stood still.
      for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof Failure) throw cause
      if (error instanceof MmapdbError && this.#isExcused(error)) {
        this.#world.note(`${actor.name} is told: ${error.code}`)
        return
      }
      throw this.#failure(`${actor.name}: ${(error as Error).message}\n${(error as Error).stack}`)
    } finally {
      actor.busy = false
      this.#world.running = before
    }
  }

  /** What an operation may be refused with: a lock that somebody holds, and what a fault leads to. */
  #isExcused({ code, cause }: MmapdbError): boolean {
    if (code === 'ERR_MMAPDB_OUTCOME_UNKNOWN') return cause instanceof MmapdbError && this.#isExcused(cause)
    if (code === 'ERR_MMAPDB_LOCKED') return true
    if (code === 'ERR_MMAPDB_EXPIRED') return this.#options.maxHeldBytes !== Infinity
    if (code === 'ERR_MMAPDB_CORRUPT') return this.#undoRot !== undefined
    return this.#world.faults > 0 && (code === 'ERR_MMAPDB_IO' || code === 'ERR_MMAPDB_FULL')
  }

  /** Something that some process which is not in the middle of something does. */
  #act(): void {
    const random = this.#random
    const idle = this.#actors.filter((actor) => !actor.busy && !actor.dead)
    const roll = random.next()
    if ((roll < 0.05 && this.#actors.length < 4) || idle.length === 0) {
      if (this.#actors.length < 4 && (idle.length > 0 || this.#actors.length === 0 || this.#world.depth <= 1))
        this.#spawn()
      return
    }
    const actor = random.pick(idle)
    this.report.operations++
    // What the dead leave shows when others make something of it.
    const unverifiedRoll = this.#deathsUnverified && this.#world.depth === 0 ? random.next() : 1
    if (this.#isWriteBurst && random.chance(0.7)) this.#as(actor, () => this.#write(actor))
    else if (unverifiedRoll < 0.15) this.#as(actor, () => this.#checkAll(actor))
    else if (unverifiedRoll < 0.3) this.#as(actor, () => void actor.engine!.checkpoint(true))
    else if (roll < 0.58) this.#as(actor, () => this.#write(actor))
    else if (roll < 0.68) this.#as(actor, () => void actor.engine!.checkpoint(random.chance(0.5)))
    else if (roll < 0.84) this.#as(actor, () => this.#read(actor))
    else if (roll < 0.88) this.#as(actor, () => this.#hold(actor))
    else if (roll < 0.92) this.#as(actor, () => this.#lookAgain(actor))
    else if (roll < 0.94 && this.#world.depth === 0) this.#as(actor, () => this.#checkAll(actor))
    else if (roll < 0.97) this.#close(actor)
    else this.#as(actor, () => this.#writeMuch(actor))
  }

  #value(): string {
    const random = this.#random
    const roll = random.next()
    // Mostly of one length, as keys are: what a torn tail leaves lies where later frames may lead up to it.
    if (roll >= 0.1 && roll < 0.75) return this.#usualValue()
    return `${this.#nextValue++}:`.padEnd(roll < 0.1 ? random.skewed(900, 20_000) : random.between(0, 120), 'v')
  }
  #usualValue(): string {
    return this.#usualLength > 0 && !(this.#isWriteBurst && this.#random.chance(0.8))
      ? this.#valueFilling(this.#usualLength)
      : this.#valueOf(this.#toEndOfSector())
  }
  #valueFilling(length: number): string {
    return `${this.#nextValue++}:`.padEnd(length, 'v')
  }
  /** A value that alone makes a frame which takes so many bytes of the log, if that can be. */
  #valueOf(stride: number): string {
    return this.#valueFilling(Math.min(stride, 20_000) - SMALLEST_STRIDE)
  }
  /** From where the log ends to where a sector does that has room for a frame. */
  #toEndOfSector(): number {
    const end = this.#frames.at(-1)?.end ?? FIRST_LSN
    const start = this.#segmentOf(end)
    const bytes = SECTOR_BYTES - ((start === undefined ? 0 : filePosition(start, end as Lsn)) % SECTOR_BYTES)
    return bytes > SMALLEST_STRIDE + 8 ? bytes : bytes + SECTOR_BYTES
  }

  #operation(): BatchOperation<string> {
    const key = keyOf(this.#random.skewed(1, 300))
    return this.#random.chance(0.75) ? { type: 'put', key, value: this.#value() } : { type: 'del', key }
  }

  #write(actor: SimProcess): void {
    this.#commit(actor, (engine) => {
      if (this.#isWriteBurst && this.#random.chance(0.7))
        return engine.put(keyOf(this.#random.skewed(1, 300)), this.#usualValue())
      const count = this.#random.chance(0.3) ? this.#random.between(2, 20) : 1
      engine.batch(Array.from({ length: count }, () => this.#operation()))
    })
  }

  #writeMuch(actor: SimProcess): void {
    const from = this.#random.between(0, 500)
    const count = this.#random.between(50, 300)
    const del = this.#random.chance(0.3)
    this.#commit(actor, (engine) =>
      engine.batch(
        Array.from({ length: count }, (_, i) =>
          del
            ? { type: 'del' as const, key: keyOf(from + i) }
            : { type: 'put' as const, key: keyOf(from + i), value: this.#value() },
        ),
      ),
    )
  }

  /** A write: acknowledged, or refused and not in the log, unless its error says that this is not known. */
  #commit(actor: SimProcess, write: (engine: Engine) => void): void {
    const engine = actor.engine!
    const tail = (): number => engine.parts.control.append.read(newAppendFields()).tailLsn
    const before = tail()
    try {
      write(engine)
    } catch (error) {
      const isRefused = error instanceof MmapdbError && error.code !== 'ERR_MMAPDB_OUTCOME_UNKNOWN'
      if (isRefused && !actor.dead && this.#world.outage === undefined) {
        const now = tail()
        const inLog = this.#frames.find(({ writer, lsn, end }) => writer === actor.name && lsn >= before && end <= now)
        if (inLog !== undefined)
          throw this.#failure(
            `${actor.name} is told that nothing was written (${error.code}), and its frame is at LSN ${inLog.lsn}`,
          )
      }
      throw error
    }
    this.#acknowledge()
  }

  /** Everything that this process can see by now includes what it has just been told is safe. */
  #acknowledge(): void {
    const actor = this.#world.running as SimProcess
    this.report.acknowledged++
    // The write that was acknowledged lies before what is visible and on disk.
    const end = actor.engine!.lastCommit
    this.#acknowledged = Math.max(this.#acknowledged, end)
  }

  #read(actor: SimProcess, mayBeOvertaken = true): void {
    const snapshot = actor.engine!.snapshot()
    if (mayBeOvertaken) this.#beginRead()
    try {
      const entries = entriesOf(snapshot)
      // Others may write before it is read again.
      this.#world.step('between reads')
      const again = [...(snapshot.range({ reverse: true }, 'entries') as Iterable<[string, string]>)].reverse()
      this.#compare('a snapshot', entries, snapshot.lsn)
      this.#compare('the same snapshot, backwards', new Map(again), snapshot.lsn)
      this.#lookUp(snapshot, entries)
    } finally {
      this.#stepsUntilOvertaken = 0
      if (!actor.dead && this.#world.outage === undefined) snapshot.close()
    }
  }

  /** Some reads are overtaken at one of their steps: others write until what is read has become something else. */
  #beginRead(): void {
    const isOvertaken = this.#options.maxHeldBytes !== Infinity && this.#world.depth === 0 && this.#random.chance(0.8)
    this.#stepsUntilOvertaken = isOvertaken ? this.#random.skewed(1, 200) : 0
  }
  #stepOfReader(): void {
    if (this.#stepsUntilOvertaken > 0 && --this.#stepsUntilOvertaken === 0) this.#world.step(READING)
  }
  #stepsUntilOvertaken = 0

  #overtake(): void {
    let actor = this.#actors.find((other) => !other.busy && !other.dead)
    if (actor === undefined && this.#actors.length < 4) actor = this.#spawn()
    for (let i = 0; i < GROUPS_TO_OVERTAKE && actor?.engine !== undefined && !actor.dead; i++) {
      const writer = actor
      this.#as(writer, () => this.#writeMuch(writer))
    }
  }

  /** The other ways to read a snapshot, whose entries are known. */
  #lookUp(snapshot: EngineSnapshot, entries: Map<string, string>): void {
    const random = this.#random
    const is = (what: string, found: unknown, expected: unknown): void => {
      if (found !== expected)
        throw this.#failure(`${what} at LSN ${snapshot.lsn}: ${String(found)} and should be ${String(expected)}`)
    }
    for (let i = 0; i < 8; i++) {
      const key = keyOf(random.skewed(1, 300))
      const value = entries.get(key)
      if (random.chance(0.5)) is(`get of ${key}`, snapshot.get(key), value)
      else is(`getEntry of ${key}`, snapshot.getEntry(key)?.value, value)
      is(`has of ${key}`, snapshot.has(key), value !== undefined)
    }
    const from = keyOf(random.skewed(1, 300))
    const expected = [...entries.keys()].filter((key) => key >= from).length
    is('the count', snapshot.range({ gte: from, reverse: random.chance(0.5) }, 'keys').count(), expected)
    is('the count of all', snapshot.range({}, 'keys').count(), entries.size)
  }

  /** Keeps a snapshot open while others write, and slots that it reaches are freed. */
  #hold(actor: SimProcess): void {
    actor.held.push(actor.engine!.snapshot())
  }

  #lookAgain(actor: SimProcess): void {
    const snapshot = actor.held.shift()
    if (snapshot === undefined) return
    let isKept = false
    this.#beginRead()
    try {
      const entries = entriesOf(snapshot)
      this.#compare('a snapshot held for long', entries, snapshot.lsn)
      this.#lookUp(snapshot, entries)
      isKept = this.#random.chance(0.5)
      if (isKept) actor.held.push(snapshot)
    } finally {
      this.#stepsUntilOvertaken = 0
      if (!isKept && !actor.dead && this.#world.outage === undefined) snapshot.close()
    }
  }

  #checkAll(actor: SimProcess): void {
    const engine = actor.engine!
    const report = verify(engine)
    this.#deathsUnverified = false
    if (!report.ok) throw this.#failure(`verification: ${JSON.stringify(report.damage.slice(0, 3))}`)
    this.#read(actor, false)
  }

  #close(actor: SimProcess): void {
    this.#as(actor, () => actor.engine!.close())
    this.#actors = this.#actors.filter((other) => other !== actor)
  }

  /** The end of a life: closed by all, all killed, or the power cut. */
  #end(ending: number): void {
    if (ending < 0.3) {
      // Others may be opening it meanwhile.
      while (this.#actors.length > 0) this.#close(this.#actors[0]!)
    } else if (ending >= 0.5) {
      // In the middle of something, with several frames under way if possible: several write at once.
      const { rates } = this.#world
      this.#isWriteBurst = this.#random.chance(0.8)
      if (this.#isWriteBurst)
        for (let i = 1; this.#actors.length < 4 && i <= 3; i++) this.#schedule.within(`joins ${i}`, () => this.#spawn())
      this.#world.rates = this.#isWriteBurst
        ? { ...rates, interrupt: 0.03, interruptFlush: 0.9, cut: 0.003, kill: 0.0005, flush: 100 }
        : { ...rates, interrupt: 0.3, interruptFlush: 0.3, cut: 0.03, kill: Math.max(rates.kill, 0.004) }
      const [actor] = this.#actors
      if (actor !== undefined && this.#random.chance(0.3)) {
        this.#schedule.within('last', () => this.#as(actor, () => void actor.engine!.checkpoint(true)))
      }
      for (let i = 1; i <= 20; i++) this.#schedule.within(`last ${i}`, () => this.#act())
      this.#world.end('power cut')
    }
  }

  #endAllProcesses(): void {
    this.#actors = []
    this.report.faults += this.#world.faults
    this.#world.endAllProcesses()
  }

  #afterCut(): void {
    this.report.cuts++
    this.#powerWasCut = true
    this.#actors = []
    this.report.faults += this.#world.faults
    this.#world.restart()
  }
}

function difference(found: Map<string, string>, expected: Map<string, string>): string | undefined {
  for (const [key, value] of expected) {
    if (found.get(key) !== value) return `${key} is ${brief(found.get(key))} and should be ${brief(value)}`
  }
  if (found.size === expected.size) return undefined
  return `${[...found.keys()].find((key) => !expected.has(key))} should not be there`
}

const entriesOf = (from: Engine | EngineSnapshot): Map<string, string> =>
  new Map(from.range({}, 'entries') as Iterable<[string, string]>)

const keyOf = (n: number): string => `k${String(n).padStart(3, '0')}`

/** What a frame takes that holds one key and an empty value. */
const SMALLEST_STRIDE = frameStride(
  FRAME.HEADER_BYTES + OP.HEADER_BYTES + encodeKey(keyOf(1), Buffer.alloc(KEY_BUFFER_BYTES)),
)

const brief = (text: string | undefined): string =>
  text === undefined ? 'absent' : `"${text.slice(0, 12)}" (${text.length})`
