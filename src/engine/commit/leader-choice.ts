// Which thread leads next. Leading is much code, which V8 compiles in every thread that runs it, for seconds of a
// program's life; and a thread that has just led runs already, while others would have to be woken. So the thread that
// led last is preferred: if nobody leads, the others give it a moment to come back with its next write.
//
// If it does not come, another one leads, and after some such misses that one is preferred. Where none comes back in
// time, nobody is preferred for a while, and then it is tried again.
//
// All this is a matter of time only. The words lie in `control`, are written under the leader lock, and may say
// anything after a crash.

const LEADER_CHOICE_BYTES = 64

const PREFERRED = 0
const MISSES = 1
const HITS = 2
/** Groups for which nobody is preferred: how many are left, and how many it was the last time. */
const REST = 3
const LAST_REST = 4

/** How long others wait for the preferred thread. */
export const GRACE_MS = 0.5
/** After that many misses in a row another one is preferred. */
const MOST_MISSES = 8
/** If it was there less often than this meanwhile, nobody is, for a number of groups that doubles each time. */
const LEAST_HITS = 8
const FIRST_REST = 256
const LONGEST_REST = 4096

export class LeaderChoice {
  readonly #i32: Int32Array

  constructor(buffer: ArrayBuffer, offsetBytes: number) {
    this.#i32 = new Int32Array(buffer, offsetBytes, LEADER_CHOICE_BYTES / 4)
  }

  /** True if `owner` need not wait for another one before it leads. */
  isFree(owner: number): boolean {
    const preferred = Atomics.load(this.#i32, PREFERRED)
    return preferred === owner || preferred === 0
  }

  /** `owner` begins to lead. The caller holds the leader lock. */
  note(owner: number): void {
    const words = this.#i32
    if (words[PREFERRED] === owner) {
      words[MISSES] = 0
      if (words[HITS]! < LEAST_HITS) words[HITS]!++
      return
    }
    if (words[PREFERRED] === 0 && words[REST]! > 0) {
      words[REST]!--
      return
    }
    if (words[PREFERRED] !== 0 && ++words[MISSES]! < MOST_MISSES) return
    const wasOfUse = words[PREFERRED] === 0 || words[HITS]! >= LEAST_HITS
    words[MISSES] = 0
    words[HITS] = 0
    if (wasOfUse) {
      Atomics.store(words, PREFERRED, owner)
      return
    }
    words[LAST_REST] = Math.min(LONGEST_REST, Math.max(FIRST_REST, 2 * words[LAST_REST]!))
    words[REST] = words[LAST_REST]!
    Atomics.store(words, PREFERRED, 0)
  }
}
