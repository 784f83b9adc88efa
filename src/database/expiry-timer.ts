// When to look for entries that have expired. Nobody sees them any more, so it does not matter when exactly they are
// removed. Each open database looks when the next one expires, but not more often than once a second and at least once
// a minute, since other processes put entries, too; then one of them removes what it finds (engine/sweeper.ts).
//
// A timer keeps neither the process alive nor the database that it is for.

/** Shortest and longest time from one look to the next. */
const MIN_WAIT_MS = 1000
const MAX_WAIT_MS = 60_000
/** From one part of a long sweep to the next: others have their turn in between. */
const BETWEEN_PARTS_MS = 5

/** What a timer needs of its database. */
interface Sweepable {
  readonly isOpen: boolean
  /** How long it is until the next entry expires, in ms; 0 or less if one has. */
  msToNextExpiry(): number
  /** Removes what has expired. Resolves to whether there is more. */
  sweep(): Promise<boolean>
}

export class ExpiryTimer {
  readonly #database: WeakRef<Sweepable>
  #timer: NodeJS.Timeout | undefined
  /** When it looks next, by `performance.now()`. */
  #dueMs = Infinity
  #isSweeping = false
  #isStopped = false

  constructor(database: Sweepable) {
    this.#database = new WeakRef(database)
    this.#set(0)
  }

  /** An entry was put that expires so soon. */
  note(inMs: number): void {
    if (!this.#isSweeping) this.#set(inMs)
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  /** Looks again then, unless it looks sooner anyway. */
  #set(inMs: number, atLeastMs = MIN_WAIT_MS): void {
    if (this.#isStopped) return
    const waitMs = Math.min(Math.max(inMs, atLeastMs), MAX_WAIT_MS)
    const dueMs = performance.now() + waitMs
    if (dueMs >= this.#dueMs) return
    clearTimeout(this.#timer)
    this.#dueMs = dueMs
    this.#timer = setTimeout(() => void this.#look(), waitMs)
    this.#timer.unref()
  }

  async #look(): Promise<void> {
    this.#dueMs = Infinity
    const database = this.#database.deref()
    if (database === undefined || this.#isStopped || !database.isOpen) return
    let isMore = false
    this.#isSweeping = true
    try {
      if (database.msToNextExpiry() <= 0) isMore = await database.sweep()
    } catch {
      // What it could not do now the next look does. Nobody waits for it, and writes meet the reason themselves.
    }
    this.#isSweeping = false
    if (this.#isStopped || !database.isOpen) return
    if (isMore) this.#set(0, BETWEEN_PARTS_MS)
    else this.#set(database.msToNextExpiry())
  }
}
