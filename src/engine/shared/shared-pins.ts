// What the snapshots and iterators of one thread hold. Those that read the same tree share a pin: so what
// counts against the number of pins is how many trees a thread reads, not how often. If the pin is expired,
// it is for all of them.
//
// Nobody can be relied upon to close what they no longer need. A snapshot or iterator that is collected gives its
// share back, some time later: a share knows nothing of whoever has it.
import { STATE, newState, type Control, type StateFields } from './control.js'
import type { ReadGuard } from './read-guard.js'

/** A pin that snapshots and iterators can share: in `control` (pins.ts), or a lock (lock-pins.ts). */
export interface SharablePin extends ReadGuard {
  /** Pins the newest tree. `nowMs`: of the monotonic clock. */
  pinNewest(into: StateFields, nowMs: number): void
  /** How many share it, and since when the first of them does; for the figures alone. */
  set sharers(n: number)
  set sinceMs(ms: number)
  readonly isExpired: boolean
}

/** Where they come from. */
export interface PinSource {
  acquire(): SharablePin
  giveBack(pin: SharablePin): void
  readonly isClosed: boolean
}

/** A pin and those who share it. */
interface SharedPin {
  readonly pin: SharablePin
  /** The tree. */
  readonly state: StateFields
  /** In the order in which they came. */
  readonly shares: Set<PinShare>
}

/** One snapshot's or iterator's part in a pin. */
export class PinShare implements ReadGuard {
  readonly #pool: SharedPins
  readonly #pin: SharablePin
  /** @internal */
  readonly shared: SharedPin
  readonly sinceMs: number

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

  /** Idempotent. */
  release(): void {
    this.#pool.release(this)
  }
}

const forgotten = new FinalizationRegistry<PinShare>((share) => share.release())

/** Gives `share` back once `owner` has been collected. */
export const releaseWhenForgotten = (owner: object, share: PinShare): void => forgotten.register(owner, share, share)

export class SharedPins {
  readonly #control: Control
  readonly #pins: PinSource
  /** The newest tree that is held. Older ones nobody can come to any more. */
  #newest: SharedPin | undefined

  constructor(control: Control, pins: PinSource) {
    this.#control = control
    this.#pins = pins
  }

  /**
   * SharedPins the newest tree. Throws `TooManyReadersError` if there is no pin for it. `nowMs`: of the monotonic
   * clock.
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
    // Of a database that is closed there are no pins any more.
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
