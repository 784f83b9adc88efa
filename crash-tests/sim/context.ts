// What the parts of a simulation share: the seed's choices, the world, the model, and the options of the database.
import { resolveOptions } from '../../src/engine/options.js'
import type { Retention } from '../../src/wal/retention.js'
import type { Random } from '../lib/random.js'
import { LogFiles } from './log-files.js'
import { LogModel } from './log-model.js'
import { Failure, newReport } from './report.js'
import { Schedule } from './schedule.js'
import { World } from './world.js'

const OPTIONS = {
  workers: 0,
  valueEncoding: 'json',
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  timeoutMs: 1,
} as const

export class Context {
  readonly schedule: Schedule
  readonly world: World
  readonly model = new LogModel()
  readonly logFiles: LogFiles
  readonly report = newReport()
  readonly options
  /** Bytes of a usual value; 0 for that many that its frame ends where a sector does. */
  readonly usualLength: number

  /** How many slots of what was cleared a group frees. */
  readonly slotsOfTrash: number
  /** How much of the log is kept for its readers; undefined: nobody asks for any. */
  readonly retention: Retention | undefined
  /** The database has stored that. */
  isRetentionStored = false

  /** `only`: the events that may happen; all that the seed holds if left out. */
  constructor(
    readonly seed: number,
    only?: ReadonlySet<string>,
  ) {
    this.schedule = new Schedule(seed, only)
    this.world = new World(this.schedule)
    this.logFiles = new LogFiles(this.world, this.model)
    this.usualLength = this.random.pick([24, 24, 200, 0, 0, 0, 1500])
    this.options = resolveOptions('/db', {
      ...OPTIONS,
      segmentBytes: this.random.pick([4096, 8192, 16384, 65536]),
      checkpointBytes: 65536,
      // So little that readers are ended all the time, or never.
      maxHeldBytes: this.random.pick([65536, 65536, Infinity]),
      readAheadBytes: this.random.pick([Infinity, 0]),
    })
    this.slotsOfTrash = this.random.pick([2, 10, 10, Infinity])
    const bytes = this.random.pick([undefined, 10_000, 200_000, Infinity])
    this.retention = bytes === undefined ? undefined : { bytes, ms: Infinity }
  }

  /** Choices of the event that is being carried out. */
  get random(): Random {
    return this.schedule.random
  }

  /** Whether readers are ended that hold back too much. */
  get readersExpire(): boolean {
    return this.options.maxHeldBytes !== Infinity
  }

  failure(why: string): Failure {
    return new Failure(`seed ${this.seed}, life ${this.report.lives}: ${why}`)
  }
}
