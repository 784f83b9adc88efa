// The change feed: what took effect in a database, in the order of its log, as it becomes visible, from all threads and
// processes. It is read from the log on the calling thread, a stretch at a time that takes a millisecond or two, and
// each change is decoded when it is asked for. What is read lies in the page cache, since it has just been written, and
// to read it takes a fifth of what it takes to decode it, which must be done here in any case.
import type { Anything, Stored } from './types.js'
import type { Engine } from '../engine/engine.js'
import type { Bounds } from '../engine/read/bounds.js'
import { boundsFrom } from '../engine/read/bounds.js'
import type { LogFollower } from '../engine/read/log-follower.js'
import type { Key } from '../encoding/keys.js'
import { placeAfter, placeAt, type FollowedFrame, type LogPlace } from '../wal/change-reader.js'
import { changesOf, type LoggedChange } from '../wal/changes.js'
import { NEVER } from '../encoding/expiry-key.js'
import { cursorOf, type Told } from './cursor.js'
import { decodedValue } from '../encoding/undecodable.js'
import type { KeySpace } from '../encoding/key-space.js'
import { advice, CorruptError, InvalidError } from '../errors.js'
import { StoreNames } from './store-names.js'
import { LATER, LiveIterator } from './live-iterator.js'

/** Changes that are passed over between two looks at the clock. */
const SKIPS_PER_LOOK = 64

/** What is told of every change. */
export interface ToldChange {
  /** The version that the entry has from then on; of a removed one, the LSN of the write that removed it. */
  readonly lsn: number
  /** Given as `since`, it goes on right after this change, also inside a batch. */
  readonly cursor: string
  /** When it was written, by the clock of the writer: milliseconds since 1970. */
  readonly timeMs: number
  /** The name of the store; undefined for the default store. */
  readonly store: string | undefined
}

/** A change, as `Database.changes` tells it. */
export type Change<V = Anything, K extends Key = Key> =
  | (ToldChange & {
      readonly type: 'put'
      readonly key: Stored<K>
      readonly value: Stored<V>
      /** When the entry expires, in milliseconds since 1970; absent if it does not. Its end is told as a `del`. */
      readonly expiresAt?: number
    })
  | (ToldChange & { readonly type: 'del'; readonly key: Stored<K>; readonly value: undefined })
  /** A range of the store was cleared, or all of it: `covers` tells whether a key was in it. */
  | (ToldChange & {
      readonly type: 'clear'
      readonly key: undefined
      readonly value: undefined
      /** All of the store was cleared. */
      readonly all: boolean
      /** True if `key` was in the range. Throws `InvalidError` for what cannot be a key. */
      covers(key: K): boolean
    })
  /** The store was dropped with all that it held. */
  | (ToldChange & { readonly type: 'drop'; readonly key: undefined; readonly value: undefined })

/** What `Database.changes` returns. */
export interface ChangeFeed<V = Anything, K extends Key = Key>
  extends AsyncIterableIterator<Change<V, K>, undefined>, AsyncDisposable {
  /**
   * The next change, once there is one. Rejects as `Database.changes` says. Calls may be made before earlier ones are
   * settled.
   */
  next(): Promise<IteratorResult<Change<V, K>, undefined>>
  /** Ends the feed. A loop that is left early does this by itself. */
  return(): Promise<IteratorResult<Change<V, K>, undefined>>
  /**
   * Given as `since`, it goes on where this feed is: after the last change that was handed out, and after all that came
   * since and was not asked for (`prefix`, `store`), as far as the feed has read. Where few changes are asked for, this
   * stays in the log when the cursor of the last change has long gone.
   */
  readonly cursor: string
}

interface FeedRequest {
  readonly engine: Engine
  readonly follower: LogFollower
  /** Undefined: from now on. */
  readonly since: Told | undefined
  /** Keys as their user encodes them. */
  readonly bounds: Bounds | undefined
  /** Name of the only store that is asked for. */
  readonly store: string | undefined
  readonly signal: AbortSignal | undefined
  readonly assertOpen: () => void
  readonly owner: unknown
}

/** @internal */
export class LoggedChanges extends LiveIterator<Change<unknown>> {
  readonly #request: FeedRequest
  readonly #place: LogPlace
  #visible
  /** What was read and not been told yet, from the next frame on. */
  #frames: readonly FollowedFrame[] = []
  #nextFrame = 0
  /** The frame that is being told, what of it is left, and the next change of it. */
  #frame: FollowedFrame | undefined
  #changes: Iterator<LoggedChange> | undefined
  #change: LoggedChange | undefined
  #told: Told
  readonly #stores: StoreNames

  constructor(request: FeedRequest) {
    super(request)
    this.#request = request
    this.#stores = new StoreNames(request.engine)
    const { since, follower } = request
    const { visible, changedLsn } = follower.now()
    this.#visible = visible
    this.#told = since ?? { lsn: changedLsn }
    this.#place = since === undefined ? placeAt(visible) : placeAfter(since.lsn, since.index !== undefined)
    this.heed(request.signal)
  }

  get cursor(): string {
    return cursorOf(this.#request.follower.uuid, this.#told)
  }

  protected take(untilMs: number): Change<unknown> | typeof LATER | undefined {
    for (let skips = 1; ; skips++) {
      if (skips % SKIPS_PER_LOOK === 0 && performance.now() >= untilMs) return LATER
      if (this.#change === undefined && !this.#nextOfFrames()) return undefined
      const frame = this.#frame!
      const change = this.#change!
      this.#change = this.#nextOfFrame()
      const { lsn } = frame
      this.#told = this.#change === undefined ? { lsn } : { lsn, index: change.index }
      const told = this.#tell(frame, change)
      if (told !== undefined) return told
    }
  }

  /** Goes on with the next frame that has a change to be told. */
  #nextOfFrames(): boolean {
    while (this.#nextFrame < this.#frames.length) {
      const frame = this.#frames[this.#nextFrame++]!
      const { lsn, index } = this.#told
      const { bytes, outcome } = frame
      this.#frame = frame
      this.#changes = changesOf(bytes, 0, bytes.length, outcome)
      const toldIndex = frame.lsn === lsn ? (index ?? -1) : -1
      for (;;) {
        this.#change = this.#nextOfFrame()
        if (this.#change === undefined || this.#change.index > toldIndex) break
        // It has been told, and what comes next may depend on it.
        this.#stores.note(this.#change)
      }
      if (this.#change !== undefined) return true
      this.#told = { lsn: frame.lsn }
    }
    this.#frames = []
    this.#nextFrame = 0
    this.#frame = this.#changes = undefined
    return false
  }

  #nextOfFrame(): LoggedChange | undefined {
    const { done, value } = this.#changes!.next() as IteratorResult<LoggedChange, undefined>
    return done === true ? undefined : value
  }

  /** The change as the user is told it; undefined if it is none of those that were asked for. */
  #tell({ lsn, timeMs }: FollowedFrame, change: LoggedChange): Change<unknown> | undefined {
    const { cursor } = this
    const head = { lsn, cursor, timeMs }
    const dropped = this.#stores.note(change)
    if (dropped !== undefined) {
      if (!this.#isAskedFor(dropped)) return undefined
      return { ...head, store: dropped, type: 'drop', key: undefined, value: undefined }
    }
    const space = this.#stores.of(change.key)
    if (space === undefined || !this.#isAskedFor(space.name)) return undefined
    const place = { ...head, store: space.name }
    if (change.type === 'clear') return this.#tellClear(place, space, change)
    const { bounds } = this.#request
    if (bounds !== undefined && boundsFrom(bounds, change.key.subarray(space.prefixBytes)) === undefined)
      return undefined
    const key = keyOf(space, change.key) as Stored<Key>
    if (change.type === 'del') return { ...place, type: 'del', key, value: undefined }
    const value = decodedValue(space, change.value!, change.key)
    const { expiresAt } = change
    return { ...place, type: 'put', key, value, ...(expiresAt === NEVER ? {} : { expiresAt }) }
  }

  #isAskedFor(store: string | undefined): boolean {
    return this.#request.store === undefined || this.#request.store === store
  }

  #tellClear(
    place: Omit<Change<unknown> & { type: 'clear' }, 'type' | 'key' | 'value' | 'all' | 'covers'>,
    space: KeySpace,
    { key, to }: LoggedChange,
  ): Change<unknown> | undefined {
    const from = Buffer.from(key)
    const end = to && Buffer.from(to)
    const { bounds } = this.#request
    const first = from.subarray(space.prefixBytes)
    // A range that ends where the store does has no end among its keys.
    const last = end === undefined || end.length <= space.prefixBytes ? undefined : end.subarray(space.prefixBytes)
    const isApart =
      bounds !== undefined &&
      ((bounds.to !== undefined && first.compare(bounds.to) >= 0) ||
        (last !== undefined && end!.compare(space.to ?? ABOVE_ALL) < 0 && last.compare(bounds.from!) <= 0))
    if (isApart) return undefined
    const covers = (given: Key): boolean => {
      const encoded = space.encoded(given)
      return encoded.compare(from) >= 0 && (end === undefined || encoded.compare(end) < 0)
    }
    const all = from.compare(space.from) <= 0 && (end === undefined || end.compare(space.to ?? ABOVE_ALL) >= 0)
    return { ...place, type: 'clear', key: undefined, value: undefined, all, covers }
  }

  protected readOn(): boolean {
    // Before the log is read: what is forgotten of dropped stores from here on is not in the log that is read.
    this.#stores.list()
    const { frames, isAll, visible } = this.#request.follower.read(this.#place)
    this.#visible = visible
    this.#frames = frames
    return frames.length > 0 || !isAll
  }

  protected await(wake: () => void): () => void {
    return this.#request.follower.wait(this.#visible, wake)
  }

  protected drop(): void {
    this.#frames = []
    this.#frame = this.#changes = this.#change = undefined
  }
}

/** After the keys of all stores. */
const ABOVE_ALL = Buffer.alloc(1, 0xff)

/** Throws `CorruptError` for what no put writes. */
function keyOf(space: KeySpace, bytes: Buffer): Key {
  try {
    return space.decode(bytes, 0, bytes.length)
  } catch (cause) {
    if (!(cause instanceof InvalidError)) throw cause
    throw new CorruptError(`A key in the log cannot be decoded. ${advice.restoreOrSalvage}`, {}, { cause })
  }
}
