// What is to be restored, as the caller has said it.
import { quoted } from '../describe.js'
import { InvalidError } from '../errors.js'
import type { LogLimit } from '../maintenance/log-copy.js'
import type { RestoreRequest } from '../maintenance/restore.js'
import { isLsn } from '../wal/lsn.js'
import { pathOption } from './read-options.js'

/** The options of `restore` that say what is to be restored. */
interface Choice {
  readonly log?: string | undefined
  readonly lsn?: number | undefined
  readonly time?: Date | number | undefined
  readonly latest?: boolean | undefined
}

/** Throws `InvalidError`. */
export function requestOf(backup: string, to: string, options: Choice): RestoreRequest {
  const until = limitOf(options)
  if (until !== undefined && options.log === undefined)
    throw new InvalidError('A later moment is restored by the log of the source: give that database as log.')
  const path = pathOption(backup, 'the backup')
  return {
    backup: path,
    target: pathOption(to, 'what is restored'),
    until,
    options: {},
    source: options.log === undefined ? path : pathOption(options.log, 'the log'),
  }
}

function limitOf({ lsn, time, latest }: Choice): LogLimit | undefined {
  if (lsn !== undefined && !isLsn(lsn))
    throw new InvalidError(`lsn must be the LSN of a moment, a whole number from 1, not ${quoted(lsn)}.`)
  if (latest !== undefined && typeof latest !== 'boolean')
    throw new InvalidError(`latest must be true or false, not ${quoted(latest)}.`)
  const timeMs = time instanceof Date ? time.getTime() : time
  if (timeMs !== undefined && (typeof timeMs !== 'number' || !(Math.abs(timeMs) <= MAX_TIME_MS)))
    throw new InvalidError(`time must be a Date, or milliseconds since 1970, not ${quoted(time)}.`)
  if ([lsn !== undefined, timeMs !== undefined, latest === true].filter(Boolean).length > 1)
    throw new InvalidError('Give one of lsn, time and latest.')
  return lsn === undefined && timeMs === undefined && latest !== true ? undefined : { lsn, timeMs }
}

/** The range of a Date. */
const MAX_TIME_MS = 8.64e15
