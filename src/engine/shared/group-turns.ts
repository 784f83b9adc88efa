// Where writers wait until their frames are on disk and visible. A leader brings one group of frames after the other
// there, and each group has a number. A writer whose frame is in the group that is under way is woken when that is
// published; one whose frame comes after it sleeps on, since it is in the next group, and is woken with that. So each
// writer is woken once, and all of a group by one system call.
//
// There are two words, for groups of even and of odd numbers. A word moves when a group of its kind is published, and
// when a leader steps down: then one of those who wait for the next group is woken, who may lead it.
//
// All this only says when to look. A waiter sleeps for a limited time, and then looks for itself; so it does not matter
// if it waits for the wrong group, or if a leader dies before it wakes anybody.
import type { Region } from '../../storage/storage.js'

const GROUP_TURNS_BYTES = 128

/** Where the words lie: the number of the group, the ends of the last even and odd one, the turns and who waits. */
const GROUP = 0
const END_F64 = 1
const TURN = 16
const WAITERS = 18

export class GroupTurns {
  readonly #region: Region
  readonly #at: number
  readonly #i32: Int32Array
  readonly #f64: Float64Array

  /** `offsetBytes`: where the words begin in `control`, a multiple of 64. */
  constructor(region: Region, offsetBytes: number) {
    this.#region = region
    this.#at = offsetBytes
    this.#i32 = new Int32Array(region.window(0), offsetBytes, GROUP_TURNS_BYTES / 4)
    this.#f64 = new Float64Array(region.window(0), offsetBytes, GROUP_TURNS_BYTES / 8)
  }

  /** The group of all frames up to `endLsn` that are not visible yet begins. The caller holds the leader lock. */
  begin(endLsn: number): void {
    const group = Atomics.load(this.#i32, GROUP) + 1
    // First: who sees the number finds the end of that group.
    this.#f64[END_F64 + (group & 1)] = endLsn
    Atomics.store(this.#i32, GROUP, group | 0)
  }

  /**
   * 0 or 1: the kind of the group that a frame is in which ends at `endLsn`. Read the `turn` of that, and only then
   * look whether the frame is visible.
   */
  kindOf(endLsn: number): 0 | 1 {
    const group = Atomics.load(this.#i32, GROUP)
    const isUnderWay = this.#f64[END_F64 + (group & 1)]! >= endLsn
    // If the next group began meanwhile, the number that was read may be of one and the end of another one.
    const isStill = Atomics.load(this.#i32, GROUP) === group
    return ((isStill && isUnderWay ? group : group + 1) & 1) as 0 | 1
  }

  turn(kind: 0 | 1): number {
    return Atomics.load(this.#i32, TURN + kind)
  }

  /** Sleeps until the turn is no longer `seen`, at most `timeoutMs`. True if the time was over. */
  await(kind: 0 | 1, seen: number, timeoutMs: number): boolean {
    Atomics.add(this.#i32, WAITERS + kind, 1)
    const result = this.#region.wait(this.#at + 4 * (TURN + kind), seen, timeoutMs)
    Atomics.sub(this.#i32, WAITERS + kind, 1)
    return result === 'timed-out'
  }

  /** The group under way is published: wakes those who wait for it. */
  pass(): void {
    this.#wake((Atomics.load(this.#i32, GROUP) & 1) as 0 | 1, true)
  }

  /** Nobody leads any more: wakes one of those who wait for the next group. */
  callNext(): void {
    this.#wake(((Atomics.load(this.#i32, GROUP) + 1) & 1) as 0 | 1, false)
  }

  /** Wakes all: each looks for itself. */
  callAll(): void {
    this.#wake(0, true)
    this.#wake(1, true)
  }

  #wake(kind: 0 | 1, isForAll: boolean): void {
    Atomics.add(this.#i32, TURN + kind, 1)
    if (Atomics.load(this.#i32, WAITERS + kind) === 0) return
    const at = this.#at + 4 * (TURN + kind)
    if (isForAll) this.#region.wakeAll(at)
    else this.#region.wakeOne(at)
  }
}
