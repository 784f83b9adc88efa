// Runs of neighbouring slots: pairs of first slot and length, flat in one array.

export type Runs = Float64Array

/** The same slots in ascending order, with adjacent runs merged. No slot may be in it twice. */
export function mergedRuns(runs: Runs): Runs {
  const count = runs.length / 2
  const firsts = new Float64Array(count)
  let isSorted = true
  for (let i = 0; i < count; i++) {
    firsts[i] = runs[2 * i]!
    if (i > 0 && firsts[i - 1]! > firsts[i]!) isSorted = false
  }
  const ends = new Float64Array(count)
  for (let i = 0; i < count; i++) ends[i] = firsts[i]! + runs[2 * i + 1]!
  // No two runs overlap, so the n-th to begin is also the n-th to end.
  if (!isSorted) {
    firsts.sort()
    ends.sort()
  }
  let merged = 0
  for (let i = 0; i < count; i++) {
    if (merged > 0 && firsts[i] === ends[merged - 1]) ends[merged - 1] = ends[i]!
    else {
      firsts[merged] = firsts[i]!
      ends[merged++] = ends[i]!
    }
  }
  const result = new Float64Array(2 * merged)
  for (let i = 0; i < merged; i++) {
    result[2 * i] = firsts[i]!
    result[2 * i + 1] = ends[i]! - firsts[i]!
  }
  return result
}

/** Single slots as runs, in ascending order. No slot may be named twice. */
export function runsOf(slots: readonly number[]): Runs {
  const runs = new Float64Array(2 * slots.length)
  slots.forEach((slot, i) => runs.set([slot, 1], 2 * i))
  return mergedRuns(runs)
}

/** The slots that are in one of two ascending lists of runs, or in both. */
export function unionOf(one: Runs, other: Runs): Runs {
  const union = new Float64Array(one.length + other.length)
  let length = 0
  for (let i = 0, j = 0; i < one.length || j < other.length;) {
    const isNextOfOne = j >= other.length || (i < one.length && one[i]! <= other[j]!)
    const runs = isNextOfOne ? one : other
    const at = isNextOfOne ? i : j
    const [first, end] = [runs[at]!, runs[at]! + runs[at + 1]!]
    const reached = length === 0 ? -1 : union[length - 2]! + union[length - 1]!
    if (first > reached) {
      union[length++] = first
      union[length++] = end - first
    } else if (end > reached) union[length - 1]! += end - reached
    if (isNextOfOne) i += 2
    else j += 2
  }
  return union.slice(0, length)
}

/** The slots of ascending runs that are not in `others`, ascending too. */
export function without(runs: Runs, others: Runs): Runs {
  const left: number[] = []
  for (let i = 0, j = 0; i < runs.length; i += 2) {
    let first = runs[i]!
    const end = first + runs[i + 1]!
    while (first < end) {
      while (j < others.length && others[j]! + others[j + 1]! <= first) j += 2
      const hole = j < others.length ? Math.min(others[j]!, end) : end
      if (hole > first) left.push(first, hole - first)
      first = hole < end ? others[j]! + others[j + 1]! : end
    }
  }
  return Float64Array.from(left)
}

/** How many slots the runs hold. */
export function slotsIn(runs: Runs): number {
  let slots = 0
  for (let i = 1; i < runs.length; i += 2) slots += runs[i]!
  return slots
}

/** True if one of ascending runs holds the slot. */
export function hasSlot(runs: Runs, slot: number): boolean {
  // The first run that begins after the slot.
  let low = 0
  let high = runs.length / 2
  while (low < high) {
    const middle = (low + high) >>> 1
    if (runs[2 * middle]! <= slot) low = middle + 1
    else high = middle
  }
  return low > 0 && slot < runs[2 * low - 2]! + runs[2 * low - 1]!
}

/** The slots of [from, to) that ascending runs do not hold. */
export function gapsBetween(runs: Runs, from: number, to: number): Runs {
  const gaps: number[] = []
  let at = from
  for (let i = 0; i < runs.length && at < to; i += 2) {
    const first = Math.min(runs[i]!, to)
    if (first > at) gaps.push(at, first - at)
    at = Math.max(at, runs[i]! + runs[i + 1]!)
  }
  if (at < to) gaps.push(at, to - at)
  return Float64Array.from(gaps)
}

/** The slots one by one, in order. */
export function* eachSlot(runs: Runs): Generator<number> {
  for (let i = 0; i < runs.length; i += 2) for (let n = 0; n < runs[i + 1]!; n++) yield runs[i]! + n
}

/** The longest of ascending runs, at most `limit` of them; ascending. */
export function longestRuns(runs: Runs, limit: number): Runs {
  if (runs.length / 2 <= limit) return runs
  const order = Array.from({ length: runs.length / 2 }, (_, i) => i).sort((a, b) => runs[2 * b + 1]! - runs[2 * a + 1]!)
  const kept = order.slice(0, limit).sort((a, b) => a - b)
  return Float64Array.from(kept.flatMap((i) => [runs[2 * i]!, runs[2 * i + 1]!]))
}

/** The slots below `end` of ascending runs. */
export function runsBelow(runs: Runs, end: number): Runs {
  let count = runs.length
  while (count > 0 && runs[count - 2]! >= end) count -= 2
  const below = runs.slice(0, count)
  if (count > 0) below[count - 1] = Math.min(below[count - 1]!, end - below[count - 2]!)
  return below
}
