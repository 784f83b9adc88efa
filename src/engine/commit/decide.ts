// Applying a frame in which something is to be decided: whether the conditions of a write hold, whether a delete finds
// anything, what a counter comes to. All of that follows from the frame and from the tree as the frames before it left
// it, so each thread that applies the frame, at any time, decides the same.
//
// The conditions of a write are judged by what was there before the write. Only then is anything of it done: a write
// that does not take effect has touched nothing.
//
// What has expired by the time in the frame counts as absent. It stays where it is until a put overwrites it, or the
// sweeper removes it: then the log says so, once.
import { MAX_TREE_KEY_BYTES } from '../../limits.js'
import { sumOf, type NoSum } from '../../encoding/values/numbers.js'
import { timeOf } from '../../wal/frame.js'
import type { Lsn } from '../../wal/lsn.js'
import {
  CONDITIONS,
  OP_ADD,
  OP_CHECK_RANGE,
  OP_CLEAR,
  OP_DEL,
  OP_FLAG,
  OP_PUT,
  OperationCursor,
  rangeOf,
} from '../../wal/operation.js'
import { MAX_SUM_BYTES, OutcomeBuilder, VERDICT, type Verdict } from '../../wal/outcomes.js'
import type { TreeWriter } from '../tree/writer.js'
import type { RangeChecker } from './range-checker.js'

const VERDICTS: Record<NoSum, Verdict> = {
  'no number': VERDICT.NO_NUMBER,
  mixed: VERDICT.MIXED,
  'too large': VERDICT.TOO_LARGE,
}

/** A time at which nothing has expired. */
const BEFORE_ALL = -1

/** What an earlier operation of the same write has made of an entry; undefined: it is not there any more. */
type Pending = { readonly value: Buffer; readonly expiresAt: number } | undefined

export class Decider {
  readonly #writer: TreeWriter
  readonly #ranges: RangeChecker
  readonly #key = Buffer.alloc(MAX_TREE_KEY_BYTES)
  readonly #outcome = new OutcomeBuilder()
  /** One goes through a write to judge it, and the other one follows to perform it. */
  readonly #judged = new OperationCursor()
  readonly #performed = new OperationCursor()
  /** What the adds of the write that is being judged come to, in order. */
  #sums: NonNullable<Pending>[] = []
  #nextSum = 0
  /** The time in the frame. */
  #nowMs = 0
  /** What the write that is being judged has done to keys so far, if it adds to any; by the bytes of the key. */
  readonly #pending = new Map<string, Pending>()

  constructor(writer: TreeWriter, ranges: RangeChecker) {
    this.#writer = writer
    this.#ranges = ranges
  }

  /** Applies the frame at [at, at + lengthBytes). */
  apply(bytes: Buffer, at: number, lengthBytes: number, lsn: Lsn): { operations: number; outcome: Buffer } {
    const judged = this.#judged.begin(bytes, at, lengthBytes)
    const adds = hasAdd(judged)
    judged.begin(bytes, at, lengthBytes)
    const performed = this.#performed.begin(bytes, at, lengthBytes)
    const outcome = this.#outcome
    outcome.begin()
    this.#nowMs = timeOf(bytes, at)
    let operations = 0
    for (let more = judged.next(); more;) {
      let verdict: Verdict = VERDICT.DONE
      let count = 0
      this.#sums = []
      this.#nextSum = 0
      this.#pending.clear()
      do {
        // A condition that does not hold counts before an add that is not possible.
        const itsVerdict: Verdict = verdict === VERDICT.REFUSED ? verdict : this.#judge(judged, adds)
        if (verdict === VERDICT.DONE || itsVerdict === VERDICT.REFUSED) verdict = itsVerdict
        count++
        more = judged.next()
      } while (more && !judged.beginsWrite)
      outcome.byte(verdict)
      operations += count
      for (; count > 0; count--) {
        performed.next()
        if (verdict === VERDICT.DONE) this.#perform(performed, lsn)
      }
    }
    return { operations, outcome: outcome.take() }
  }

  #judge(operation: OperationCursor, adds: boolean): Verdict {
    const { kind, flags } = operation
    if ((flags & CONDITIONS) !== 0 && !this.#holds(operation)) return VERDICT.REFUSED
    if (kind === OP_CHECK_RANGE && !this.#ranges.isUnchanged(operation, this.#nowMs)) return VERDICT.REFUSED
    if (kind === OP_ADD) return this.#add(operation)
    if (adds && (kind === OP_PUT || kind === OP_DEL)) {
      this.#note(operation.key.toString('latin1'), kind === OP_PUT ? operation.value : undefined, operation.expiresAt)
    }
    return VERDICT.DONE
  }

  #holds(operation: OperationCursor): boolean {
    const { flags } = operation
    const isThere = this.#finds(operation)
    if ((flags & OP_FLAG.IF_ABSENT) !== 0) return !isThere
    return isThere && ((flags & OP_FLAG.IF_VERSION) === 0 || this.#writer.foundVersion === operation.ifVersion)
  }

  /** True if the entry is there; for a sweep, even if it has expired. */
  #finds(operation: OperationCursor): boolean {
    const { keyLength, isSweep } = operation
    if (!this.#writer.find(this.#keyOf(operation), keyLength)) return false
    return isSweep || this.#writer.foundExpiresAt > this.#nowMs
  }

  #add(operation: OperationCursor): Verdict {
    const name = operation.key.toString('latin1')
    let found: readonly [Buffer, number, number] | undefined = [operation.bytes, -1, -1]
    // What is there keeps its time.
    let { expiresAt } = operation
    if (this.#pending.has(name)) {
      const pending = this.#pending.get(name)
      if (pending !== undefined) {
        found = [pending.value, 0, pending.value.length]
        expiresAt = pending.expiresAt
      }
    } else if (this.#finds(operation)) {
      expiresAt = this.#writer.foundExpiresAt
      found = this.#writer.foundValue(MAX_SUM_BYTES)
    }
    if (found === undefined) return VERDICT.NO_NUMBER
    const sum = sumOf(operation.isJson, ...found, operation.value, MAX_SUM_BYTES)
    if (typeof sum === 'string') return VERDICTS[sum]
    const kept = Buffer.from(sum)
    this.#sums.push({ value: kept, expiresAt })
    this.#note(name, kept, expiresAt)
    return VERDICT.DONE
  }

  /** Notes for later operations of this write what this one makes of an entry. */
  #note(name: string, value: Buffer | undefined, expiresAt: number): void {
    this.#pending.set(name, value === undefined || expiresAt <= this.#nowMs ? undefined : { value, expiresAt })
  }

  #perform(operation: OperationCursor, lsn: Lsn): void {
    const writer = this.#writer
    const { kind, bytes, keyLength, valueAt, valueLength } = operation
    const key = this.#keyOf(operation)
    if (kind === OP_PUT) writer.put(key, keyLength, bytes, valueAt, valueLength, lsn, operation.expiresAt)
    else if (kind === OP_CLEAR) writer.clear(...rangeOf(operation))
    else if (kind === OP_DEL)
      this.#outcome.byte(writer.del(key, keyLength, operation.isSweep ? BEFORE_ALL : this.#nowMs) ? 1 : 0)
    else if (kind === OP_ADD) {
      const { value, expiresAt } = this.#sums[this.#nextSum++]!
      writer.put(key, keyLength, value, 0, value.length, lsn, expiresAt)
      this.#outcome.sum(value, expiresAt)
    }
  }

  #keyOf({ bytes, keyAt, keyLength }: OperationCursor): Buffer {
    const key = this.#key
    for (let i = 0; i < keyLength; i++) key[i] = bytes[keyAt + i]!
    return key
  }
}

function hasAdd(operations: OperationCursor): boolean {
  let adds = false
  while (operations.next()) adds ||= operations.kind === OP_ADD
  return adds
}
