// Verifies everything that a read could meet: every slot that the tree reaches, its CRC if a checkpoint has sealed
// it, its contents, the order of all keys, and the values that overflow. It also checks that each slot of the file
// is either reached once or free: never both, and never neither.
import type { EngineParts } from '../engine/parts.js'
import type { SlotSpace } from '../engine/format/slot-space.js'
import type { SlotChecker } from '../engine/space/slot-checker.js'
import type { Runs } from '../engine/format/runs.js'
import { CorruptError } from '../errors.js'
import { DamageList, type Damage } from '../engine/format/damage.js'
import { STATE } from '../engine/shared/control.js'
import type { Engine } from '../engine/engine.js'
import {
  EXPIRY_PREFIX_BYTES,
  isExpiryKey,
  isTime,
  MAX_EXPIRING_KEY_BYTES,
  NEVER,
  timeOfExpiryKey,
  writeExpiryKey,
} from '../encoding/expiry-key.js'
import { AREA, isTreeKey } from '../encoding/key-space.js'
import type { TreeReader } from '../engine/tree/reader.js'
import { MAX_TREE_KEY_BYTES } from '../limits.js'
import { HEADER_SLOTS, TYPE, typeAt, type SlotNo } from '../engine/format/layout.js'
import { takeMoment, type Moment } from './moment.js'
import { guardedSteps } from './steps.js'
import { Node } from '../engine/format/node.js'
import { forEachOverflowSlot, overflowPointer, readOverflow } from '../engine/space/overflow.js'
import { eachSlot, gapsBetween, slotsIn } from '../engine/format/runs.js'
import { SlotSet } from '../engine/format/slot-set.js'
import { compareKeys } from '../engine/format/search.js'
import { usedSlots } from '../engine/shared/tree-state.js'
import { slotDamage, structureDamage } from '../engine/format/slot-damage.js'
import { slotLsn } from '../engine/format/slot-header.js'

/** What verification found. */
export interface VerifyReport {
  readonly ok: boolean
  /** LSN of the tree that was verified. */
  readonly lsn: number
  readonly entries: number
  readonly slots: { readonly branch: number; readonly leaf: number; readonly overflow: number; readonly free: number }
  /** The first 100 damaged places that were found. */
  readonly damage: readonly Damage[]
}

/**
 * Verifies the newest tree. Holds the leader lock while the list of free slots is copied; reads the tree itself
 * under a pin, beside writers.
 * @internal
 */
export function verify(engine: Engine): VerifyReport {
  for (const steps = verifySteps(engine); ;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/**
 * The same in steps, each of which says how many entries have been looked at.
 * @internal
 */
export const verifySteps = (engine: Engine): Generator<number, VerifyReport, void> =>
  guardedSteps('Verifying the database', verifyTree(engine))

function* verifyTree(engine: Engine): Generator<number, VerifyReport, void> {
  engine.parts.openState.assertOpen()
  const damage = new DamageList()
  // The free list was made again in memory; the one on disk is still damaged.
  const { freeListDamage } = engine.recovery ?? {}
  if (engine.isPrivate && freeListDamage !== undefined) damage.noteAll([freeListDamage])
  const moment = takeMoment(engine)
  damage.noteAll(moment.damage)
  try {
    const walk = new TreeWalk(engine.parts, moment, damage)
    for (const steps = walk.steps(); !steps.next().done;) yield walk.entries
    const { state, waiting } = moment
    return {
      ok: damage.found.length === 0,
      lsn: state[STATE.VISIBLE_LSN]!,
      entries: walk.entries - walk.internalEntries - walk.trashEntries,
      slots: {
        ...walk.counts,
        free: waiting === undefined ? state[STATE.NEXT_SLOT]! - usedSlots(state) : slotsIn(waiting),
      },
      damage: damage.found,
    }
  } finally {
    moment.release()
  }
}

/** The bound of a node's keys. In the trash there are none: its nodes are in no order. */
type Key = Uint8Array | 'trash' | undefined

const USED_TWICE = 'it is used twice, the second time as a free slot'

/**
 * Walks over all that a tree reaches, and over the slots that are free beside it.
 * @internal
 */
export class TreeWalk {
  readonly #space: SlotSpace
  readonly #checker: SlotChecker
  readonly #moment: Omit<Moment, 'release' | 'damage'>
  readonly #damage: DamageList
  readonly #scratch = new Node()
  /** What the tree or a free list includes. */
  readonly #reached = new SlotSet()
  readonly counts = { branch: 0, leaf: 0, overflow: 0 }
  entries = 0
  internalEntries = 0
  trashEntries = 0
  /** Entries of the index of those that expire, and the earliest time in it. */
  #expiring = 0
  #earliest = NEVER

  readonly #reader: TreeReader
  readonly #indexKey = new Uint8Array(MAX_TREE_KEY_BYTES)
  #isTrash = false

  /** Called with each leaf that is sound. */
  onLeaf: ((leaf: Node) => void) | undefined

  constructor(
    parts: Pick<EngineParts, 'space' | 'checker' | 'reader'>,
    moment: Omit<Moment, 'release' | 'damage'>,
    damage: DamageList,
  ) {
    this.#space = parts.space
    this.#checker = parts.checker
    this.#reader = parts.reader
    this.#moment = moment
    this.#damage = damage
  }

  /** In steps of some hundred leaves. */
  *steps(): Generator<void, void> {
    const { state, listSlots, pendingListSlots, waiting } = this.#moment
    const height = state[STATE.HEIGHT]!
    if (height > 0) yield* this.#visit(state[STATE.ROOT]! as SlotNo, height - 1, undefined, undefined)
    const before = this.entries
    this.#isTrash = true
    const trashHeight = state[STATE.TRASH_HEIGHT]!
    if (trashHeight > 0) yield* this.#visit(state[STATE.TRASH_ROOT]! as SlotNo, trashHeight - 1, 'trash', 'trash')
    this.trashEntries = this.entries - before
    this.#isTrash = false
    for (const slot of listSlots) this.#mark(slot, 'part of the free list')
    for (const slot of pendingListSlots) this.#mark(slot, 'part of the next free list')
    if (waiting !== undefined) this.#checkFree(waiting)
    this.#checkCounts()
  }

  /** Notes that something leads to a slot. False if that is damage. */
  #mark(slot: number, what: string): boolean {
    if (slot < HEADER_SLOTS || slot >= this.#moment.state[STATE.NEXT_SLOT]!) {
      this.#damage.note(slot, `${what} refers to it, and it is out of range`)
      return false
    }
    if (this.#reached.add(slot)) return true
    this.#damage.note(slot, `it is used twice, the second time as ${what}`)
    return false
  }

  #isSound(slot: SlotNo, type: number, level: number): boolean {
    const unfit = this.#checker.damageOf(slot, type, level)
    if (unfit !== undefined) {
      this.#damage.note(slot, unfit)
      return false
    }
    // If a checkpoint has sealed the slot, its CRC must be right. In a newer slot only the contents can be checked.
    const isSealed = slotLsn(this.#space, slot) <= this.#moment.state[STATE.CHECKPOINT_DURABLE_LSN]!
    const why = (isSealed ? slotDamage : structureDamage)(this.#space, slot, this.#scratch)
    if (why !== undefined) this.#damage.note(slot, why)
    return why === undefined
  }

  *#visit(slot: SlotNo, level: number, low: Key, high: Key): Generator<void, void> {
    const node = this.#enter(slot, level, low, high)
    if (node === undefined) return
    if (level === 0) return this.#visitEntries(node)
    this.counts.branch++
    const { count } = node
    const keyOf = (i: number): Uint8Array => node.u8.slice(node.keyAt(i), node.keyAt(i) + node.keyLength(i))
    for (let i = 0; i < count; i++) {
      const child = node.child(i)
      const isOrdered = low !== 'trash'
      const from = isOrdered && i > 0 ? keyOf(i) : low
      const to = isOrdered && i + 1 < count ? keyOf(i + 1) : high
      if (level > 1) yield* this.#visit(child, level - 1, from, to)
      else {
        const leaf = this.#enter(child, 0, from, to)
        if (leaf !== undefined) this.#visitEntries(leaf)
      }
    }
    if (level === 1) yield
  }

  /** The node in a slot; undefined if it is damaged. */
  #enter(slot: SlotNo, level: number, low: Key, high: Key): Node | undefined {
    if (!this.#mark(slot, level === 0 ? 'a leaf' : 'a branch')) return undefined
    if (!this.#isSound(slot, typeAt(level), level)) return undefined
    const node = new Node().at(this.#space, slot)
    // If it does not, it stays unverified, so that the next reader reports it too, and nothing below it is visited.
    if (!this.#liesWithin(node, low, high)) return undefined
    this.#checker.accept(slot)
    return node
  }

  /** True if all keys of a node are in the range from `low` (included) to `high` (not included). */
  #liesWithin(node: Node, low: Key, high: Key): boolean {
    if (low === 'trash' || high === 'trash') return true
    let fits = true
    const check = (isOutside: boolean, what: string): void => {
      if (!isOutside) return
      fits = false
      this.#damage.note(node.slot, what)
    }
    for (let i = node.firstCompared; i < node.count; i++) {
      const order = (bound: Uint8Array): number =>
        compareKeys(node.u8, node.keyAt(i), node.keyLength(i), bound, 0, bound.length, 0)
      check(low !== undefined && order(low) < 0, `key ${i} is below its slot's range`)
      check(high !== undefined && order(high) >= 0, `key ${i} is above its slot's range`)
    }
    return fits
  }

  #visitEntries(leaf: Node): void {
    const { count } = leaf
    this.onLeaf?.(leaf)
    this.counts.leaf++
    this.entries += count
    for (let i = 0; i < count; i++) {
      const at = leaf.keyAt(i)
      if (leaf.u8[at] === AREA.INTERNAL) this.internalEntries++
      if (isExpiryKey(leaf.u8, at)) this.#noteInIndex(leaf, i)
      if (leaf.expires(i) && !this.#isTrash) this.#checkIndex(leaf, i)
      if (!isTreeKey(leaf.u8, at, at + leaf.keyLength(i))) this.#damage.note(leaf.slot, `key ${i} cannot be decoded`)
    }
    for (let i = 0; i < count; i++) if (leaf.overflows(i)) this.#visitOverflow(leaf, i)
  }

  #noteInIndex(leaf: Node, i: number): void {
    const at = leaf.keyAt(i)
    const time = timeOfExpiryKey(leaf.u8, at)
    this.#expiring++
    this.#earliest = Math.min(this.#earliest, time)
    if (leaf.keyLength(i) <= EXPIRY_PREFIX_BYTES || !isTime(time))
      this.#damage.note(leaf.slot, `key ${i} is no key of the index of entries that expire`)
  }

  /** The sweeper finds an entry that expires by the index alone. What the index has besides does no harm. */
  #checkIndex(leaf: Node, i: number): void {
    const at = leaf.keyAt(i)
    const length = leaf.keyLength(i)
    const key = leaf.u8.slice(at, at + length)
    if (length > MAX_EXPIRING_KEY_BYTES || key[0] === AREA.INTERNAL) {
      this.#damage.note(leaf.slot, `entry ${i} expires, and its key is not one that can`)
      return
    }
    const inIndex = this.#indexKey
    const indexLength = writeExpiryKey(inIndex, leaf.expiresAt(i), key, length)
    try {
      if (!this.#reader.find(this.#moment.state, inIndex, indexLength))
        this.#damage.note(leaf.slot, `entry ${i} expires, and the index of such entries does not have it`)
    } catch (error) {
      // The walk comes to that place, too.
      if (!(error instanceof CorruptError)) throw error
    }
  }

  #visitOverflow(leaf: Node, i: number): void {
    const pointer = overflowPointer(leaf, i)
    try {
      let whole = true
      forEachOverflowSlot(this.#space, this.#checker, pointer, (slot) => {
        if (!whole) return
        this.counts.overflow++
        whole = this.#mark(slot, 'part of a value') && this.#isSound(slot, TYPE.OVERFLOW, 0)
      })
      if (whole) readOverflow(this.#space, this.#checker, pointer)
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      this.#damage.note(error.site.slotNo ?? pointer.first, error.message)
    }
  }

  /** `waiting`, ascending: they take as long as there are runs, however long these are. */
  #checkFree(waiting: Runs): void {
    const nextSlot = this.#moment.state[STATE.NEXT_SLOT]!
    let lost = this.#moment.state[STATE.LOST]!
    for (const slot of eachSlot(gapsBetween(waiting, HEADER_SLOTS, nextSlot))) {
      if (!this.#reached.has(slot) && lost-- <= 0) this.#damage.note(slot, 'it is neither used nor free: it has leaked')
    }
    let end = HEADER_SLOTS
    for (let i = 0; i < waiting.length; i += 2) {
      const first = waiting[i]!
      if (first < end) this.#damage.note(first, USED_TWICE)
      end = first + waiting[i + 1]!
      if (end > nextSlot)
        this.#damage.note(Math.max(first, nextSlot), 'a free slot refers to it, and it is out of range')
      for (const slot of this.#reached.within(first, end)) this.#damage.note(slot, USED_TWICE)
    }
  }

  #checkCounts(): void {
    const { state } = this.#moment
    const expected = { leaf: state[STATE.LEAVES]!, branch: state[STATE.BRANCHES]!, overflow: state[STATE.OVERFLOWS]! }
    for (const kind of ['leaf', 'branch', 'overflow'] as const) {
      if (this.counts[kind] === expected[kind]) continue
      this.#damage.note(0, `there are ${this.counts[kind]} ${kind} slots, and the header counts ${expected[kind]}`)
    }
    const entries = state[STATE.ENTRIES]!
    if (this.entries !== entries)
      this.#damage.note(0, `there are ${this.entries} entries, and the header counts ${entries}`)
    const internal = state[STATE.INTERNAL_ENTRIES]!
    if (this.internalEntries !== internal)
      this.#damage.note(0, `there are ${this.internalEntries} internal entries, and the header counts ${internal}`)
    const expiring = state[STATE.EXPIRING]!
    const earliest = state[STATE.EARLIEST_EXPIRY]!
    if (this.#expiring !== expiring || this.#earliest !== earliest)
      this.#damage.note(
        0,
        `the index of entries that expire has ${this.#expiring}, from ${this.#earliest} on, and the header says ${expiring}, from ${earliest} on`,
      )
  }
}
