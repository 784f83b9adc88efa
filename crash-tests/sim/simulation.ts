// The lives of one database, decided by one seed, against a model (log-model.ts).
//
//   schedule.ts   what the seed decides, by named events       world.ts, disk.ts   processes, a disk that forgets
//   life.ts       what a life does and how it ends             writes.ts, reads.ts what its processes do
//   recovery.ts   what happens between two lives               log-files.ts        frames in files, and damage to them
import { observeCrashPoints } from '../../src/crash-points.js'
import { observeReads } from '../../src/engine/shared/read-guard.js'
import { Context } from './context.js'
import { Lives } from './life.js'
import { Processes } from './processes.js'
import type { LifeReport } from './report.js'

export class Simulation {
  readonly #context: Context
  readonly #processes: Processes
  readonly #lives: Lives

  /** `only`: the events that may happen; all that the seed holds if left out. */
  constructor(
    readonly seed: number,
    only?: ReadonlySet<string>,
  ) {
    const context = (this.#context = new Context(seed, only))
    this.#processes = new Processes(context)
    this.#lives = new Lives(context, this.#processes)
    context.world.onLogWrite = (bytes) =>
      context.model.noteFrame(bytes, this.#processes.running?.name ?? '', context.world.clocks.latestMs)
  }

  /** Names of all events that happened. */
  get events(): readonly string[] {
    return this.#context.schedule.happened
  }
  get trace(): readonly string[] {
    return this.#context.world.trace
  }
  get report(): LifeReport {
    return this.#context.report
  }

  /** Lives `lives` lives. Throws `Failure`. */
  run(lives: number): LifeReport {
    const { schedule, world, report } = this.#context
    observeCrashPoints((point) => world.step(point))
    observeReads(() => this.#lives.stepOfReader())
    try {
      for (let i = 1; i <= lives; i++) schedule.within(`life ${i}`, () => this.#lives.live())
      schedule.within('what is left', () => this.#lives.recoverInPeace())
    } finally {
      this.#processes.end()
      observeCrashPoints(undefined)
      observeReads(undefined)
      report.steps = world.steps
    }
    return report
  }
}
