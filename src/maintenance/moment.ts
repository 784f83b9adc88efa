// One tree and the slots that are free beside it, as of one moment: what verification looks at. The tree is held
// until the moment is released.
import { CorruptError } from '../errors.js'
import type { Damage } from '../engine/format/damage.js'
import { newState, STATE, type StateFields } from '../engine/shared/control.js'
import type { Engine } from '../engine/engine.js'
import { slotsNewerThan, slotsOfFreeList } from '../engine/space/free-list.js'
import type { SlotNo } from '../engine/format/layout.js'
import { Node } from '../engine/format/node.js'
import type { Runs } from '../engine/format/runs.js'
import { underLeaderLock } from '../engine/shared/writer-locks.js'
import { slotDamage } from '../engine/format/slot-damage.js'

export interface Moment {
  readonly state: StateFields
  /**
   * All free slots. Undefined if they changed too often to be copied, for a reader that takes no lock
   * (`takeUnlocked`).
   */
  readonly waiting: Runs | undefined
  /** Slots that the free list on disk lies in. */
  readonly listSlots: readonly SlotNo[]
  /** Slots of a free list that is being written. */
  readonly pendingListSlots: readonly SlotNo[]
  /** What is wrong with the free list. */
  readonly damage: readonly Damage[]
  release(): void
}

/** How often a reader that takes no lock tries to copy the free list between two publications. */
const MAX_TRIES = 200
const PAUSE_MS = 1

/** Holds the leader lock while the list of free slots is copied, if this user may write. */
export function takeMoment(engine: Engine): Moment {
  const { control, pins, isOnlooker } = engine.parts
  if (isOnlooker) return takeUnlocked(engine)
  const pin = pins.acquire()
  const release = (): void => pins.giveBack(pin)
  const state = newState()
  const look = (): FreeSlots => {
    pin.take(newState())
    return lookAtFree(engine, control.readState(state))
  }
  try {
    return { ...(engine.isPrivate ? look() : underLeaderLock(engine.parts, look)), state, release }
  } catch (error) {
    release()
    throw error
  }
}

type FreeSlots = Pick<Moment, 'waiting' | 'listSlots' | 'pendingListSlots' | 'damage'>

function lookAtFree(engine: Engine, state: StateFields): FreeSlots {
  const { space, control, checker, allocator } = engine.parts
  allocator.look(Float64Array.from(state))
  const waiting = allocator.waiting()
  const damage: Damage[] = []
  try {
    const listSlots = slotsOfFreeList(space, checker, state[STATE.FREE_LIST_HEAD]!, state[STATE.FREE_LIST_SLOTS]!)
    const pending = state[STATE.PENDING_FREE_LIST_HEAD]!
    const pendingListSlots = slotsNewerThan(
      space,
      checker,
      pending,
      state[STATE.CHECKPOINT_DURABLE_LSN]!,
      control.fileSlots,
    )
    // Check them now: the next checkpoint frees these slots, whether or not the tree is pinned.
    for (const slotNo of listSlots) {
      const why = slotDamage(space, slotNo, new Node())
      if (why !== undefined) damage.push({ slotNo, why })
    }
    return { waiting, listSlots, pendingListSlots, damage }
  } catch (error) {
    damage.push({ slotNo: error instanceof CorruptError ? (error.site.slotNo ?? 0) : 0, why: (error as Error).message })
    return { waiting, listSlots: [], pendingListSlots: [], damage }
  }
}

/** The same without a lock that holds writers back: what was read counts if nothing was published meanwhile. */
function takeUnlocked(engine: Engine): Moment {
  const { control, lockPins, storage } = engine.parts
  const state = newState()
  let found: FreeSlots = { waiting: undefined, listSlots: [], pendingListSlots: [], damage: [] }
  let lsn: number
  for (let tries = 1; ; tries++) {
    const { sequence } = control
    control.readState(state)
    lsn = state[STATE.VISIBLE_LSN]!
    // Firm: a walk through the whole tree could not go on if the pin were ended.
    lockPins.pin(lsn, 'firm')
    const free = lookAtFree(engine, state)
    if (control.sequence === sequence) {
      found = free
      break
    }
    if (tries >= MAX_TRIES && control.visibleLsn() === lsn) break
    lockPins.unpin(lsn, 'firm')
    storage.sleep(PAUSE_MS)
  }
  return { ...found, state, release: () => lockPins.unpin(lsn, 'firm') }
}
