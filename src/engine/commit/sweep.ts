// Removing what has expired. Nobody sees such entries any more; this gives their room back.
//
// An ordinary frame removes them, a few hundred at a time. Each is a write of its own, with the version that the entry
// had when it was looked up: one that was put again meanwhile stays. That is decided when the frame is applied, like
// any other condition, so it does not matter who sweeps, how often, or whether several do so at once; a crash before
// the frame is in the log leaves the entries to the next sweeper, and after that recovery removes them.
//
// The index may name entries that are gone, or have another time by now: that is left when whole subtrees are cut
// out. It is removed in the same way, by the version of the index's own entry: a put that needs it again has given
// it another one.
import { FullError } from '../../errors.js'
import { FrameBuilder } from '../../wal/frame-builder.js'
import { lsnBefore } from '../../wal/lsn.js'
import { OP_FLAG } from '../../wal/operation.js'
import type { DatabaseClock } from '../shared/clock.js'
import { newState, type Control } from '../shared/control.js'
import type { Pins } from '../shared/pins.js'
import type { Committer } from './committer.js'
import { expiredEntries, type ExpiredEntry } from '../tree/expiring.js'
import type { TreeReader } from '../tree/reader.js'

/** Entries that one frame removes: what applying it costs keeps other writers waiting. */
const MOST_ENTRIES = 256

export interface SweepParts {
  readonly control: Control
  readonly clock: DatabaseClock
  readonly pins: Pins
  readonly reader: TreeReader
}

/** A frame that removes what has expired, up to some hundred entries; undefined if nothing has. */
export function sweepFrame(parts: SweepParts): Buffer | undefined {
  const { control, clock } = parts
  const nowMs = clock.now()
  return control.earliestExpiry() > nowMs ? undefined : frameFor(expiredBy(parts, nowMs))
}

function expiredBy({ pins, reader }: SweepParts, nowMs: number): ExpiredEntry[] {
  // If readers have them all, the next sweep finds what this one leaves.
  const pin = pins.tryAcquire()
  if (pin === undefined) return []
  const state = newState()
  pin.take(state)
  try {
    return expiredEntries(reader, state, nowMs, MOST_ENTRIES)
  } finally {
    pins.giveBack(pin)
  }
}

function frameFor(entries: readonly ExpiredEntry[]): Buffer | undefined {
  if (entries.length === 0) return undefined
  const frame = new FrameBuilder()
  const write = new FrameBuilder()
  for (const { key, version, expiresAt } of entries) {
    const flags = OP_FLAG.IF_VERSION | (expiresAt === undefined ? 0 : OP_FLAG.EXPIRES)
    write.del(key, key.length, expiresAt === undefined ? { flags, version } : { flags, version, expiresAt })
    frame.append(write)
    write.reset()
  }
  return frame.take()
}

/**
 * Removes what has expired, by up to `mostFrames` frames, and waits until they are in the tree. Without an error if the
 * log has no room for them.
 */
export function sweepNow(parts: SweepParts & { readonly committer: Committer }, mostFrames: number): void {
  const { committer } = parts
  try {
    for (let i = 0; i < mostFrames; i++) {
      const frame = sweepFrame(parts)
      if (frame === undefined) return
      const end = committer.append(frame)
      committer.forgetOutcome(lsnBefore(end, frame.length))
      committer.catchUp(end)
    }
  } catch (error) {
    if (!(error instanceof FullError)) throw error
  }
}
