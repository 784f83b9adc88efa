// What a Database gives to `update` and `transaction`, and how these share flushes.
//
// The writes of one tick of the event loop share a frame (write-queue.ts). Updates and transactions that run side by
// side take different numbers of steps to come to their writes: some have waited for a lock, some run again. So where
// several are under way, each waits with its write for the end of the turn of the event loop, and all that are ready by
// then go together. One that is alone does not wait.
import type { Engine } from '../engine/engine.js'
import type { Lsn } from '../wal/lsn.js'
import type { FrameBuilder } from '../wal/frame-builder.js'

interface ChangeSource {
  readonly engine: Engine
  readonly timeoutMs: number
  /** Throws if the user has closed the database. */
  readonly assertOpen: () => void
  /** Commits the write that `add` puts into a frame. Resolves to whether it took effect. */
  readonly write: (add: (frame: FrameBuilder) => void) => Promise<boolean>
  /** Brings the tree up to an LSN, off the event loop if there are workers. */
  readonly catchUp: ((end: Lsn) => Promise<void>) | undefined
}

export class ChangeHost {
  readonly engine: Engine
  readonly timeoutMs: number
  readonly assertOpen: () => void
  readonly catchUp: ChangeSource['catchUp']
  readonly #write: ChangeSource['write']
  /** How many are under way. */
  #running = 0
  #ready: (() => void)[] = []

  constructor({ engine, timeoutMs, assertOpen, write, catchUp }: ChangeSource) {
    this.engine = engine
    this.timeoutMs = timeoutMs
    this.assertOpen = assertOpen
    this.#write = write
    this.catchUp = catchUp
  }

  /** An update or a transaction begins. The caller must say when it ends. */
  begin(): void {
    this.#running++
  }
  end(): void {
    this.#running--
  }

  /** Commits the write that `add` puts into a frame. Resolves to whether it took effect. */
  async write(add: (frame: FrameBuilder) => void): Promise<boolean> {
    if (this.#running > 1) await new Promise<void>((resolve) => this.#atEndOfTurn(resolve))
    return this.#write(add)
  }

  #atEndOfTurn(goOn: () => void): void {
    if (this.#ready.push(goOn) > 1) return
    setImmediate(() => {
      const ready = this.#ready
      this.#ready = []
      for (const each of ready) each()
    })
  }
}
