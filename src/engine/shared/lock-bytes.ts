// The locks of a database: bytes of the `data` file, taken as OFD locks. In the order in which they
// may be taken; nobody takes one while holding one below it.

export const LOCK = {
  /** Serialises openers and closers. */
  OPEN: 0,
  /** Shared by all who have the database open; exclusive for the first opener and the last closer. */
  ATTACHED: 1,
  /** One checkpoint at a time. */
  CHECKPOINT: 2,
  /** Applies frames and publishes the tree. */
  LEADER: 3,
  /** Appends to the log, grows the data file. */
  APPEND: 4,
  /** Shared by all who have the database open if `control` is in the memory of their process. */
  IN_MEMORY: 5,
  /** One byte for each pin, from here. */
  PINS: 1024,
  /** Record locks, from here; not used yet. */
  RECORDS: 65536,
  /** One byte for each life that the database may be in (life.ts). Always shared. */
  LIVES: 2 ** 40,
  /** Two bytes for each LSN, from here: readers that cannot write a pin (lock-pins.ts). Always shared. */
  LSN_PINS: 2 ** 52,
} as const
