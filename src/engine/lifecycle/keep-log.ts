// How much of the log is kept for its readers: what the last opener who said something has asked for. It is in
// `control`, where each checkpoint finds it, and each checkpoint stores it in the header, from which the next life
// takes it. So all who have the database open go by it, and a command that knows nothing of it gives up nothing that is
// to be kept.
//
// An opener who changes it has a checkpoint made before it says that the database is open. A crash before that leaves
// what was stored before.
import type { Retention } from '../../wal/retention.js'
import { appendMakingRoom } from '../checkpoint/make-room.js'
import type { EngineParts } from '../parts.js'
import { FrameBuilder } from '../../wal/frame-builder.js'

/**
 * Keeps that much of the log from now on. False if that is as before; otherwise the next checkpoint, which has
 * something new to write, stores it.
 */
export function keepLog(parts: EngineParts, { bytes, ms }: Retention): boolean {
  const { control, committer } = parts
  const before = control.retention
  if (before.bytes === bytes && before.ms === ms) return false
  control.retention = { bytes, ms }
  committer.catchUp(appendMakingRoom(parts, new FrameBuilder().frame()))
  return true
}
