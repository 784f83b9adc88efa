// Databases that are vast and nearly empty: a data file with holes, of any length, whose slots are free but for some
// that lie far from each other. No machine that runs tests has room for a full one.
import { spawnSync } from 'node:child_process'
import { truncateSync } from 'node:fs'
import type { Engine } from '../../src/engine/engine.js'
import { SLOT_BYTES } from '../../src/engine/format/layout.js'
import { newState, STATE } from '../../src/engine/shared/control.js'
import { underLeaderLock } from '../../src/engine/shared/writer-locks.js'
import { dataFile, scratchPath } from './engine.js'

/**
 * Makes the data file `bytes` long. The slots that are allocated next lie `islands` to the file, one after each gap of
 * the same length. False if the file system has no files of that length.
 */
export function spreadOut(engine: Engine, bytes: number, islands: number): boolean {
  const slots = Math.floor(bytes / SLOT_BYTES)
  try {
    truncateSync(dataFile(engine.options.path), slots * SLOT_BYTES)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EFBIG') return false
    throw error
  }
  const { control, allocator } = engine.parts
  control.fileSlots = slots
  underLeaderLock(engine.parts, () => {
    const state = control.readState(newState())
    const lsn = state[STATE.VISIBLE_LSN]!
    allocator.begin(state, lsn)
    const from = state[STATE.NEXT_SLOT]!
    const step = Math.floor((slots - from) / islands)
    const places = Array.from({ length: islands }, (_, n) => from + n * step)
    const runs = [...places.flatMap((slot) => [slot, 1]), ...places.flatMap((slot) => [slot + 1, step - 1])]
    state[STATE.NEXT_SLOT] = from + islands * step
    allocator.replaceWaiting(Float64Array.from([...runs, ...allocator.waiting()]), lsn)
    allocator.finish()
    control.publishState(state)
  })
  return true
}

/** A copy as a crash leaves it, with the holes. Nothing is being written. */
export function sparseCrashCopy(path: string): string {
  const copy = scratchPath()
  const { status, stderr } = spawnSync('cp', ['-r', '--sparse=always', path, copy], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return copy
}
