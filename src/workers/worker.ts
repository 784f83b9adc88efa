// The program of a worker thread. It works for one database at a time, with an engine of its own on the same files,
// and commits independently of the other workers.
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { CheckpointReport } from '../engine/checkpoint/checkpointer.js'
import type { Encoded } from '../encoding/packed-list.js'
import type { WriteResult } from '../engine/commit/results.js'
import { Engine } from '../engine/engine.js'
import type { ExpectedDatabase } from '../engine/lifecycle/home-directory.js'
import type { SweepReport } from '../engine/sweeper.js'
import type { ResolvedOptions } from '../engine/options.js'
import type { RecoveryReport } from '../engine/lifecycle/recovery.js'
import { backup } from '../maintenance/backup.js'
import { compact } from '../maintenance/compact.js'
import { restore, type RestoreRequest } from '../maintenance/restore.js'
import { verify, type VerifyReport } from '../maintenance/verify.js'
import { posixStorage } from '../storage/posix.js'
import { END, SIGNAL, STARTED, type Outcome, type ThreadData } from './thread.js'
import { passTicket } from './append-order.js'
import { doSteps } from './step-task.js'
import { toErrorMessage, type ErrorMessage } from './error-transport.js'
import type { Bounds } from '../engine/read/bounds.js'
import type { RangeChunk } from '../engine/read/range-chunk.js'
import type { WantedOfMany } from '../engine/read/snapshot.js'
import type { LentTree } from '../engine/shared/lent-pin.js'
import type { Lsn } from '../wal/lsn.js'

/**
 * What a thread must know of a database to work for it. `order` holds the ticket of the frame that may be appended
 * next.
 */
export interface WorkData {
  readonly options: ResolvedOptions
  readonly expected: ExpectedDatabase
  readonly order: SharedArrayBuffer
}

/** A frame of writes (write-queue.ts) on its way to a worker. */
export interface CommitTask {
  readonly buffer: ArrayBuffer
  readonly lengthBytes: number
  readonly ticket: number
}

/** What became of the writes of a frame, with errors as messages. */
export interface CommitReport {
  readonly checkpointWanted: boolean
  readonly results: readonly WriteResult[]
  readonly failed: readonly { readonly first: number; readonly count: number; readonly error: ErrorMessage }[]
}

/** A list of keys to be looked up: in the newest tree, or in one that is lent. */
export interface LookUpTask {
  readonly keys: Encoded
  readonly wanted: WantedOfMany
  readonly tree: LentTree | undefined
}

/** The beginning of a range, to be read in a tree that is lent. */
export interface ChunkTask {
  readonly tree: LentTree
  readonly bounds: SentBounds
  readonly selection: 'encoded entries' | 'encoded keys'
}

/** A backup to be made at `target`. `shared`: see long-work.ts. */
interface BackupTask {
  readonly target: string
  readonly shared: SharedArrayBuffer
}

/** The same for what is to be compacted: the database at `target`. */
interface CompactTask {
  readonly request: { readonly target: string }
  readonly shared: SharedArrayBuffer
}

/** The same for what is to be restored. */
interface RestoreTask {
  readonly request: RestoreRequest
  readonly shared: SharedArrayBuffer
}

/** Bounds as they arrive in a message: Buffers have become plain Uint8Arrays. */
type SentBounds = Omit<Bounds, 'from' | 'to'> & {
  readonly from: Uint8Array | undefined
  readonly to: Uint8Array | undefined
}

const received = (bounds: SentBounds): Bounds => ({ ...bounds, from: asBuffer(bounds.from), to: asBuffer(bounds.to) })

const asBuffer = (bytes: Uint8Array | undefined): Buffer | undefined =>
  bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

interface Message {
  readonly name: keyof typeof TASKS | typeof END
  readonly task: never
  readonly data?: WorkData
}

/** What has expired is removed by that many frames at a time; then other work has its turn. */
const FRAMES_OF_A_SWEEP = 16

/** How long a worker waits for its turn before it checks again. */
const LOOK_AGAIN_MS = 1000

const signal = new Int32Array((workerData as ThreadData).signal)
const port = parentPort!
let database: WorkData
let order: Int32Array
let opened: Engine | undefined
function engine(): Engine {
  return (opened ??= Engine.open(database.options, posixStorage, database.expected))
}

function letGo(how: 'close' | 'detach'): void {
  const closing = opened
  opened = undefined
  closing?.[how]()
}

const TASKS = {
  /** Opens the database, recovering it if this is the first opener. */
  start: (): RecoveryReport | undefined => engine().recovery,

  /**
   * Commits one frame. Frames of one Database are appended in the order of their tickets, whichever worker has
   * them, so that the last write of a program wins.
   */
  commit: ({ buffer, lengthBytes, ticket }: CommitTask): CommitReport => {
    const bytes = Buffer.from(buffer, 0, lengthBytes)
    engine().commits.prepare(bytes)
    for (let now; (now = Atomics.load(order, 0)) !== ticket;) Atomics.wait(order, 0, now, LOOK_AGAIN_MS)
    let appended
    try {
      Atomics.store(signal, SIGNAL.HAS_BEGUN, 1)
      appended = engine().commits.beginWrites(bytes)
    } finally {
      passTicket(order, ticket)
    }
    const { failed, results } = engine().commits.finishWrites(appended)
    return {
      checkpointWanted: engine().checkpointWanted,
      results,
      failed: failed.map(({ first, count, error }) => ({ first, count, error: toErrorMessage(error) })),
    }
  },

  /** Brings the tree to where the log ends at this LSN. */
  catchUp: (end: Lsn): void => engine().catchUp(end),
  checkpoint: ({ wait }: { wait: boolean }): CheckpointReport | undefined => engine().checkpoint(wait),
  emptyTrash: (mostMs: number): boolean => engine().emptyTrash(mostMs),
  sweep: (): SweepReport => engine().sweep(FRAMES_OF_A_SWEEP),
  check: (): VerifyReport => verify(engine()),
  lookUp: ({ keys, wanted, tree }: LookUpTask): Encoded =>
    (tree === undefined ? engine() : engine().borrow(tree)).getManyEncoded(keys, wanted),
  readChunk: ({ tree, bounds, selection }: ChunkTask): RangeChunk =>
    engine().borrow(tree).readChunk(received(bounds), selection),
  backup: ({ target, shared }: BackupTask) => {
    const its = engine()
    return doSteps(backup(its, target), shared, () => its.tailLsn)
  },
  compact: ({ request, shared }: CompactTask) => doSteps(compact(posixStorage, request.target, {}), shared, () => 0),
  restore: ({ request, shared }: RestoreTask) => doSteps(restore(posixStorage, request), shared, () => 0),
  count: (bounds: SentBounds): number => engine().countWithin(received(bounds)),
  /** Closes the database. If this is the last closer, it does what the last closer does. */
  close: (): void => {
    engine()
    letGo('close')
  },
  /** Releases the database: this thread will work for another one. */
  release: (): void => letGo('detach'),
}

function answer({ name, task, data }: Message): void {
  let outcome: Outcome<unknown>
  const transfer: ArrayBuffer[] = []
  try {
    if (data !== undefined) {
      letGo('detach')
      database = data
      order = new Int32Array(data.order)
    }
    outcome = { ok: TASKS[name as keyof typeof TASKS](task) }
    // Transferred instead of copied.
    if (name === 'lookUp' || name === 'readChunk') transfer.push((outcome.ok as Encoded | RangeChunk).bytes.buffer)
  } catch (error) {
    outcome = { error: toErrorMessage(error) }
  }
  port.postMessage(outcome, transfer)
}

port.postMessage(STARTED)
// Waiting like this, and not for events, saves a turn of the event loop for each task.
for (let seen = 0, isOver = false; !isOver;) {
  Atomics.wait(signal, SIGNAL.POSTED, seen)
  seen = Atomics.load(signal, SIGNAL.POSTED)
  for (let got; (got = receiveMessageOnPort(port)) !== undefined;) {
    const message = got.message as Message
    if (message.name === END) isOver = true
    else answer(message)
    // What an engine leaves to the garbage collector is released only in turns of the event loop.
    if (opened === undefined) await new Promise(setImmediate)
  }
}
letGo('detach')
