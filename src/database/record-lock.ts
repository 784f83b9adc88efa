// The public RecordLock, and what the calls that acquire one take.
import { encodeKeys } from './lookup-queue.js'
import { decodeTreeKey, type KeySpace } from '../encoding/key-space.js'
import type { Key, KeyPart } from '../encoding/keys.js'
import type { Grant } from '../engine/locks/grant.js'
import type { RecordLockMode, RecordLocks } from '../engine/locks/record-locks.js'
import { InvalidError, MmapdbError } from '../errors.js'
import { isInstance, quoted, reason } from '../describe.js'

/** Options of `Database.tryLock`. */
export interface TryLockOptions {
  /**
   * `'exclusive'`: nobody else has the lock. `'shared'`: others may have it, too, if theirs is shared. Default
   * `'exclusive'`.
   */
  mode?: 'exclusive' | 'shared' | undefined
}

/** Options of `Database.lock`. */
export interface LockOptions extends TryLockOptions {
  /**
   * How long to wait for the lock, or for all of several, in milliseconds: 0 (do not wait) to 2,147,483,647, or
   * Infinity. Default: `timeoutMs` of the database.
   */
  timeoutMs?: number | undefined
  /** Gives up waiting: the promise rejects with the reason of the signal. No effect once the lock is acquired. */
  signal?: AbortSignal | undefined
}

/** More keys in one call are refused. */
const MAX_LOCK_KEYS = 4096
/** The longest time of a timer. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

/** What a RecordLock stands for, without the lock itself. */
interface Hold {
  readonly locks: RecordLocks
  readonly grant: Grant
}

/** Releases locks that nobody released and that nothing refers to any more. */
const forgotten = new FinalizationRegistry<Hold>(({ locks, grant }) => locks.release(grant))

/**
 * Locks of this turn of the event loop. Only those that are held beyond it are registered: an object that was
 * registered takes the garbage collector much longer, and most locks are not held for long.
 */
let young: RecordLock[] = []
let isGrowing = false

/**
 * A lock on one record or several, until it is released. `using lock = await db.lock(key)` releases it at the end of
 * the block. A lock that nothing refers to any more is released when it is garbage-collected; so keep it for as long
 * as you need it.
 */
export class RecordLock {
  readonly #hold: Hold
  readonly #keys: readonly Buffer[]
  /** Keeps the database from being released while the user has this lock. */
  readonly #database: { readonly isOpen: boolean }
  /** Place in `young`; -1 if it is not there. */
  #place: number
  readonly mode: 'exclusive' | 'shared'

  /** @internal Use `Database.lock`. */
  constructor(hold: Hold, keys: readonly Buffer[], mode: RecordLockMode, database: { readonly isOpen: boolean }) {
    this.#hold = hold
    this.#keys = keys
    this.mode = mode
    this.#database = database
    this.#place = young.push(this) - 1
    if (isGrowing) return
    try {
      setImmediate(RecordLock.#grown)
      isGrowing = true
    } catch {
      // The caller has used up the stack. The next lock sees to this one, too.
    }
  }

  static #grown(this: void): void {
    for (const lock of young) {
      lock.#place = -1
      forgotten.register(lock, lock.#hold, lock.#hold)
    }
    young = []
    isGrowing = false
  }

  #forget(): void {
    if (this.#place < 0) forgotten.unregister(this.#hold)
    else {
      const last = young.pop()!
      if (last !== this) {
        young[this.#place] = last
        last.#place = this.#place
      }
      this.#place = -1
    }
  }

  /** The keys, each once, in the order in which the database keeps them. */
  get keys(): Key[] {
    return this.#keys.map((key) => decodeTreeKey(key, 0, key.length))
  }

  /** False once it was released or its database was closed. */
  get isHeld(): boolean {
    return !this.#hold.grant.isReleased && this.#database.isOpen
  }

  /** Gives the lock to the next who waits for it. Idempotent. Never throws. */
  release(): void {
    const { locks, grant } = this.#hold
    if (grant.isReleased) return
    locks.release(grant)
    try {
      this.#forget()
    } catch {
      // The caller has used up the stack. Releasing it once more later does nothing.
    }
  }
  /** `release`, for `using`. */
  [Symbol.dispose](): void {
    this.release()
  }
  /** `release`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.release()
  }
}

// ---- arguments -----------------------------------------------------------------------------------

/**
 * @internal
 * The keys of a call, encoded, each once, in the order of their bytes. An array is a list of keys. Throws
 * `InvalidError`; may run the user's code.
 */
export function keysToLock(keys: KeyPart | readonly Key[], space: KeySpace): Buffer[] {
  if (!isList(keys)) return [Buffer.from(space.bytes.subarray(0, space.encode(keys)))]
  const list = encodeKeys(keys, 'lock', space)
  const count = list.lengths.length
  if (count === 0 || count > MAX_LOCK_KEYS)
    throw new InvalidError(`A list of keys to lock must have 1 to ${MAX_LOCK_KEYS} keys, not ${count}.`)
  let at = 0
  const all = list.lengths.map((length) => list.keys.subarray(at, (at += length))).sort(Buffer.compare)
  return all.filter((key, i) => i === 0 || !key.equals(all[i - 1]!))
}

/** @internal */
export function isList(keys: KeyPart | readonly Key[]): keys is readonly Key[] {
  try {
    return Array.isArray(keys)
  } catch (cause) {
    throw new InvalidError(`The keys cannot be read: ${reason(cause)}`, { cause })
  }
}

/** @internal Reads each option once: it may be a getter. Throws `InvalidError`, also for names of no option. */
export function optionsOf<T extends object>(options: T, names: readonly (keyof T & string)[]): T {
  if (typeof options !== 'object' || options === null) throw new InvalidError('Options must be an object.')
  try {
    for (const name of Object.keys(options)) {
      if (!(names as readonly string[]).includes(name))
        throw new InvalidError(`There is no option "${name}" here. The options are: ${names.join(', ')}.`)
    }
    return Object.fromEntries(names.map((name) => [name, options[name]])) as T
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The options cannot be read: ${reason(cause)}`, { cause })
  }
}

function checkedMode(mode: unknown): RecordLockMode {
  if (mode === undefined) return 'exclusive'
  if (mode === 'exclusive' || mode === 'shared') return mode
  throw new InvalidError(`mode must be 'exclusive' or 'shared', not ${quoted(mode)}.`)
}

/** @internal The mode that `tryLock` is called with. */
export const modeOf = (options: TryLockOptions | undefined): RecordLockMode =>
  options === undefined ? 'exclusive' : checkedMode(optionsOf(options, ['mode']).mode)

/** @internal */
interface ResolvedLockOptions {
  readonly mode: RecordLockMode
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/** @internal What `lock` is called with, with defaults filled in. Throws `InvalidError`. */
export function lockOptions(options: LockOptions | undefined, defaultMs: number): ResolvedLockOptions {
  if (options === undefined) return { mode: 'exclusive', timeoutMs: defaultMs, signal: undefined }
  const { mode, timeoutMs, signal } = optionsOf(options, ['mode', 'timeoutMs', 'signal'])
  return { mode: checkedMode(mode), timeoutMs: checkedTimeout(timeoutMs, defaultMs), signal: checkedSignal(signal) }
}

/** @internal */
export function checkedSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || isInstance(signal, AbortSignal)) return signal
  throw new InvalidError(`signal must be an AbortSignal, not ${quoted(signal)}.`)
}

/** @internal */
export function checkedTimeout(timeoutMs: unknown, defaultMs: number): number {
  if (timeoutMs === undefined) return defaultMs
  const isTime = typeof timeoutMs === 'number' && timeoutMs >= 0
  if (isTime && (timeoutMs === Infinity || timeoutMs <= MAX_TIMEOUT_MS)) return timeoutMs
  throw new InvalidError(
    `timeoutMs must be a number from 0 to ${MAX_TIMEOUT_MS}, or Infinity, not ${quoted(timeoutMs)}.`,
  )
}

/** @internal A key for messages. */
export function nameOfKey(bytes: Buffer): string {
  const key = decodeTreeKey(bytes, 0, bytes.length)
  return Array.isArray(key) ? `[${key.map(nameOfPart).join(', ')}]` : nameOfPart(key as KeyPart)
}

const nameOfPart = (part: KeyPart): string =>
  part instanceof Uint8Array
    ? `0x${Buffer.from(part).toString('hex')}`
    : typeof part === 'bigint'
      ? `${part}n`
      : quoted(part)
