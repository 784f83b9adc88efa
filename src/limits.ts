// How long keys, values and batches may be. The README has the same figures; a test compares them.

/** An encoded key is at most this long. */
export const MAX_KEY_BYTES = 1024
/** An encoded value is at most this long. */
export const MAX_VALUE_BYTES = 512 * 1024 * 1024
/** A frame of the log, and so a batch, is at most this long. */
export const MAX_FRAME_BYTES = 1024 * 1024 * 1024
