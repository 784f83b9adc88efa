// What happens between two lives: what the crash left is perhaps damaged, the database is opened, perhaps interrupted
// again and again, and what is there is checked against the model.
import type { Context } from './context.js'
import type { Following } from './following.js'
import { loggedFrames } from './logged-frames.js'
import type { Processes, SimProcess } from './processes.js'
import { entriesOf, type Reads } from './reads.js'
import { CALM, type WorldRates } from './world.js'

export class Recovery {
  readonly #context: Context
  readonly #processes: Processes
  readonly #reads: Reads
  readonly #following: Following
  /**
   * Where frames begin that the last power cut left out of the log, because something before them is missing, and
   * left there whole.
   */
  #strandedLsns: readonly number[] = []

  constructor(context: Context, processes: Processes, reads: Reads, following: Following) {
    this.#context = context
    this.#processes = processes
    this.#reads = reads
    this.#following = following
  }

  get strandedLsns(): readonly number[] {
    return this.#strandedLsns
  }

  /** Looks which frames are there whole; recovery decides which of them are stranded. */
  findStranded(): void {
    const { model, logFiles } = this.#context
    this.#strandedLsns = model.allFrames.filter((frame) => logFiles.has(frame)).map((frame) => frame.lsn)
  }

  endAllProcesses(): void {
    const { world, report } = this.#context
    this.#processes.forgetLiving()
    report.faults += world.faults
    world.endAllProcesses()
  }

  /** Opens the database, perhaps interrupted again and again, and checks what is there. */
  recover(rates: WorldRates): void {
    const { schedule, world, logFiles, model, report, random } = this.#context
    // What a power cut during the last opening kept from being noticed is still there. A database that is still being
    // made has nothing to lose with a header.
    if (!logFiles.isLogDamaged)
      schedule.within('rot', () => logFiles.damage(this.#context.random, report.recoveries > 0))
    world.rates = {
      writeBack: rates.writeBack,
      interrupt: 0,
      interruptFlush: 0,
      kill: rates.kill * 2,
      // A database that is being made has more to lose than one that is being recovered.
      cut: model.acknowledgedLsn === 0 ? rates.cut * 6 : random.chance(0.3) ? rates.cut * 3 : 0,
      fault: rates.fault,
      flush: 10,
    }
    for (;;) {
      const actor = this.#processes.spawn()
      if (actor.engine !== undefined) return this.#checkRecovered(actor)
      logFiles.undoDamage()
      report.interruptedRecoveries++
      this.endAllProcesses()
      const { kill, fault } = world.rates
      world.rates = { ...world.rates, kill: kill / 2, fault: fault / 2 }
    }
  }

  #checkRecovered(actor: SimProcess): void {
    const { world, logFiles, model, report } = this.#context
    const engine = actor.engine!
    report.recoveries++
    const { freeListDamage } = engine.recovery ?? {}
    // It can be made again, but nothing here damages it.
    if (freeListDamage !== undefined) throw this.#context.failure(`the free list is damaged: ${freeListDamage.why}`)
    logFiles.forgetDamage()
    world.rates = CALM
    const toLsn = engine.stats().log.visibleLsn
    if (toLsn < model.acknowledgedLsn) {
      throw this.#context.failure(`acknowledged up to LSN ${model.acknowledgedLsn}, and recovered only up to ${toLsn}`)
    }
    if (toLsn < model.readLsn)
      throw this.#context.failure(`read at LSN ${model.readLsn}, and recovered only up to ${toLsn}`)
    this.#strandedLsns = this.#strandedLsns.filter((lsn) => lsn > toLsn)
    this.#processes.as(actor, () => {
      const snapshot = engine.snapshot()
      model.settle(toLsn, entriesOf(engine, snapshot), snapshot.momentMs, loggedFrames(engine).frames)
      snapshot.close()
    })
    this.#reads.checkAll(actor)
    this.#processes.as(actor, () => this.#following.followAll(actor))
  }
}
