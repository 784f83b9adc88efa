// Checkpoints: bring a published tree to disk, beside running readers and writers, and so bound
// what recovery must replay. One at a time, under the checkpoint lock.
//
//   1. begin, under the leader lock: P is the newest tree. From now on slots that it reaches count
//      as bound (allocator.ts): they are not reused until a later checkpoint is on disk. Slots for
//      the free list are taken, as many as a full disk has, and linked.  a crash leaves a linked chain that the tree
//                                                     state names; the next checkpoint frees it
//   2. seal every slot of P made since the last one; write the free list; flush the data file
//                                                     the headers still name the old tree, whose
//                                                     slots nobody has touched
//   3. write both headers; flush                      a torn header fails its CRC; the old pair
//                                                     lies in the other two slots
//   4. end, under the leader lock: the new tree is the durable one; the old free list is freed
//                                                     in memory only: recovery comes to the same
//   5. recycle the segments before P                  a segment too many
//
// A flush that fails is never tried again: of what it was to bring to disk the kernel may have given
// up any page, and may read its older contents back at any time. Sealing those would make them pass
// for good. Writes are refused from then on; the headers on disk still name the old tree.
//
// Which slots were made since the last checkpoint says a bitmap in `control`: the allocator sets a slot's
// bit whenever it hands it out, and step 4 clears those of the slots that step 2 has sealed. A sealed slot
// cannot be handed out again in between, since it is bound. Whoever dies leaves bits too many, and a bit
// too many costs a look at the slot's LSN. Without it a checkpoint after a few writes all over the
// place would have to look at every child of every branch that changed: at the whole file.
//
// Sealing writes the CRC field of published slots, which nobody in memory reads; all else in them
// stays as it is. P needs no pin: a bound slot cannot be reused before step 4.
import { crashPoint } from '../../crash-points.js'
import { FullError, LockedError } from '../../errors.js'
import { newAppendFields } from '../../wal/append-state.js'
import { flushed } from '../../wal/flush.js'
import type { Log } from '../../wal/log.js'
import type { Lsn } from '../../wal/lsn.js'
import type { Allocator } from '../space/allocator.js'
import { newState, STATE, type StateFields } from '../shared/control.js'
import { slotsOfFreeList, freeListSlotsFor, linkFreeList, RUNS_PER_SLOT, writeFreeList } from '../space/free-list.js'
import type { DataFile } from '../shared/data-file.js'
import { assertDataInPlace } from '../shared/files-in-place.js'
import { growDataFile } from '../space/growth.js'
import { FORMAT_VERSION, type Header } from '../format/header.js'
import { writeHeaders } from '../format/header-slots.js'
import { typeAt, type SlotNo } from '../format/layout.js'
import { LOCK } from '../shared/lock-bytes.js'
import { Node } from '../format/node.js'
import { underAppendLock, underLeaderLock, type SharedLockParts } from '../shared/writer-locks.js'
import { forEachOverflowSlot, overflowPointer } from '../space/overflow.js'
import { longestRuns, mergedRuns, runsBelow, type Runs } from '../format/runs.js'
import { type SlotChecker } from '../space/slot-checker.js'
import type { SlotSpace } from '../format/slot-space.js'
import { slotLsn, sealSlot } from '../format/slot-damage.js'

interface CheckpointParts extends SharedLockParts {
  readonly log: Log
  readonly space: SlotSpace
  readonly allocator: Allocator
  readonly checker: SlotChecker
  readonly createdMs: number
  readonly encodingNo: number
  readonly dataFile: DataFile
}

/** What a checkpoint did. */
export interface CheckpointReport {
  /** LSN up to which the tree on disk includes the log. */
  readonly lsn: Lsn
  readonly number: number
  /** Slots from here on are not used by the tree on disk, nor free-listed. */
  readonly nextSlot: number
  /** Slots that were sealed and flushed. */
  readonly slotsWritten: number
  readonly segmentsReleased: number
}

interface CheckpointRequest {
  /** Wait for a checkpoint that somebody else is making, and make another. */
  readonly wait: boolean
  /** Leave the free slots at the end of the file out of the header: only for a closer who is alone. */
  readonly cutTail?: boolean
  /** Also if writes are refused: only for a closer who is alone, to save what can be saved. */
  readonly inSpiteOfFailure?: boolean
  /** Asked once it is this one's turn: is there still reason to? */
  readonly onlyIf?: () => boolean
}

interface Begun {
  readonly state: StateFields
  readonly chain: SlotNo[]
  readonly oldChain: SlotNo[]
  readonly free: Runs
  readonly sinceLsn: number
}

export class Checkpointer {
  readonly #parts: CheckpointParts

  constructor(parts: CheckpointParts) {
    this.#parts = parts
  }

  /**
   * Makes a checkpoint of the newest tree. Undefined if there is nothing new, or if somebody else is
   * at it and `wait` is false. Throws `LockedError` if the lock was not had in time, and why writes are
   * refused if they are.
   */
  run({ wait, cutTail = false, inSpiteOfFailure = false, onlyIf }: CheckpointRequest): CheckpointReport | undefined {
    const { control, locks, timeoutMs } = this.#parts
    if (wait) {
      if (!locks.lock(LOCK.CHECKPOINT, 'exclusive', timeoutMs)) {
        throw new LockedError(`Another checkpoint has been running for more than ${timeoutMs} ms; try again later.`)
      }
    } else if (!locks.tryLock(LOCK.CHECKPOINT, 'exclusive')) {
      return undefined
    }
    try {
      if (!inSpiteOfFailure) control.refuseIfFailed()
      if (onlyIf !== undefined && !onlyIf()) return undefined
      control.checkpointWanted = false
      const begun = underLeaderLock(this.#parts, () => this.#begin())
      return begun === undefined ? undefined : control.stopOnFailedFlush(() => this.#finish(begun, cutTail))
    } finally {
      locks.unlock(LOCK.CHECKPOINT)
    }
  }

  #begin(): Begun | undefined {
    const { control, allocator, space, checker } = this.#parts
    const state = control.readState(newState())
    // What has taken its place may need the log that a checkpoint lets go.
    assertDataInPlace(this.#parts, state[STATE.CHECKPOINT_NUMBER]!)
    const lsn = state[STATE.VISIBLE_LSN]!
    const sinceLsn = state[STATE.CHECKPOINT_DURABLE_LSN]!
    if (lsn === sinceLsn) return undefined
    allocator.begin(state, lsn)
    // Left by a checkpoint that was not finished. Its header may have reached the disk all the same, so
    // these slots wait for the next one like any that a checkpoint reaches.
    for (const slot of slotsOfFreeList(space, checker, state[STATE.PENDING_FREE_LIST_HEAD]!, control.fileSlots))
      allocator.freeCheckpointed(slot)
    const oldChain = slotsOfFreeList(space, checker, state[STATE.FREE_LIST_HEAD]!, control.fileSlots)
    const runs = withSlots(allocator.waitingRuns(), oldChain)
    // Writers wait: what fits into one slot as it is need not be merged to be counted.
    const wanted = freeListSlotsFor((runs.length / 2 <= RUNS_PER_SLOT - 1 ? runs : mergedRuns(runs)).length / 2)
    const chain: SlotNo[] = []
    // What the free list takes must not come out of what appended frames were promised: appenders wait
    // until it is taken.
    underAppendLock(this.#parts, () => {
      const slots = this.#chainSlotsToHave(wanted, state)
      for (let i = 0; i < slots; i++) chain.push(allocator.allocate())
      linkFreeList(space, chain, lsn)
      state[STATE.PENDING_FREE_LIST_HEAD] = chain[0] ?? 0
      state[STATE.CHECKPOINT_BEGUN_LSN] = lsn
      allocator.finish()
      control.publishState(state)
    })
    crashPoint('checkpoint-begun')
    // What has been taken for the chain is free no longer.
    return { state, chain, oldChain, free: withSlots(allocator.waitingRuns(), oldChain), sinceLsn }
  }

  /** How many of `wanted` slots the free list can have: fewer on a full disk. The append lock is held. */
  #chainSlotsToHave(wanted: number, state: StateFields): number {
    const { control, allocator, space } = this.#parts
    const promised = control.append.read(newAppendFields()).reservedSlots - state[STATE.RELEASED]!
    const available = (): number =>
      Math.max(0, control.fileSlots - state[STATE.NEXT_SLOT]! + allocator.reusableSlots - promised)
    if (available() >= wanted) return wanted
    try {
      growDataFile(space, control, control.fileSlots + wanted - available())
    } catch (error) {
      if (!(error instanceof FullError)) throw error
    }
    return Math.min(wanted, available())
  }

  #finish(begun: Begun, cutTail: boolean): CheckpointReport {
    const { control, log, space, allocator, checker, createdMs, encodingNo } = this.#parts
    const { state, chain, oldChain, sinceLsn } = begun
    const allFree = mergedRuns(begun.free)
    const nextSlot = cutTail ? withoutFreeTail(state[STATE.NEXT_SLOT]!, allFree) : state[STATE.NEXT_SLOT]!
    const free = runsBelow(allFree, nextSlot)
    const lsn = state[STATE.VISIBLE_LSN]! as Lsn
    const number = state[STATE.CHECKPOINT_NUMBER]! + 1

    const sealed = this.#sealTree(state, sinceLsn)
    crashPoint('mid-checkpoint')
    writeFreeList(space, chain, longestRuns(free, chain.length * RUNS_PER_SLOT))
    for (const slot of chain) {
      sealSlot(space, slot)
      sealed.push(slot)
    }
    flushed('Flushing the data file', () => space.region.flush())

    const header: Header = {
      version: FORMAT_VERSION,
      encodingNo,
      uuid: log.uuid,
      checkpointNumber: number,
      lsn,
      root: state[STATE.ROOT]! as SlotNo,
      height: state[STATE.HEIGHT]!,
      entries: state[STATE.ENTRIES]!,
      nextSlot,
      freeListHead: chain[0] ?? (0 as SlotNo),
      freeListSlots: chain.length,
      leaves: state[STATE.LEAVES]!,
      branches: state[STATE.BRANCHES]!,
      overflows: state[STATE.OVERFLOWS]!,
      createdMs,
    }
    // What was sealed in a page that this process has lost is not in the file.
    checker.assertWhole()
    crashPoint('before-headers')
    writeHeaders(space, header)
    crashPoint('after-headers')

    underLeaderLock(this.#parts, () => {
      const now = control.readState(newState())
      allocator.begin(now, now[STATE.VISIBLE_LSN]!)
      for (const slot of oldChain) allocator.freeUnreachable(slot)
      now[STATE.FREE_LIST_HEAD] = chain[0] ?? 0
      now[STATE.FREE_LIST_SLOTS] = chain.length
      now[STATE.PENDING_FREE_LIST_HEAD] = 0
      now[STATE.CHECKPOINT_DURABLE_LSN] = lsn
      now[STATE.CHECKPOINT_NUMBER] = number
      now[STATE.CHECKPOINTS]!++
      allocator.finish()
      control.publishState(now)
      for (const slot of sealed) control.clearUnsealed(slot)
    })
    const current = control.append.read(newAppendFields()).segmentStartLsn as Lsn
    return { lsn, number, nextSlot, slotsWritten: sealed.length, segmentsReleased: log.releaseBefore(lsn, current) }
  }

  /** Seals what the tree reaches and the last checkpoint did not. A slot older than that has nothing newer below it. */
  #sealTree(state: StateFields, sinceLsn: number): SlotNo[] {
    const { space, checker, control } = this.#parts
    const { readAhead } = space
    const madeSince = (slot: number): boolean => slotLsn(space, slot) > sinceLsn
    const sealed: SlotNo[] = []
    const hasOverflows = state[STATE.OVERFLOWS]! > 0
    const visit = (slot: SlotNo, level: number): void => {
      if (!control.mayBeUnsealed(slot)) return
      checker.require(slot, typeAt(level), level)
      if (!madeSince(slot)) return
      const node = new Node().at(space, slot)
      const count = node.count
      if (level > 0) {
        if (readAhead.isUseful) {
          for (let i = 0; i < count; i++) if (control.mayBeUnsealed(node.child(i))) readAhead.note(node.child(i))
          readAhead.ask()
        }
        for (let i = 0; i < count; i++) visit(node.child(i), level - 1)
      } else if (hasOverflows) for (let i = 0; i < count; i++) if (node.overflows(i)) sealOverflow(node, i)
      sealSlot(space, slot)
      sealed.push(slot)
    }
    const sealOverflow = (leaf: Node, i: number): void => {
      const pointer = overflowPointer(leaf, i)
      if (!control.mayBeUnsealed(pointer.first) || !madeSince(pointer.first)) return
      forEachOverflowSlot(space, checker, pointer, (slot) => {
        sealSlot(space, slot)
        sealed.push(slot)
      })
    }
    if (state[STATE.HEIGHT]! > 0) visit(state[STATE.ROOT]! as SlotNo, state[STATE.HEIGHT]! - 1)
    return sealed
  }
}

/** Where the slots in use end, if those that lie free before `nextSlot` are left out. */
function withoutFreeTail(nextSlot: number, free: Runs): number {
  const last = free.length - 2
  return last >= 0 && free[last]! + free[last + 1]! === nextSlot ? free[last]! : nextSlot
}

function withSlots(runs: Runs, slots: readonly SlotNo[]): Runs {
  const all = new Float64Array(runs.length + 2 * slots.length)
  all.set(runs)
  slots.forEach((slot, i) => all.set([slot, 1], runs.length + 2 * i))
  return all
}
