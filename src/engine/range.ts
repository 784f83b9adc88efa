// Ranges of keys and the iterators over them. An iterator walks one tree, leaf by leaf. Once for each
// leaf, not for each entry, it looks up where the range ends, copies the leaf, and makes sure that all
// of it was still held by then; entries are decoded from the copy.
import { EncodingError, ExpiredError, InvalidError } from '../errors.js'
import type { StateFields } from './control.js'
import { SLOT_BYTES } from './layout.js'
import { Node } from './node.js'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, prefixBounds, type Key } from './keys.js'
import { damaged, type SlotChecker } from './slot-check.js'
import { Cursor, TreeReader } from './tree-reader.js'
import { ofEntry } from './undecodable.js'
import type { ValueCodec } from './values.js'

/** Which keys: all of them if empty. At most one of `gte` and `gt`, one of `lte` and `lt`. */
export interface Range {
  /** From this key on. */
  gte?: Key
  /** From behind this key on. */
  gt?: Key
  /** Up to and with this key. */
  lte?: Key
  /** Up to, and without, this key. */
  lt?: Key
  /**
   * Only strings (or Uint8Arrays) that begin with this one, or arrays that begin with the elements
   * of this one. May be combined with the bounds.
   */
  prefix?: Key
  /** From the last to the first. */
  reverse?: boolean
  /** At most this many. */
  limit?: number
}

const KNOWN = new Set(['gte', 'gt', 'lte', 'lt', 'prefix', 'reverse', 'limit'])

/** A range as bytes; `undefined` is no bound. */
export interface Bounds {
  readonly from: Buffer | undefined
  /** The first key is behind `from`, not at it. */
  readonly fromAfter: boolean
  readonly to: Buffer | undefined
  readonly toInclusive: boolean
  readonly reverse: boolean
  readonly limit: number
}

const encoded = (key: Key): Buffer => {
  const buffer = Buffer.alloc(KEY_BUFFER_BYTES)
  return buffer.subarray(0, encodeKey(key, buffer))
}

/** Checks a range. Throws `InvalidError`. */
export function boundsOf(range: Range = {}): Bounds {
  if (typeof range !== 'object' || range === null) throw new InvalidError('A range must be an object.')
  for (const name of Object.keys(range)) {
    if (!KNOWN.has(name)) throw new InvalidError(`A range has no "${name}". Known are: ${[...KNOWN].join(', ')}.`)
  }
  if (range.gte !== undefined && range.gt !== undefined) throw new InvalidError('A range takes gte or gt, not both.')
  if (range.lte !== undefined && range.lt !== undefined) throw new InvalidError('A range takes lte or lt, not both.')
  const limit = range.limit ?? Number.POSITIVE_INFINITY
  if (typeof limit !== 'number' || limit < 0 || Number.isNaN(limit) || (Number.isFinite(limit) && !Number.isInteger(limit))) {
    throw new InvalidError(`limit must be a whole number from 0, not ${String(limit)}.`)
  }
  if (range.reverse !== undefined && typeof range.reverse !== 'boolean') throw new InvalidError('reverse must be true or false.')

  let fromAfter = range.gt !== undefined
  let from = range.gt !== undefined ? encoded(range.gt) : range.gte !== undefined ? encoded(range.gte) : undefined
  let toInclusive = range.lte !== undefined
  let to = range.lt !== undefined ? encoded(range.lt) : range.lte !== undefined ? encoded(range.lte) : undefined
  if (range.prefix !== undefined) {
    const prefix = prefixBounds(range.prefix)
    if (from === undefined || prefix.from.compare(from) > 0) {
      from = prefix.from
      fromAfter = false
    }
    if (to === undefined || prefix.to.compare(to) <= 0) {
      to = prefix.to
      toInclusive = false
    }
  }
  return { from, fromAfter, to, toInclusive, reverse: range.reverse ?? false, limit }
}

/** What an iterator hands out. */
export type Selection = 'entries' | 'keys' | 'values'

/** What an iterator needs of whoever made it. */
export interface RangeSource {
  readonly reader: TreeReader
  readonly checker: SlotChecker
  readonly values: ValueCodec
  /** Throws if the database or snapshot has been closed. */
  assertOpen(): void
  /** Throws `ExpiredError` if what was read up to now may not be what it was (pins.ts). */
  assertHeld(): void
  /** Called once, when the iterator is done or given up. */
  release(): void
}

/** What to throw for an error met in a tree that may have expired meanwhile: then that is the reason. */
export function expiredOr(source: RangeSource, error: unknown): unknown {
  try {
    source.assertHeld()
    return error
  } catch (reason) {
    // Of a database that is closed there is no pin to look at.
    return reason instanceof ExpiredError ? reason : error
  }
}

const scratch = Buffer.alloc(SLOT_BYTES)

/** The value of the entry that the reader stands on: copied, found to be still held, and then decoded. */
export function heldValue(source: RangeSource): unknown {
  const { reader, checker, values } = source
  if (reader.overflows) {
    const bytes = reader.overflowValue()
    source.assertHeld()
    return values.decode(bytes, 0, bytes.length)
  }
  const length = reader.buffer.copy(scratch, 0, reader.valueAt, reader.valueAt + reader.valueLength)
  checker.checkFaults()
  source.assertHeld()
  return values.decode(scratch, 0, length)
}

/** A leaf that stays what it is. */
class LeafCopy {
  readonly node = Node.scratch()
  readonly buffer = Buffer.from(this.node.u8.buffer)
}

/** Those of iterators that are done: making one costs more than filling it. */
const spareCopies: LeafCopy[] = []
const MAX_SPARE_COPIES = 16

/**
 * Entries of one tree in order. Closes itself at its end and when a loop is left early. Throws `EncodingError` for
 * an entry whose value cannot be decoded; called again, it goes on with the entry behind that one.
 */
export class RangeIterator<T> implements IterableIterator<T> {
  readonly #source: RangeSource
  readonly #cursor: Cursor
  readonly #bounds: Bounds
  readonly #selection: Selection
  #left: number
  #index = 0
  /** Where the range ends in this leaf: the index behind (forwards) or before (reverse) its last entry. */
  #stop = 0
  /** What entries are decoded from; undefined until one of this leaf is asked for. */
  #copy: LeafCopy | undefined
  #state: 'new' | 'open' | 'closed' = 'new'
  /** What must not be given back while somebody has this iterator. */
  owner: unknown

  constructor(source: RangeSource, state: StateFields, bounds: Bounds, selection: Selection) {
    this.#source = source
    this.#cursor = new Cursor(source.reader, state)
    this.#bounds = bounds
    this.#selection = selection
    this.#left = bounds.limit
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<T, undefined> {
    if (this.#state === 'closed') return { done: true, value: undefined }
    try {
      this.#source.assertOpen()
      if (this.#state === 'new') this.#start()
      while (this.#left > 0 && this.#cursor.valid) {
        if (this.#index !== this.#stop) {
          const i = this.#index
          this.#copy ??= this.#copyLeaf()
          this.#index += this.#bounds.reverse ? -1 : 1
          this.#left--
          return { done: false, value: this.#entry(i) }
        }
        if (!this.#nextLeaf()) break
        // Among a whole leaf of entries this costs nothing that could be measured; a count goes without.
        this.#cursor.checkPlace()
      }
      this.#check()
    } catch (error) {
      const reason = expiredOr(this.#source, error)
      // What one value is like is no reason not to go on with the next entry.
      if (!(reason instanceof EncodingError)) this.#close()
      throw reason
    }
    this.#close()
    return { done: true, value: undefined }
  }

  /** Ends the iteration. Called by a `for` loop that is left early. */
  return(): IteratorResult<T, undefined> {
    this.#close()
    return { done: true, value: undefined }
  }

  [Symbol.dispose](): void {
    this.#close()
  }

  /** Counts what is left, leaf by leaf, without reading an entry. */
  count(): number {
    let count = 0
    try {
      this.#source.assertOpen()
      this.#start()
      while (this.#cursor.valid && count < this.#left) {
        count += Math.abs(this.#stop - this.#index)
        this.#source.assertHeld()
        if (!this.#nextLeaf()) break
      }
      this.#check()
    } catch (error) {
      throw expiredOr(this.#source, error)
    } finally {
      this.#close()
    }
    return Math.min(count, this.#left)
  }

  /** It may seem to end because a page was lost, or a slot reused. */
  #check(): void {
    this.#source.checker.checkFaults()
    this.#source.assertHeld()
  }

  #close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#giveBackCopy()
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

  #nextLeaf(): boolean {
    const { from, to, reverse } = this.#bounds
    const leaf = this.#cursor.leaf
    // The range ended inside this leaf.
    if (reverse ? from !== undefined && this.#stop >= 0 : to !== undefined && this.#stop < leaf.count) return false
    const moved = reverse ? this.#cursor.previousLeaf() : this.#cursor.nextLeaf()
    if (moved) this.#enterLeaf()
    return moved
  }

  #enterLeaf(): void {
    const cursor = this.#cursor
    if (!cursor.valid) return
    this.#giveBackCopy()
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

  #copyLeaf(): LeafCopy {
    const copy = spareCopies.pop() ?? new LeafCopy()
    copy.node.copyFrom(this.#cursor.leaf)
    this.#check()
    return copy
  }

  #giveBackCopy(): void {
    if (this.#copy !== undefined && spareCopies.length < MAX_SPARE_COPIES) spareCopies.push(this.#copy)
    this.#copy = undefined
  }

  #entry(i: number): T {
    if (this.#selection === 'keys') return this.#key(i) as T
    if (this.#selection === 'values') return this.#value(i) as T
    return [this.#key(i), this.#value(i)] as T
  }

  #key(i: number): Key {
    const { node } = this.#copy!
    const at = node.keyAt(i)
    try {
      return decodeKey(node.u8, at, at + node.keyLength(i))
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error
      throw damaged(this.#cursor.leaf.slot, 'a key in it is none that was ever put')
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
    const { node, buffer } = this.#copy!
    if (node.overflows(i)) {
      this.#source.reader.at(this.#cursor.leaf, i)
      return heldValue(this.#source)
    }
    const at = node.keyAt(i) + node.keyLength(i)
    return this.#source.values.decode(buffer, at, at + node.payloadBytes(i))
  }
}
