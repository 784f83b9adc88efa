// Figures about an open database (`stats`).
import { bytesBetween } from '../wal/lsn.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import { newAppendFields } from '../wal/append-state.js'
import { oldestOf } from '../wal/change-reader.js'
import { FORMAT_VERSION } from './format/header.js'
import { HEADER_SLOTS, SLOT_BYTES } from './format/layout.js'
import type { EngineParts } from './parts.js'
import { newState, STATE, type StateFields } from './shared/control.js'
import { usedSlots } from './shared/tree-state.js'
import { entriesInTrash } from './tree/trash.js'

/** Figures about a database, as of one moment. */
export interface Stats {
  readonly path: string
  readonly uuid: string
  readonly formatVersion: number
  readonly valueEncoding: ValueEncoding
  /** Of all stores; those that have expired and are not removed yet included. */
  readonly entries: number
  /** Entries with a time at which they expire; more, until that time, where many were removed at once. */
  readonly expiring: number
  readonly height: number
  readonly slots: {
    readonly leaf: number
    readonly branch: number
    readonly overflow: number
    readonly freeList: number
    readonly header: number
    /** Freed: ready to be used again, or waiting for readers or a checkpoint until they are. */
    readonly free: number
    /** In the file, but never used. */
    readonly unused: number
    readonly total: number
  }
  readonly dataBytes: number
  readonly log: {
    readonly visibleLsn: number
    readonly durableLsn: number
    readonly tailLsn: number
    /** The least `since` that `Database.changes` can be had for: all that came after this LSN is still there. */
    readonly oldestLsn: number
    /** Bytes that recovery would replay now. */
    readonly replayBytes: number
    readonly segments: number
    readonly bytes: number
  }
  readonly checkpoint: { readonly number: number; readonly lsn: number; readonly made: number }
  /** Counted since the database was opened after it had been closed everywhere. */
  readonly commits: {
    readonly flushes: number
    readonly groups: number
    readonly frames: number
    readonly operations: number
  }
  readonly readers: {
    /** Reads, snapshots and iterators under way, in all threads and processes. */
    readonly pinned: number
    /** LSN of the oldest tree that one of them reads. */
    readonly oldestLsn: number
    /** Bytes of log that were written since that tree. */
    readonly lagBytes: number
    /** How long the oldest snapshot or iterator has been open; 0 if none is open. */
    readonly oldestMs: number
    /** Bytes of the data file that they hold back from being used again, as of the last write; see `maxHeldBytes`. */
    readonly heldBytes: number
  }
  /**
   * Record locks in all threads and processes, each key for itself: held, and waited for. See `Database.locks`, which
   * leaves out those that transactions take among themselves.
   */
  readonly locks: { readonly held: number; readonly waiting: number }
  /** Why writes are refused; undefined if they are not. */
  readonly failure: string | undefined
}

/** @internal */
export function statsOf(parts: EngineParts): Stats {
  const { options, storage, control, pins, recordLocks, log, main, dataRegion } = parts
  const state = control.readState(newState())
  const { tailLsn: tail, changedLsn } = control.append.read(newAppendFields())
  const visible = state[STATE.VISIBLE_LSN]!
  const oldest = pins.older(visible, false)[0] ?? visible
  const total = Math.floor(dataRegion.sizeBytes() / SLOT_BYTES)
  const starts = log.starts()
  const nowMs = storage.monotonicMs()
  return {
    path: options.path,
    uuid: formatUuid(log.uuid),
    formatVersion: FORMAT_VERSION,
    valueEncoding: main.values.name,
    entries: entriesOf(parts, state),
    expiring: state[STATE.EXPIRING]!,
    height: state[STATE.HEIGHT]!,
    slots: {
      leaf: state[STATE.LEAVES]!,
      branch: state[STATE.BRANCHES]!,
      overflow: state[STATE.OVERFLOWS]!,
      freeList: state[STATE.FREE_LIST_SLOTS]!,
      header: HEADER_SLOTS,
      free: state[STATE.NEXT_SLOT]! - usedSlots(state),
      unused: total - state[STATE.NEXT_SLOT]!,
      total,
    },
    dataBytes: total * SLOT_BYTES,
    log: {
      visibleLsn: visible,
      durableLsn: control.durableLsn,
      tailLsn: tail,
      oldestLsn: oldestOf(log, () => changedLsn).since,
      replayBytes: bytesBetween(state[STATE.CHECKPOINT_DURABLE_LSN]!, tail),
      segments: starts.length,
      bytes: starts.reduce((sum, start) => sum + log.sizeBytes(start), 0),
    },
    checkpoint: {
      number: state[STATE.CHECKPOINT_NUMBER]!,
      lsn: state[STATE.CHECKPOINT_DURABLE_LSN]!,
      made: state[STATE.CHECKPOINTS]!,
    },
    commits: {
      flushes: state[STATE.FLUSHES]!,
      groups: state[STATE.GROUPS]!,
      frames: state[STATE.FRAMES]!,
      operations: state[STATE.OPERATIONS]!,
    },
    readers: {
      pinned: pins.inUse(),
      oldestLsn: oldest,
      lagBytes: bytesBetween(oldest, visible),
      oldestMs: Math.max(0, nowMs - (pins.oldestSinceMs() ?? nowMs)),
      heldBytes: state[STATE.PINNED_SLOTS]! * SLOT_BYTES,
    },
    locks: recordLocks.counts(),
    failure: control.failure()?.message,
  }
}

const formatUuid = (uuid: Buffer): string =>
  uuid.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')

/** Entries of users, in all stores. Those that were cleared and are not freed yet are counted leaf by leaf. */
function entriesOf({ control, sharedPins, storage, space, checker }: EngineParts, now: StateFields): number {
  if (now[STATE.TRASH_HEIGHT] === 0) return now[STATE.ENTRIES]! - now[STATE.INTERNAL_ENTRIES]!
  const share = sharedPins.take(storage.monotonicMs())
  try {
    // This state or a newer one than the pin's: nothing that either reaches is reused now.
    const state = control.readState(newState())
    return state[STATE.ENTRIES]! - state[STATE.INTERNAL_ENTRIES]! - entriesInTrash({ space, checker }, state)
  } finally {
    share.release()
  }
}
