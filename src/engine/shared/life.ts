// A life of a database lasts from its first opener to its last closer, and a `control` belongs to one life. All
// who have the database open hold a lock byte of the data file that the number in `control` names, drawn by
// the first opener. So a `control` that an earlier life left behind, or that lies in another directory beside
// another name of the same data file, is not taken for the one that is in use.
import type { LockTable, Storage } from '../../storage/storage.js'
import { LOCK } from './lock-bytes.js'

const byteOf = (life: number): number => LOCK.LIVES + (life >>> 0)

export const drawLife = (storage: Storage): number => Buffer.from(storage.randomBytes(4)).readInt32LE()

/** True if somebody else has the database open in this life. */
export const isLive = (locks: LockTable, life: number): boolean => locks.isHeldByOther(byteOf(life), 'exclusive')

/** Takes part in this life; `locks` held by nobody but those who do. */
export const joinLife = (locks: LockTable, life: number): boolean => locks.tryLock(byteOf(life), 'shared')
