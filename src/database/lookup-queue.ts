// Lists of keys on their way to workers that look them up. Lists requested before the next microtask
// checkpoint share a task, and while all workers are busy with such tasks, further lists gather:
// sending a task costs more than looking up a few keys, and a disk that is asked for many slots
// at once answers sooner. A task takes lists until it has enough keys, so that many lists occupy all workers.
import { concatenated, type Encoded } from '../encoding/packed-list.js'
import { InvalidError, LockedError, MmapdbError } from '../errors.js'
import type { KeySpace } from '../encoding/key-space.js'
import { encodeKey, KEY_BUFFER_BYTES, type Key } from '../encoding/keys.js'
import { isLength, reason, isInstance } from '../describe.js'
import { Soon } from '../soon.js'
import { WaitWatch } from '../workers/wait-watch.js'

/** A task that has this many keys takes no further list. */
export const ENOUGH_KEYS = 256

/** Encoded keys, back to back. */
export interface KeyList {
  readonly keys: Buffer
  readonly lengths: readonly number[]
}

interface List extends KeyList {
  /** When it was queued, by `performance.now()`. */
  readonly sinceMs: number
  readonly resolve: (values: Encoded) => void
  readonly reject: (error: Error) => void
}

export class LookupQueue {
  readonly #run: (keys: Encoded) => Promise<Encoded>
  readonly #maxTasks: number
  #tasks = 0
  #waiting: List[] = []
  readonly #sending = new Soon(() => this.#send())

  readonly #watch: WaitWatch

  /** `run` looks keys up. `maxTasks`: how many such tasks at a time; `timeoutMs`: how long a list may wait. */
  constructor(run: (keys: Encoded) => Promise<Encoded>, maxTasks: number, timeoutMs: number) {
    this.#run = run
    this.#maxTasks = maxTasks
    this.#watch = new WaitWatch(timeoutMs, (sinceMs) => this.#expire(sinceMs))
  }

  /**
   * The encoded values of a list of keys, as of one moment. Rejects with the reason if it could not be read, and with
   * `LockedError` if all workers were busy with others for too long.
   */
  get({ keys, lengths }: KeyList): Promise<Encoded> {
    return new Promise((resolve, reject) => {
      // First: if the stack is used up, it is this that throws, and nobody may wait then.
      this.#sending.ask()
      this.#waiting.push({ keys, lengths, resolve, reject, sinceMs: performance.now() })
    })
  }

  #send(): void {
    for (let from = 0; ;) {
      if (from === this.#waiting.length || this.#tasks >= this.#maxTasks) {
        this.#waiting = this.#waiting.slice(from)
        if (this.#waiting.length > 0) this.#watch.begin()
        return
      }
      let end = from
      for (let keys = 0; end < this.#waiting.length && keys < ENOUGH_KEYS; end++)
        keys += this.#waiting[end]!.lengths.length
      this.#tasks++
      void this.#lookUp(this.#waiting.slice(from, end)).then(() => {
        this.#tasks--
        this.#send()
      })
      from = end
    }
  }

  /** Gives up the lists that have waited since `sinceMs` or for longer; true if others wait. */
  #expire(sinceMs: number): boolean {
    let tooLong = 0
    while (tooLong < this.#waiting.length && this.#waiting[tooLong]!.sinceMs <= sinceMs) tooLong++
    for (const { reject } of this.#waiting.splice(0, tooLong)) {
      reject(
        new LockedError(
          `These keys could not be looked up within ${this.#watch.timeoutMs} ms: all workers are busy with other lists. Try ` +
            'again later, allow more time with timeoutMs, or more threads with workers.',
        ),
      )
    }
    return this.#waiting.length > 0
  }

  /** Settles these lists; never rejects. */
  async #lookUp(lists: readonly List[]): Promise<void> {
    let found: Encoded
    try {
      found = await this.#run({
        bytes: concatenated(lists.map((list) => list.keys)),
        lengths: Int32Array.from(lists.flatMap((list) => list.lengths)),
      })
    } catch (error) {
      // An error that one list caused must not fail the others.
      if (lists.length > 1) for (const list of lists) await this.#lookUp([list])
      else lists[0]!.reject(error as Error)
      return
    }
    let first = 0
    let at = 0
    for (const list of lists) {
      const lengths = found.lengths.subarray(first, (first += list.lengths.length))
      const end = lengths.reduce((sum, length) => sum + Math.max(0, length), at)
      list.resolve({ bytes: found.bytes.subarray(at, end), lengths })
      at = end
    }
  }
}

/** More bytes cannot be sent to a worker in one piece. */
const MAX_BYTES = 1024 * 1024 * 1024

/**
 * Encodes a list of keys; each is read once. Throws `InvalidError`, whose message names the caller. May run the user's
 * code, which may call the database: so the buffer belongs to this call alone.
 */
export function encodeKeys(
  keys: readonly Key[],
  caller: 'getMany' | 'hasMany' | 'lock' | 'watch',
  space: KeySpace,
): KeyList {
  const mostBytes = space.prefixBytes + KEY_BUFFER_BYTES
  let buffer = Buffer.allocUnsafe(2 * mostBytes)
  let end = 0
  const lengths: number[] = []
  const count = countOf(keys, caller)
  for (let i = 0; i < count; i++) {
    if (end + mostBytes > buffer.length) {
      if (end > MAX_BYTES)
        throw new InvalidError(`${caller} takes at most ${MAX_BYTES} bytes of keys; ask for fewer at a time.`)
      buffer = Buffer.concat([buffer], buffer.length * 2)
    }
    const keyLength = encodeKey(keyAt(keys, i), buffer.subarray(end + space.prefixBytes))
    const { length } = space.withPrefix(buffer.subarray(end), keyLength)
    lengths.push(length)
    end += length
  }
  return { keys: buffer.subarray(0, end), lengths }
}

function countOf(keys: readonly Key[], caller: string): number {
  try {
    if (Array.isArray(keys)) {
      const { length } = keys
      if (isLength(length)) return length
    }
  } catch (cause) {
    throw unreadable(cause)
  }
  throw new InvalidError(`${caller} takes an array of keys.`)
}

function keyAt(keys: readonly Key[], i: number): Key {
  try {
    return keys[i]!
  } catch (cause) {
    throw unreadable(cause)
  }
}

/** If reading the keys met an error of mmapdb itself, that error says enough. */
const unreadable = (cause: unknown): Error =>
  isInstance(cause, MmapdbError) ? cause : new InvalidError(`The keys cannot be read: ${reason(cause)}`, { cause })
