// The longest keys, values and batches. The README has the same figures; a test compares them.

/** Longest encoded key. */
export const MAX_KEY_BYTES = 1024
/** What stands before the keys of a named store: see encoding/key-space.ts. */
export const STORE_PREFIX_BYTES = 4
/** Stores that one database may have had in all: a number is not given to another one. */
export const MAX_STORE_NUMBER = 0xffffff
/** Longest key in the tree: that of a user, and what stands before it. */
export const MAX_TREE_KEY_BYTES = MAX_KEY_BYTES + 16
/** Longest encoded value. */
export const MAX_VALUE_BYTES = 512 * 1024 * 1024
/** Longest frame of the log, and so the longest batch. */
export const MAX_FRAME_BYTES = 1024 * 1024 * 1024
/** Most adds of a frame, and so of a batch: what they came to must fit into a frame (outcomes.ts). */
export const MAX_FRAME_ADDS = 3_900_000
/** Most keys, and entries of ranges, that a transaction reads: what the leader looks at again when it commits. */
export const MAX_TRANSACTION_READS = 100_000
/** Most changes of a transaction, and bytes of them. */
export const MAX_TRANSACTION_CHANGES = 100_000
export const MAX_TRANSACTION_BYTES = 64 * 1024 * 1024
