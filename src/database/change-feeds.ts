// The change feeds and watches of one open database: what they are asked for, and the follower of the log that they
// share.
import { isInstance, quoted } from '../describe.js'
import type { KeySpace } from '../encoding/key-space.js'
import type { Key, KeyPart } from '../encoding/keys.js'
import type { Engine } from '../engine/engine.js'
import { boundsOf, type Range } from '../engine/read/bounds.js'
import { LogFollower } from '../engine/read/log-follower.js'
import { InvalidError, ReadOnlyError } from '../errors.js'
import { LoggedChanges } from './change-feed.js'
import { parseCursor, type Told } from './cursor.js'
import { KeyWatches, type WatchedKeys } from './key-watch.js'
import { encodeKeys } from './lookup-queue.js'
import { isList, optionsOf } from './record-lock.js'

/** Options of `Database.changes`. */
export interface ChangeOptions<K extends Key = Key> {
  /**
   * Where to begin. The `cursor` of a change: right after that change, also inside a batch. An LSN (`lsn` of a change,
   * `version` of an entry): after that write; 0: from the very beginning. Default: what comes from this call on.
   */
  since?: string | number | undefined
  /** Only changes of the store of that name. Default: of all stores. */
  store?: string | undefined
  /** Only keys that begin with it, as in a range. */
  prefix?: Range<K>['prefix']
  /** Ends the feed: `next` rejects with the reason of the signal. */
  signal?: AbortSignal | undefined
}

/** Options of `Database.watch`. */
export interface WatchOptions {
  /** Ends it: `next` rejects with the reason of the signal. */
  signal?: AbortSignal | undefined
}

/** @internal */
export class ChangeFeeds {
  readonly #engine: Engine
  readonly #assertOpen: () => void
  readonly #follower: LogFollower
  readonly #watches: KeyWatches

  constructor(engine: Engine, assertOpen: () => void) {
    this.#engine = engine
    this.#assertOpen = assertOpen
    this.#follower = new LogFollower(engine.parts)
    this.#watches = new KeyWatches(engine, this.#follower)
  }

  /** See `Database.changes`. `owner`: what must not be released while the feed is in use. */
  changes(options: ChangeOptions | undefined, owner: unknown): LoggedChanges {
    const { since, store, prefix, signal } = optionsOf(options ?? {}, ['since', 'store', 'prefix', 'signal'])
    mustBeSignal(signal)
    const bounds = prefix === undefined ? undefined : boundsOf(this.#engine.main, { prefix })
    const told = this.#told(since)
    // Reading the options may have run the user's code, which may have closed the database.
    this.#assertOpen()
    this.#mustSeeOthers()
    if (store !== undefined && !this.#mayTellOf(store)) throw noStore(store)
    return new LoggedChanges({
      store,
      engine: this.#engine,
      follower: this.#follower,
      since: told,
      bounds,
      signal,
      assertOpen: this.#assertOpen,
      owner,
    })
  }

  /** See `Database.watch`. */
  watch(
    space: KeySpace,
    keys: KeyPart | readonly Key[],
    options: WatchOptions | undefined,
    owner: unknown,
  ): WatchedKeys {
    const { signal } = optionsOf(options ?? {}, ['signal'])
    mustBeSignal(signal)
    const list = keysOf(keys, space)
    this.#assertOpen()
    this.#mustSeeOthers()
    return this.#watches.of(space, list, { signal, assertOpen: this.#assertOpen, owner })
  }

  /** Ends the waits of all of them: the database is being closed. */
  stop(): void {
    this.#follower.stop()
  }

  #told(since: unknown): Told | undefined {
    if (since === undefined) return undefined
    if (typeof since !== 'string' && !(Number.isSafeInteger(since) && (since as number) >= 0))
      throw new InvalidError(`since must be the cursor of a change, or an LSN (0 or more), not ${quoted(since)}.`)
    const told = typeof since === 'string' ? parseCursor(since, this.#follower.uuid) : { lsn: since as number }
    this.#assertOpen()
    const { visible } = this.#follower.now()
    if (told.lsn < visible) return told
    throw new InvalidError(
      `since is ahead of the log: LSN ${told.lsn}, and the log ends at LSN ${visible}. Either it is of another ` +
        'database, or this one was replaced by an older copy: read everything once more, and follow from now on.',
    )
  }

  /** Throws for a reader that keeps seeing the database as it was when it was opened. */
  /** There is such a store, or the log may have changes of one that is gone. */
  #mayTellOf(store: string): boolean {
    const { stores } = this.#engine
    return stores.has(store) || stores.listDropped().some(({ name }) => name === store)
  }

  #mustSeeOthers(): void {
    if (!this.#engine.isPrivate) return
    throw new ReadOnlyError(
      'Changes cannot be followed here: this user may only read, and nobody had the database open, so this reader keeps ' +
        'seeing it as it was then. Open it again while somebody who may write has it open.',
    )
  }
}

function mustBeSignal(signal: unknown): void {
  if (signal !== undefined && !isInstance(signal, AbortSignal))
    throw new InvalidError(`signal must be an AbortSignal, not ${quoted(signal)}.`)
}

const noStore = (store: unknown): InvalidError =>
  new InvalidError(typeof store === 'string' ? `There is no store ${quoted(store)}.` : 'store must be a string.')

/** The keys of a call, each once, in their order. May run the user's code. Throws `InvalidError`. */
function keysOf(keys: KeyPart | readonly Key[], space: KeySpace): Buffer[] {
  const { keys: bytes, lengths } = encodeKeys(isList(keys) ? keys : [keys], 'watch', space)
  if (lengths.length === 0) throw new InvalidError('A list of keys to watch must have at least one.')
  let at = 0
  const all = lengths.map((length) => Buffer.from(bytes.subarray(at, (at += length))))
  return [...new Map(all.map((key) => [key.toString('latin1'), key])).values()]
}
