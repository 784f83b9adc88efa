// Which database the workers of a pool are to open, in memory that they share with the thread that opened it:
// they do not look the path up again, and neither create nor recover what has taken the database's place.
import type { ExpectedDatabase } from '../engine/home.js'

const FIELD = { DIRECTORY_DEVICE: 0, DIRECTORY_INODE: 1, DATA_DEVICE: 2, DATA_INODE: 3 } as const
const FIELDS = 4

export type Expectation = Float64Array<SharedArrayBuffer>

export const newExpectation = (): Expectation => new Float64Array(new SharedArrayBuffer(FIELDS * Float64Array.BYTES_PER_ELEMENT))

/** Without `data`, whoever opens it may be the first to do so. */
export function expect(into: Expectation, { directory, data }: ExpectedDatabase): void {
  into[FIELD.DIRECTORY_DEVICE] = directory.device
  into[FIELD.DIRECTORY_INODE] = directory.inode
  into[FIELD.DATA_DEVICE] = data?.device ?? 0
  into[FIELD.DATA_INODE] = data?.inode ?? 0
}

export function expected(from: Expectation): ExpectedDatabase {
  const directory = { device: from[FIELD.DIRECTORY_DEVICE]!, inode: from[FIELD.DIRECTORY_INODE]! }
  const inode = from[FIELD.DATA_INODE]!
  return inode === 0 ? { directory } : { directory, data: { device: from[FIELD.DATA_DEVICE]!, inode } }
}
