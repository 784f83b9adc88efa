// What an open database consists of on one thread. Opening makes these parts (lifecycle/open.ts); all that works on
// the database is given the parts that it needs.
import type { KeySpace } from '../encoding/key-space.js'
import type { HeldDirectory, LockTable, Region, Storage } from '../storage/storage.js'
import type { Log } from '../wal/log.js'
import type { Checkpointer } from './checkpoint/checkpointer.js'
import type { Applier } from './commit/apply.js'
import type { LogFlusher } from './commit/log-flusher.js'
import type { Committer } from './commit/committer.js'
import type { SlotSpace } from './format/slot-space.js'
import type { ResolvedOptions } from './options.js'
import type { RecordLocks } from './locks/record-locks.js'
import type { DatabaseClock } from './shared/clock.js'
import type { Control } from './shared/control.js'
import type { DataFile } from './shared/data-file.js'
import type { LockPins } from './shared/lock-pins.js'
import type { OpenState } from './shared/open-state.js'
import type { Pins } from './shared/pins.js'
import type { Seats } from './shared/seats.js'
import type { SharedPins } from './shared/shared-pins.js'
import type { WordLock } from './shared/word-lock.js'
import type { Allocator } from './space/allocator.js'
import type { SlotChecker } from './space/slot-checker.js'
import type { TreeReader } from './tree/reader.js'

export interface EngineParts {
  readonly options: ResolvedOptions
  readonly openState: OpenState
  /** The files. `storage` reaches them through the directory, which is held open. */
  readonly storage: Storage
  readonly home: HeldDirectory
  readonly dataFile: DataFile
  readonly locks: LockTable
  readonly dataRegion: Region
  readonly controlRegion: Region
  /** What threads and processes share. */
  readonly control: Control
  readonly clock: DatabaseClock
  readonly seats: Seats
  readonly leaderLock: WordLock
  readonly appendLock: WordLock
  readonly pins: Pins
  readonly lockPins: LockPins
  readonly sharedPins: SharedPins
  readonly recordLocks: RecordLocks
  /** The tree and its slots. */
  readonly space: SlotSpace
  readonly checker: SlotChecker
  readonly allocator: Allocator
  readonly reader: TreeReader
  /** The key space of the default store. */
  readonly main: KeySpace
  /** The log, and what is done with it. */
  readonly log: Log
  readonly flusher: LogFlusher
  readonly applier: Applier
  readonly committer: Committer
  readonly checkpointer: Checkpointer
  /** How long to wait for a lock. With `control`, `storage` and the two locks, this is what acquiring one needs. */
  readonly timeoutMs: number
  /** Everything lies in this process's own memory: see `readOnly` in the options. */
  readonly isPrivate: boolean
  /** Reads what others write, and writes nothing, not even to `control`: this user may not. */
  readonly isOnlooker: boolean
}
