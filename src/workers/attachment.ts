// What a Database is built on: the engine of the calling thread, and the lanes of worker threads. It is separate from
// the Database so that it can be released when the user no longer references the Database: nothing here, and nothing
// in the pool of threads or a worker, refers back to the Database.
import { LockedError } from '../errors.js'
import type { Engine } from '../engine/engine.js'
import { threadPool } from './thread-pool.js'
import { Lane } from './lane.js'
import type { WorkData } from './worker.js'

export interface Lanes {
  /** Commits. */
  readonly writes: Lane
  /** Lists of keys. */
  readonly lists: Lane
  /** Counting, verification and checkpoints. */
  readonly long: Lane
  /** Backups, one at a time. */
  readonly copies: Lane
}

export class Attachment {
  readonly engine: Engine
  /** Undefined if everything runs on the calling thread. */
  readonly lanes: Lanes | undefined
  readonly #work: WorkData

  /** Tickets of frames: see worker.ts. */
  readonly order = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)

  constructor(engine: Engine) {
    this.engine = engine
    const { options } = engine
    const { workers } = options
    const work: WorkData = { options, expected: engine.identity, order: this.order }
    this.#work = work
    if (workers === 0 || engine.isPrivate) return
    const lane = (kind: keyof Lanes, limit: number): Lane => new Lane(threadPool, kind, limit, work)
    // Each long task keeps a processor busy: with fewer of them, writes and lists get their turn sooner.
    this.lanes = {
      writes: lane('writes', workers),
      lists: lane('lists', workers),
      long: lane('long', Math.ceil(workers / 2)),
      copies: lane('copies', 1),
    }
  }

  /**
   * Releases everything; nothing may be under way. If closing takes longer than a moment, a worker does it as
   * the last closer. Throws the error that it meets; the attachment is closed all the same.
   */
  async close(): Promise<void> {
    const { engine, lanes } = this
    if (lanes === undefined) return engine.close()
    await Promise.all(Object.values(lanes).map((lane: Lane) => lane.close()))
    if (engine.closeIfQuick()) return
    const door = new Lane(threadPool, 'doors', 1, this.#work)
    try {
      await door.run('start')
    } catch (error) {
      await door.close()
      // Nothing is lost without the worker: the next opener recovers.
      if (error instanceof LockedError) engine.detach()
      else engine.close()
      return
    }
    engine.detach()
    try {
      await door.run('close')
    } finally {
      await door.close()
    }
  }

  /** The same without threads and without waiting: it leaves what takes time to the next opener. */
  drop(): void {
    if (!this.engine.closeIfQuick()) this.engine.detach()
  }
}

const forgotten = new FinalizationRegistry<Attachment>((attachment) => {
  if (attachment.lanes === undefined) attachment.drop()
  // There is no caller to report an error to.
  else void attachment.close().catch(() => undefined)
})

/** Releases `attachment` when the user no longer references `database`. */
export function closeWhenForgotten(database: object, attachment: Attachment): void {
  forgotten.register(database, attachment, attachment)
}

/** The user closes it: no release is needed any more. */
export function isBeingClosed(attachment: Attachment): void {
  forgotten.unregister(attachment)
}
