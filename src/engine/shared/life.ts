// A life of a database lasts from its first opener to its last closer, and a `control` belongs to one life. The
// first opener draws the number of the life and writes it into `control`; all users who have the database open
// hold the lock byte of the data file that this number names. So a `control` that an earlier life left over, or
// that lies in another directory beside another name of the same data file, is not mistaken for the one in use.
import type { LockTable, Storage } from '../../storage/storage.js'
import { LOCK } from './lock-bytes.js'

const byteOf = (life: number): number => LOCK.LIVES + (life >>> 0)

export const drawLife = (storage: Storage): number => Buffer.from(storage.randomBytes(4)).readInt32LE()

/** True if another user has the database open in this life. */
export const isLive = (locks: LockTable, life: number): boolean => locks.isHeldByOther(byteOf(life), 'exclusive')

/** Joins this life. Only users who take part in it hold its lock byte. */
export const joinLife = (locks: LockTable, life: number): boolean => locks.tryLock(byteOf(life), 'shared')
