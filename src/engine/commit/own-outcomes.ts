// What became of the frames of this thread that it has not asked about yet. It asks the log for most of that, and need
// not if it has applied the frame itself, or has looked before others could destroy that part of the log.
import { forEachOutcome, isOutcomeFrame } from '../../wal/outcomes.js'
import { LogReader } from '../../wal/log-reader.js'
import type { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'

/** Frames whose outcomes a thread may be waiting for at a time, and more. */
const MOST_OWN = 10_000

export class OwnOutcomes {
  readonly #lsns = new Set<number>()
  readonly #found = new Map<number, Buffer>()

  /** This thread has appended a frame that decides something. */
  note(lsn: Lsn): void {
    // Those that were never asked about had no place to tell it.
    if (this.#lsns.size >= MOST_OWN) {
      this.#lsns.clear()
      this.#found.clear()
    }
    this.#lsns.add(lsn)
  }

  /** Nobody will ask for the outcome of this frame. */
  forget(lsn: Lsn): void {
    this.#lsns.delete(lsn)
    this.#found.delete(lsn)
  }

  keep(outcomes: ReadonlyMap<number, Buffer>): void {
    for (const [lsn, outcome] of outcomes) if (this.#lsns.has(lsn)) this.#found.set(lsn, outcome)
  }

  /** Once: it is forgotten then. */
  take(lsn: Lsn): Buffer | undefined {
    const outcome = this.#found.get(lsn)
    this.forget(lsn)
    return outcome
  }

  /** Looks for those that are not known yet in the log up to `tail`: it may be destroyed after that. */
  readFrom(log: Log, tail: Lsn): void {
    const reader = new LogReader(log, tail)
    for (const lsn of [...this.#lsns] as Lsn[]) {
      reader.restart(lsn)
      while (!this.#found.has(lsn) && reader.next(tail)) this.#keepFrom(reader)
      if (!this.#found.has(lsn)) this.forget(lsn)
    }
  }

  #keepFrom({ bytes, at, lengthBytes }: LogReader): void {
    if (!isOutcomeFrame(bytes, at)) return
    forEachOutcome(bytes, at, lengthBytes, (lsn, outcome) => {
      if (this.#lsns.has(lsn)) this.#found.set(lsn, Buffer.from(outcome))
    })
  }
}
