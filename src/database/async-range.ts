// Ranges that are read off the event loop, all as of one moment. Workers read them chunk by chunk; while one chunk is
// handed out, the next is read. So a long range takes up two chunks of memory, and holds the event loop for no longer
// than it takes to decode one.
//
// The moment is a snapshot of this thread. Workers read it under the pin that this thread holds, and notice if that
// has been released (engine/shared/lent-pin.ts). So an end at any moment need not wait for the chunk under way: the
// pin is released at once, and what the worker answers is dropped.
//
// Values are decoded here, one when it is asked for. The user's code runs between two of them, and may do anything,
// also close the snapshot, the database, or this.
import { isInstance, quoted, reason } from '../describe.js'
import { NEVER } from '../encoding/expiry-key.js'
import type { KeySpace } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'
import { advice, CorruptError, InvalidError, MmapdbError } from '../errors.js'
import { decodedValue } from '../encoding/undecodable.js'
import { boundsAfter, boundsOf, type Bounds, type Range } from '../engine/read/bounds.js'
import type { RangeChunk } from '../engine/read/range-chunk.js'
import type { EngineSnapshot } from '../engine/read/snapshot.js'
import type { BackgroundReads } from './background-reads.js'
import { nextTurn } from './turns.js'
import { nothing, OrderedIterator } from './ordered-iterator.js'
import type { AsyncRangeOptions } from './types.js'

/** An entry, and when it expires: milliseconds since 1970, or undefined if it stays. */
export type TimedEntry = readonly [key: Key, value: unknown, expiresAt: number | undefined]

/** What a range gives out: `timed entries` are `TimedEntry`. */
export type AsyncSelection = 'entries' | 'timed entries' | 'keys' | 'values'

interface AsyncRangeRequest {
  readonly reads: BackgroundReads
  readonly snapshot: EngineSnapshot
  readonly space: KeySpace
  /** The snapshot is the user's own. Otherwise it is closed with the range. */
  readonly isLasting: boolean
  readonly bounds: Bounds
  readonly selection: AsyncSelection
  readonly signal: AbortSignal | undefined
  /** What must not be released while the range is in use. */
  readonly owner: unknown
}

class AsyncRange<T> extends OrderedIterator<T> {
  readonly #request: AsyncRangeRequest
  /** What has not been asked for yet. */
  #bounds: Bounds
  /** The chunk that is being handed out; the next entry of it, and where that begins. */
  #chunk: RangeChunk | undefined
  #index = 0
  #at = 0
  /** The next chunk, if it is under way. */
  #ahead: Promise<RangeChunk> | undefined
  /** Ends the wait for a chunk. */
  #wake: (() => void) | undefined

  constructor(request: AsyncRangeRequest) {
    super()
    this.#request = request
    this.#bounds = request.bounds
    if (request.signal?.aborted !== true && request.bounds.limit === 0) this.end()
    this.heed(request.signal)
  }

  protected assertOpen(): void {
    const { reads, snapshot, isLasting } = this.#request
    reads.assertOpen()
    if (isLasting) snapshot.assertOpen()
  }

  protected ready(): IteratorResult<T, undefined> | undefined {
    const chunk = this.#chunk
    if (chunk === undefined) return undefined
    if (this.#index < chunk.lengths.length) return { done: false, value: this.#take(chunk) }
    return chunk.isLast ? this.end() : undefined
  }

  #take({ bytes, lengths, expiries }: RangeChunk): T {
    const keyEnd = this.#at + lengths[this.#index]!
    const end = keyEnd + Math.max(0, lengths[this.#index + 1]!)
    const keyBytes = Buffer.from(bytes.buffer, bytes.byteOffset + this.#at, keyEnd - this.#at)
    const expiresAt = expiries?.[this.#index / 2] ?? NEVER
    // First: if the value cannot be decoded, the next call goes on after it.
    this.#index += 2
    this.#at = end
    const { space, selection } = this.#request
    if (selection === 'keys') return this.#key(keyBytes) as T
    const value = decodedValue(space, Buffer.from(bytes.buffer, bytes.byteOffset + keyEnd, end - keyEnd), keyBytes)
    if (selection === 'values') return value as T
    const key = this.#key(keyBytes)
    if (selection === 'entries') return [key, value] as T
    return [key, value, expiresAt === NEVER ? undefined : expiresAt] satisfies TimedEntry as T
  }

  #key(bytes: Buffer): Key {
    try {
      return this.#request.space.decode(bytes, 0, bytes.length)
    } catch (cause) {
      if (!(cause instanceof InvalidError)) throw cause
      throw new CorruptError(`A key in the data file cannot be decoded. ${advice.restoreOrSalvage}`, {}, { cause })
    }
  }

  /** Waits for the next chunk, or for the end of it all. */
  protected load(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#wake = resolve
      this.#fetch().then(resolve, reject)
    })
  }

  async #fetch(): Promise<void> {
    const ahead = this.#ahead
    this.#ahead = undefined
    const chunk = await (ahead ?? this.#read())
    // A chunk that was there already must not keep the event loop from its turn.
    if (ahead !== undefined) await nextTurn()
    if (this.isOver) return
    this.#chunk = chunk
    this.#index = this.#at = 0
    if (chunk.isLast) return this.#release()
    this.#bounds = boundsAfter(this.#bounds, lastKeyOf(chunk), chunk.lengths.length / 2)
    const { reads } = this.#request
    if (!reads.hasWorkers) return
    this.#ahead = this.#read()
    // Who waits for it gets the error.
    this.#ahead.catch(nothing)
  }

  async #read(): Promise<RangeChunk> {
    const { reads, snapshot, selection } = this.#request
    reads.assertOpen()
    return reads.readChunk(snapshot, this.#bounds, selection === 'keys' ? 'encoded keys' : 'encoded entries')
  }

  protected letGo(): void {
    this.#chunk = this.#ahead = undefined
    this.#release()
    this.#wake?.()
  }

  /** Nothing more is to be read. */
  #release(): void {
    if (!this.#request.isLasting) this.#request.snapshot.close()
  }
}

/** A copy: the chunk is in use for longer. */
function lastKeyOf({ bytes, lengths }: RangeChunk): Buffer {
  const end = bytes.length - Math.max(0, lengths.at(-1)!)
  return Buffer.from(bytes.subarray(end - lengths.at(-2)!, end))
}

interface AsyncRangeParts extends Pick<AsyncRangeRequest, 'reads' | 'space' | 'isLasting' | 'selection' | 'owner'> {
  assertOpen(): void
  snapshot(): EngineSnapshot
}

/** A range as its user gives it. Throws `InvalidError`; may run users' code. */
export function asyncRange<T>(
  range: Range | undefined,
  options: AsyncRangeOptions | undefined,
  { assertOpen, snapshot, ...parts }: AsyncRangeParts,
): AsyncRange<T> {
  assertOpen()
  const signal = signalOf(options)
  const bounds = boundsOf(parts.space, range)
  // Reading these may have run the user's code, which may have closed what is read.
  assertOpen()
  return new AsyncRange<T>({ ...parts, snapshot: snapshot(), bounds, signal })
}

/** Reads the options of a range once; it may run users' code. Throws `InvalidError`. */
function signalOf(options: AsyncRangeOptions | undefined): AbortSignal | undefined {
  if (options === undefined) return undefined
  let signal: unknown
  try {
    if (typeof options !== 'object' || options === null) throw new InvalidError('Options must be an object.')
    const other = Object.keys(options).find((name) => name !== 'signal')
    if (other !== undefined) throw new InvalidError(`There is no option "${other}". The option is: signal.`)
    signal = options.signal
    if (signal === undefined || signal instanceof AbortSignal) return signal
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The options cannot be read: ${reason(cause)}`, { cause })
  }
  throw new InvalidError(`signal must be an AbortSignal, not ${quoted(signal)}.`)
}
