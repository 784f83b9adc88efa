// Options of a database, with limits. `docs/` and the README repeat none of this.
import { InvalidError, MmapdbError } from '../errors.js'
import { quoted, reason } from '../describe.js'
import { absolutePath } from '../storage/absolute-path.js'
import { isAddressSpaceLimited, memoryBytes } from '../storage/memory.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import { VALUE_ENCODINGS } from '../encoding/values/codec.js'

/** What `open` takes. Every field is optional. */
export interface OpenOptions {
  /**
   * Worker threads, so that the event loop need not wait: at most this many for writes, as many for
   * `getMany`, and half as many for `countAsync` and `verify` (and one more for checkpoints), so that none
   * of these waits for another. They start when they are first needed, are shared with the other databases
   * that this thread has open, and end after ten idle seconds. 0 runs everything on the calling thread,
   * recovery and closing included, which is fastest for a thread of your own that does nothing but
   * write. 0 to 64; default 2.
   */
  workers?: number
  /** Create the database if there is none. Default true, unless `readOnly`. */
  createIfMissing?: boolean
  /**
   * Refuse to write. A user who may write all the same recovers the database on disk, if that is due. A user who may
   * only read (by mode, as another user, on a file system mounted read-only) changes nothing and keeps nobody out.
   * Both see what others write; but if such a user opens a database that nobody has open, the log is replayed in
   * memory, and the database stays as it was then until it is opened again.
   */
  readOnly?: boolean
  /**
   * How values become bytes: `msgpack`, `json`, `utf8` (strings) or `binary` (Uint8Arrays, the fastest); docs/values.md
   * says what each carries. Said once, on creation (default `msgpack`), and remembered: may be left out
   * afterwards, and another one than that of the database is refused.
   */
  valueEncoding?: ValueEncoding
  /**
   * Bytes of log after which a checkpoint is made in the background: more makes overwriting cheaper
   * and recovery longer. Writers wait when twice this much is unsaved. 64 KiB to 1 TiB; default 64 MiB.
   */
  checkpointBytes?: number
  /** Bytes of one file of the log. 4 KiB to 16 GiB; default 64 MiB. */
  segmentBytes?: number
  /**
   * The most bytes that this opener lets the data file grow to: writes that need more are refused with
   * `ERR_MMAPDB_FULL`. Costs nothing. 1 MiB to 16 TiB; default 1 TiB.
   */
  reserveBytes?: number
  /**
   * Bytes of the data file in one ArrayBuffer: a power of two from 64 KiB to 1 GiB; default 256 MiB, more if
   * `reserveBytes` is more than its default. For tests. Where address space is limited (ulimit -v) it is
   * 64 MiB, or less if even that cannot be had.
   */
  windowBytes?: number
  /**
   * The system reads ahead of what is touched in a data file that is not longer than this: good while
   * the file warms up, and a waste that drives out what is needed once it is larger than memory. Infinity:
   * always; 0: never. Decided on opening and as the file grows. Default: half of the memory that this
   * process may use.
   */
  readAheadBytes?: number
  /**
   * How long to wait for others (an opener that recovers, a leader, a lock) before giving up with
   * `ERR_MMAPDB_LOCKED`, or with `ERR_MMAPDB_OUTCOME_UNKNOWN` where a write is in the log by then. The same
   * holds for waiting in a queue: a write that could not be handed to a worker
   * in this time, since earlier ones take so long, is given up, and so are other tasks that no worker was
   * free for; they learn it up to an eighth of it later. Milliseconds, 1 to 3,600,000; default 30,000.
   */
  timeoutMs?: number
  /**
   * Bytes of asynchronous writes on their way to the disk at a time; later ones wait, in memory, as bytes, and so
   * do their promises. 64 KiB to 1 GiB; default 16 MiB. One larger batch is let through alone.
   */
  maxInFlightBytes?: number
  /**
   * Bytes of the data file that snapshots and iterators may hold back from being used again. Once it is
   * more, the oldest of them is ended, in whichever thread or process it is: its reads throw
   * `ERR_MMAPDB_EXPIRED`, and never return anything wrong. Checked by those who write, each for its own
   * limit, so the lowest counts; exceeded by what one group of writes frees. Do not set it where a
   * snapshot must last, such as for a backup. 64 KiB to 16 TiB; default: no limit (`Infinity`).
   */
  maxHeldBytes?: number
  /**
   * Open on a network file system, or one on FUSE that is not known to be local, although neither its mappings
   * nor its locks can be relied on.
   */
  allowNetworkFileSystem?: boolean
}

export interface ResolvedOptions extends Required<Omit<OpenOptions, 'valueEncoding'>> {
  readonly path: string
  /** Undefined: what the database has. */
  readonly valueEncoding: ValueEncoding | undefined
}

/** What the engine itself needs; everything in it can be sent to a worker. */
export type EngineOptions = ResolvedOptions

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB
const MAX_WINDOWS = 16_384

function integer(name: string, value: number | undefined, fallback: number, least: number, most: number): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    throw new InvalidError(`${name} must be a whole number from ${least} to ${most}, not ${quoted(value)}.`)
  }
  return value
}

function flag(name: string, value: boolean | undefined, fallback: boolean): boolean {
  if (value === undefined) return fallback
  if (typeof value !== 'boolean') throw new InvalidError(`${name} must be true or false, not ${quoted(value)}.`)
  return value
}

const KNOWN = new Set([
  'workers',
  'createIfMissing',
  'readOnly',
  'valueEncoding',
  'checkpointBytes',
  'segmentBytes',
  'reserveBytes',
  'windowBytes',
  'readAheadBytes',
  'timeoutMs',
  'maxInFlightBytes',
  'maxHeldBytes',
  'allowNetworkFileSystem',
])

/** Each option, read once: it may be a getter. */
function fieldsOf(options: OpenOptions): OpenOptions {
  if (typeof options !== 'object' || options === null) throw new InvalidError('Options must be an object.')
  try {
    for (const name of Object.keys(options)) {
      if (!KNOWN.has(name)) throw new InvalidError(`There is no option "${name}". Known are: ${[...KNOWN].join(', ')}.`)
    }
    return Object.fromEntries([...KNOWN].map((name) => [name, options[name as keyof OpenOptions]]))
  } catch (cause) {
    if (cause instanceof MmapdbError) throw cause
    throw new InvalidError(`The options cannot be read: ${reason(cause)}`, { cause })
  }
}

/** Checks everything and fills in the defaults. Throws `InvalidError`. */
export function resolveOptions(path: string, given: OpenOptions = {}): ResolvedOptions {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new InvalidError('The path of a database must be a non-empty string without NUL characters.')
  }
  const options = fieldsOf(given)
  const reserveBytes = integer('reserveBytes', options.reserveBytes, 1024 * GiB, MiB, 16 * 1024 * GiB)
  // So many windows at the most: each is a mapping, of which the kernel lets a process have 65,530.
  const fallbackBytes = Math.max(
    isAddressSpaceLimited() ? 64 * MiB : 256 * MiB,
    2 ** Math.ceil(Math.log2(reserveBytes / MAX_WINDOWS)),
  )
  const windowBytes = integer('windowBytes', options.windowBytes, fallbackBytes, 64 * KiB, GiB)
  if (!Number.isInteger(Math.log2(windowBytes))) throw new InvalidError('windowBytes must be a power of two.')
  const { valueEncoding } = options
  if (valueEncoding !== undefined && !VALUE_ENCODINGS.includes(valueEncoding)) {
    throw new InvalidError(`valueEncoding must be one of ${VALUE_ENCODINGS.join(', ')}, not ${quoted(valueEncoding)}.`)
  }
  const readOnly = flag('readOnly', options.readOnly, false)
  return {
    path: absolutePath(path),
    workers: integer('workers', options.workers, 2, 0, 64),
    createIfMissing: flag('createIfMissing', options.createIfMissing, !readOnly) && !readOnly,
    readOnly,
    valueEncoding,
    checkpointBytes: integer('checkpointBytes', options.checkpointBytes, 64 * MiB, 64 * KiB, 1024 * GiB),
    segmentBytes: integer('segmentBytes', options.segmentBytes, 64 * MiB, 4 * KiB, 16 * GiB),
    reserveBytes,
    windowBytes,
    readAheadBytes:
      options.readAheadBytes === Infinity
        ? Infinity
        : integer('readAheadBytes', options.readAheadBytes, Math.floor(memoryBytes() / 2), 0, Number.MAX_SAFE_INTEGER),
    timeoutMs: integer('timeoutMs', options.timeoutMs, 30_000, 1, 3_600_000),
    maxInFlightBytes: integer('maxInFlightBytes', options.maxInFlightBytes, 16 * MiB, 64 * KiB, GiB),
    maxHeldBytes:
      options.maxHeldBytes === Infinity
        ? Infinity
        : integer('maxHeldBytes', options.maxHeldBytes, Infinity, 64 * KiB, 16 * 1024 * GiB),
    allowNetworkFileSystem: flag('allowNetworkFileSystem', options.allowNetworkFileSystem, false),
  }
}
