// Verification of everything that a read could meet: every slot the tree reaches, its CRC if it has
// been to disk, its inside, the order of all keys, the values that overflow, and that each slot of
// the file is either reached once or free, never both and never neither.
import { CorruptError } from '../errors.js'
import { DamageList, type Damage } from '../engine/format/damage.js'
import { STATE } from '../engine/shared/control.js'
import type { Engine } from '../engine/engine.js'
import { guarded } from '../storage/errors.js'
import { isKey } from '../encoding/keys.js'
import { HEADER_SLOTS, TYPE, type SlotNo } from '../engine/format/layout.js'
import { takeMoment } from './moment.js'
import { Node } from '../engine/format/node.js'
import { forEachOverflowSlot, overflowPointer, readOverflow } from '../engine/space/overflow.js'
import { eachSlot, slotsIn } from '../engine/format/runs.js'
import { compareKeys } from '../engine/format/search.js'
import { usedSlots } from '../engine/shared/tree-state.js'
import { slotLsn, slotDamage, structureDamage } from '../engine/format/slot-damage.js'

export interface VerifyReport {
  readonly ok: boolean
  /** LSN of the tree that was verified. */
  readonly lsn: number
  readonly entries: number
  readonly slots: { readonly branch: number; readonly leaf: number; readonly overflow: number; readonly free: number }
  /** What was found, at most 100 of it. */
  readonly damage: readonly Damage[]
}

/**
 * Verifies the newest tree. Takes the leader lock for as long as it takes to copy the list of free
 * slots; the tree itself is read under a pin, beside writers.
 */
export function verify(engine: Engine): VerifyReport {
  return guarded('Verifying the database', () => verifyTree(engine))
}

function verifyTree(engine: Engine): VerifyReport {
  const { space, checker, openState } = engine.parts
  openState.assertOpen()
  const list = new DamageList()
  const note = (slotNo: number, why: string): void => list.note(slotNo, why)
  // It has been made again, but the file is as it was.
  const { freeListDamage } = engine.recovery ?? {}
  if (engine.isPrivate && freeListDamage !== undefined) note(freeListDamage.slotNo, freeListDamage.why)
  const { state, waiting, chain, pending, damage: freeDamage, release } = takeMoment(engine)
  list.noteAll(freeDamage)
  try {
    const nextSlot = state[STATE.NEXT_SLOT]!
    const reached = new Uint8Array(nextSlot)
    const mark = (slot: number, what: string): boolean => {
      if (slot < HEADER_SLOTS || slot >= nextSlot) {
        note(slot, `${what} refers to it, and it is out of range`)
        return false
      }
      if (reached[slot] !== 0) {
        note(slot, `it is used twice, the second time as ${what}`)
        return false
      }
      reached[slot] = 1
      return true
    }
    const counts = { branch: 0, leaf: 0, overflow: 0 }
    let entries = 0
    const scratch = new Node()
    const durable = state[STATE.CHECKPOINT_DURABLE_LSN]!

    const sound = (slot: SlotNo, type: number, level: number): boolean => {
      const unfit = checker.damageOf(slot, type, level)
      if (unfit !== undefined) {
        note(slot, unfit)
        return false
      }
      // Sealed by the last checkpoint: the CRC must hold. Newer: only its inside can be looked at.
      const why =
        slotLsn(space, slot) <= durable ? slotDamage(space, slot, scratch) : structureDamage(space, slot, scratch)
      if (why !== undefined) note(slot, why)
      return why === undefined
    }

    const visit = (slot: SlotNo, level: number, low: Uint8Array | undefined, high: Uint8Array | undefined): void => {
      if (!mark(slot, level === 0 ? 'a leaf' : 'a branch')) return
      if (!sound(slot, level === 0 ? TYPE.LEAF : TYPE.BRANCH, level)) return
      const node = new Node().at(space, slot)
      const count = node.count
      let fits = true
      const misfit = (why: string): void => {
        fits = false
        note(slot, why)
      }
      for (let i = node.firstCompared; i < count; i++) {
        const at = node.keyAt(i)
        const length = node.keyLength(i)
        if (low !== undefined && compareKeys(node.u8, at, length, low, 0, low.length, 0) < 0)
          misfit(`key ${i} is below its slot's range`)
        if (high !== undefined && compareKeys(node.u8, at, length, high, 0, high.length, 0) >= 0)
          misfit(`key ${i} is above its slot's range`)
      }
      // Else whoever comes to it finds the same, and what it leads to stays untouched.
      if (!fits) return
      checker.accept(slot)
      if (level === 0) {
        counts.leaf++
        entries += count
        for (let i = 0; i < count; i++)
          if (!isKey(node.u8, node.keyAt(i), node.keyAt(i) + node.keyLength(i)))
            note(slot, `key ${i} is none that can be read back`)
        for (let i = 0; i < count; i++) if (node.overflows(i)) visitOverflow(node, i)
        return
      }
      counts.branch++
      const keyOf = (i: number): Uint8Array => node.u8.slice(node.keyAt(i), node.keyAt(i) + node.keyLength(i))
      for (let i = 0; i < count; i++) {
        visit(node.child(i), level - 1, i === 0 ? low : keyOf(i), i + 1 < count ? keyOf(i + 1) : high)
      }
    }

    const visitOverflow = (leaf: Node, i: number): void => {
      const pointer = overflowPointer(leaf, i)
      try {
        let whole = true
        forEachOverflowSlot(space, checker, pointer, (slot) => {
          if (!whole) return
          counts.overflow++
          whole = mark(slot, 'part of a value') && sound(slot, TYPE.OVERFLOW, 0)
        })
        if (whole) readOverflow(space, checker, pointer)
      } catch (error) {
        if (!(error instanceof CorruptError)) throw error
        note(error.site.slotNo ?? pointer.first, error.message)
      }
    }

    if (state[STATE.HEIGHT]! > 0) visit(state[STATE.ROOT]! as SlotNo, state[STATE.HEIGHT]! - 1, undefined, undefined)
    for (const slot of chain) mark(slot, 'part of the free list')
    for (const slot of pending) mark(slot, 'part of the next free list')
    if (waiting !== undefined) {
      for (const slot of eachSlot(waiting)) mark(slot, 'a free slot')
      let lost = state[STATE.LOST]!
      for (let slot = HEADER_SLOTS; slot < nextSlot; slot++) {
        if (reached[slot] === 0 && lost-- <= 0) note(slot, 'it is neither used nor free: it has leaked')
      }
    }
    const expected = { leaf: state[STATE.LEAVES]!, branch: state[STATE.BRANCHES]!, overflow: state[STATE.OVERFLOWS]! }
    for (const kind of ['leaf', 'branch', 'overflow'] as const) {
      if (counts[kind] !== expected[kind])
        note(0, `there are ${counts[kind]} ${kind} slots, and the header counts ${expected[kind]}`)
    }
    if (entries !== state[STATE.ENTRIES]!)
      note(0, `there are ${entries} entries, and the header counts ${state[STATE.ENTRIES]!}`)
    return {
      ok: list.found.length === 0,
      lsn: state[STATE.VISIBLE_LSN]!,
      entries,
      slots: { ...counts, free: waiting === undefined ? nextSlot - usedSlots(state) : slotsIn(waiting) },
      damage: list.found,
    }
  } finally {
    release()
  }
}
