// Where a change feed goes on, as text: the database by the beginning of its UUID, the LSN of a frame, and, within a
// frame that is not done yet, which operation was told last.
import { InvalidError } from '../errors.js'

const NOTATION = /^([0-9a-f]{8})-(\d{1,16})(?:-(\d{1,10}))?$/

/** What has been told: all up to the frame at `lsn`; of that one only up to the operation `index`, if there is one. */
export interface Told {
  readonly lsn: number
  readonly index?: number | undefined
}

const markOf = (uuid: Buffer): string => uuid.toString('hex', 0, 4)

export const cursorOf = (uuid: Buffer, { lsn, index }: Told): string =>
  index === undefined ? `${markOf(uuid)}-${lsn}` : `${markOf(uuid)}-${lsn}-${index}`

/** Throws `InvalidError` for what is not a cursor, or one of another database. */
export function parseCursor(text: string, uuid: Buffer): Told {
  const [, mark, lsn, index] = NOTATION.exec(text) ?? []
  const told = { lsn: Number(lsn), index: index === undefined ? undefined : Number(index) }
  if (!Number.isSafeInteger(told.lsn))
    throw new InvalidError(
      `${JSON.stringify(text)} is not a cursor. Give one as a change had it, or an LSN as a number.`,
    )
  if (mark !== markOf(uuid))
    throw new InvalidError(
      `The cursor ${text} is of another database, or of this one before it was restored. Read everything once more, and follow from now on.`,
    )
  return told
}
