// Makes a failure small: leaves out as many of the events that led to it as it can, and it still
// fails. Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
// Input", IEEE TSE 28(2), 2002), on the named events of `Schedule`.

/**
 * Returns a part of `events` of which `fails` is still true and no single chunk that was tried can be
 * left out. `fails(events)` must hold. Gives up after `timeLimitMs` with the best so far.
 */
export function shrink(
  events: readonly string[],
  fails: (kept: readonly string[]) => boolean,
  timeLimitMs: number,
): readonly string[] {
  const deadline = performance.now() + timeLimitMs
  let best = events
  for (let size = Math.ceil(best.length / 2); ;) {
    let smaller = false
    // From the end: what happened last can mostly go without changing the rest.
    for (let end = best.length; end > 0; end -= size) {
      if (performance.now() > deadline) return best
      const kept = [...best.slice(0, Math.max(0, end - size)), ...best.slice(end)]
      if (!fails(kept)) continue
      best = kept
      smaller = true
    }
    if (size === 1 && !smaller) return best
    size = Math.min(Math.max(1, Math.floor(size / 2)), Math.max(1, best.length))
  }
}
