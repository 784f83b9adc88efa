// One try of a transaction on one thread. It reads a snapshot, with its own writes laid over it, and notes what it has
// read (noted-reads.ts). Its commit is one write, all or nothing: checks of everything that it has read, and its
// changes. The leader that applies it judges the checks in the order of the log, by what all writes before it left
// (commit/decide.ts). So if it takes effect, everything that it has read is still so at its place in the log: it could
// as well have run there, alone. If something is not, nothing is changed, and the transaction is run again.
//
// One that writes nothing commits nothing: it could as well have run alone at the moment of its snapshot.
//
// A crash leaves what it leaves of any write: the frame is in the log whole or not at all, and applying it again
// decides the same.
import { InvalidError } from '../../errors.js'
import type { KeySpace } from '../../encoding/key-space.js'
import type { Key } from '../../encoding/keys.js'
import { decodedValue } from '../../encoding/undecodable.js'
import { NEVER } from '../../encoding/expiry-key.js'
import { encodeDelta, sumOf, type NoSum } from '../../encoding/values/numbers.js'
import { MAX_VALUE_BYTES } from '../../limits.js'
import type { FrameBuilder } from '../../wal/frame-builder.js'
import { MAX_SUM_BYTES } from '../../wal/outcomes.js'
import { expiryIn } from '../commit/conditions.js'
import { expiringAt, type Clock } from '../commit/expiry.js'
import { boundsOf, type Range } from '../read/bounds.js'
import type { EncodedEntry, RangeIterator } from '../read/range-iterator.js'
import type { EngineSnapshot } from '../read/snapshot.js'
import type { OpenState } from '../shared/open-state.js'
import { MergedRange } from './merged-range.js'
import { NotedReads } from './noted-reads.js'
import { OwnWrites, type OwnWrite } from './own-writes.js'

/** An entry as a transaction sees it. */
interface SeenEntry {
  readonly value: unknown
  /** 0 if the transaction has written it itself. */
  readonly version: number
  /** Undefined if it stays. */
  readonly expiresAt?: number
}

export class EngineTransaction {
  readonly #snapshot: EngineSnapshot
  readonly #lsn: number
  readonly #openState: OpenState
  readonly #clock: Clock
  readonly #own = new OwnWrites()
  readonly #reads = new NotedReads()
  /** The lowest one of the named stores that it writes to. */
  #storesGeneration = 0
  #isOver = false

  constructor(snapshot: EngineSnapshot, openState: OpenState, clock: Clock) {
    this.#snapshot = snapshot
    this.#clock = clock
    this.#lsn = snapshot.lsn
    this.#openState = openState
  }

  /** LSN of the moment that it reads. */
  get lsn(): number {
    return this.#lsn
  }

  /** The time of that moment, by the database's clock: what has expired then is absent. */
  get momentMs(): number {
    return this.#snapshot.momentMs
  }

  // ---- reading -----------------------------------------------------------------------------------

  /** The entry of a key; undefined if it is absent. */
  find(space: KeySpace, key: Key): SeenEntry | undefined {
    const treeKey = space.encoded(key)
    // Reading the key may have run the user's code, which may have ended the transaction.
    this.assertRunning()
    const name = nameOf(treeKey)
    const own = this.#own.get(name)
    if (own?.kind === 'del') return undefined
    if (own?.kind === 'put') return seen(decodedValue(space, own.value, treeKey), 0, own.expiresAt)
    const entry = this.#snapshot.findEncoded(treeKey, 'values')
    this.#reads.noteKey(name, treeKey, entry?.version ?? 0, false)
    if (own !== undefined) {
      // What is there keeps its time.
      return seen(decodedValue(space, added(own, entry?.value), treeKey), 0, entry ? entry.expiresAt : own.expiresAt)
    }
    return entry && seen(decodedValue(space, entry.value, treeKey), entry.version, entry.expiresAt)
  }

  has(space: KeySpace, key: Key): boolean {
    const treeKey = space.encoded(key)
    this.assertRunning()
    const name = nameOf(treeKey)
    const own = this.#own.get(name)
    if (own !== undefined) return own.kind !== 'del'
    const entry = this.#snapshot.findEncoded(treeKey, 'presence')
    this.#reads.noteKey(name, treeKey, entry?.version ?? 0, true)
    return entry !== undefined
  }

  range(space: KeySpace, range: Range | undefined, selection: 'entries' | 'keys'): MergedRange {
    const bounds = boundsOf(space, range)
    this.assertRunning()
    const entries = this.#snapshot.rangeWithin(
      { ...bounds, limit: Infinity },
      selection === 'keys' ? 'encoded keys' : 'encoded entries',
    ) as RangeIterator<EncodedEntry>
    return new MergedRange({
      entries,
      own: this.#own.within(bounds),
      noted: this.#reads.noteRange(bounds),
      reverse: bounds.reverse,
      limit: bounds.limit,
      isOfKeys: selection === 'keys',
      sum: added,
    })
  }

  // ---- writing -----------------------------------------------------------------------------------

  /** `options`: when the entry expires, as the user gives it. */
  put(space: KeySpace, key: Key, value: unknown, options?: unknown): void {
    this.#openState.assertWritable()
    const { expiresAt = NEVER } = expiryIn(options, this.#clock)
    const treeKey = space.encoded(key)
    const bytes = Buffer.from(space.values.encode(value))
    this.assertRunning()
    if (bytes.length > MAX_VALUE_BYTES)
      throw new InvalidError(
        `A value may be at most ${MAX_VALUE_BYTES} bytes long when encoded; this one has ${bytes.length}.`,
      )
    // What has expired already is as if it were removed.
    const write: OwnWrite =
      expiresAt <= this.momentMs
        ? { kind: 'del', key: treeKey }
        : { kind: 'put', key: treeKey, value: bytes, expiresAt }
    this.#own.set(nameOf(treeKey), write, bytes.length)
    this.#noteStore(space)
  }

  del(space: KeySpace, key: Key): void {
    this.#openState.assertWritable()
    const treeKey = space.encoded(key)
    this.assertRunning()
    this.#own.set(nameOf(treeKey), { kind: 'del', key: treeKey }, 0)
    this.#noteStore(space)
  }

  /**
   * Adds to the number that the key has when the transaction is committed. Does not look at it. `options`: when the
   * entry expires if this makes it, as the user gives it.
   */
  add(space: KeySpace, key: Key, delta: unknown, options?: unknown): void {
    this.#openState.assertWritable()
    const { expiresAt = NEVER } = expiryIn(options, this.#clock)
    const treeKey = space.encoded(key)
    const bytes = Buffer.from(encodeDelta(space.values, delta, MAX_SUM_BYTES))
    this.assertRunning()
    const name = nameOf(treeKey)
    const isJson = space.values.name === 'json'
    // An entry that expires at once is not made.
    if (expiresAt <= this.momentMs && !this.has(space, key)) return
    const own = this.#own.get(name)
    const write: OwnWrite =
      own === undefined
        ? { kind: 'add', key: treeKey, deltas: { list: [bytes], count: 1 }, isJson, expiresAt }
        : own.kind === 'add'
          ? { ...own, deltas: { list: own.deltas.list, count: own.deltas.count + 1 } }
          : own.kind === 'put'
            ? { ...own, value: sum(isJson, own.value, bytes) }
            : { kind: 'put', key: treeKey, value: sum(isJson, undefined, bytes), expiresAt }
    // Those of one key must go together.
    if (own?.kind === 'add') sum(isJson, own.deltas.list[0], bytes)
    this.#own.set(name, write, bytes.length)
    if (own?.kind === 'add') own.deltas.list.push(bytes)
    this.#noteStore(space)
  }

  /** The store must still be there when this is committed: see stores.ts. */
  #noteStore({ number, generation }: KeySpace): void {
    if (number === 0) return
    this.#storesGeneration = Math.min(this.#storesGeneration || generation, generation)
  }

  // ---- the end -----------------------------------------------------------------------------------

  /** Throws if the transaction or the database has ended. */
  assertRunning(): void {
    this.#openState.assertOpen()
    if (this.#isOver)
      throw new InvalidError(
        'This transaction has ended. Use it only until the function that was given to "transaction" returns, and wait ' +
          'in it for all that it does.',
      )
  }

  /** From here on it reads and writes nothing more. */
  end(): void {
    this.#isOver = true
    this.#snapshot.close()
  }

  get hasWritten(): boolean {
    return !this.#own.isEmpty
  }

  /** Writes checks and changes into a frame, as one write. */
  writeTo(frame: FrameBuilder): void {
    this.#openState.assertWritable()
    this.#reads.checkIn(frame, this.#lsn, this.#own)
    if (this.#storesGeneration > 0) frame.touchStores(this.#storesGeneration)
    for (const [name, write] of this.#own.entries()) {
      const { key } = write
      const conditions = this.#reads.conditionsOf(name)
      if (write.kind === 'del') frame.del(key, key.length, conditions)
      else {
        const expiring = expiringAt(conditions, write.expiresAt)
        if (write.kind === 'put') frame.put(key, key.length, write.value, expiring)
        else for (const delta of write.deltas.list) frame.add(key, key.length, delta, write.isJson, expiring)
      }
    }
  }

  /** Keys of the tree that it has read and written: where others do the same, one of them has run in vain. */
  *changedKeys(): Generator<Buffer> {
    for (const [name, { key }] of this.#own.entries()) if (this.#reads.has(name)) yield key
  }
  /** Keys that it has written, then those that it has read. */
  *keys(): Generator<Buffer> {
    for (const [, { key }] of this.#own.entries()) yield key
    for (const { key } of this.#reads.keys()) yield key
  }
}

const nameOf = (key: Buffer): string => key.toString('latin1')

const seen = (value: unknown, version: number, expiresAt: number): SeenEntry =>
  expiresAt === NEVER ? { value, version } : { value, version, expiresAt }

const REASONS: Record<NoSum, string> = {
  'no number': 'What is to be added to is no number.',
  mixed: 'A number and a bigint cannot be added.',
  'too large': 'The sum would become larger than a number, or than a bigint of some 180 bytes.',
}

function sum(isJson: boolean, before: Buffer | undefined, delta: Buffer): Buffer {
  const result = sumOf(
    isJson,
    before ?? delta,
    before === undefined ? -1 : 0,
    before?.length ?? -1,
    delta,
    MAX_SUM_BYTES,
  )
  if (typeof result === 'string') throw new InvalidError(REASONS[result])
  return Buffer.from(result)
}

function added({ deltas, isJson }: OwnWrite & { kind: 'add' }, before: Buffer | undefined): Buffer {
  let value = before
  for (let i = 0; i < deltas.count; i++) value = sum(isJson, value, deltas.list[i]!)
  return value!
}
