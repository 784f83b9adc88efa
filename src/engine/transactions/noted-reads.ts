// What a transaction has read of its snapshot, and what must therefore still hold when it is committed: keys with
// their versions, and the ranges as far as it has looked at them.
import { InvalidError } from '../../errors.js'
import { MAX_TRANSACTION_READS } from '../../limits.js'
import { UNCONDITIONAL, type FrameBuilder, type OperationConditions } from '../../wal/frame-builder.js'
import { OP_FLAG } from '../../wal/operation.js'
import type { Bounds } from '../read/bounds.js'

interface NotedKey {
  readonly key: Buffer
  /** 0: there was no entry. */
  readonly version: number
  /** Only whether there is an entry was asked. */
  readonly isPresenceOnly: boolean
}

/** How far a range has been read. */
export class NotedRange {
  readonly #bounds: Bounds
  readonly #count: () => void
  #last: Buffer | undefined
  #entries = 0
  #isWhole = false

  /** `count`: counts an entry, and throws if that is one too many. */
  constructor(bounds: Bounds, count: () => void) {
    this.#bounds = bounds
    this.#count = count
  }

  /** The next entry of the snapshot has been read. */
  noteEntry(key: Buffer): void {
    this.#count()
    this.#entries++
    this.#last = key
  }
  /** There is no entry between the last one and this key. */
  noteGap(key: Buffer): void {
    this.#last = key
  }
  /** There is nothing after the last one. */
  noteEnd(): void {
    this.#isWhole = true
  }

  checkIn(frame: FrameBuilder, lsn: number): void {
    const { from, fromAfter, to, toInclusive, reverse } = this.#bounds
    const entries = this.#entries
    if (this.#isWhole) frame.checkRange({ from, fromAfter, to, toInclusive, entries, lsn })
    else if (this.#last === undefined) return
    else if (reverse) frame.checkRange({ from: this.#last, fromAfter: false, to, toInclusive, entries, lsn })
    else frame.checkRange({ from, fromAfter, to: this.#last, toInclusive: true, entries, lsn })
  }
}

export class NotedReads {
  readonly #keys = new Map<string, NotedKey>()
  readonly #ranges: NotedRange[] = []
  #count = 0

  /** `name`: the bytes of the key as text. Throws `InvalidError` if that is one too many. */
  noteKey(name: string, key: Buffer, version: number, isPresenceOnly: boolean): void {
    const noted = this.#keys.get(name)
    if (noted !== undefined && (isPresenceOnly || !noted.isPresenceOnly)) return
    if (noted === undefined) this.#countOne()
    this.#keys.set(name, { key, version, isPresenceOnly })
  }

  noteRange(bounds: Bounds): NotedRange {
    this.#countOne()
    const range = new NotedRange(bounds, () => this.#countOne())
    this.#ranges.push(range)
    return range
  }

  #countOne(): void {
    if (this.#count >= MAX_TRANSACTION_READS)
      throw new InvalidError(
        `A transaction may read at most ${MAX_TRANSACTION_READS} keys and entries of ranges. Read less in it, or use a snapshot.`,
      )
    this.#count++
  }

  /** `name`: the bytes of a key as text. */
  has(name: string): boolean {
    return this.#keys.has(name)
  }

  /** What must hold of a key that is written, too. */
  conditionsOf(name: string): OperationConditions {
    const noted = this.#keys.get(name)
    return noted === undefined ? UNCONDITIONAL : conditionsFor(noted)
  }

  /** Adds checks of everything that was read, without the keys of `written`, to a frame. */
  checkIn(frame: FrameBuilder, lsn: number, written: { get(name: string): unknown }): void {
    for (const range of this.#ranges) range.checkIn(frame, lsn)
    for (const [name, noted] of this.#keys)
      if (written.get(name) === undefined) frame.check(noted.key, noted.key.length, conditionsFor(noted))
  }

  keys(): IterableIterator<NotedKey> {
    return this.#keys.values()
  }
}

function conditionsFor({ version, isPresenceOnly }: NotedKey): OperationConditions {
  if (version === 0) return { flags: OP_FLAG.IF_ABSENT, version }
  return isPresenceOnly ? { flags: OP_FLAG.IF_PRESENT, version: 0 } : { flags: OP_FLAG.IF_VERSION, version }
}
