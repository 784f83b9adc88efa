// The longest keys, values and batches. The README has the same figures; a test compares them.

/** Longest encoded key. */
export const MAX_KEY_BYTES = 1024
/** Longest encoded value. */
export const MAX_VALUE_BYTES = 512 * 1024 * 1024
/** Longest frame of the log, and so the longest batch. */
export const MAX_FRAME_BYTES = 1024 * 1024 * 1024
