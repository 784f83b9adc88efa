// The processes of a simulated world: they open the database, do something as long as they live, and die.
import type { KeySpace } from '../../src/encoding/key-space.js'
import { Engine } from '../../src/engine/engine.js'
import { keepLog } from '../../src/engine/lifecycle/keep-log.js'
import type { EngineSnapshot } from '../../src/engine/read/snapshot.js'
import { MmapdbError } from '../../src/errors.js'
import type { Context } from './context.js'
import { Failure } from './report.js'
import { isResultGone } from './result-gone.js'
import { Killed, Outage, type Process } from './world.js'

const MAX_PROCESSES = 4

export class SimProcess implements Process {
  dead = false
  busy = false
  engine: Engine | undefined
  /** Snapshots that it keeps open from one operation to another. */
  openSnapshots: EngineSnapshot[] = []
  /** Named stores that it has open, by their names; some of them may be gone. */
  readonly openStores = new Map<string, KeySpace>()
  constructor(readonly name: string) {}

  /** Drops all references: the locks of a world know their process, and so nothing of it would ever be collected. */
  end(): void {
    this.engine = undefined
    this.openSnapshots = []
    this.openStores.clear()
  }
}

export class Processes {
  readonly #context: Context
  #living: SimProcess[] = []
  /** All that there ever were. */
  readonly #all: SimProcess[] = []
  #nextNumber = 1
  /** A process has died in the middle of something since everything was verified last. */
  deathsUnverified = false

  constructor(context: Context) {
    this.#context = context
  }

  get living(): readonly SimProcess[] {
    return this.#living
  }
  /** Those that are not in the middle of something. */
  get idle(): readonly SimProcess[] {
    return this.#living.filter((actor) => !actor.busy && !actor.dead)
  }
  get isRoomForOne(): boolean {
    return this.#living.length < MAX_PROCESSES
  }
  /** The process that is running. */
  get running(): SimProcess | undefined {
    return this.#context.world.running as SimProcess | undefined
  }

  /** Starts a process that opens the database; it has no engine if it could not. */
  spawn(): SimProcess {
    const { options, world, retention } = this.#context
    const actor = new SimProcess(`p${this.#nextNumber++}`)
    this.#all.push(actor)
    this.as(actor, () => {
      actor.engine = Engine.open(options, world.storageFor(actor))
      this.#collectSlowly(actor.engine)
      if (retention === undefined || !keepLog(actor.engine.parts, retention)) return
      actor.engine.checkpoint(true)
      this.#context.isRetentionStored = true
    })
    if (!actor.dead && actor.engine !== undefined) this.#living.push(actor)
    return actor
  }

  /** The databases here are small: so that the trash of one clear lasts for several groups, each frees only a part. */
  #collectSlowly({ parts: { applier } }: Engine): void {
    const { slotsOfTrash } = this.#context
    const apply = applier.apply.bind(applier)
    applier.apply = (state, reader, end, most = 0) => apply(state, reader, end, Math.min(most, slotsOfTrash))
  }

  close(actor: SimProcess): void {
    this.as(actor, () => actor.engine!.close())
    this.#forget(actor)
  }

  #forget(actor: SimProcess): void {
    this.#living = this.#living.filter((other) => other !== actor)
  }

  /** All are gone at once. */
  forgetLiving(): void {
    this.#living = []
  }

  /** The simulation is over. */
  end(): void {
    for (const actor of this.#all) actor.end()
  }

  /** Runs `act` as a process of this world. What it is refused for lack of a lock is not a failure. */
  as(actor: SimProcess, act: () => void): void {
    const { world, report } = this.#context
    const before = world.running
    world.running = actor
    actor.busy = true
    try {
      act()
      // Its code may have taken its death, or the end of all, for an error of no consequence, where what it did had
      // been done.
      if (world.outage !== undefined) throw new Outage()
      if (actor.dead) throw new Killed()
    } catch (error) {
      if (error instanceof Outage) throw error
      // Typed errors may wrap what the world threw.
      if (world.outage !== undefined) throw new Outage()
      if (error instanceof Killed || actor.dead) {
        world.remove(actor)
        this.#forget(actor)
        this.deathsUnverified = true
        actor.engine = undefined
        report.kills++
        return
      }
      // What readers see then is not promised; what the next opener finds is.
      if (world.stale) return
      // What another process found wrong while this one stood still.
      for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof Failure) throw cause
      if (error instanceof MmapdbError && this.#isExcused(error, actor)) {
        world.note(`${actor.name} is told: ${error.code}`)
        return
      }
      throw this.#context.failure(`${actor.name}: ${(error as Error).message}\n${(error as Error).stack}`)
    } finally {
      actor.busy = false
      world.running = before
    }
  }

  /** What an operation may be refused with: a lock that another process holds, and what a fault leads to. */
  #isExcused(error: MmapdbError, actor: SimProcess): boolean {
    const { code, cause } = error
    if (cause instanceof MmapdbError && code === 'ERR_MMAPDB_OUTCOME_UNKNOWN') return this.#isExcused(cause, actor)
    if (actor.engine !== undefined && isResultGone(actor.engine, error)) return true
    if (code === 'ERR_MMAPDB_LOCKED') return true
    if (code === 'ERR_MMAPDB_EXPIRED') return this.#context.readersExpire
    if (code === 'ERR_MMAPDB_CORRUPT') return this.#context.logFiles.isLogDamaged
    return this.#context.world.faults > 0 && (code === 'ERR_MMAPDB_IO' || code === 'ERR_MMAPDB_FULL')
  }
}
