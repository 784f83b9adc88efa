// Locks that transactions take to get out of each other's way (database/run-transaction.ts). They have names that no
// key of a user has, so that a user's own lock on a record, which may be held for hours, holds up no transaction.

/** No key of the tree begins with it. */
const PREFIX = Buffer.of(0x00)

/** The name of the lock for this key of the tree. */
export const transactionLockOf = (treeKey: Buffer): Buffer => Buffer.concat([PREFIX, treeKey])

export const isTransactionLock = (name: Buffer): boolean => name[0] === PREFIX[0]
