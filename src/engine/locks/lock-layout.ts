// The layout of `locks`, the file in which threads and processes find out who may have which record lock. All
// numbers are little-endian. It belongs to one life of the database (life.ts), as `control` does, and nothing in it
// is ever flushed: when the machine stops, there is no holder any more.
//
//   offset     size
//        0        4  magic "MLCK"; written last, so a file that has it is complete
//        4        4  layout version
//        8        4  life of the database that this file belongs to
//       16        8  device that the file is on (float64)
//       24        8  which file this is (inode number, float64): a copy is another one
//       64        4  mutex: the owner that changes the table at this moment; 0 if no one does
//       68        4  how many threads wait for the mutex; too many if one of them died
//      128        8  next ticket (float64)
//      136        4  first free cell; 0 if there is none
//      140        4  end of the cells that were ever used, which begin at 20544
//      144        4  seats used: no seat from here on was ever taken
//      148        4  requests that are granted, and
//      152        4  requests that wait
//      160        8  LSN that the tree must include before who gets a lock goes on (float64; dead-writes.ts)
//      168        4  when a thread last looked for dead owners: the lower 32 bits of its monotonic clock, in ms
//      172        4  seat at which the next one begins to look
//     4096   262144  what is said of each of 4096 seats (../shared/seats.ts): 64 bytes
//   266240  1048576  buckets: for each of 2^18 hashes of keys the first record that has it; 0 if there is none
//  1314816           cells of 64 bytes, each a request, a record, a part of a key, or free
//
// Cells are called by their number, which is their offset in the file divided by 64; so 0 is no cell.

import { MAX_SEATS } from '../shared/control.js'

export const LOCKS_MAGIC = 0x4b434c4d
export const LOCKS_VERSION = 3

export const CELL_BYTES = 64
export const CELL_WORDS = CELL_BYTES / 4
const BUCKET_BITS = 18
export const BUCKETS = 1 << BUCKET_BITS

export const AT = {
  MAGIC: 0,
  VERSION: 4,
  LIFE: 8,
  DEVICE: 16,
  INODE: 24,
  MUTEX: 64,
  MUTEX_WAITERS: 68,
  TICKET: 128,
  FREE: 136,
  CELLS_USED: 140,
  SEATS_USED: 144,
  GRANTED: 148,
  WAITING: 152,
  DEAD_LSN: 160,
  LOOKED_MS: 168,
  LOOK_FROM: 172,
  SEATS: 4096,
  BUCKETS: 4096 + MAX_SEATS * CELL_BYTES,
  CELLS: 4096 + MAX_SEATS * CELL_BYTES + BUCKETS * 4,
} as const

export const FIRST_CELL = AT.CELLS / CELL_BYTES

/** Words of a seat. */
export const SEAT = {
  /** Moves when one of its requests was granted: its thread watches this word. */
  WAKE: 1,
  /** Its first request, and the first that was granted and that it has not yet heard of. */
  REQUESTS: 2,
  NEWS: 3,
  /** For information only. */
  PROCESS_ID: 4,
} as const

/** The first word of a cell says what it is. */
export const STATE = {
  FREE: 0,
  RECORD: 1,
  KEY: 2,
  WAITING: 3,
  GRANTED: 4,
  /** Its owner has given it up when it could not take the mutex; the next to meet it frees it. */
  RELEASED: 5,
} as const

export const SHARED = 1
export const EXCLUSIVE = 2

/** Words of a request. */
export const REQUEST = {
  STATE: 0,
  OWNER: 1,
  /** `SHARED` or `EXCLUSIVE`. */
  MODE: 2,
  RECORD: 3,
  /** Orders the queue; a float64 of the same number as a word has half the index. */
  TICKET_F64: 2,
  /** When it was made, or granted: milliseconds since 1970. */
  SINCE_F64: 3,
  /** In the queue of its record, or among those of its record that are granted. */
  PREVIOUS: 8,
  NEXT: 9,
  /** Among those of its seat. */
  SEAT_PREVIOUS: 10,
  SEAT_NEXT: 11,
  NEWS_NEXT: 12,
  /** 1 until its owner has heard that it was granted. */
  IS_NEWS: 13,
} as const

/** Words of a record: a key that has requests. */
export const RECORD = {
  STATE: 0,
  HASH: 1,
  KEY_LENGTH: 2,
  /** The first cell with the part of the key for which there is no room here. */
  KEY_CELL: 3,
  NEXT_IN_BUCKET: 4,
  GRANTED: 5,
  WAITING_FIRST: 6,
  WAITING_LAST: 7,
  /** The beginning of the key, up to the end of the cell. */
  KEY: 8,
} as const

/** Words of a part of a key. */
export const KEY_PART = { STATE: 0, NEXT: 1, KEY: 2 } as const

export const RECORD_KEY_BYTES = (CELL_WORDS - RECORD.KEY) * 4
export const KEY_PART_BYTES = (CELL_WORDS - KEY_PART.KEY) * 4

/** A free cell: its state and the next free cell. */
export const FREE_NEXT = 1

/** A window of the file: the same for all, so that it can be memory of the process, too. */
export const LOCKS_WINDOW_BYTES = 16 * 1024 * 1024
export const CELLS_PER_WINDOW = LOCKS_WINDOW_BYTES / CELL_BYTES
/** The greatest length of the file: some twenty million locks. */
export const LOCKS_RESERVE_BYTES = 4 * 1024 ** 3

// ---- hashes --------------------------------------------------------------------------------------

/** FNV-1a, mixed once more (as MurmurHash3 does), so that the upper bits depend on all of the key. */
export function hashOf(key: Uint8Array, seed: number): number {
  let hash = 0x811c9dc5 ^ seed
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key[i]!, 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

export const bucketOf = (hash: number): number => hash >>> (32 - BUCKET_BITS)
