// One tree, as it was at one moment, for as long as it is held: what snapshots read, and how they read it.
import { ClosedError, EncodingError } from '../../errors.js'
import { STATE, type StateFields } from '../shared/control.js'
import { NEVER } from '../../encoding/expiry-key.js'
import type { KeySpace } from '../../encoding/key-space.js'
import type { Key } from '../../encoding/keys.js'
import {
  copiedBytes,
  errorUnlessExpired,
  copiedValue,
  lentBytes,
  packValue,
  RangeIterator,
  type EncodedEntry,
  type RangeSource,
  type Selection,
} from './range-iterator.js'
import { ofEntry } from '../../encoding/undecodable.js'
import { Packing, type Encoded } from '../../encoding/packed-list.js'
import type { LentTree } from '../shared/lent-pin.js'
import type { Node } from '../format/node.js'
import { readStep } from '../shared/read-guard.js'
import { overflowPointer, readOverflow } from '../space/overflow.js'
import { Cursor } from '../tree/reader.js'
import { boundsOf, type Bounds, type Range } from './bounds.js'
import { readChunk, type RangeChunk } from './range-chunk.js'

/** A value, the version of its entry (the LSN of the frame that wrote it), and when the entry expires. */
export interface Entry<V = unknown> {
  readonly value: V
  readonly version: number
  /** In milliseconds since 1970; absent for an entry that does not expire. */
  readonly expiresAt?: number
}

/**
 * What a read of one key returns. `bytes`: the value as it is stored, in lent memory.
 * @internal
 */
export type Wanted = 'value' | 'bytes' | 'entry' | 'presence'

/**
 * What a read of a list of keys returns: their values, or for those that are present nothing but their presence, as
 * a value without bytes.
 * @internal
 */
export type WantedOfMany = 'values' | 'presence'

/** An entry as it lies in the tree. */
interface FoundEntry {
  readonly value: Buffer
  readonly version: number
  /** `NEVER` if it stays. */
  readonly expiresAt: number
}

const NOTHING = Buffer.alloc(0)

/**
 * One tree, as it was when the snapshot was taken, until closed.
 * @internal
 */
export class EngineSnapshot {
  readonly #source: RangeSource
  readonly #state: StateFields
  readonly #main: KeySpace
  #open = true

  /** `main`: the key space of those calls that name none. */
  constructor(source: RangeSource, state: StateFields, main: KeySpace) {
    this.#source = source
    this.#state = state
    this.#main = main
  }

  /** LSN of the tree: it includes every write up to this LSN, and no later one. */
  get lsn(): number {
    return this.#state[STATE.VISIBLE_LSN]!
  }
  /** Its time, by the database's clock: what has expired then is absent, now and later. */
  get momentMs(): number {
    return this.#source.momentMs
  }

  /** Throws if this snapshot or the database has been closed. */
  assertOpen(): void {
    this.#source.assertOpen()
    if (!this.#open) throw new ClosedError('The snapshot is closed. Take another one with db.snapshot().')
  }

  get(key: Key, space = this.#main): unknown {
    return this.read(key, 'value', space)
  }

  getEntry(key: Key, space = this.#main): Entry | undefined {
    return this.read(key, 'entry', space) as Entry | undefined
  }

  has(key: Key, space = this.#main): boolean {
    return this.read(key, 'presence', space) !== undefined
  }

  /** Undefined if the key is absent. */
  read(key: Key, wanted: Wanted, space: KeySpace): unknown {
    this.assertOpen()
    const length = space.encode(key)
    // Reading the key may have run users' code, which may have closed this snapshot.
    if (typeof key === 'object') this.assertOpen()
    return this.#find(space.bytes, length, () => {
      if (wanted === 'value') return this.#value(key, space)
      if (wanted === 'bytes') return lentBytes(this.#source)
      if (wanted === 'entry') {
        const { reader } = this.#source
        const { version, expires } = reader
        if (!expires) return { value: this.#value(key, space), version }
        const { expiresAt } = reader
        return { value: this.#value(key, space), version, expiresAt }
      }
      this.#source.reader.checker.checkFaults()
      this.#source.guard.assertNotExpired()
      return true
    })
  }

  /** The encoded value of a key that is encoded already. */
  getEncoded(key: Uint8Array): Buffer | undefined {
    this.assertOpen()
    return this.#find(key, key.length, () => copiedBytes(this.#source))
  }

  /** The same with its version; without its value if only its presence is asked for. */
  findEncoded(key: Uint8Array, wanted: WantedOfMany): FoundEntry | undefined {
    this.assertOpen()
    return this.#find(key, key.length, () => {
      const { version, expires, expiresAt } = this.#source.reader
      const rest = { version, expiresAt: expires ? expiresAt : NEVER }
      if (wanted === 'values') return { value: copiedBytes(this.#source), ...rest }
      this.#source.reader.checker.checkFaults()
      this.#source.guard.assertNotExpired()
      return { value: NOTHING, ...rest }
    })
  }

  /** The encoded values of keys that are encoded already, or whether they are present. */
  getManyEncoded({ bytes, lengths }: Encoded, wanted: WantedOfMany): Encoded {
    const packing = new Packing()
    const found = new Int32Array(lengths.length)
    const take = wanted === 'values' ? () => packValue(this.#source, packing) : () => this.#isHeld()
    let at = 0
    for (const [i, length] of lengths.entries()) {
      const key = bytes.subarray(at, (at += length))
      this.assertOpen()
      found[i] = this.#find(key, length, take) ?? -1
    }
    return { bytes: packing.bytes, lengths: found }
  }

  /** For a key that is present and whose value is not asked for: no bytes, and the tree is still held. */
  #isHeld(): number {
    this.#source.reader.checker.checkFaults()
    this.#source.guard.assertNotExpired()
    return 0
  }

  /** Finds a key and runs `act` on its entry. `act` must still check that the tree is held. */
  #find<T>(key: Uint8Array, length: number, act: () => T): T | undefined {
    const { reader, guard } = this.#source
    try {
      if (reader.findGuarded(this.#state, key, length, guard) && !this.#hasExpired()) return act()
      reader.checker.checkFaults()
      return undefined
    } catch (error) {
      throw errorUnlessExpired(this.#source, error)
    }
  }

  /** True if the entry that was found has expired at this moment. */
  #hasExpired(): boolean {
    const { reader, guard, momentMs } = this.#source
    if (!reader.expires) return false
    readStep()
    const { expiresAt } = reader
    guard.assertNotExpired()
    return expiresAt <= momentMs
  }

  #value(key: Key, { values }: KeySpace): unknown {
    try {
      return copiedValue(this.#source, values)
    } catch (error) {
      throw error instanceof EncodingError ? ofEntry(error, key, this.#source.reader.slotNo) : error
    }
  }

  range(range: Range | undefined, selection: Selection, space = this.#main): RangeIterator<unknown> {
    this.assertOpen()
    return this.rangeWithin(boundsOf(space, range), selection, space)
  }

  /** The same with bounds that are encoded already. */
  rangeWithin(bounds: Bounds, selection: Selection, space = this.#main): RangeIterator<unknown> {
    this.assertOpen()
    const { reader, guard } = this.#source
    // The iterator keeps this snapshot, and so the tree that is held, from being garbage-collected.
    const source: RangeSource = {
      reader,
      guard,
      momentMs: this.momentMs,
      assertOpen: () => this.assertOpen(),
      release: () => undefined,
      isHeldByOther: true,
    }
    return new RangeIterator(source, this.#state, bounds, selection, space)
  }

  /** The first entries of a range as bytes: see range-chunk.ts. */
  readChunk(bounds: Bounds, selection: 'encoded entries' | 'encoded keys'): RangeChunk {
    const iterator = this.rangeWithin(bounds, selection) as RangeIterator<EncodedEntry>
    try {
      return readChunk(iterator)
    } finally {
      iterator.return()
    }
  }

  /** The leaves of the tree in the order of their keys. Each is a copy, until the next one is asked for. */
  *leaves(): Generator<Node, void> {
    this.assertOpen()
    const { reader, guard } = this.#source
    const cursor = new Cursor(reader, this.#state, guard)
    try {
      for (let found = cursor.first(); found; found = cursor.nextLeaf()) {
        yield cursor.leaf
        this.assertOpen()
      }
      reader.checker.checkFaults()
    } catch (error) {
      throw errorUnlessExpired(this.#source, error)
    } finally {
      cursor.close()
    }
  }

  /** The value of entry i of one of these leaves, which overflows. */
  overflowValue(leaf: Node, i: number): Buffer {
    const { reader, guard } = this.#source
    try {
      return readOverflow(reader.space, reader.checker, overflowPointer(leaf, i), guard)
    } catch (error) {
      throw errorUnlessExpired(this.#source, error)
    }
  }

  /** The fields of the tree's state. */
  get state(): StateFields {
    return this.#state
  }

  /** What another thread of this process needs to read the same tree (`Engine.borrow`), until this is closed. */
  lend(): LentTree {
    this.assertOpen()
    return { ...this.#source.lend!(), momentMs: this.momentMs }
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#source.release()
  }
}
