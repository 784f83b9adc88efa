// What a holder that died wrote under its lock. A frame may be in the log and not yet in the tree when its writer dies;
// it takes effect when the next leader comes. Who gets the lock next must not read what was there before, and must not
// be overtaken by such a write either. So a thread that removes the requests of a dead owner first notes where the log
// ends: all that the dead one appended lies before that. Who gets a lock sees the note, and goes on once the tree
// includes the log up to there. The note only grows, and one that is greater than it must be does no harm; so it does
// not matter where a thread dies here.
//
// The lock byte of a seat is free only once no thread of its process runs any more, so none of them appends later.
import { newAppendFields } from '../../wal/append-state.js'
import type { Lsn } from '../../wal/lsn.js'
import type { Control } from '../shared/control.js'
import { AT } from './lock-layout.js'
import type { LockMemory } from './lock-memory.js'

const DEAD_LSN = AT.DEAD_LSN >> 3

export class DeadWrites {
  readonly #memory: LockMemory
  readonly #control: Control
  /** The tree is known to include the log up to here. */
  #includedLsn = 0

  constructor(memory: LockMemory, control: Control) {
    this.#memory = memory
    this.#control = control
  }

  /** The requests of a dead owner are about to be removed. The caller holds the mutex. */
  note(): void {
    const { f64 } = this.#memory
    const { tailLsn } = this.#control.append.read(newAppendFields())
    if (tailLsn > f64[DEAD_LSN]!) f64[DEAD_LSN] = tailLsn
  }

  /** Up to which LSN the tree must be brought before one who got a lock goes on; undefined if it is there. */
  get pendingLsn(): Lsn | undefined {
    const lsn = this.#memory.f64[DEAD_LSN]!
    if (lsn <= this.#includedLsn) return undefined
    if (this.#control.visibleLsn() < lsn) {
      // Where writes are refused, nothing that is in the log takes effect any more before the database is closed.
      return this.#control.failure() === undefined ? (lsn as Lsn) : undefined
    }
    this.#includedLsn = lsn
    return undefined
  }
}
