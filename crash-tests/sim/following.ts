// One that follows the log through all lives of a database, and keeps nothing but a cursor: sometimes it goes on with
// the feed that it had, sometimes with a new one in another process, also in the middle of a batch. What it is told
// must be what the model says comes next. If it is told that something is gone, something must be.
import { storePrefix } from '../../src/encoding/key-space.js'
import type { Engine } from '../../src/engine/engine.js'
import { LogFollower } from '../../src/engine/read/log-follower.js'
import { CorruptError, LsnGoneError } from '../../src/errors.js'
import { LoggedChanges, type Change } from '../../src/database/change-feed.js'
import { parseCursor } from '../../src/database/cursor.js'
import type { LATER } from '../../src/database/live-iterator.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import { lsnWithin } from '../../src/wal/lsn.js'
import type { Context } from './context.js'
import { modelAt, type Model, type ModelChange, type ModelFrame } from './frames.js'
import type { SimProcess } from './processes.js'
import { keyOf } from './writes.js'

/** A change feed without waiting: the simulation has no event loop. */
class Feed extends LoggedChanges {
  readonly engine: Engine

  constructor(engine: Engine, cursor: string | undefined, since: number, chunkBytes: number) {
    const follower = new LogFollower(engine.parts, chunkBytes)
    super({
      engine,
      follower,
      since: cursor === undefined ? { lsn: since } : parseCursor(cursor, engine.parts.log.uuid),
      bounds: undefined,
      store: undefined,
      signal: undefined,
      assertOpen: () => undefined,
      owner: undefined,
    })
    this.engine = engine
  }

  /** The next change that is visible; undefined if there is none. */
  nextNow(): Change<unknown> | undefined {
    for (;;) {
      const change = this.take(Infinity) as Exclude<Change<unknown> | typeof LATER | undefined, typeof LATER>
      if (change !== undefined) return change
      if (!this.readOn()) return undefined
    }
  }
}

/** What was worked out last: mostly it is asked for again. */
interface KnownChanges {
  readonly frames: readonly ModelFrame[]
  readonly visible: number
  readonly model: Model
}

/** Keys that a clear is asked about. */
const ASKED = Array.from({ length: 30 }, (_, i) => keyOf(1 + 17 * i))

export class Following {
  readonly #context: Context
  #feed: Feed | undefined
  /** Where it goes on: a cursor, or after an LSN. */
  #cursor: string | undefined
  #since = 0
  /** The same for the model: all changes before this one have been told or are known to be gone. */
  #next: { readonly lsn: number; readonly index: number } = { lsn: 0, index: 0 }

  constructor(context: Context) {
    this.#context = context
  }

  /** Follows for a while. */
  follow(actor: SimProcess): void {
    const { random } = this.#context
    const most = random.skewed(1, 100)
    // Another process may do this while this one stands still in the middle of it.
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      if (random.chance(0.3) || this.#feed?.engine !== actor.engine) this.#begin(actor.engine!)
      this.#advance(actor, most)
    } finally {
      this.#isBusy = false
    }
  }
  #isBusy = false

  /** Follows to the end; nothing else happens meanwhile. */
  followAll(actor: SimProcess): void {
    this.#begin(actor.engine!)
    this.#advance(actor, Infinity)
  }

  #begin(engine: Engine): void {
    this.#feed = new Feed(engine, this.#cursor, this.#since, this.#context.random.pick([1, 500, 1e6]))
  }

  #advance(actor: SimProcess, most: number): void {
    const { model, report } = this.#context
    for (let count = 0; count < most; count++) {
      const before = actor.engine!.parts.control.visibleLsn()
      let change: Change<unknown> | undefined
      try {
        change = this.#feed!.nextNow()
      } catch (error) {
        this.#feed = undefined
        if (error instanceof LsnGoneError) return this.#skip(actor, error)
        if (error instanceof CorruptError) return this.#skipDamage(actor, error)
        throw error
      }
      const visible = actor.engine!.parts.control.visibleLsn()
      const told = change && this.#toldText(actor.engine!, change)
      const expected = this.#expected(visible)
      if (change === undefined) {
        // It has not told what came while it looked.
        if (expected !== undefined && expected.lsn < before) throw this.#wrong('nothing', expected)
        return
      }
      if (expected === undefined || told !== this.#textOf(expected)) throw this.#wrong(told!, expected)
      report.followed++
      this.#cursor = change.cursor
      this.#next = { lsn: expected.lsn, index: expected.index + 1 }
      // What was told is not lost.
      model.readLsn = Math.max(model.readLsn, model.frames.find(({ lsn }) => lsn === expected.lsn)!.end)
    }
  }

  /** What must be told next. */
  #expected(visible: number): ModelChange | undefined {
    const { lsn, index } = this.#next
    const { frames } = this.#context.model
    if (this.#known?.frames !== frames || this.#known.visible !== visible)
      this.#known = { frames, visible, model: modelAt(frames, visible) }
    return this.#known.model.changes.find((change) => change.lsn > lsn || (change.lsn === lsn && change.index >= index))
  }
  #known: KnownChanges | undefined

  /** What a change says, as text. */
  #toldText({ main }: Engine, change: Change<unknown>): string {
    const { lsn, type, store, key } = change
    const covered = type === 'clear' ? ASKED.filter((asked) => change.covers(asked)) : []
    const value = type === 'put' ? JSON.stringify(change.value) : undefined
    const expiresAt = type === 'put' ? (change.expiresAt ?? Infinity) : undefined
    const name = key === undefined ? undefined : main.encoded(key).toString('latin1')
    return JSON.stringify([lsn, type, store, name, value, String(expiresAt), covered])
  }

  /** What should be said of a change. */
  #textOf({ lsn, type, store, name, key, to, value, expiresAt }: ModelChange): string {
    const prefix = store === 0 ? '' : storePrefix(store).toString('latin1')
    const storeName = store === 0 ? undefined : (name ?? this.#known!.model.allStores.get(store))
    const isCovered = (asked: string): boolean => prefix + asked >= key && (to === undefined || prefix + asked < to)
    const covered = type === 'clear' ? ASKED.filter(isCovered) : []
    const userKey = type === 'put' || type === 'del' ? key.slice(prefix.length) : undefined
    return JSON.stringify([lsn, type, storeName, userKey, value, String(expiresAt), covered])
  }

  #wrong(told: string, expected: ModelChange | undefined): Error {
    const { lsn, index } = this.#next
    return this.#context.failure(
      `a follower is told ${told.slice(0, 120)} after LSN ${lsn}, operation ${index}, and should be told ` +
        (expected === undefined ? 'nothing' : this.#textOf(expected).slice(0, 120)),
    )
  }

  /** It was told that changes are gone. Then a frame that it needs must be; it goes on after that. */
  #skip(actor: SimProcess, { oldestLsn, message }: LsnGoneError): void {
    const { model, logFiles, report } = this.#context
    const { lsn, index } = this.#next
    const needed = model.frames.filter(
      (frame) => frame.operations.length > (frame.lsn === lsn ? index : 0) && frame.lsn >= lsn,
    )
    if (needed.every((frame) => logFiles.has(frame)))
      throw this.#context.failure(
        `a follower is told "${message.slice(0, 60)}", and all frames from LSN ${lsn} are there`,
      )
    report.gone++
    this.#mustBeKept(actor.engine!.parts.control.append.read(newAppendFields()).tailLsn)
    this.#goOnAfter(oldestLsn)
  }

  /** What is to be kept is there, unless a call has failed: a full disk takes it back. */
  #mustBeKept(tail: number): void {
    const { model, logFiles, report, world, retention, isRetentionStored } = this.#context
    if (!isRetentionStored || report.faults + world.faults > 0) return
    const from = lsnWithin(tail, -retention!.bytes)
    const missing = model.frames.findLast(({ lsn, end }) => end <= tail && logFiles.segmentOf(lsn) === undefined)
    if (missing !== undefined && missing.end > from)
      throw this.#context.failure(
        `the log ends at LSN ${tail}, ${retention!.bytes} bytes of it were to be kept, and the frame at LSN ${missing.lsn} is gone`,
      )
  }

  /** It met damage, which recovery has no longer needed. It goes on with what comes from now on. */
  #skipDamage(actor: SimProcess, error: CorruptError): void {
    const { model, logFiles } = this.#context
    if (model.frames.every((frame) => frame.end <= error.site.lsn! || logFiles.has(frame))) throw error
    this.#goOnAfter(new LogFollower(actor.engine!.parts).now().changedLsn)
  }

  #goOnAfter(lsn: number): void {
    this.#cursor = undefined
    this.#since = lsn
    this.#next = { lsn: lsn + 1, index: 0 }
  }
}
