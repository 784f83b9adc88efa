// Options of a database, with their limits and defaults.
import { InvalidError, MmapdbError } from '../errors.js'
import { quoted, reason, isInstance } from '../describe.js'
import { absolutePath } from '../storage/absolute-path.js'
import { isAddressSpaceLimited, memoryBytes } from '../storage/memory.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import type { Retention } from '../wal/retention.js'
import { VALUE_ENCODINGS } from '../encoding/values/codec.js'

/** What `open` takes. Every field is optional. */
export interface OpenOptions {
  /**
   * Worker threads, so that the event loop need not wait: at most this many for writes, as many for `getMany`, half
   * as many for `countAsync` and `verify`, and one more for checkpoints, so that none of these waits for another.
   * They start when they are first needed, are shared with the other databases that this thread has open, and end
   * after ten idle seconds. With 0, everything runs on the calling thread, recovery and closing included: this is
   * fastest for a thread of your own that does nothing but write. 0 to 64; default 2.
   */
  workers?: number | undefined
  /** Create the database if it does not exist. Default true, unless `readOnly`. */
  createIfMissing?: boolean | undefined
  /**
   * Create the database, and fail with `ERR_MMAPDB_EXISTS` if there is one already. Of several openers at once, in
   * whatever processes, one creates it and the others fail. A creation that was cut short does not count. Default
   * false; cannot be combined with `readOnly`, nor with `createIfMissing: false`.
   */
  errorIfExists?: boolean | undefined
  /**
   * Refuse writes. If the user has the right to write, opening still recovers the database on disk when that is
   * needed. If the user may only read (because of file modes, as another user, or on a file system mounted
   * read-only), opening changes nothing and keeps no other process out. Both see what others write. But if a user
   * who may only read opens a database that is open nowhere else, the log is replayed in memory, and this reader
   * keeps seeing the database as it was then, until it opens it again.
   */
  readOnly?: boolean | undefined
  /**
   * How values become bytes: `msgpack`, `json`, `utf8` (strings) or `binary` (Uint8Arrays, the fastest);
   * docs/values.md says which values each can hold. The database gets its encoding when it is created (default
   * `msgpack`) and remembers it. After that the option can be left out, and any other encoding is refused.
   */
  valueEncoding?: ValueEncoding | undefined
  /**
   * Bytes of log after which a checkpoint is made in the background. A larger value makes overwriting cheaper and
   * recovery longer. Writers wait when twice this much log is not in a checkpoint yet. 64 KiB to 1 TiB; default 64
   * MiB.
   */
  checkpointBytes?: number | undefined
  /** Size of one file of the log, in bytes. 4 KiB to 16 GiB; default 64 MiB. */
  segmentBytes?: number | undefined
  /**
   * Writes through this opener may make the data file grow to this many bytes. Writes that need more are refused with
   * `ERR_MMAPDB_FULL`. A high limit costs nothing. 1 MiB to 16 TiB; default 1 TiB.
   */
  reserveBytes?: number | undefined
  /**
   * Bytes of the data file in one ArrayBuffer: a power of two from 64 KiB to 1 GiB; default 256 MiB, or more if
   * `reserveBytes` is more than its default. For tests. If address space is limited (ulimit -v), the default is 64
   * MiB, and less is used if even that is not available.
   */
  windowBytes?: number | undefined
  /**
   * Up to this length of the data file, in bytes, the system reads ahead of what is touched. That is good while the
   * file is being read into memory for the first time. When the file is larger than memory it is a waste, and drives
   * out what is needed. Infinity: always; 0: never. Decided on opening and as the file grows. Default: half of the
   * memory that this process may use.
   */
  readAheadBytes?: number | undefined
  /**
   * How long to wait for other threads and processes (one that recovers the database, one that commits, one that
   * holds a lock) before giving up with `ERR_MMAPDB_LOCKED`, or with `ERR_MMAPDB_OUTCOME_UNKNOWN` if a write is in
   * the log by then. It also limits waiting in a queue: a write is given up if no worker could take it in this time
   * because earlier writes took so long, and so is any other task that no worker was free for. These are told up to
   * an eighth of the time later. Milliseconds, 1 to 3,600,000; default 30,000.
   */
  timeoutMs?: number | undefined
  /**
   * Bytes of asynchronous writes that may be on their way to the disk at a time. Later writes wait in memory, as
   * bytes, and their promises wait too. A batch that is larger goes through alone. 64 KiB to 1 GiB; default 16 MiB.
   */
  maxInFlightBytes?: number | undefined
  /**
   * Bytes of the data file that snapshots and iterators may hold back from being used again. When they hold back
   * more, the oldest of them is ended, in whichever thread or process it is: its reads throw `ERR_MMAPDB_EXPIRED`,
   * and never return anything wrong. Each writer checks its own limit, so the lowest counts. The limit may be
   * exceeded by what one group of writes frees. Do not set it where a snapshot must last, as for a backup. 64 KiB to
   * 16 TiB; default: no limit (`Infinity`).
   */
  maxHeldBytes?: number | undefined
  /**
   * How much of the log is kept for those who read it later (`Database.changes`), besides what recovery needs: the
   * newest `bytes` of it, as long as it is not older than `ms`. One of the two may be left out, for no limit on that
   * side; 0 keeps nothing. Whole segments are kept, so it may be up to a `segmentBytes` more, and what is older goes
   * with the next checkpoint. On a full disk it is given up before a write is refused. The database remembers what the
   * last opener who gave this has asked for, and all who have it open go by it; cannot be combined with `readOnly`.
   * `bytes`: 0 to 16 TiB; `ms`: 0 to 100 years; each may be Infinity. A new database keeps nothing.
   */
  retain?: RetainOptions | undefined
  /**
   * Allow a network file system, or one on FUSE that is not known to be local, although neither its mappings nor its
   * locks are reliable. Default false.
   */
  allowNetworkFileSystem?: boolean | undefined
}

/** The option `retain` of `open`. */
export interface RetainOptions {
  /** Bytes of the newest log that are kept. Default: no limit, `ms` decides. */
  bytes?: number | undefined
  /** How old what is kept may become, in milliseconds. Default: no limit, `bytes` decides. */
  ms?: number | undefined
}

type Defined<T> = { readonly [Name in keyof T]-?: Exclude<T[Name], undefined> }

/**
 * Options with defaults filled in: what an engine is opened with. They can be sent to a worker thread.
 * @internal
 */
export interface ResolvedOptions extends Defined<Omit<OpenOptions, 'valueEncoding' | 'retain'>> {
  readonly path: string
  /** Undefined: the encoding that the database has. */
  readonly valueEncoding: ValueEncoding | undefined
  /** Undefined: what the database remembers. */
  readonly retain: Retention | undefined
}

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
  'errorIfExists',
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
  'retain',
  'allowNetworkFileSystem',
])

/** Those that users are told of. Windows of another size are for tests. */
const PUBLIC = [...KNOWN].filter((name) => name !== 'windowBytes')

/** Reads each option once: it may be a getter. */
function fieldsOf(options: OpenOptions): OpenOptions {
  if (typeof options !== 'object' || options === null) throw new InvalidError('Options must be an object.')
  try {
    for (const name of Object.keys(options)) {
      if (!KNOWN.has(name))
        throw new InvalidError(`There is no option "${name}". The options are: ${PUBLIC.join(', ')}.`)
    }
    return Object.fromEntries([...KNOWN].map((name) => [name, options[name as keyof OpenOptions]]))
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The options cannot be read: ${reason(cause)}`, { cause })
  }
}

const MAX_RETAINED_MS = 100 * 366 * 24 * 3600 * 1000

/** Reads each field once. */
function retentionOf(retain: unknown, readOnly: boolean): Retention | undefined {
  if (retain === undefined) return undefined
  if (typeof retain !== 'object' || retain === null)
    throw new InvalidError(`retain must be an object with bytes, ms or both, not ${quoted(retain)}.`)
  let fields: RetainOptions
  try {
    const other = Object.keys(retain).find((name) => name !== 'bytes' && name !== 'ms')
    if (other !== undefined) throw new InvalidError(`retain has no field "${other}". It may have: bytes, ms.`)
    const { bytes, ms } = retain as RetainOptions
    fields = { bytes, ms }
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The option retain cannot be read: ${reason(cause)}`, { cause })
  }
  if (fields.bytes === undefined && fields.ms === undefined)
    throw new InvalidError('retain must have bytes, ms or both: { bytes: 0 } keeps nothing.')
  if (readOnly)
    throw new InvalidError('retain changes what the database keeps, and readOnly changes nothing. Leave one out.')
  return {
    bytes: integerOrInfinity('retain.bytes', fields.bytes, 16 * 1024 * GiB),
    ms: integerOrInfinity('retain.ms', fields.ms, MAX_RETAINED_MS),
  }
}

const integerOrInfinity = (name: string, value: number | undefined, most: number): number =>
  value === Infinity ? Infinity : integer(name, value, Infinity, 0, most)

/**
 * Checks all options and fills in the defaults. Throws `InvalidError`.
 * @internal
 */
export function resolveOptions(path: string, given: OpenOptions = {}): ResolvedOptions {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new InvalidError('The path of a database must be a non-empty string without NUL characters.')
  }
  const options = fieldsOf(given)
  const reserveBytes = integer('reserveBytes', options.reserveBytes, 1024 * GiB, MiB, 16 * 1024 * GiB)
  // At most MAX_WINDOWS windows: each is a mapping, and the kernel allows a process 65,530 of them.
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
  const createIfMissing = flag('createIfMissing', options.createIfMissing, !readOnly) && !readOnly
  const errorIfExists = flag('errorIfExists', options.errorIfExists, false)
  if (errorIfExists && !createIfMissing) {
    throw new InvalidError(
      `errorIfExists creates a database where none exists, and ${readOnly ? 'readOnly' : 'createIfMissing: false'} creates none. ` +
        'Leave one of them out.',
    )
  }
  return {
    path: absolutePath(path),
    workers: integer('workers', options.workers, 2, 0, 64),
    createIfMissing,
    errorIfExists,
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
    retain: retentionOf(options.retain, readOnly),
    allowNetworkFileSystem: flag('allowNetworkFileSystem', options.allowNetworkFileSystem, false),
  }
}
