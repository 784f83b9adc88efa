// A log sequence number: a position in the log, counted in words of 8 bytes since the database was created. Every
// frame begins at a word. The LSN of a write's frame is its order, version and identity. LSNs have 53 bits, as many
// as a JavaScript number holds exactly: 64 PiB of log.

declare const brand: unique symbol
export type Lsn = number & { readonly [brand]: 'Lsn' }

/** Bytes from one LSN to the next. */
export const WORD_BYTES = 8
/** LSN of the first frame of a new database. 0 means "none". */
export const FIRST_LSN = 1 as Lsn
/** A little below 2^53: lock bytes that name an LSN (lock-bytes.ts) are safe integers, too. */
export const MAX_LSN = (2 ** 53 - 2 ** 43) as Lsn
/** For readers of the log that read to its end. */
export const NO_LIMIT = Number.MAX_SAFE_INTEGER as Lsn
/**
 * Frames of users must end before this. The rest, 16 GiB, is for the empty frames that closing and recovering append.
 */
export const USERS_LSN_LIMIT = (MAX_LSN - 2 ** 31) as Lsn

/** `lengthBytes`, and what is missing up to the next word. */
export const paddedBytes = (lengthBytes: number): number => Math.ceil(lengthBytes / WORD_BYTES) * WORD_BYTES
/** The first LSN at or after `lengthBytes` from `lsn`: where the next frame begins after one of that length. */
export const lsnAfter = (lsn: number, lengthBytes: number): Lsn => (lsn + Math.ceil(lengthBytes / WORD_BYTES)) as Lsn
/** The last LSN at or before `lengthBytes` from `lsn`: where frames must end in a room of that length. */
export const lsnWithin = (lsn: number, lengthBytes: number): Lsn => (lsn + Math.floor(lengthBytes / WORD_BYTES)) as Lsn
/** The LSN of the frame of `lengthBytes` that ends before `end`. */
export const lsnBefore = (end: number, lengthBytes: number): Lsn => (end - Math.ceil(lengthBytes / WORD_BYTES)) as Lsn
/** Bytes of log between two LSNs. */
export const bytesBetween = (from: number, to: number): number => (to - from) * WORD_BYTES

export const lsnToHex = (lsn: number): string => lsn.toString(16).padStart(16, '0')
/** True for what can be the LSN of a moment of a database. */
export const isLsn = (x: unknown): x is Lsn =>
  Number.isSafeInteger(x) && (x as number) >= FIRST_LSN && (x as number) <= MAX_LSN
