// One life of a database after another: what its processes do, one step within another, and how each life ends.
//
// The names of events (`large`, `echo`, `rot`, ...) are keys of what chance decides in them: another name would make
// other lives of the same seeds.
import { bytesBetween } from '../../src/wal/lsn.js'
import { CALM, Outage, type WorldRates } from './world.js'
import type { Context } from './context.js'
import { Following } from './following.js'
import type { Processes } from './processes.js'
import { Reads } from './reads.js'
import { Recovery } from './recovery.js'
import { NamedStores } from './stores.js'
import { Transactions } from './transactions.js'
import { keyOf, Writes } from './writes.js'

const YEAR_MS = 365 * 86_400_000
/** One that is more than may be held back, one that ends the reader, and some until its slots have their turn. */
const GROUPS_TO_OVERTAKE = 5

export class Lives {
  readonly #context: Context
  readonly #processes: Processes
  readonly #writes: Writes
  readonly #stores: NamedStores
  readonly #transactions: Transactions
  readonly #reads: Reads
  readonly #following: Following
  readonly #recovery: Recovery
  #powerWasCut = false
  /** The life before ended while calls failed that make a segment. */
  #segmentIsTroubled = false

  constructor(context: Context, processes: Processes) {
    this.#context = context
    this.#processes = processes
    this.#writes = new Writes(context, processes)
    this.#stores = new NamedStores(context, this.#writes)
    this.#transactions = new Transactions(context, processes, this.#writes, this.#stores)
    this.#reads = new Reads(context, processes)
    this.#following = new Following(context)
    this.#recovery = new Recovery(context, processes, this.#reads, this.#following)
    context.world.turns = { interrupt: () => this.#act(), overtake: () => this.#overtake() }
  }

  /** Called between two loads of a reader that can be ended. */
  stepOfReader(): void {
    this.#reads.stepOfReader()
  }

  /** After the last life: everything that is left must be right. */
  recoverInPeace(): void {
    this.#recovery.recover(CALM)
  }

  // ---- a life ----------------------------------------------------------------------------------

  live(): void {
    const { random, report, schedule, world } = this.#context
    report.lives++
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
    // Short ones leave the log ending where the one before may have left something after its end.
    const operations = stormy < 0.45 ? random.between(0, 3) : random.between(5, stormy < 0.55 ? 120 : 40)
    const ending = random.next()
    const startsLarge = random.chance(0.2)
    const revisitRoll = this.#powerWasCut ? random.next() : 1
    const recovery = this.#recovery
    recovery.findStranded()
    this.#powerWasCut = false
    const wasTroubled = this.#segmentIsTroubled && random.chance(0.5)
    this.#segmentIsTroubled = false
    this.#processes.deathsUnverified = false
    this.#writes.isBurst = false
    try {
      // What an interrupted recovery has erased, the next one flushes.
      recovery.recover(
        recovery.strandedLsns.length > 0 && revisitRoll < 0.7 ? { ...CALM, writeBack: rates.writeBack } : rates,
      )
      if (revisitRoll < (recovery.strandedLsns.length > 0 ? 0.8 : 0.1))
        schedule.within('echo', () => this.#revisitTornTail())
      world.rates = rates
      if (wasTroubled) schedule.within('aftermath', () => this.#writeAndCut())
      if (startsLarge) schedule.within('large', () => this.#outgrowSegment())
      for (let i = 1; i <= operations; i++) schedule.within(`${i}`, () => this.#act())
      schedule.within('end', () => this.#end(ending))
    } catch (error) {
      if (!(error instanceof Outage)) throw error
    }
    // Whatever ended it, its processes are gone.
    if (world.outage === 'power cut') this.#afterCut()
    else recovery.endAllProcesses()
  }

  /**
   * Writes more than the segment may hold that the log goes on in: once; or a few times, most of which fail, and then
   * it is over.
   */
  #outgrowSegment(): void {
    const { random, world } = this.#context
    const isTroubled = random.chance(0.4)
    if (isTroubled) world.rates = { ...CALM, fault: 0.2 }
    for (let i = isTroubled ? 3 : 1; i > 0 && this.#processes.living.length > 0; i--) {
      const actor = this.#processes.living[0]!
      this.#processes.as(actor, () => this.#writes.writeMuch(actor))
    }
    this.#segmentIsTroubled = isTroubled
    if (isTroubled) world.end(random.chance(0.5) ? 'power cut' : 'all killed')
  }

  /**
   * After a life that ended while a segment was being made: a few writes, and the power is cut. What the disk has of
   * that segment may be more than what programs saw of it.
   */
  #writeAndCut(): void {
    const { random, world } = this.#context
    world.rates = CALM
    const actor = this.#processes.living[0]!
    for (let i = random.between(1, 3); i > 0; i--) {
      this.#processes.as(actor, () => {
        actor.engine!.put(keyOf(i), this.#writes.usualValue())
        this.#writes.acknowledge()
      })
    }
    world.end('power cut')
  }

  /**
   * Leads the log up to where the power cut before this life left a whole frame after a torn one, if it did.
   * Then all are killed, or the power is cut in the middle of it.
   */
  #revisitTornTail(): void {
    const { random, world } = this.#context
    const writes = this.#writes
    const isCut = random.chance(0.8)
    if (isCut) world.rates = { ...CALM, writeBack: 0.1, cut: 0.005, flush: 200 }
    const actor = this.#processes.living[0]!
    for (let i = random.between(1, 2); i > 0; i--) {
      this.#processes.as(actor, () => {
        const visible = actor.engine!.stats().log.visibleLsn
        const ahead = this.#recovery.strandedLsns.filter((lsn) => lsn > visible)
        const value = ahead.length > 0 ? writes.valueOf(bytesBetween(visible, random.pick(ahead))) : writes.usualValue()
        actor.engine!.put(keyOf(i), value)
        writes.acknowledge()
      })
    }
    world.end(isCut ? 'power cut' : 'all killed')
  }

  // ---- what processes do -----------------------------------------------------------------------

  /** Something that some process which is not in the middle of something does. */
  #act(): void {
    const { random, report, world } = this.#context
    const processes = this.#processes
    const { idle } = processes
    const roll = random.next()
    if ((roll < 0.05 && processes.isRoomForOne) || idle.length === 0) {
      if (processes.isRoomForOne && (idle.length > 0 || processes.living.length === 0 || world.depth <= 1))
        processes.spawn()
      return
    }
    const actor = random.pick(idle)
    report.operations++
    this.#letTimePass()
    // What the dead leave shows when others make something of it.
    const unverifiedRoll = processes.deathsUnverified && world.depth === 0 ? random.next() : 1
    const as = (act: () => void): void => processes.as(actor, act)
    const checkpoint = (isForced: boolean): void => void actor.engine!.checkpoint(isForced)
    if (this.#writes.isBurst && random.chance(0.7)) as(() => this.#writes.write(actor))
    else if (unverifiedRoll < 0.15) as(() => this.#reads.checkAll(actor))
    else if (unverifiedRoll < 0.3) as(() => checkpoint(true))
    else if (roll < 0.16) as(() => this.#transactions.transact(actor))
    else if (roll < 0.42) as(() => this.#writes.write(actor))
    else if (roll < 0.56) as(() => this.#stores.act(actor))
    else if (roll < 0.59) as(() => this.#writes.sweep(actor))
    else if (roll < 0.68) as(() => checkpoint(random.chance(0.5)))
    else if (roll < 0.74) as(() => this.#following.follow(actor))
    else if (roll < 0.84) as(() => this.#reads.read(actor))
    else if (roll < 0.88) as(() => this.#reads.keepSnapshot(actor))
    else if (roll < 0.92) as(() => this.#reads.readKeptSnapshot(actor))
    else if (roll < 0.94 && world.depth === 0) as(() => this.#reads.checkAll(actor))
    else if (roll < 0.97) processes.close(actor)
    else as(() => this.#writes.writeMuch(actor))
  }

  #letTimePass(): void {
    const { random, world } = this.#context
    world.clocks.pass(random.between(0, 20))
    if (!random.chance(0.02)) return
    const byMs = random.pick([-YEAR_MS, -1000, -30, 30, 1000, YEAR_MS])
    world.note(`the clock is set by ${byMs} ms`)
    world.clocks.set(byMs)
  }

  /** Others write until what an overtaken reader reads has become something else. */
  #overtake(): void {
    const processes = this.#processes
    let actor = processes.idle[0]
    if (actor === undefined && processes.isRoomForOne) actor = processes.spawn()
    for (let i = 0; i < GROUPS_TO_OVERTAKE && actor?.engine !== undefined && !actor.dead; i++) {
      const writer = actor
      processes.as(writer, () => this.#writes.writeMuch(writer))
    }
  }

  // ---- how it ends -----------------------------------------------------------------------------

  /** The end of a life: closed by all, all killed, or the power cut. */
  #end(ending: number): void {
    const processes = this.#processes
    if (ending < 0.3) {
      // Others may be opening it meanwhile.
      while (processes.living.length > 0) processes.close(processes.living[0]!)
    } else if (ending >= 0.5) {
      this.#endInTheMiddle()
    }
  }

  /** The power is cut in the middle of something, with several frames under way if possible: several write at once. */
  #endInTheMiddle(): void {
    const { random, schedule, world } = this.#context
    const processes = this.#processes
    const { rates } = world
    const isBurst = (this.#writes.isBurst = random.chance(0.8))
    if (isBurst)
      for (let i = 1; processes.isRoomForOne && i <= 3; i++) schedule.within(`joins ${i}`, () => processes.spawn())
    world.rates = isBurst
      ? { ...rates, interrupt: 0.03, interruptFlush: 0.9, cut: 0.003, kill: 0.0005, flush: 100 }
      : { ...rates, interrupt: 0.3, interruptFlush: 0.3, cut: 0.03, kill: Math.max(rates.kill, 0.004) }
    const [actor] = processes.living
    if (actor !== undefined && random.chance(0.3)) {
      schedule.within('last', () => processes.as(actor, () => void actor.engine!.checkpoint(true)))
    }
    for (let i = 1; i <= 20; i++) schedule.within(`last ${i}`, () => this.#act())
    world.end('power cut')
  }

  #afterCut(): void {
    const { report, world } = this.#context
    report.cuts++
    this.#powerWasCut = true
    this.#processes.forgetLiving()
    report.faults += world.faults
    world.restart()
  }
}
