// What the snapshots and iterators of one thread pin. Those that read the same tree share a pin, so what
// counts against the number of pins is how many trees a thread reads, not how often. If the pin is expired,
// it is expired for all of them.
//
// Users cannot be relied upon to close what they no longer need. A snapshot or iterator that is garbage-collected
// gives its share back some time later: a share has no reference to its owner, so it does not keep it alive.
import { STATE, newState, type Control, type StateFields } from './control.js'
import { end, newEnded, type LentPin } from './lent-pin.js'
import type { PinPlace, ReadGuard } from './read-guard.js'

/** A pin that snapshots and iterators can share: in `control` (pins.ts), or a lock (lock-pins.ts). */
export interface SharablePin extends ReadGuard {
  /** Pins the newest tree. `nowMs`: of the monotonic clock. */
  pinNewest(into: StateFields, nowMs: number): void
  /** How many share it, and when the first of these was taken; only for statistics. */
  set sharers(n: number)
  set sinceMs(ms: number)
  readonly isExpired: boolean
  readonly place: PinPlace
}

/** Where pins come from. */
export interface PinSource {
  acquire(): SharablePin
  giveBack(pin: SharablePin): void
  readonly isClosed: boolean
}

/** A pin and the shares in it. */
interface SharedPin {
  readonly pin: SharablePin
  /** The tree that is pinned. */
  readonly state: StateFields
  /** In the order in which they were taken. */
  readonly shares: Set<PinShare>
}

/** The part of one snapshot or iterator in a pin. */
export class PinShare implements ReadGuard {
  readonly #pool: SharedPins
  readonly #pin: SharablePin
  /** @internal */
  readonly shared: SharedPin
  readonly sinceMs: number
  /** Set once it has been lent. */
  #ended: SharedArrayBuffer | undefined

  constructor(pool: SharedPins, shared: SharedPin, sinceMs: number) {
    this.#pool = pool
    this.#pin = shared.pin
    this.shared = shared
    this.sinceMs = sinceMs
  }

  get state(): StateFields {
    return this.shared.state
  }

  assertNotExpired(): void {
    this.#pin.assertNotExpired()
  }

  /** What another thread of this process needs to read the tree, for as long as this share is not released. */
  lend(): LentPin {
    this.#ended ??= newEnded()
    return { state: this.state, pin: this.#pin.place, ended: this.#ended }
  }

  /** May be called more than once. */
  release(): void {
    // First: see lent-pin.ts.
    if (this.#ended !== undefined) end(this.#ended)
    this.#pool.release(this)
  }
}

const forgotten = new FinalizationRegistry<PinShare>((share) => share.release())

/** Gives `share` back after `owner` has been garbage-collected. */
export const releaseWhenForgotten = (owner: object, share: PinShare): void => forgotten.register(owner, share, share)

export class SharedPins {
  readonly #control: Control
  readonly #pins: PinSource
  /** The newest tree that is pinned. No new reader can share an older one. */
  #newest: SharedPin | undefined

  constructor(control: Control, pins: PinSource) {
    this.#control = control
    this.#pins = pins
  }

  /**
   * Takes a share in a pin on the newest tree. Throws `TooManyReadersError` if no pin is free for it. `nowMs`: of
   * the monotonic clock.
   */
  take(nowMs: number): PinShare {
    const newest = this.#newest
    if (newest !== undefined && newest.state[STATE.VISIBLE_LSN] === this.#control.visibleLsn() && !newest.pin.isExpired)
      return this.#join(newest, nowMs)
    const pin = this.#pins.acquire()
    const state = newState()
    pin.pinNewest(state, nowMs)
    return this.#join((this.#newest = { pin, state, shares: new Set() }), nowMs)
  }

  #join(shared: SharedPin, nowMs: number): PinShare {
    const share = new PinShare(this, shared, nowMs)
    shared.shares.add(share)
    shared.pin.sharers = shared.shares.size
    return share
  }

  release(share: PinShare): void {
    const { shared } = share
    const { pin, shares } = shared
    if (!shares.delete(share)) return
    forgotten.unregister(share)
    // A database that is closed has no pins any more.
    if (this.#pins.isClosed) return
    if (shares.size === 0) {
      if (this.#newest === shared) this.#newest = undefined
      this.#pins.giveBack(pin)
      return
    }
    pin.sharers = shares.size
    const [oldest] = shares
    pin.sinceMs = oldest!.sinceMs
  }
}
