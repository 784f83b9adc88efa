// Lists of keys that are looked up in the background, for a Database or for a Snapshot. Workers find the values; they
// are decoded on this thread, in slices, between which the event loop runs.
import type { Encoded } from '../encoding/packed-list.js'
import type { WantedOfMany } from '../engine/read/snapshot.js'
import { LookupQueue, type KeyList } from './lookup-queue.js'
import { nextTurn } from './turns.js'

/** How long values are decoded at a time, and how many before a look at the clock. */
const SLICE_MS = 5
const SLICE_LOOKS = 256

interface LookupsOptions {
  /** Looks keys up. */
  readonly run: (keys: Encoded, wanted: WantedOfMany) => Promise<Encoded>
  /** Decodes the value of a key. */
  readonly decode: (value: Buffer, key: Buffer) => unknown
  /** How many tasks at a time, and how long a list may wait for its turn. */
  readonly maxTasks: number
  readonly timeoutMs: number
}

export class Lookups {
  readonly #decode: (value: Buffer, key: Buffer) => unknown
  readonly #values: LookupQueue
  readonly #presence: LookupQueue

  constructor({ run, decode, maxTasks, timeoutMs }: LookupsOptions) {
    this.#decode = decode
    this.#values = new LookupQueue((keys) => run(keys, 'values'), maxTasks, timeoutMs)
    this.#presence = new LookupQueue((keys) => run(keys, 'presence'), maxTasks, timeoutMs)
  }

  /** The values of these keys, undefined where absent. */
  async getMany({ keys, lengths: keyLengths }: KeyList): Promise<unknown[]> {
    const { bytes, lengths } = await this.#values.get({ keys, lengths: keyLengths })
    const found = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    const values: unknown[] = []
    let at = 0
    let keyAt = 0
    let untilMs = performance.now() + SLICE_MS
    for (const [i, length] of lengths.entries()) {
      const key = keys.subarray(keyAt, (keyAt += keyLengths[i]!))
      values.push(length < 0 ? undefined : this.#decode(found.subarray(at, (at += length)), key))
      if (i % SLICE_LOOKS !== SLICE_LOOKS - 1 || performance.now() < untilMs) continue
      await nextTurn()
      untilMs = performance.now() + SLICE_MS
    }
    return values
  }

  /** Whether there are entries for these keys. */
  async hasMany(list: KeyList): Promise<boolean[]> {
    const { lengths } = await this.#presence.get(list)
    return Array.from(lengths, (length) => length >= 0)
  }
}
