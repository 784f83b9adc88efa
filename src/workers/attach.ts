// Opening a database without blocking the event loop: a worker does what takes time, and while other processes open,
// recover or close the database, this thread tries again from time to time.
import { setTimeout as delay } from 'node:timers/promises'
import { LockedError } from '../errors.js'
import { canDoWithout, Engine } from '../engine/engine.js'
import { NotNowError } from '../engine/lifecycle/not-now.js'
import { openHome, type ExpectedDatabase } from '../engine/lifecycle/home-directory.js'
import type { ResolvedOptions } from '../engine/options.js'
import type { RecoveryReport } from '../engine/lifecycle/recovery.js'
import { guarded } from '../storage/errors.js'
import { posixStorage } from '../storage/posix.js'
import type { HeldDirectory } from '../storage/storage.js'
import { Attachment } from './attachment.js'
import { threadPool } from './thread-pool.js'
import { Lane } from './lane.js'

const FIRST_PAUSE_MS = 1
const LAST_PAUSE_MS = 20

interface Attached {
  readonly attachment: Attachment
  readonly recovery: RecoveryReport | undefined
}

/** Rejects with what `Engine.open` throws. Nothing is left attached then. */
export async function attach(options: ResolvedOptions): Promise<Attached> {
  const deadlineMs = performance.now() + options.timeoutMs
  let recovering: Recovering | undefined
  let onlyReads = false
  /** For a database that was created for this opener. */
  const joining = { ...options, errorIfExists: false }
  try {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS)) {
      try {
        const patience = { forOthers: false, forRecovery: options.workers === 0 }
        const engine = onlyReads
          ? Engine.openToRead(options, posixStorage, patience)
          : Engine.open(
              recovering?.hasCreated === true ? joining : options,
              posixStorage,
              recovering?.expected,
              patience,
            )
        return { attachment: new Attachment(engine), recovery: engine.recovery ?? recovering?.report }
      } catch (error) {
        if (!(error instanceof NotNowError)) throw error
        if (performance.now() >= deadlineMs) throw new LockedError(error.message)
        if (error.why === 'others') await delay(pauseMs)
        else {
          try {
            await (recovering ??= new Recovering(options)).run()
          } catch (why) {
            if (!canDoWithout(options, why)) throw why
            onlyReads = true
          }
        }
      }
    }
  } catch (error) {
    await recovering?.undo()
    throw error
  } finally {
    await recovering?.release()
  }
}

/** A worker that recovers a database, and keeps it open until it is open here. */
class Recovering {
  readonly #home: HeldDirectory
  readonly #door: Lane
  readonly expected: ExpectedDatabase
  report: RecoveryReport | undefined
  readonly #mustCreate: boolean

  constructor(options: ResolvedOptions) {
    this.#mustCreate = options.errorIfExists
    this.#home = guarded('Opening the database', () => openHome(posixStorage, options))
    this.expected = { directory: this.#home.identity }
    this.#door = new Lane(threadPool, 'doors', 1, { options, expected: this.expected, order: new SharedArrayBuffer(4) })
  }

  async run(): Promise<void> {
    this.report = (await this.#door.run<RecoveryReport | undefined>('start')) ?? this.report
  }

  /** It was to be created, and has been; it is open in the worker since. */
  get hasCreated(): boolean {
    return this.#mustCreate && this.report !== undefined
  }

  /** Closes it there. If this is the last closer, it does what the last closer does. */
  async undo(): Promise<void> {
    if (this.report !== undefined) await this.#door.run('close').catch(() => undefined)
  }

  async release(): Promise<void> {
    await this.#door.close()
    this.#home.close()
  }
}
