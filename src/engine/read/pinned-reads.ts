// Reads that last: snapshots, ranges and counts. Each holds the tree that is newest when it starts, by a pin that it
// shares with the others of its thread (shared-pins.ts).
import type { KeySpace } from '../../encoding/key-space.js'
import { ExpiredError } from '../../errors.js'
import { guarded } from '../../storage/errors.js'
import type { Storage } from '../../storage/storage.js'
import type { DatabaseClock } from '../shared/clock.js'
import type { Control } from '../shared/control.js'
import { BorrowedPin, type LentTree } from '../shared/lent-pin.js'
import type { OpenState } from '../shared/open-state.js'
import type { ReadGuard } from '../shared/read-guard.js'
import { releaseWhenForgotten, type PinShare, type SharedPins } from '../shared/shared-pins.js'
import type { TreeReader } from '../tree/reader.js'
import { RangeIterator, type RangeSource, type Selection } from './range-iterator.js'
import { EngineSnapshot } from './snapshot.js'
import { boundsOf, type Bounds, type Range } from './bounds.js'

interface PinnedReadParts {
  readonly openState: OpenState
  readonly storage: Storage
  readonly reader: TreeReader
  readonly main: KeySpace
  readonly control: Control
  readonly clock: DatabaseClock
  readonly sharedPins: SharedPins
  readonly timeoutMs: number
}

export class PinnedReads {
  readonly #parts: PinnedReadParts
  readonly #assertOpen: () => void

  constructor(parts: PinnedReadParts) {
    this.#parts = parts
    this.#assertOpen = () => parts.openState.assertOpen()
  }

  range(range: Range | undefined, selection: Selection, space: KeySpace): RangeIterator<unknown> {
    this.#assertOpen()
    return this.rangeWithin(boundsOf(space, range), selection, space)
  }

  /** The same as `range`, with bounds that are encoded already. */
  rangeWithin(bounds: Bounds, selection: Selection, space: KeySpace): RangeIterator<unknown> {
    this.#assertOpen()
    const share = this.#hold()
    const iterator = new RangeIterator(this.source(share), share.state, bounds, selection, space)
    releaseWhenForgotten(iterator, share)
    return iterator
  }

  count(range: Range | undefined, space: KeySpace): number {
    this.#assertOpen()
    return this.countWithin(boundsOf(space, range))
  }

  /**
   * The same as `count`, with bounds that are encoded already. If its pin is ended it starts again, unless
   * `timeoutMs` have passed.
   */
  countWithin(bounds: Bounds): number {
    this.#assertOpen()
    const { storage, timeoutMs } = this.#parts
    const beganMs = storage.monotonicMs()
    for (;;) {
      const share = this.#hold()
      try {
        return new RangeIterator(this.source(share), share.state, bounds, 'keys', this.#parts.main).count()
      } catch (error) {
        if (!(error instanceof ExpiredError) || storage.monotonicMs() - beganMs > timeoutMs) throw error
      }
    }
  }

  snapshot(): EngineSnapshot {
    this.#assertOpen()
    const share = this.#hold()
    const source: RangeSource = { ...this.source(share), lend: () => share.lend() }
    const snapshot = new EngineSnapshot(source, share.state, this.#parts.main)
    releaseWhenForgotten(snapshot, share)
    return snapshot
  }

  /** A snapshot of another thread of this process, read under the pin of that thread: see lent-pin.ts. */
  borrow(tree: LentTree): EngineSnapshot {
    this.#assertOpen()
    const source = this.source(new BorrowedPin(this.#parts.control, tree), tree.momentMs)
    return new EngineSnapshot(source, tree.state, this.#parts.main)
  }

  /** Runs `read` on a snapshot; if that is ended, runs it again on another. */
  insist<T>(read: (snapshot: EngineSnapshot) => T): T {
    for (;;) {
      const share = this.#hold()
      try {
        return read(new EngineSnapshot(this.source(share), share.state, this.#parts.main))
      } catch (error) {
        if (!(error instanceof ExpiredError)) throw error
      } finally {
        share.release()
      }
    }
  }

  /** What snapshots and iterators read from, as long as `hold` holds their tree. What has expired by now is absent. */
  source(hold: ReadGuard & { release?(): void }, momentMs = this.#parts.clock.now()): RangeSource {
    const { reader } = this.#parts
    return { reader, guard: hold, momentMs, assertOpen: this.#assertOpen, release: () => hold.release?.() }
  }

  #hold(): PinShare {
    const { sharedPins, storage } = this.#parts
    return guarded('Taking a snapshot', () => sharedPins.take(storage.monotonicMs()))
  }
}
