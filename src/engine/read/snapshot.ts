// One tree, as it was at one moment, for as long as it is held: what snapshots read, and how.
import { ClosedError, EncodingError } from '../../errors.js'
import { STATE, type StateFields } from '../shared/control.js'
import { encodeKey, KEY_BUFFER_BYTES, type Key } from '../../encoding/keys.js'
import { boundsOf, heldBytes, heldOr, heldValue, RangeIterator, type Range, type RangeSource, type Selection } from './range-iterator.js'
import { ofEntry } from '../../encoding/undecodable.js'

/** A value and the version of the entry that holds it: the LSN of the frame that wrote it. */
export interface Entry<V = unknown> {
  readonly value: V
  readonly version: number
}

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

  /** LSN of the tree: every write up to it is in, none behind it. */
  get lsn(): number {
    return this.#state[STATE.VISIBLE]!
  }
  get entries(): number {
    return this.#state[STATE.ENTRIES]!
  }

  #assertOpen(): void {
    this.#source.assertOpen()
    if (!this.#open) throw new ClosedError('The snapshot is closed.')
  }

  /** Finds a key and runs `act` on its entry, which has not been found to be held yet. */
  #find<T>(key: Uint8Array, length: number, act: () => T): T | undefined {
    const { reader, hold } = this.#source
    try {
      if (reader.findHeld(this.#state, key, length, hold)) return act()
      reader.checker.checkFaults()
      return undefined
    } catch (error) {
      throw heldOr(this.#source, error)
    }
  }

  /** Encodes a key to be looked up. Reading it may have run users' code, which may have closed this. */
  #take(key: Key): number {
    this.#assertOpen()
    const length = encodeKey(key, this.#key)
    if (typeof key === 'object') this.#assertOpen()
    return length
  }

  get(key: Key): unknown {
    return this.#find(this.#key, this.#take(key), () => this.#value(key))
  }

  getEntry(key: Key): Entry | undefined {
    return this.#find(this.#key, this.#take(key), () => {
      const version = this.#source.reader.version
      return { value: this.#value(key), version }
    })
  }

  #value(key: Key): unknown {
    try {
      return heldValue(this.#source)
    } catch (error) {
      throw error instanceof EncodingError ? ofEntry(error, key, this.#source.reader.slotNo) : error
    }
  }

  has(key: Key): boolean {
    const act = (): true => {
      this.#source.reader.checker.checkFaults()
      this.#source.hold.assertHeld()
      return true
    }
    return this.#find(this.#key, this.#take(key), act) ?? false
  }

  /** The encoded value of a key that is encoded already. */
  getEncoded(key: Uint8Array): Buffer | undefined {
    this.#assertOpen()
    return this.#find(key, key.length, () => heldBytes(this.#source))
  }

  range(range: Range | undefined, selection: Selection): RangeIterator<unknown> {
    this.#assertOpen()
    const bounds = boundsOf(range)
    this.#assertOpen()
    const { reader, values, hold } = this.#source
    // It keeps this snapshot, and so what is held, from being collected.
    const source: RangeSource = { reader, values, hold, assertOpen: () => this.#assertOpen(), release: () => undefined }
    return new RangeIterator(source, this.#state, bounds, selection)
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#source.release()
  }
}
