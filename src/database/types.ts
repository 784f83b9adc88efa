// The types of values.
import type { Key } from '../encoding/keys.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import type { Bound } from '../engine/read/bounds.js'

// The user decides what a value may be: `unknown` would force a cast on each read.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Anything = any

/** The type of values that goes with a value encoding. */
export type ValueOf<E extends ValueEncoding | undefined> = E extends 'utf8'
  ? string
  : E extends 'binary'
    ? Uint8Array
    : Anything

/** What reads hand out, of a value or a key: a Buffer where a Uint8Array was put. */
export type Stored<V> = V extends Uint8Array ? Buffer : V

/**
 * What `range`, `keys` and `values` return: an iterator over one moment, which reads as it goes on. It ends with the
 * database, and one of a Snapshot ends with the snapshot.
 */
export interface RangeIterator<T, K extends Key = Key> extends IterableIterator<T>, Disposable {
  /** The next entry. Throws `EncodingError` for a value that cannot be decoded; the next call goes on after it. */
  next(): IteratorResult<T, undefined>
  /** Ends the iterator and lets go of its moment. A loop that is left early does this by itself. */
  return(): IteratorResult<T, undefined>
  /**
   * The next entries: up to `n`, and an empty array at the end. All of them are in memory at once, and the event loop
   * waits meanwhile, so choose `n` by the size of the values. `n`: 1 or more; Infinity for all that is left. An error
   * that is met after some entries is thrown by the next call. Throws `InvalidError`, and what `next` throws.
   */
  nextMany(n: number): T[]
  /**
   * Moves to the first entry at or after `key`, or in a reverse range at or before it, forwards or back. If the key
   * lies outside of the range, nothing is left, until the next `seek`. `limit` goes on counting.
   *
   * An iterator of a Database lets go of its moment when it has returned its last entry, or said that none is left;
   * from then on `seek` throws `ClosedError`. One of a Snapshot can go back after its end, unless it was closed. Throws
   * `InvalidError` for what cannot be a key.
   */
  seek(key: Bound<K>): void
}

/** What `rangeAsync`, `keysAsync` and `valuesAsync` return. */
export interface AsyncRangeIterator<T> extends AsyncIterableIterator<T>, AsyncDisposable {
  /** The next entry. Rejects as `Database.rangeAsync` says. Calls may be made before earlier ones are settled. */
  next(): Promise<IteratorResult<T, undefined>>
  /** Ends the iterator and lets go of its moment at once. A loop that is left early does this by itself. */
  return(): Promise<IteratorResult<T, undefined>>
}

/** Options of `rangeAsync`, `keysAsync` and `valuesAsync`. */
export interface AsyncRangeOptions {
  /** Ends the range: what is waited for rejects with the signal's reason, and the moment is released at once. */
  signal?: AbortSignal | undefined
}
