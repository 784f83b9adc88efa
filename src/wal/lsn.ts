// A log sequence number: the position of a byte in the log since the database was created. It is a
// write's order, version and identity. 48 bits: 256 TiB of log.

declare const brand: unique symbol
export type Lsn = number & { readonly [brand]: 'Lsn' }

/** LSN of the first frame of a new database. 0 means "none". */
export const FIRST_LSN = 8 as Lsn
/** Frames begin at multiples of this. */
export const LSN_ALIGNMENT = 8
export const MAX_LSN = (2 ** 48 - 1) as Lsn
/** For readers of the log that read to its end. */
export const NO_LIMIT = Number.MAX_SAFE_INTEGER as Lsn
/**
 * Frames of users must end before this. The rest is for the empty frames that closing and recovering append, 40 bytes
 * at a time.
 */
export const USERS_LSN_LIMIT = (2 ** 48 - 2 ** 34) as Lsn

export const lsnToHex = (lsn: number): string => lsn.toString(16).padStart(16, '0')
