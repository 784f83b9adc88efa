// `control`: what all threads and processes share while a database is open. No opener trusts an old one:
// the first opener formats it again.
//
//   offset    size
//        0       4  magic "MCTL"
//        4       4  layout version
//        8       4  opened: 1 once the first opener is done
//       12       4  failed: 1 + index of the error code that stops all writes; 0 if none has
//       16      16  UUID of the database
//       32       8  LSN at which the failure occurred (float64)
//       64       4  sequence of the tree state: its lowest bit names the current copy
//       72       4  change calls: moves when a thread is about to sleep until the sequence moves
//       76       4  change calls that have been answered: see publishState
//       80       8  bytes of log that are kept for its readers (float64; retention.ts)
//       88       8  for how many milliseconds at most (float64)
//      168       8  LSN up to which readers with endable pins have been ended (float64; lock-pins.ts)
//      176       4  files in doubt: a process did not find them in place; each appender looks for itself
//      180       4  how many stores have been dropped, or more; written under the append lock (stores.ts)
//      184       8  how far the database's clock is ahead of the monotonic one, in ms (float64; clock.ts)
//      192       8  slots that the data file holds (float64); written under the append lock
//      200       8  durable LSN: the log is on disk up to it (float64); written under the flush lock
//      208       4  pins used: all pins in use lie below this index
//      212       4  slots below this may need verification (see the bitmap)
//      216       4  a checkpoint is wanted
//      220       4  life of the database that this file belongs to (life.ts)
//      224       4  1 if this is in the memory of a process and not a file (control-file.ts)
//      228       4  runs of slots that were free on disk (free-at-opening.ts)
//      232       8  which file this is (inode number, float64): a copy is another one
//      240       8  LSN of the tree that the last recovery took from disk (float64)
//      248       8  device that the file is on (float64)
//      256     384  append state (append-state.ts)
//      640     384  message of the failure: 2 bytes length, then UTF-8
//     1024     512  tree state, copy 0
//     1536     512  tree state, copy 1
//     2048       8  leader lock: the owner that leads (word-lock.ts), and how many wait; too many if one of them died
//     2112       8  append lock, the same
//     2176       8  flush lock, the same
//     2240     128  where writers wait for their groups (group-turns.ts)
//     2368      64  who leads next (commit/leader-choice.ts)
//     2432      64  how long a leader waits for more frames (commit/gathering.ts)
//     2496       4  in which map unsealed slots are marked
//     4096  262144  pins: 4096 cache lines (pins.ts)
//   266240   16384  seats: the generations of 4096 (seats.ts)
//   282624 1048576  two maps of slots that may have been made since the newest checkpoint on disk (unsealed-map.ts)
//  1331200          bitmap of slots, one bit each: 1 if a slot that the last recovery took from disk has been
//                   verified or allocated since; then what was free on disk (free-at-opening.ts), and the rings
//                   of freed slots (rings.ts)
//
// Only the leader writes the tree state: it fills in the spare copy and then moves the sequence on,
// atomically. That store is the moment of publication. A leader that dies before it has changed
// nothing that any reader looks at.
import { CorruptError, EXIT_CODES, IoError, type MmapdbErrorCode } from '../../errors.js'
import { loadFence } from '../../storage/fence.js'
import type { FileIdentity, Region } from '../../storage/storage.js'
import { AppendState, newAppendFields } from '../../wal/append-state.js'
import { FlushFailure } from '../../wal/flush.js'
import type { Retention } from '../../wal/retention.js'
import { SLOT_BYTES } from '../format/layout.js'
import { GroupTurns } from './group-turns.js'
import { UNSEALED_MAP_BYTES, UnsealedMap } from './unsealed-map.js'

const CONTROL_MAGIC = 0x4c54434d
const CONTROL_VERSION = 14
const MIN_WINDOW_BYTES = 64 * 1024 * 1024
/** The greatest length of a `control`. */
export const CONTROL_RESERVE_BYTES = 2 ** 34

/** Bytes of a window of `control` for a data file of this size: all but the rings lies in the first window. */
export function controlWindowBytes(dataBytes: number): number {
  const fixedBytes = AT.BITMAP + Math.ceil(dataBytes / SLOT_BYTES / 8)
  return Math.max(MIN_WINDOW_BYTES, 2 ** Math.ceil(Math.log2(fixedBytes)))
}

export const MAX_PINS = 4096
export const MAX_SEATS = 4096
const AT = {
  MAGIC: 0,
  VERSION: 4,
  OPENED: 8,
  FAILED: 12,
  UUID: 16,
  FAILED_LSN: 32,
  SEQUENCE: 64,
  CHANGE_CALLS: 72,
  CHANGE_CALLS_ANSWERED: 76,
  RETAINED_BYTES: 80,
  RETAINED_MS: 88,
  EXPIRED_UP_TO_LSN: 168,
  FILES_IN_DOUBT: 176,
  CLOCK_AHEAD: 184,
  FILE_SLOTS: 192,
  DURABLE_LSN: 200,
  PINS_USED: 208,
  UNVERIFIED_LIMIT: 212,
  CHECKPOINT_WANTED: 216,
  LIFE: 220,
  IN_MEMORY: 224,
  FREE_RUNS: 228,
  INODE: 232,
  RECOVERED_LSN: 240,
  DEVICE: 248,
  APPEND: 256,
  MESSAGE: 640,
  STATE: 1024,
  LEADER_LOCK: 2048,
  APPEND_LOCK: 2112,
  FLUSH_LOCK: 2176,
  GROUP_TURNS: 2240,
  LEADER_CHOICE: 2368,
  GATHERING: 2432,
  UNSEALED_TURN: 2496,
  PINS: 4096,
  SEATS: 4096 + MAX_PINS * 64,
  UNSEALED: 4096 + MAX_PINS * 64 + MAX_SEATS * 4,
  BITMAP: 4096 + MAX_PINS * 64 + MAX_SEATS * 4 + 2 * UNSEALED_MAP_BYTES,
} as const
const STATE_BYTES = 512
const MESSAGE_BYTES = 384

/** Fields of the tree state, each a float64. */
export const STATE = {
  /** LSN up to which frames have been applied; the other fields describe the tree as of then. */
  VISIBLE_LSN: 0,
  ROOT: 1,
  /** Levels; 0 for an empty tree. */
  HEIGHT: 2,
  /** Of all stores, of what the database keeps for itself, and of the trash. */
  ENTRIES: 3,
  LEAVES: 4,
  BRANCHES: 5,
  OVERFLOWS: 6,
  /** Slots from here on have never been used. */
  NEXT_SLOT: 7,
  /** Rings of freed slots (allocator.ts), six fields each (rings.ts). */
  RING_REUSABLE: 8,
  RING_NOT_CHECKPOINTED: 14,
  RING_CHECKPOINTED: 20,
  RING_PINNED: 26,
  /** Byte of `control` at which the next ring can begin. */
  CONTROL_END: 32,
  /** LSN of the newest checkpoint that was started, and of the newest on disk. */
  CHECKPOINT_BEGUN_LSN: 33,
  CHECKPOINT_DURABLE_LSN: 34,
  CHECKPOINT_NUMBER: 35,
  /** First slot of the free list of the checkpoint on disk, and of the one that is being made. */
  FREE_LIST_HEAD: 36,
  PENDING_FREE_LIST_HEAD: 37,
  FREE_LIST_SLOTS: 38,
  /** Slots promised to the frames applied so far (compare AppendState.reservedSlots). */
  RELEASED: 39,
  /** Freed slots that could be reused at the last publication. */
  ELIGIBLE: 40,
  /** Counters. */
  FLUSHES: 41,
  GROUPS: 42,
  FRAMES: 43,
  OPERATIONS: 44,
  CHECKPOINTS: 45,
  /** Newest tree that slots in the ring of pinned ones wait for, and how many readers read it or an older one. */
  PINNED_LSN: 46,
  PINNED_READERS: 47,
  /** Freed slots that only readers kept from being reused at the last publication. */
  PINNED_SLOTS: 48,
  /** Slots that are neither used nor known to be free: the disk was full and had no room to list them. */
  LOST: 49,
  /** Slots at the head of the ring of pinned ones that are due to be looked at again. */
  PINNED_DUE: 50,
  /** LSN of the newest frame of outcomes; 0 if there is none (outcomes.ts). */
  OUTCOMES_LSN: 51,
  /** Bytes of the log set aside for the outcomes of the frames applied so far (compare AppendState.outcomeBytes). */
  OUTCOME_BYTES: 52,
  /** Those of the entries that the database keeps for itself (encoding/key-space.ts). */
  INTERNAL_ENTRIES: 53,
  /** Root and levels of the trash: what was cut out of the tree and is not freed yet (trash.ts). */
  TRASH_ROOT: 54,
  TRASH_HEIGHT: 55,
  /** LSN of the newest frame applied so far that has operations; 0 if there was none. */
  CHANGED_LSN: 56,
  /** Entries of the index of those that expire (expiry-key.ts), and the earliest time in it, or `NEVER`. */
  EXPIRING: 57,
  EARLIEST_EXPIRY: 58,
  /** How many runs the freed slots came to when they were last merged, and what had moved in the rings by then. */
  MERGED_RUNS: 59,
  MERGED_AT: 60,
  /** Entries that may be added to the free list before it is written as a whole; 0 if it does not list all. */
  FREE_LIST_ROOM: 61,
  /** Of the checkpoint on disk: where its slots end, and how many of them its tree takes. */
  CHECKPOINT_NEXT_SLOT: 62,
  CHECKPOINT_TREE_SLOTS: 63,
} as const
const STATE_FIELDS = 64

export type StateFields = Float64Array
export const newState = (): StateFields => new Float64Array(STATE_FIELDS)

const CODES = Object.keys(EXIT_CODES) as MmapdbErrorCode[]

const FLUSH_FAILED_SOMEWHERE =
  'Writes are refused: a flush of the log failed in a thread or process that has not said more. All acknowledged writes ' +
  'are safe; close the database everywhere, check the disk, and open it again.'

interface Failure {
  readonly code: MmapdbErrorCode
  readonly message: string
  readonly lsn: number
}

export class Control {
  readonly region: Region
  readonly i32: Int32Array
  readonly f64: Float64Array
  readonly #i64: BigInt64Array
  readonly append: AppendState
  readonly turns: GroupTurns
  readonly unsealed: UnsealedMap
  /** Where a thread that flushes for another one says that it failed, and how. */
  static readonly FAILED_BYTE = AT.FAILED
  static readonly FLUSH_FAILED = 1 + CODES.indexOf('ERR_MMAPDB_IO')
  static readonly LEADER_LOCK = AT.LEADER_LOCK
  static readonly APPEND_LOCK = AT.APPEND_LOCK
  static readonly FLUSH_LOCK = AT.FLUSH_LOCK
  static readonly LEADER_CHOICE = AT.LEADER_CHOICE
  static readonly GATHERING = AT.GATHERING
  /** Word of the sequence in `i32`; readers load it in their own hot paths. */
  static readonly SEQUENCE_WORD = AT.SEQUENCE >> 2
  static readonly PINS_WORD = AT.PINS >> 2
  static readonly BITMAP_WORD = AT.BITMAP >> 2
  /** float64 index of copy 0 of the tree state, and the distance to copy 1. */
  static readonly STATE_INDEX = AT.STATE >> 3
  static readonly STATE_STRIDE = STATE_BYTES >> 3

  constructor(region: Region) {
    this.region = region
    const buffer = region.window(0)
    this.i32 = new Int32Array(buffer)
    this.uuidWords = new Int32Array(buffer, AT.UUID, 4)
    this.f64 = new Float64Array(buffer)
    this.#i64 = new BigInt64Array(buffer, AT.CLOCK_AHEAD, 1)
    this.append = new AppendState(buffer, AT.APPEND)
    this.turns = new GroupTurns(region, AT.GROUP_TURNS)
    this.unsealed = new UnsealedMap(this.i32, AT.UNSEALED_TURN >> 2, AT.UNSEALED >> 2)
  }

  /** Formats an empty region, which is all zero: so slots below `unverifiedSlots`, of the tree of `lsn`, are due. */
  format(uuid: Buffer, unverifiedSlots: number, lsn: number): void {
    const bitmapBytes = Math.ceil(unverifiedSlots / 32) * 4
    if (AT.BITMAP + bitmapBytes > this.region.windowBytes) {
      throw new IoError(
        'The address space of this process (ulimit -v) is too small for a data file of this size: raise the limit.',
      )
    }
    this.region.grow(Math.ceil((AT.BITMAP + bitmapBytes) / 4096) * 4096)
    this.i32[AT.MAGIC >> 2] = CONTROL_MAGIC
    this.i32[AT.VERSION >> 2] = CONTROL_VERSION
    Buffer.from(this.region.window(0), AT.UUID, 16).set(uuid)
    this.i32[AT.UNVERIFIED_LIMIT >> 2] = unverifiedSlots
    this.f64[AT.RECOVERED_LSN >> 3] = lsn
  }

  /** Where a bitmap for that many slots ends. */
  static endOfBitmap(unverifiedSlots: number): number {
    return Math.ceil((AT.BITMAP + Math.ceil(unverifiedSlots / 32) * 4) / 4096) * 4096
  }

  /** True once the first opener has finished. */
  get isOpened(): boolean {
    return (
      this.region.sizeBytes() > AT.BITMAP - 4096 &&
      Atomics.load(this.i32, AT.OPENED >> 2) === 1 &&
      this.i32[AT.MAGIC >> 2] === CONTROL_MAGIC
    )
  }
  setOpened(): void {
    Atomics.store(this.i32, AT.OPENED >> 2, 1)
  }
  /** True if another version of mmapdb made it: then no other field of it can be read. */
  get isForeign(): boolean {
    return (
      this.region.sizeBytes() > AT.VERSION &&
      this.i32[AT.MAGIC >> 2] === CONTROL_MAGIC &&
      this.i32[AT.VERSION >> 2] !== CONTROL_VERSION
    )
  }
  /** The UUID as four words, where it lies. */
  readonly uuidWords: Int32Array
  get uuid(): Buffer {
    return Buffer.from(Buffer.from(this.region.window(0), AT.UUID, 16))
  }

  /** True if it is in the memory of this process (control-file.ts). */
  get isInMemory(): boolean {
    return this.i32[AT.IN_MEMORY >> 2] === 1
  }
  noteInMemory(): void {
    this.i32[AT.IN_MEMORY >> 2] = 1
  }
  get fileSlots(): number {
    return this.f64[AT.FILE_SLOTS >> 3]!
  }
  set fileSlots(n: number) {
    this.f64[AT.FILE_SLOTS >> 3] = n
  }
  /** True once a process did not find the files in place, even if this one still finds them. Stays so. */
  get filesInDoubt(): boolean {
    return Atomics.load(this.i32, AT.FILES_IN_DOUBT >> 2) !== 0
  }
  doubtFiles(): void {
    Atomics.store(this.i32, AT.FILES_IN_DOUBT >> 2, 1)
  }
  get life(): number {
    return this.i32[AT.LIFE >> 2]!
  }
  set life(life: number) {
    this.i32[AT.LIFE >> 2] = life
  }
  /** Which file this was when it was made: a copy of it is another file. */
  get identity(): FileIdentity {
    return { device: this.f64[AT.DEVICE >> 3]!, inode: this.f64[AT.INODE >> 3]! }
  }
  set identity({ device, inode }: FileIdentity) {
    this.f64[AT.DEVICE >> 3] = device
    this.f64[AT.INODE >> 3] = inode
  }
  /** Endable lock pins on trees up to this LSN have been ended. Written by the leader. */
  get expiredUpToLsn(): number {
    return this.f64[AT.EXPIRED_UP_TO_LSN >> 3]!
  }
  set expiredUpToLsn(lsn: number) {
    this.f64[AT.EXPIRED_UP_TO_LSN >> 3] = lsn
  }
  get durableLsn(): number {
    return this.f64[AT.DURABLE_LSN >> 3]!
  }
  set durableLsn(lsn: number) {
    this.f64[AT.DURABLE_LSN >> 3] = lsn
  }
  get pinsUsed(): number {
    return Atomics.load(this.i32, AT.PINS_USED >> 2)
  }
  raisePinsUsed(to: number): void {
    for (;;) {
      const now = this.pinsUsed
      if (now >= to || Atomics.compareExchange(this.i32, AT.PINS_USED >> 2, now, to) === now) return
    }
  }
  get unverifiedLimit(): number {
    return this.i32[AT.UNVERIFIED_LIMIT >> 2]! >>> 0
  }
  /** Byte at which the runs of slots begin that were free on disk, and how many there are. */
  get freeRunsAt(): number {
    return Control.endOfBitmap(this.unverifiedLimit)
  }
  get freeRuns(): number {
    return this.i32[AT.FREE_RUNS >> 2]! >>> 0
  }
  set freeRuns(runs: number) {
    this.i32[AT.FREE_RUNS >> 2] = runs
  }
  /** Marks every slot taken from disk as to be verified (again). Only while no other user has the database open. */
  setAllUnverified(): void {
    this.i32.fill(0, Control.BITMAP_WORD, Control.BITMAP_WORD + Math.ceil(this.unverifiedLimit / 32))
  }
  /** True if `slot` came from disk, and has not been verified or allocated yet. */
  isUnverified(slot: number): boolean {
    return (
      slot < this.unverifiedLimit &&
      (Atomics.load(this.i32, Control.BITMAP_WORD + (slot >>> 5)) & (1 << (slot & 31))) === 0
    )
  }
  /** Notes that `slot` need not be verified any more. */
  setVerified(slot: number): void {
    if (slot < this.unverifiedLimit) Atomics.or(this.i32, Control.BITMAP_WORD + (slot >>> 5), 1 << (slot & 31))
  }
  /** LSN of the tree that the last recovery took from disk: no slot of it is newer. */
  get recoveredLsn(): number {
    return this.f64[AT.RECOVERED_LSN >> 3]!
  }
  get checkpointWanted(): boolean {
    return Atomics.load(this.i32, AT.CHECKPOINT_WANTED >> 2) === 1
  }
  set checkpointWanted(wanted: boolean) {
    Atomics.store(this.i32, AT.CHECKPOINT_WANTED >> 2, wanted ? 1 : 0)
  }

  /** How far the database's clock is ahead of the monotonic one, in ms (clock.ts). */
  get clockAheadMs(): number {
    return this.f64[AT.CLOCK_AHEAD >> 3]!
  }
  /** Only ever raises it, also if others do so at the same time. */
  raiseClock(aheadMs: number): void {
    const bits = new BigInt64Array(1)
    const float = new Float64Array(bits.buffer)
    for (;;) {
      const before = Atomics.load(this.#i64, 0)
      bits[0] = before
      if (float[0]! >= aheadMs) return
      float[0] = aheadMs
      if (Atomics.compareExchange(this.#i64, 0, before, bits[0]) === before) return
    }
  }

  /** The generation of a seat (seats.ts); 0 if nobody ever sat there. */
  seatGeneration(seat: number): number {
    return Atomics.load(this.i32, (AT.SEATS >> 2) + seat)
  }
  setSeatGeneration(seat: number, generation: number): void {
    Atomics.store(this.i32, (AT.SEATS >> 2) + seat, generation)
  }

  /** Moves with each publication of the tree state. Earlier loads are done before it is read, later loads after. */
  get sequence(): number {
    loadFence()
    return Atomics.load(this.i32, Control.SEQUENCE_WORD)
  }

  /** LSN up to which the log is in the newest tree. */
  visibleLsn(): number {
    for (;;) {
      const sequence = Atomics.load(this.i32, Control.SEQUENCE_WORD)
      const lsn = this.f64[Control.STATE_INDEX + (sequence & 1) * Control.STATE_STRIDE + STATE.VISIBLE_LSN]!
      loadFence()
      if (Atomics.load(this.i32, Control.SEQUENCE_WORD) === sequence) return lsn
    }
  }

  /** The earliest time at which an entry of the newest tree expires; `NEVER` if none does. */
  earliestExpiry(): number {
    for (;;) {
      const sequence = Atomics.load(this.i32, Control.SEQUENCE_WORD)
      const time = this.f64[Control.STATE_INDEX + (sequence & 1) * Control.STATE_STRIDE + STATE.EARLIEST_EXPIRY]!
      loadFence()
      if (Atomics.load(this.i32, Control.SEQUENCE_WORD) === sequence) return time
    }
  }

  /** A consistent copy of the tree state, written into `into`. */
  readState(into: StateFields): StateFields {
    for (;;) {
      const sequence = Atomics.load(this.i32, Control.SEQUENCE_WORD)
      const at = Control.STATE_INDEX + (sequence & 1) * Control.STATE_STRIDE
      for (let i = 0; i < STATE_FIELDS; i++) into[i] = this.f64[at + i]!
      loadFence()
      if (Atomics.load(this.i32, Control.SEQUENCE_WORD) === sequence) return into
    }
  }

  /**
   * Publishes a new tree state, and wakes those who have asked for that (`callOnChange`). The caller must hold the
   * leader lock. If it dies between the two, the next publication wakes them.
   */
  publishState(from: StateFields): void {
    const sequence = Atomics.load(this.i32, Control.SEQUENCE_WORD) + 1
    const at = Control.STATE_INDEX + (sequence & 1) * Control.STATE_STRIDE
    for (let i = 0; i < STATE_FIELDS; i++) this.f64[at + i] = from[i]!
    Atomics.store(this.i32, Control.SEQUENCE_WORD, sequence | 0)
    const calls = Atomics.load(this.i32, AT.CHANGE_CALLS >> 2)
    if (calls !== this.i32[AT.CHANGE_CALLS_ANSWERED >> 2]) this.#answerCalls(calls)
  }

  #answerCalls(calls: number): void {
    this.region.wakeAll(AT.SEQUENCE)
    this.i32[AT.CHANGE_CALLS_ANSWERED >> 2] = calls
  }

  /**
   * Has the next publication wake those who watch the sequence (`SEQUENCE_BYTE`). Look at what is visible afterwards:
   * a publication before this call wakes nobody. A call is answered once, so one of a process that has died costs
   * writers one system call, and none is made while nobody waits.
   */
  callOnChange(): void {
    Atomics.add(this.i32, AT.CHANGE_CALLS >> 2, 1)
  }
  static readonly SEQUENCE_BYTE = AT.SEQUENCE

  /** How much of the log is kept for its readers. */
  get retention(): Retention {
    return { bytes: this.f64[AT.RETAINED_BYTES >> 3]!, ms: this.f64[AT.RETAINED_MS >> 3]! }
  }
  set retention({ bytes, ms }: Retention) {
    this.f64[AT.RETAINED_BYTES >> 3] = bytes
    this.f64[AT.RETAINED_MS >> 3] = ms
  }

  /** Why writes are refused; undefined if they are not. */
  failure(): Failure | undefined {
    const index = Atomics.load(this.i32, AT.FAILED >> 2) - 1
    if (index < 0) return undefined
    const bytes = Buffer.from(this.region.window(0), AT.MESSAGE, MESSAGE_BYTES)
    return {
      code: CODES[index] ?? 'ERR_MMAPDB_IO',
      message:
        bytes.toString('utf8', 2, 2 + Math.min(bytes.readUInt16LE(0), MESSAGE_BYTES - 2)) || FLUSH_FAILED_SOMEWHERE,
      lsn: this.f64[AT.FAILED_LSN >> 3]!,
    }
  }

  /** Refuses writes in every thread and process from now on. The first failure is kept. */
  fail(failure: Failure): void {
    const bytes = Buffer.from(this.region.window(0), AT.MESSAGE, MESSAGE_BYTES)
    // A thread that found the failure may not have been able to say more than that there is one (flush-apart.ts).
    if (Atomics.load(this.i32, AT.FAILED >> 2) !== 0 && bytes.readUInt16LE(0) > 0) return
    bytes.writeUInt16LE(bytes.write(failure.message.slice(0, 350), 2, 'utf8'), 0)
    this.f64[AT.FAILED_LSN >> 3] = failure.lsn
    Atomics.compareExchange(this.i32, AT.FAILED >> 2, 0, 1 + CODES.indexOf(failure.code))
    this.turns.callAll()
  }

  /** Throws the failure for which writes are refused, if there is one. */
  refuseIfFailed(): void {
    const failure = this.failure()
    if (failure === undefined) return
    if (failure.code === 'ERR_MMAPDB_CORRUPT') throw new CorruptError(failure.message, { lsn: failure.lsn })
    throw new IoError(failure.message)
  }

  /** Runs `act`, which may flush; if a flush fails, writes are refused from then on, in every thread and process. */
  stopOnFailedFlush<T>(act: () => T): T {
    try {
      return act()
    } catch (error) {
      if (error instanceof FlushFailure)
        this.fail({ code: 'ERR_MMAPDB_IO', message: error.message, lsn: this.append.read(newAppendFields()).tailLsn })
      throw error
    }
  }

  /**
   * Throws `IoError` if a page of `control` was lost: what this process stores there reaches no other process,
   * and what it loads there is not what others wrote.
   */
  checkFaults(): void {
    if (this.region.faultCount() === 0) return
    throw new IoError(
      'A page of the control file was lost: the file was truncated while the database is open, or its disk failed. ' +
        'Close the database everywhere and open it again; no acknowledged write is lost.',
    )
  }
}

/** How many bytes of a `control` say which file it is. */
export const IDENTITY_BYTES = AT.APPEND

/** Which file a `control` was, by its first bytes; undefined if it does not say that the database is open. */
export function inodeInControl(bytes: Buffer): number | undefined {
  const isOpened = bytes.readUInt32LE(AT.MAGIC) === CONTROL_MAGIC && bytes.readInt32LE(AT.OPENED) === 1
  // Another version may have it elsewhere.
  if (!isOpened || bytes.readInt32LE(AT.VERSION) !== CONTROL_VERSION) return undefined
  return bytes.readDoubleLE(AT.INODE)
}
