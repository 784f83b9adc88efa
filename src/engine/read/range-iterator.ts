// Iterators over ranges of keys. An iterator walks one tree, leaf by leaf. It looks up where the range ends once for
// each leaf, not for each entry. It stands on a copy of the leaf (read-guard.ts) and decodes entries from that copy.
//
// An iterator releases its tree with the last entry that it returns, if it can tell that this is the last. The tree of
// a snapshot is held by the snapshot, so an iterator over it can go back after its end (`seek`).
import { boundsFrom, type Bounds } from './bounds.js'
import { quoted } from '../../describe.js'
import { ClosedError, EncodingError, InvalidError } from '../../errors.js'
import { STATE, type StateFields } from '../shared/control.js'
import type { LentPin } from '../shared/lent-pin.js'
import { readStep, type ReadGuard } from '../shared/read-guard.js'
import { SLOT_BYTES } from '../format/layout.js'
import type { KeySpace } from '../../encoding/key-space.js'
import { NEVER } from '../../encoding/expiry-key.js'
import type { Key } from '../../encoding/keys.js'
import type { Packing } from '../../encoding/packed-list.js'
import { lend } from '../../storage/lent-memory.js'
import { giveBack, ownMemoryFor } from '../../storage/memory.js'
import { overflowPointer, readOverflow } from '../space/overflow.js'
import { TreeReader } from '../tree/reader.js'
import { ofEntry } from '../../encoding/undecodable.js'
import { decodeOwn, type ValueCodec } from '../../encoding/values/codec.js'
import { damagedError } from '../format/slot-damage.js'
import { Cursor } from '../tree/reader.js'

/** What an iterator returns. Encoded ones: see `EncodedEntry`. */
export type Selection = 'entries' | 'keys' | 'values' | 'encoded entries' | 'encoded keys'

/** An entry as bytes. They may change with the next entry. */
export interface EncodedEntry {
  readonly key: Buffer
  /** Undefined if only keys are read. */
  readonly value: Buffer | undefined
  /** When it expires; `NEVER` if it stays. */
  readonly expiresAt: number
}

/** What the creator of an iterator gives it. */
export interface RangeSource {
  readonly reader: TreeReader
  readonly guard: ReadGuard
  /** The time of the moment that is read, by the database's clock: what has expired then is absent. */
  readonly momentMs: number
  /** Throws if the database or snapshot has been closed. */
  assertOpen(): void
  /** Called once, when the iterator is done or has been closed. */
  release(): void
  /** The tree is held by another, so that the iterator can go back after its end. */
  readonly isHeldByOther?: boolean
  /** For another thread of this process that is to read the same tree. */
  lend?(): LentPin
}

/**
 * The error to throw for one met in a tree that may have been taken away meanwhile: if it has been, that is the
 * error.
 */
export function errorUnlessExpired(source: RangeSource, error: unknown): unknown {
  if (error instanceof ClosedError) return error
  try {
    source.assertOpen()
    source.guard.assertNotExpired()
    return error
  } catch (reason) {
    return reason
  }
}

const scratch = Buffer.alloc(SLOT_BYTES)

/** Copies the overflowing value of the entry that the reader stands on. */
function copyOfOverflow({ reader, guard }: RangeSource): Buffer {
  readStep()
  const pointer = reader.overflow
  guard.assertNotExpired()
  return readOverflow(reader.space, reader.checker, pointer, guard)
}

/** Copies the value of the entry that the reader stands on into `scratch`; returns its length. */
function copyToScratch({ reader, guard }: RangeSource): number {
  readStep()
  const length = reader.buffer.copy(scratch, 0, reader.valueAt, reader.valueAt + reader.valueLength)
  reader.checker.checkFaults()
  guard.assertNotExpired()
  return length
}

/** The value of the entry that the reader stands on. It is copied, checked to be still held, and then decoded. */
export function copiedValue(source: RangeSource, values: ValueCodec): unknown {
  if (source.reader.overflows) return decodeOwn(values, copyOfOverflow(source))
  return values.decode(scratch, 0, copyToScratch(source))
}

/** Adds the value as bytes to `packing`; returns its length. */
export function packValue(source: RangeSource, packing: Packing): number {
  if (!source.reader.overflows) {
    const length = copyToScratch(source)
    packing.add(scratch, 0, length)
    return length
  }
  const bytes = copyOfOverflow(source)
  packing.add(bytes, 0, bytes.length)
  const { length } = bytes
  giveBack(bytes)
  return length
}

/** The same as bytes, in lent memory. */
export function lentBytes(source: RangeSource): Buffer {
  if (source.reader.overflows) return lentCopy(copyOfOverflow(source))
  const length = copyToScratch(source)
  const bytes = lend(length)
  scratch.copy(bytes, 0, 0, length)
  return bytes
}

/** Moves a value that was read for this into lent memory. */
export function lentCopy(value: Buffer): Buffer {
  const bytes = lend(value.length)
  bytes.set(value)
  giveBack(value)
  return bytes
}

/** The same as bytes, in memory of its own. */
export function copiedBytes(source: RangeSource): Buffer {
  if (source.reader.overflows) return copyOfOverflow(source)
  const length = copyToScratch(source)
  const bytes = ownMemoryFor(length)
  bytes.set(new Uint8Array(scratch.buffer, scratch.byteOffset, length))
  return bytes
}

/**
 * Iterates over entries of one tree in order. Closes itself with the last entry, and when a loop is left early.
 * Throws `EncodingError` for an entry whose value cannot be decoded; when called again, it goes on with the next
 * entry.
 */
export class RangeIterator<T> implements IterableIterator<T> {
  readonly #source: RangeSource
  readonly #cursor: Cursor
  /** As its user gave it. */
  readonly #range: Bounds
  /** What is left of it after the last `seek`; its limit does not count. */
  #bounds: Bounds
  readonly #selection: Selection
  readonly #space: KeySpace
  /** Some of the tree's entries have expired at this moment, and are still there. */
  readonly #hasExpired: boolean
  #left: number
  #index = 0
  /** Where the range ends in this leaf: the index after (forwards) or before (reverse) its last entry. */
  #stop = 0
  /**
   * `outside`: `seek` has left the range, and the next call finds the end. `ended`: nothing is left, and `seek` can go
   * back. `failed`: the next call throws what `nextMany` has met.
   */
  #state: 'new' | 'open' | 'outside' | 'failed' | 'ended' | 'closed' = 'new'
  #failure: { readonly error: unknown; readonly state: 'open' | 'ended' | 'closed' } | undefined
  /** What must not be released while this iterator is in use. */
  owner: unknown

  constructor(source: RangeSource, state: StateFields, bounds: Bounds, selection: Selection, space: KeySpace) {
    this.#source = source
    this.#cursor = new Cursor(source.reader, state, source.guard)
    this.#range = bounds
    this.#bounds = bounds
    this.#selection = selection
    this.#space = space
    this.#hasExpired = state[STATE.EARLIEST_EXPIRY]! <= source.momentMs
    this.#left = bounds.limit
    if (bounds.limit === 0) this.#end()
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<T, undefined> {
    if (this.#state !== 'open' && !this.#mayGoOn()) return { done: true, value: undefined }
    try {
      this.#source.assertOpen()
      if (this.#state === 'new') this.#start()
      while (this.#left > 0 && this.#cursor.valid) {
        if (this.#index !== this.#stop) {
          const i = this.#index
          this.#index += this.#bounds.reverse ? -1 : 1
          if (this.#hasExpired && this.#isExpired(i)) continue
          this.#left--
          const value = this.#entry(i)
          if (this.#left === 0 || (this.#index === this.#stop && this.#isLastLeaf())) this.#end()
          return { done: false, value }
        }
        if (this.#endsInLeaf() || !this.#nextLeaf()) break
      }
    } catch (error) {
      const reason = errorUnlessExpired(this.#source, error)
      // One bad value is no reason to stop before the next entry.
      if (!(reason instanceof EncodingError)) this.#close()
      throw reason
    }
    this.#end()
    return { done: true, value: undefined }
  }

  /** True if nothing is left, as far as that is known. */
  get isDone(): boolean {
    return this.#state === 'ended' || this.#state === 'closed'
  }

  /**
   * Up to `n` further entries; none at the end. An error that is met after some entries is thrown by the next call, so
   * that these are not lost.
   */
  nextMany(n: number): T[] {
    if (n !== Infinity && (!Number.isSafeInteger(n) || n < 1))
      throw new InvalidError(`nextMany takes a whole number, 1 or more, or Infinity, not ${quoted(n)}.`)
    const found: T[] = []
    try {
      while (found.length < n) {
        const result = this.next()
        if (result.done) break
        found.push(result.value)
      }
    } catch (error) {
      if (found.length === 0) throw error
      this.#failure = { error, state: this.#state as 'open' | 'ended' | 'closed' }
      this.#state = 'failed'
    }
    return found
  }

  /** False if nothing is left. Throws what the call before has met and kept for this one. */
  #mayGoOn(): boolean {
    if (this.#state === 'failed') {
      const { error, state } = this.#failure!
      this.#state = state
      throw error
    }
    if (this.#state === 'outside') this.#end()
    return !this.isDone
  }

  /** Goes to the first entry at or after `key` in the direction of the range; to the end if that is outside of it. */
  seek(key: Key): void {
    // Users' code may run here, and may use this iterator.
    const target = this.#space.encoded(key)
    this.#source.assertOpen()
    if (this.#state === 'failed') this.#state = this.#failure!.state
    if (this.#state === 'closed') {
      throw new ClosedError(
        'This iterator has ended and no longer holds the moment that it read, so it cannot seek. An iterator of a ' +
          'snapshot can, for as long as both are open.',
      )
    }
    const bounds = boundsFrom(this.#range, target)
    if (bounds === undefined || this.#left === 0) this.#state = 'outside'
    else {
      this.#bounds = bounds
      this.#state = 'new'
    }
  }

  /** Ends the iteration. Called by a `for` loop that is left early. */
  return(): IteratorResult<T, undefined> {
    if (this.#state === 'failed') this.#state = this.#failure!.state
    this.#close()
    return { done: true, value: undefined }
  }

  [Symbol.dispose](): void {
    this.return()
  }

  /** Counts the entries that are left, leaf by leaf, without reading any, unless some of the tree have expired. */
  count(): number {
    if (!this.#mayGoOn()) return 0
    let count = 0
    try {
      this.#source.assertOpen()
      this.#start()
      while (this.#cursor.valid && count < this.#left) {
        // The leaf may not be a copy: see `glanceAtNext`.
        const here = this.#countHere()
        const isEnd = this.#endsInLeaf()
        this.#source.guard.assertNotExpired()
        count += here
        if (isEnd || !(this.#bounds.reverse ? this.#nextLeaf() : this.#cursor.glanceAtNext())) break
        if (!this.#bounds.reverse) this.#enterLeaf()
      }
      this.#source.reader.checker.checkFaults()
    } catch (error) {
      throw errorUnlessExpired(this.#source, error)
    } finally {
      this.#close()
    }
    return Math.min(count, this.#left)
  }

  #isExpired(i: number): boolean {
    const { leaf } = this.#cursor
    return leaf.expires(i) && leaf.expiresAt(i) <= this.#source.momentMs
  }

  /** How many entries of this leaf are in the range. */
  #countHere(): number {
    const here = Math.abs(this.#stop - this.#index)
    if (!this.#hasExpired) return here
    readStep()
    let expired = 0
    const from = this.#bounds.reverse ? this.#stop + 1 : this.#index
    for (let i = from; i < from + here; i++) if (this.#isExpired(i)) expired++
    return here - expired
  }

  /** Nothing is left. */
  #end(): void {
    if (this.#source.isHeldByOther !== true) return this.#close()
    this.#state = 'ended'
    this.#cursor.close()
  }

  #close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#cursor.close()
    this.#source.release()
  }

  #start(): void {
    this.#state = 'open'
    const { from, fromAfter, to, toInclusive, reverse } = this.#bounds
    const cursor = this.#cursor
    if (reverse) {
      if (to === undefined) cursor.last()
      else cursor.seekBelow(to, to.length, toInclusive)
    } else {
      if (from === undefined) cursor.first()
      else cursor.seek(from, from.length, fromAfter)
    }
    this.#enterLeaf()
  }

  /** The range ends inside this leaf. */
  #endsInLeaf(): boolean {
    const { from, to, reverse } = this.#bounds
    return reverse ? from !== undefined && this.#stop >= 0 : to !== undefined && this.#stop < this.#cursor.leaf.count
  }

  /** True if it is certain, without a look at another leaf, that this is the last leaf of the range. */
  #isLastLeaf(): boolean {
    const { from, to, toInclusive, reverse } = this.#bounds
    return (
      this.#endsInLeaf() ||
      (reverse ? this.#cursor.isNothingBefore(from) : this.#cursor.isNothingAfter(to, toInclusive))
    )
  }

  #nextLeaf(): boolean {
    const moved = this.#bounds.reverse ? this.#cursor.previousLeaf() : this.#cursor.nextLeaf()
    if (moved) this.#enterLeaf()
    return moved
  }

  #enterLeaf(): void {
    const cursor = this.#cursor
    if (!cursor.valid) return
    const { from, fromAfter, to, toInclusive, reverse } = this.#bounds
    this.#index = cursor.index
    if (reverse) {
      this.#stop = from === undefined ? -1 : cursor.boundInLeaf(from, from.length, fromAfter) - 1
      if (this.#stop > this.#index) this.#stop = this.#index
    } else {
      this.#stop = to === undefined ? cursor.leaf.count : cursor.boundInLeaf(to, to.length, toInclusive)
      if (this.#stop < this.#index) this.#stop = this.#index
    }
  }

  #entry(i: number): T {
    if (this.#selection === 'entries') return [this.#key(i), this.#value(i)] as T
    if (this.#selection === 'keys') return this.#key(i) as T
    if (this.#selection === 'values') return this.#value(i) as T
    return this.#encoded(i) as T
  }

  #encoded(i: number): EncodedEntry {
    const { leaf } = this.#cursor
    const value = this.#selection === 'encoded keys' ? undefined : this.#encodedValue(i)
    return { key: this.#encodedKey(i), value, expiresAt: leaf.expires(i) ? leaf.expiresAt(i) : NEVER }
  }

  #encodedKey(i: number): Buffer {
    const node = this.#cursor.leaf
    const at = node.keyAt(i)
    return node.buffer!.subarray(at, at + node.keyLength(i))
  }

  #encodedValue(i: number): Buffer {
    const { reader, guard } = this.#source
    const node = this.#cursor.leaf
    if (node.overflows(i)) return readOverflow(reader.space, reader.checker, overflowPointer(node, i), guard)
    const at = node.valueAt(i)
    return node.buffer!.subarray(at, at + node.payloadBytes(i))
  }

  #key(i: number): Key {
    const node = this.#cursor.leaf
    const at = node.keyAt(i)
    try {
      return this.#space.decode(node.u8, at, at + node.keyLength(i))
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error
      throw damagedError(node.slot, 'it holds a key that cannot be decoded')
    }
  }

  #value(i: number): unknown {
    try {
      return this.#decoded(i)
    } catch (error) {
      throw error instanceof EncodingError ? ofEntry(error, this.#key(i), this.#cursor.leaf.slot) : error
    }
  }

  #decoded(i: number): unknown {
    const { reader, guard } = this.#source
    const { values } = this.#space
    const node = this.#cursor.leaf
    if (node.overflows(i))
      return decodeOwn(values, readOverflow(reader.space, reader.checker, overflowPointer(node, i), guard))
    const at = node.valueAt(i)
    return values.decode(node.buffer!, at, at + node.payloadBytes(i))
  }
}
