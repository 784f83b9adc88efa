// What the log has, frame by frame, as a program that reads it without the tree finds it.
import type { Engine } from '../../src/engine/engine.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import { LogReader } from '../../src/wal/log-reader.js'
import type { Lsn } from '../../src/wal/lsn.js'

/** The frames by their LSNs, in ascending order. `isWhole`: up to the end that appenders know. */
export function loggedFrames({ parts: { control, log } }: Engine): { frames: Map<number, Buffer>; isWhole: boolean } {
  const { tailLsn } = control.append.read(newAppendFields())
  const frames = new Map<number, Buffer>()
  const reader = new LogReader(log, log.starts()[0] ?? (0 as Lsn))
  while (reader.next(tailLsn as Lsn)) {
    const { bytes, at, lengthBytes, lsn } = reader
    frames.set(lsn, Buffer.from(bytes.subarray(at, at + lengthBytes)))
  }
  return { frames, isWhole: reader.position === tailLsn }
}
