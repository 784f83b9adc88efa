// One tree and the slots that are free beside it, as of one moment: what verification looks at. It is held
// until it is released.
import { CorruptError } from '../errors.js'
import { newState, STATE, type StateFields } from '../engine/shared/control.js'
import type { Engine } from '../engine/engine.js'
import { slotsOfFreeList } from '../engine/space/free-list.js'
import type { SlotNo } from '../engine/format/layout.js'
import { Node } from '../engine/format/node.js'
import type { Runs } from '../engine/format/runs.js'
import { underLeaderLock } from '../engine/shared/writer-locks.js'
import { slotDamage } from '../engine/format/slot-damage.js'

export interface Moment {
  readonly state: StateFields
  /** Undefined if a reader that cannot keep writers from going on was too slow to copy it. */
  readonly waiting: Runs | undefined
  /** Slots of the free list on disk, and of one that is being written. */
  readonly chain: readonly SlotNo[]
  readonly pending: readonly SlotNo[]
  /** What is wrong with these. */
  readonly damage: readonly { readonly slotNo: number; readonly why: string }[]
  release(): void
}

/** How often a reader that takes no lock tries to copy the free list between two publications. */
const MAX_TRIES = 200
const PAUSE_MS = 1

/** Takes the leader lock for as long as it takes to copy the list of free slots, if this user may. */
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

type FreeSlots = Pick<Moment, 'waiting' | 'chain' | 'pending' | 'damage'>

function lookAtFree(engine: Engine, state: StateFields): FreeSlots {
  const { space, control, checker, allocator } = engine.parts
  allocator.look(Float64Array.from(state))
  const waiting = allocator.waiting()
  const damage: { slotNo: number; why: string }[] = []
  try {
    const chain = slotsOfFreeList(space, checker, state[STATE.FREE_LIST_HEAD]!, control.fileSlots)
    const pending = slotsOfFreeList(space, checker, state[STATE.PENDING_FREE_LIST_HEAD]!, control.fileSlots)
    // Now, since the next checkpoint gives these slots away, pin or no pin.
    for (const slotNo of chain) {
      const why = slotDamage(space, slotNo, new Node())
      if (why !== undefined) damage.push({ slotNo, why })
    }
    return { waiting, chain, pending, damage }
  } catch (error) {
    damage.push({ slotNo: error instanceof CorruptError ? (error.site.slotNo ?? 0) : 0, why: (error as Error).message })
    return { waiting, chain: [], pending: [], damage }
  }
}

/** The same without a lock that others heed: what was seen counts if nothing has been published meanwhile. */
function takeUnlocked(engine: Engine): Moment {
  const { control, lockPins, storage } = engine.parts
  const state = newState()
  let found: FreeSlots = { waiting: undefined, chain: [], pending: [], damage: [] }
  let lsn: number
  for (let tries = 1; ; tries++) {
    const { sequence } = control
    control.readState(state)
    lsn = state[STATE.VISIBLE_LSN]!
    // Firm: a walk through the whole tree could not go on if it were ended.
    lockPins.hold(lsn, 'firm')
    const free = lookAtFree(engine, state)
    if (control.sequence === sequence) {
      found = free
      break
    }
    if (tries >= MAX_TRIES && control.visibleLsn() === lsn) break
    lockPins.letGo(lsn, 'firm')
    storage.sleep(PAUSE_MS)
  }
  return { ...found, state, release: () => lockPins.letGo(lsn, 'firm') }
}
