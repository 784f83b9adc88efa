// Watches of keys: the newest value of each, and again whenever it changes. The log says what has changed. It is read
// once for all watches of a database, and only while one of them waits: a thousand watches cost as much as one.
//
// A watch keeps a list of its keys that may have changed. It reads each in the newest tree when it is asked for it, and
// tells it if the version is another one than it told last. So a watch that is slow tells the newest value, and not
// each that there was between. Where the log was recycled before it was read, all keys may have changed.
//
// What all watches share knows them by weak references: a watch that was forgotten is collected, and its keys are
// forgotten, too.
import type { Anything, Stored } from './types.js'
import type { KeySpace } from '../encoding/key-space.js'
import type { Key } from '../encoding/keys.js'
import type { Engine } from '../engine/engine.js'
import type { LogFollower } from '../engine/read/log-follower.js'
import { LsnGoneError } from '../errors.js'
import { placeAt, type LogPlace } from '../wal/change-reader.js'
import { changesOf } from '../wal/changes.js'
import { bytesBetween } from '../wal/lsn.js'
import { LATER, LiveIterator } from './live-iterator.js'

/** What a watch tells: the newest value of a key, with its version. */
export interface Watched<V = Anything, K extends Key = Key> {
  readonly key: Stored<K>
  /** Undefined if there is no entry. */
  readonly value: Stored<V> | undefined
  /** As in `getEntry`; 0 if there is no entry. */
  readonly version: number
}

/** What `Database.watch` returns. */
export interface KeyWatch<V = Anything, K extends Key = Key>
  extends AsyncIterableIterator<Watched<V, K>, undefined>, AsyncDisposable {
  /** The next key that has another value than was told last, or none was told of. Rejects as `Database.watch` says. */
  next(): Promise<IteratorResult<Watched<V, K>, undefined>>
  /** Ends the watch. A loop that is left early does this by itself. */
  return(): Promise<IteratorResult<Watched<V, K>, undefined>>
}

/** If more of the log than this has not been read, it is not read any more: all keys may have changed. */
const MOST_READ_BYTES = 8 * 1024 * 1024

interface WatchRequest {
  readonly signal: AbortSignal | undefined
  readonly assertOpen: () => void
  readonly owner: unknown
}

/** A key that is watched. */
interface WatchedKey {
  readonly name: string
  readonly key: Key
  /** The version that was told last; undefined if none was. */
  version: number | undefined
}

/** @internal The watches of one open database. */
export class KeyWatches {
  readonly engine: Engine
  readonly follower: LogFollower
  /** By the bytes of their keys. */
  readonly #watches = new Map<string, Set<WeakRef<WatchedKeys>>>()
  #place: LogPlace | undefined
  readonly #forgotten = new FinalizationRegistry<readonly [WeakRef<WatchedKeys>, readonly string[]]>(([ref, names]) =>
    this.#remove(ref, names),
  )

  constructor(engine: Engine, follower: LogFollower) {
    this.engine = engine
    this.follower = follower
  }

  of(space: KeySpace, keys: readonly Buffer[], request: WatchRequest): WatchedKeys {
    const names = keys.map((key) => key.toString('latin1'))
    const watched = keys.map((key, i) => ({
      name: names[i]!,
      key: space.decode(key, 0, key.length),
      version: undefined,
    }))
    const watch = new WatchedKeys(this, space, watched, request)
    const ref = new WeakRef(watch)
    // From before the first read of a key: what changes after it is not missed.
    if (this.#watches.size === 0) this.#place = placeAt(this.follower.visible)
    for (const name of names) {
      const ofKey = this.#watches.get(name) ?? new Set()
      this.#watches.set(name, ofKey.add(ref))
    }
    this.#forgotten.register(watch, [ref, names], watch)
    watch.whenOver = () => {
      this.#forgotten.unregister(watch)
      this.#remove(ref, names)
    }
    return watch
  }

  #remove(ref: WeakRef<WatchedKeys>, names: readonly string[]): void {
    for (const name of names) {
      const ofKey = this.#watches.get(name)
      if (ofKey?.delete(ref) && ofKey.size === 0) this.#watches.delete(name)
    }
  }

  /** Reads on, and tells the watches which of their keys have changed. False if there is nothing new. */
  load(): boolean {
    const place = this.#place!
    const { visible } = this.follower
    if (bytesBetween(place.position ?? 0, visible) > MOST_READ_BYTES) return this.#skipTo()
    try {
      const { frames, isAll } = this.follower.read(place)
      for (const { bytes, outcome } of frames) {
        for (const { type, key } of changesOf(bytes, 0, bytes.length, outcome)) {
          // Of a range, all of them may be in it.
          if (type === 'clear') this.#allMayHaveChanged()
          else this.#mayHaveChanged(key.toString('latin1'))
        }
      }
      return frames.length > 0 || !isAll
    } catch (error) {
      if (error instanceof LsnGoneError) return this.#skipTo()
      throw error
    }
  }

  /** Goes on with what comes from now on: anything may have changed. */
  #skipTo(): boolean {
    this.#place = placeAt(this.follower.visible)
    this.#allMayHaveChanged()
    return true
  }

  #allMayHaveChanged(): void {
    for (const name of this.#watches.keys()) this.#mayHaveChanged(name)
  }
  #mayHaveChanged(name: string): void {
    for (const watch of this.#watches.get(name) ?? []) watch.deref()?.mayHaveChanged(name)
  }

  /** Up to here the log was read. */
  wait(wake: () => void): () => void {
    return this.follower.wait(this.#place!.position!, wake)
  }
}

/** @internal */
export class WatchedKeys extends LiveIterator<Watched<unknown>> {
  readonly #watches: KeyWatches
  readonly #space: KeySpace
  readonly #keys: ReadonlyMap<string, WatchedKey>
  /** Keys that may have another value than was told last, in the order in which that came about. */
  readonly #due: Set<string>
  #wake: (() => void) | undefined
  whenOver: (() => void) | undefined

  constructor(watches: KeyWatches, space: KeySpace, keys: readonly WatchedKey[], request: WatchRequest) {
    super(request)
    this.#watches = watches
    this.#space = space
    this.#keys = new Map(keys.map((watched) => [watched.name, watched]))
    this.#due = new Set(this.#keys.keys())
    this.heed(request.signal)
  }

  mayHaveChanged(name: string): void {
    this.#due.add(name)
    this.#wake?.()
  }

  protected take(untilMs: number): Watched<unknown> | typeof LATER | undefined {
    for (const name of this.#due) {
      if (performance.now() >= untilMs) return LATER
      // First: if the value cannot be decoded, the next call goes on after it.
      this.#due.delete(name)
      const watched = this.#keys.get(name)!
      const entry = this.#watches.engine.getEntry(watched.key, this.#space)
      const version = entry?.version ?? 0
      if (version === watched.version) continue
      watched.version = version
      return { key: watched.key as Stored<Key>, value: entry?.value, version }
    }
    return undefined
  }

  protected readOn(): boolean {
    return this.#watches.load() || this.#due.size > 0
  }

  protected await(wake: () => void): () => void {
    const stop = this.#watches.wait(wake)
    this.#wake = wake
    return () => {
      this.#wake = undefined
      stop()
    }
  }

  protected drop(): void {
    this.#due.clear()
    this.whenOver?.()
  }
}
