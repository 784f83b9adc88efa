// One tree, as it was at one moment, for as long as it is held: what snapshots read, and how they read it.
import { ClosedError, EncodingError } from '../../errors.js'
import { STATE, type StateFields } from '../shared/control.js'
import { encodeKey, KEY_BUFFER_BYTES, type Key } from '../../encoding/keys.js'
import {
  copiedBytes,
  errorUnlessExpired,
  copiedValue,
  RangeIterator,
  type RangeSource,
  type Selection,
} from './range-iterator.js'
import { ofEntry } from '../../encoding/undecodable.js'
import { boundsOf, type Range } from './bounds.js'

/** A value and the version of the entry that holds it: the LSN of the frame that wrote it. */
export interface Entry<V = unknown> {
  readonly value: V
  readonly version: number
}

/** What a read of one key returns. */
export type Wanted = 'value' | 'entry' | 'presence'

/** One tree, as it was when the snapshot was taken, until closed. */
export class EngineSnapshot {
  readonly #source: RangeSource
  readonly #state: StateFields
  readonly #key = Buffer.alloc(KEY_BUFFER_BYTES)
  #open = true

  constructor(source: RangeSource, state: StateFields) {
    this.#source = source
    this.#state = state
  }

  /** LSN of the tree: it includes every write up to this LSN, and no later one. */
  get lsn(): number {
    return this.#state[STATE.VISIBLE_LSN]!
  }
  get entries(): number {
    return this.#state[STATE.ENTRIES]!
  }

  #assertOpen(): void {
    this.#source.assertOpen()
    if (!this.#open) throw new ClosedError('The snapshot is closed.')
  }

  get(key: Key): unknown {
    return this.read(key, 'value')
  }

  getEntry(key: Key): Entry | undefined {
    return this.read(key, 'entry') as Entry | undefined
  }

  has(key: Key): boolean {
    return this.read(key, 'presence') !== undefined
  }

  /** Undefined if the key is absent. */
  read(key: Key, wanted: Wanted): unknown {
    this.#assertOpen()
    const length = encodeKey(key, this.#key)
    // Reading the key may have run users' code, which may have closed this snapshot.
    if (typeof key === 'object') this.#assertOpen()
    return this.#find(this.#key, length, () => {
      if (wanted === 'value') return this.#value(key)
      if (wanted === 'entry') {
        const { version } = this.#source.reader
        return { value: this.#value(key), version }
      }
      this.#source.reader.checker.checkFaults()
      this.#source.guard.assertNotExpired()
      return true
    })
  }

  /** The encoded value of a key that is encoded already. */
  getEncoded(key: Uint8Array): Buffer | undefined {
    this.#assertOpen()
    return this.#find(key, key.length, () => copiedBytes(this.#source))
  }

  /** Finds a key and runs `act` on its entry. `act` must still check that the tree is held. */
  #find<T>(key: Uint8Array, length: number, act: () => T): T | undefined {
    const { reader, guard } = this.#source
    try {
      if (reader.findGuarded(this.#state, key, length, guard)) return act()
      reader.checker.checkFaults()
      return undefined
    } catch (error) {
      throw errorUnlessExpired(this.#source, error)
    }
  }

  #value(key: Key): unknown {
    try {
      return copiedValue(this.#source)
    } catch (error) {
      throw error instanceof EncodingError ? ofEntry(error, key, this.#source.reader.slotNo) : error
    }
  }

  range(range: Range | undefined, selection: Selection): RangeIterator<unknown> {
    this.#assertOpen()
    const bounds = boundsOf(range)
    this.#assertOpen()
    const { reader, values, guard } = this.#source
    // The iterator keeps this snapshot, and so the tree that is held, from being garbage-collected.
    const source: RangeSource = {
      reader,
      values,
      guard,
      assertOpen: () => this.#assertOpen(),
      release: () => undefined,
    }
    return new RangeIterator(source, this.#state, bounds, selection)
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#source.release()
  }
}
