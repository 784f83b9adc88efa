// The locks of a database: bytes of the `data` file, acquired as OFD locks. They stand in the order in which they
// may be acquired: no thread acquires one while it holds one that stands after it. The two locks that every write
// takes, the leader lock and the append lock, are words of `control` (writer-locks.ts). They come after that of the
// checkpoint.

export const LOCK = {
  /** Lets one opener or closer at a time work. */
  OPEN: 0,
  /** Shared by all users who have the database open; exclusive for the first opener and the last closer. */
  ATTACHED: 1,
  /** One checkpoint at a time. */
  CHECKPOINT: 2,
  /** Shared by all users who have the database open with `control` in the memory of their process. */
  IN_MEMORY: 5,
  /** Held to make or join the table of record locks (locks/lock-file.ts). */
  RECORD_TABLE: 6,
  /** Held on the data file of a database that is being made beside its place (maintenance/unfinished.ts). */
  MAKING: 7,
  /** Held by the sweeper, which removes what has expired (sweeper.ts). */
  SWEEP: 8,
  /** From here, one byte for each pin. */
  PINS: 1024,
  /** From here, one byte for each thread that writes or uses record locks (seats.ts). */
  SEATS: 65536,
  /** From here, one byte for each life that the database may be in (life.ts), 2^32 of them. Always shared. */
  LIVES: 2 ** 40,
  /** From here, one byte for each LSN modulo 2^32: a pin on that LSN is firm (lock-pins.ts). Always shared. */
  FIRM_PINS: 2 ** 41,
  /** From here, one byte for each LSN: pins of readers that cannot write `control` (lock-pins.ts). Always shared. */
  LSN_PINS: 2 ** 42,
} as const
