// Reads of single keys and of lists of keys. They read the newest tree, under a pin that this thread keeps for them.
// A read costs the way down the tree and the decoding of the value; it takes no lock and allocates only the value.
import type { KeySpace } from '../../encoding/key-space.js'
import { takenKey, type Key } from '../../encoding/keys.js'
import { Packing, type Encoded } from '../../encoding/packed-list.js'
import { decodeOwn } from '../../encoding/values/codec.js'
import { ofEntry } from '../../encoding/undecodable.js'
import { TooManyReadersError } from '../../errors.js'
import { lend } from '../../storage/lent-memory.js'
import { giveBack } from '../../storage/memory.js'
import type { SlotSpace } from '../format/slot-space.js'
import type { DatabaseClock } from '../shared/clock.js'
import { newState, type Control } from '../shared/control.js'
import type { OpenState } from '../shared/open-state.js'
import type { Pin, Pins } from '../shared/pins.js'
import { UnpinnedRead, TreeReplaced } from '../shared/read-guard.js'
import type { SlotChecker } from '../space/slot-checker.js'
import type { TreeReader } from '../tree/reader.js'
import type { PinnedReads } from './pinned-reads.js'
import { lentCopy } from './range-iterator.js'
import { EngineSnapshot, type Entry, type Wanted, type WantedOfMany } from './snapshot.js'

/**
 * Without a pin: how often a read starts again, and how many reads there are from one look for a free pin to the
 * next.
 */
const MAX_GLIMPSES = 10_000
const MAX_ONLOOKER_GLIMPSES = 3
const GLIMPSES_BETWEEN_TRIES = 256

interface PointReadParts {
  readonly openState: OpenState
  readonly control: Control
  readonly clock: DatabaseClock
  readonly space: SlotSpace
  readonly checker: SlotChecker
  readonly reader: TreeReader
  readonly main: KeySpace
  readonly pins: Pins
  readonly isOnlooker: boolean
}

export class PointReads {
  readonly #parts: PointReadParts
  readonly #openState: OpenState
  readonly #checker: SlotChecker
  readonly #reader: TreeReader
  readonly #pinned: PinnedReads
  readonly #state = newState()
  /** Undefined while all pins are in use, and for onlookers, which can have none. */
  #pin: Pin | undefined
  #glimpses = 0

  constructor(parts: PointReadParts, pinned: PinnedReads, pin: Pin | undefined) {
    this.#parts = parts
    this.#openState = parts.openState
    this.#checker = parts.checker
    this.#reader = parts.reader
    this.#pinned = pinned
    this.#pin = pin
  }

  get(key: Key, space: KeySpace): unknown {
    return this.#read(key, space, 'value')
  }

  getEntry(key: Key, space: KeySpace): Entry | undefined {
    return this.#read(key, space, 'entry') as Entry | undefined
  }

  /** The value as it is stored, in lent memory. */
  getBytes(key: Key, space: KeySpace): Buffer | undefined {
    return this.#read(key, space, 'bytes') as Buffer | undefined
  }

  has(key: Key, space: KeySpace): boolean {
    return this.#read(key, space, 'presence') !== undefined
  }

  /** Undefined if the key is absent. */
  #read(key: Key, space: KeySpace, wanted: Wanted): unknown {
    this.#openState.assertOpen()
    const pin = this.#pin
    if (pin === undefined) {
      const taken = takenKey(key)
      return this.#glimpse((snapshot) => snapshot.read(taken, wanted, space))
    }
    const length = space.encode(key)
    // Reading the key may have run users' code, which may have closed the database.
    if (typeof key === 'object') this.#openState.assertOpen()
    const state = this.#state
    pin.take(state)
    try {
      if (!this.#reader.find(state, space.bytes, length)) {
        // The key may seem to be absent because a page was lost.
        this.#checker.checkFaults()
        return undefined
      }
      if (this.#reader.expires && this.#hasExpired()) return undefined
      if (wanted === 'value') return this.#foundValue(key, space)
      if (wanted === 'bytes') {
        const bytes = this.#lentBytes()
        this.#checker.checkFaults()
        return bytes
      }
      if (wanted === 'entry') {
        const { version, expires } = this.#reader
        if (!expires) return { value: this.#foundValue(key, space), version }
        const { expiresAt } = this.#reader
        return { value: this.#foundValue(key, space), version, expiresAt }
      }
      this.#checker.checkFaults()
      return true
    } finally {
      pin.release()
    }
  }

  /** The encoded values of keys that are encoded already, or whether they are present, all as of one moment. */
  getManyEncoded(list: Encoded, wanted: WantedOfMany): Encoded {
    this.#openState.assertOpen()
    const pin = this.#pin
    if (pin === undefined) return this.#glimpse((snapshot) => snapshot.getManyEncoded(list, wanted))
    const keys = keysOf(list)
    const state = this.#state
    pin.take(state)
    try {
      if (this.#parts.space.readAhead.isUseful) this.#reader.askFor(state, keys)
      return this.#findAll(keys, wanted, 'anywhere')!
    } finally {
      pin.release()
    }
  }

  /**
   * The same if that waits for no disk, else undefined; it takes a system call for each key. Never in a file that need
   * not fit into memory.
   */
  getManyInMemory(list: Encoded, wanted: WantedOfMany): Encoded | undefined {
    this.#openState.assertOpen()
    const pin = this.#pin
    if (pin === undefined || this.#parts.space.readAhead.isUseful) return undefined
    const keys = keysOf(list)
    const state = this.#state
    pin.take(state)
    try {
      return this.#reader.areLeavesInMemory(state, keys) ? this.#findAll(keys, wanted, 'leaves') : undefined
    } finally {
      pin.release()
    }
  }

  /** Looks keys up in the tree that is pinned. Undefined if a value that is wanted lies not `where` it should. */
  #findAll(keys: readonly Uint8Array[], wanted: WantedOfMany, where: 'anywhere' | 'leaves'): Encoded | undefined {
    const packing = new Packing()
    const found = new Int32Array(keys.length)
    for (const [i, key] of keys.entries()) {
      if (!this.#reader.find(this.#state, key, key.length) || (this.#reader.expires && this.#hasExpired())) {
        found[i] = -1
        continue
      }
      if (wanted === 'presence') continue
      const { overflows, buffer, valueAt, valueLength } = this.#reader
      if (overflows) {
        if (where === 'leaves') return undefined
        const value = this.#reader.overflowValue()
        packing.add(value, 0, (found[i] = value.length))
        giveBack(value)
      } else packing.add(buffer, valueAt, (found[i] = valueLength))
    }
    this.#checker.checkFaults()
    return { bytes: packing.bytes, lengths: found }
  }

  /** True if the entry that was found has expired by now. */
  #hasExpired(): boolean {
    const { expiresAt } = this.#reader
    // It may be of a page that was lost.
    this.#checker.checkFaults()
    return expiresAt <= this.#parts.clock.now()
  }

  /** True if it pays to name keys before they are looked up (`askFor`). */
  get readsAhead(): boolean {
    return this.#pin !== undefined && this.#parts.space.readAhead.isUseful
  }

  /** Makes the system read what looking up these encoded keys will touch. */
  askFor(keys: readonly Uint8Array[]): void {
    this.#openState.assertOpen()
    const pin = this.#pin!
    const state = this.#state
    pin.take(state)
    try {
      this.#reader.askFor(state, keys)
    } finally {
      pin.release()
    }
  }

  #foundValue(key: Key, { values }: KeySpace): unknown {
    const reader = this.#reader
    try {
      if (reader.overflows) return decodeOwn(values, reader.overflowValue())
      const value = values.decode(reader.buffer, reader.valueAt, reader.valueAt + reader.valueLength)
      this.#checker.checkFaults()
      return value
    } catch (error) {
      // A lost page may be the reason for the error.
      this.#checker.checkFaults()
      throw ofEntry(error, key, reader.slotNo)
    }
  }

  #lentBytes(): Buffer {
    const { overflows, buffer, valueAt, valueLength } = this.#reader
    if (overflows) return lentCopy(this.#reader.overflowValue())
    const bytes = lend(valueLength)
    bytes.set(new Uint8Array(buffer.buffer, buffer.byteOffset + valueAt, valueLength))
    return bytes
  }

  /**
   * Reads the newest tree without a pin, since all pins are in use: again and again until no group is published
   * meanwhile. Throws `TooManyReadersError` if that never happens. An onlooker then pins the tree by a lock.
   */
  #glimpse<T>(read: (snapshot: EngineSnapshot) => T): T {
    const { control, pins, isOnlooker } = this.#parts
    if (!isOnlooker && this.#glimpses++ % GLIMPSES_BETWEEN_TRIES === GLIMPSES_BETWEEN_TRIES - 1)
      this.#pin = pins.tryAcquire()
    const glimpse = new UnpinnedRead(control)
    const state = newState()
    for (let i = 0; i < (isOnlooker ? MAX_ONLOOKER_GLIMPSES : MAX_GLIMPSES); i++) {
      glimpse.begin(state)
      try {
        return read(new EngineSnapshot(this.#pinned.source(glimpse), state, this.#parts.main))
      } catch (error) {
        if (!(error instanceof TreeReplaced)) throw error
      }
    }
    if (isOnlooker) return this.#pinned.insist(read)
    throw new TooManyReadersError(
      'All readers are in use, and this read takes too long to be done without one. Close snapshots and iterators that are no longer needed.',
    )
  }
}

function keysOf({ bytes, lengths }: Encoded): Uint8Array[] {
  let at = 0
  return Array.from(lengths, (length) => bytes.subarray(at, (at += length)))
}
