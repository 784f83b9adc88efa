// Named stores: opening, creating, listing and dropping them.
//
// A writer to a store must know that it is still there: what is written under the number of a dropped store is
// of no use, and nothing would remove it. The append state counts the drops (`storesGeneration`): count and tail move
// together, in one publication, when a frame that drops a store counts. A writer reads both together, waits until the
// tree includes the log up to that tail, and looks for the store there; and it writes the count into its frames. The
// appender compares it with the present one, under the append lock. So after the frame of a drop no frame writes to
// the store. If the count has moved, the writer looks again (`renew`) and tries again. An appender that dies before
// its frame counts has not moved the count either.
import { KeySpace, storeOf, storePrefix } from '../../encoding/key-space.js'
import { valueCodec, type ValueEncoding } from '../../encoding/values/codec.js'
import { encodeDelta } from '../../encoding/values/numbers.js'
import { InvalidError, NotFoundError, openedReadOnly, StoreDroppedError } from '../../errors.js'
import { quoted } from '../../describe.js'
import { MAX_STORE_NUMBER } from '../../limits.js'
import { newAppendFields, type AppendFields } from '../../wal/append-state.js'
import { FRAME } from '../../wal/frame.js'
import { IF_ABSENT, ifVersion, type FrameBuilder } from '../../wal/frame-builder.js'
import type { Lsn } from '../../wal/lsn.js'
import { operationsOf } from '../../wal/operation.js'
import { MAX_SUM_BYTES } from '../../wal/outcomes.js'
import { StorageError } from '../../storage/storage.js'
import { oldestOf } from '../../wal/change-reader.js'
import type { Log } from '../../wal/log.js'
import type { WriteResult } from '../commit/results.js'
import type { Committer } from '../commit/committer.js'
import type { OpenState } from '../shared/open-state.js'
import type { Control } from '../shared/control.js'
import type { EncodedEntry } from '../read/range-iterator.js'
import type { PinnedReads } from '../read/pinned-reads.js'
import type { EngineSnapshot } from '../read/snapshot.js'
import {
  COUNTER_KEY,
  decodeDropped,
  decodeStore,
  DROPPED_KEYS,
  droppedKey,
  encodeDropped,
  encodeStore,
  STORE_KEYS,
  storeKey,
  type StoreRecord,
} from './catalog.js'

/** A drop forgets up to that many of those that were dropped before. */
const MOST_FORGOTTEN = 2

interface StoresParts {
  readonly control: Control
  readonly committer: Committer
  readonly openState: OpenState
  readonly log: Log
  readonly main: KeySpace
}

/** Commits the write that `add` puts into a frame. */
type Write = (add: (frame: FrameBuilder) => void) => WriteResult

export class Stores {
  readonly #parts: StoresParts
  readonly #pinned: PinnedReads
  readonly #write: Write
  readonly #append = newAppendFields()

  constructor(parts: StoresParts, pinned: PinnedReads, write: Write) {
    this.#parts = parts
    this.#pinned = pinned
    this.#write = write
  }

  /**
   * The key space of a store, which is created if it is not there. `encoding`: of its values; undefined: what is
   * stored, or for a new store that of the database. Throws `InvalidError` for another encoding than the store has.
   */
  open(name: string, encoding: ValueEncoding | undefined): KeySpace {
    const key = storeKey(name)
    const codec = encoding === undefined ? undefined : valueCodec(encoding)
    this.#parts.openState.assertOpen()
    for (;;) {
      const generation = this.#upToDate()
      const found = this.#find(key)
      if (found !== undefined) return spaceOf(found, encoding, generation)
      if (this.#parts.openState.isReadOnly)
        throw new NotFoundError(
          `There is no store ${quoted(name)} in this database, and it was opened to be read only.`,
        )
      this.#create(key, codec?.name ?? this.#parts.main.values.name)
    }
  }

  /** The key space of a store in a snapshot. Throws `NotFoundError` if there was none of that name. */
  openIn(snapshot: EngineSnapshot, name: string): KeySpace {
    const key = storeKey(name)
    const value = snapshot.getEncoded(key)
    if (value === undefined)
      throw new NotFoundError(`There was no store ${quoted(name)} at the moment of the snapshot.`)
    return spaceOf(decodeStore(key, value), undefined, 0)
  }

  /** Throws `InvalidError` for what cannot be a name. */
  has(name: string): boolean {
    return this.#find(storeKey(name)) !== undefined
  }

  /** All named stores, in the order of their names' bytes. `snapshot`: those that there were at its moment. */
  list(snapshot?: EngineSnapshot): StoreRecord[] {
    return Array.from(this.#records(STORE_KEYS, Infinity, snapshot), ({ key, value }) => decodeStore(key, value!))
  }

  /** Stores that have been dropped, as far as the log may have writes to them. */
  listDropped(): StoreRecord[] {
    return Array.from(this.#records(DROPPED_KEYS, Infinity), ({ key, value }) => decodeDropped(key, value!))
  }

  #records(keys: { from: Buffer; to: Buffer }, limit: number, snapshot?: EngineSnapshot): Iterable<EncodedEntry> {
    const bounds = { ...keys, fromAfter: false, toInclusive: false, reverse: false, limit }
    return (snapshot ?? this.#pinned).rangeWithin(bounds, 'encoded entries', this.#parts.main) as Iterable<EncodedEntry>
  }

  /**
   * Puts the drop of a store into a frame. False, and nothing is put there, if there is no such store. If the write
   * does not take effect, another one has come between: try again.
   */
  drop(frame: FrameBuilder, name: string): boolean {
    const key = storeKey(name)
    this.#parts.openState.assertWritable()
    const entry = this.#pinned.insist((snapshot) => snapshot.findEncoded(key, 'values'))
    if (entry === undefined) return false
    const store = decodeStore(key, entry.value)
    const { number } = store
    // First: who follows the log takes what comes next for the drop.
    const inDropped = droppedKey(number)
    frame.put(inDropped, inDropped.length, encodeDropped(store))
    frame.del(key, key.length, ifVersion(entry.version))
    frame.clear(storePrefix(number), storePrefix(number + 1))
    for (const gone of this.#forgettable()) frame.del(gone, gone.length)
    frame.dropsStore()
    return true
  }

  /**
   * Some of the stores that were dropped so long ago that the log has nothing of them any more. None if the log cannot
   * be read now: a later drop looks again.
   */
  #forgettable(): Buffer[] {
    const found: Buffer[] = []
    let since: number
    try {
      ;({ since } = oldestOf(this.#parts.log, () => this.#appendState.changedLsn))
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      return found
    }
    for (const { key } of this.#records(DROPPED_KEYS, MOST_FORGOTTEN)) {
      const copy = Buffer.from(key)
      const dropped = this.#pinned.insist((snapshot) => snapshot.findEncoded(copy, 'presence'))
      if (dropped !== undefined && dropped.version <= since) found.push(copy)
    }
    return found
  }

  /** Throws `StoreDroppedError` if the store has been dropped. Cheap as long as no store was. */
  renew(space: KeySpace): void {
    if (space.number === 0 || space.generation === this.#appendState.storesGeneration) return
    const generation = this.#upToDate()
    if (this.#find(storeKey(space.name))?.number !== space.number) throw dropped(space.name)
    space.generation = generation
  }

  /** The same for a frame that the appender has refused, since a store was dropped after it was built. */
  renewFrame(frame: Buffer): void {
    const generation = this.#upToDate()
    const numbers = new Set<number>()
    for (const operation = operationsOf(frame); operation.next();) numbers.add(storeOf(operation.key) ?? 0)
    numbers.delete(0)
    for (const { number } of this.list()) numbers.delete(number)
    if (numbers.size > 0) throw dropped(undefined)
    frame.writeUInt32LE(generation, FRAME.STORES)
  }

  /** Waits until the tree includes all drops that have been counted; returns their count. */
  #upToDate(): number {
    const { committer, openState } = this.#parts
    const { storesGeneration, tailLsn } = this.#appendState
    if (!openState.isReadOnly) committer.catchUp(tailLsn as Lsn)
    return storesGeneration
  }

  get #appendState(): AppendFields {
    return this.#parts.control.append.read(this.#append)
  }

  #find(key: Buffer): StoreRecord | undefined {
    const value = this.#pinned.insist((snapshot) => snapshot.getEncoded(key))
    return value && decodeStore(key, value)
  }

  /** Creates a store, unless another thread or process has just created it. */
  #create(key: Buffer, encoding: ValueEncoding): void {
    if (this.#parts.openState.isReadOnly) throw openedReadOnly()
    const one = encodeDelta(MSGPACK, 1, MAX_SUM_BYTES)
    const { sum } = this.#write((frame) => frame.add(COUNTER_KEY, COUNTER_KEY.length, one, false))
    const number = Number(sum)
    if (number > MAX_STORE_NUMBER)
      throw new InvalidError(
        `This database has had ${MAX_STORE_NUMBER} stores, and there can be no more. Dump it and load it into a new one.`,
      )
    this.#write((frame) => frame.put(key, key.length, encodeStore(number, encoding), IF_ABSENT))
  }
}

const MSGPACK = valueCodec('msgpack')

function spaceOf(store: StoreRecord, encoding: ValueEncoding | undefined, generation: number): KeySpace {
  if (encoding !== undefined && encoding !== store.encoding)
    throw new InvalidError(
      `Store ${quoted(store.name)} has values in ${store.encoding}, not in ${encoding}. Open it with valueEncoding ` +
        `"${store.encoding}", or without one.`,
    )
  const space = new KeySpace(valueCodec(store.encoding), store)
  space.generation = generation
  return space
}

const dropped = (name: string | undefined): StoreDroppedError =>
  new StoreDroppedError(
    `${name === undefined ? 'A store that this write is for' : `Store ${quoted(name)}`} has been dropped, by this ` +
      'process or another. Nothing was written. To begin a new one of that name, call store(name) again.',
  )
