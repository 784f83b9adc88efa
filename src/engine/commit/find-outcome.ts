// Where the log says what applying a frame decided.
import { OutcomeUnknownError } from '../../errors.js'
import type { Log } from '../../wal/log.js'
import { LogReader } from '../../wal/log-reader.js'
import type { Lsn } from '../../wal/lsn.js'
import { forEachOutcome, isOutcomeFrame } from '../../wal/outcomes.js'

interface Where {
  /** The frame that was decided, which is visible, and its end. */
  readonly lsn: Lsn
  readonly end: Lsn
  /** The newest frame of outcomes that the tree includes, and the end of the log. */
  readonly newest: Lsn
  readonly tail: Lsn
}

/** Throws `OutcomeUnknownError` if the log does not say it any more. */
export function findOutcome(log: Log, { lsn, end, newest, tail }: Where): Buffer {
  // Mostly it is in the newest frame of outcomes.
  const reader = new LogReader(log, newest)
  const found = reader.next(tail) ? outcomeIn(reader, lsn) : undefined
  if (found !== undefined) return found
  // Else in one between; or in one after it, by a leader that died, which the next leader has not written again.
  reader.restart(end)
  while (reader.next(tail)) {
    const found = outcomeIn(reader, lsn)
    if (found !== undefined) return found
  }
  throw new OutcomeUnknownError(
    `The write at LSN ${lsn} has been applied, but the log does not say any more with which result: read it back.`,
    lsn,
  )
}

/** What the frame of outcomes that `reader` is at says of the frame at `lsn`. */
function outcomeIn({ bytes, at, lengthBytes }: LogReader, lsn: Lsn): Buffer | undefined {
  let found: Buffer | undefined
  if (isOutcomeFrame(bytes, at))
    forEachOutcome(bytes, at, lengthBytes, (decided, outcome) => {
      if (decided === lsn) found = Buffer.from(outcome)
    })
  return found
}
