// Writes that took effect, and whose waiter was so slow that the log that said with which result is gone: a full disk
// made others use that part of it again.
import type { Engine } from '../../src/engine/engine.js'
import { OutcomeUnknownError } from '../../src/errors.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import { LogReader } from '../../src/wal/log-reader.js'
import type { Lsn } from '../../src/wal/lsn.js'

/** True if `error` says so, and it is so. */
export function isResultGone({ parts: { control, log } }: Engine, error: unknown): boolean {
  if (!(error instanceof OutcomeUnknownError) || error.cause !== undefined || control.visibleLsn() <= error.lsn!)
    return false
  const { tailLsn } = control.append.read(newAppendFields())
  const reader = new LogReader(log, error.lsn as Lsn)
  while (reader.next(tailLsn as Lsn));
  return reader.position !== tailLsn
}
