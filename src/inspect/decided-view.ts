// What a frame of outcomes says, in the words of the frames that it is about: those are looked up in the log.
import { CorruptError } from '../errors.js'
import type { Key } from '../encoding/keys.js'
import { decodeSum } from '../encoding/values/numbers.js'
import type { LogReader } from '../wal/log-reader.js'
import { MAX_LSN, type Lsn } from '../wal/lsn.js'
import { OP_ADD, OP_CHECK, OP_CHECK_RANGE, OP_CLEAR, OP_DEL, OP_PUT, operationsOf } from '../wal/operation.js'
import { DecidedCursor, forEachOutcome, isOutcomeFrame, VERDICT, type Verdict } from '../wal/outcomes.js'
import { attempt, decodedKey, type Decoded } from './decoded.js'

export const KIND_NAMES = {
  [OP_PUT]: 'put',
  [OP_DEL]: 'del',
  [OP_CHECK]: 'check',
  [OP_ADD]: 'add',
  [OP_CHECK_RANGE]: 'check range',
  [OP_CLEAR]: 'clear',
} as const
export type OperationKind = (typeof KIND_NAMES)[keyof typeof KIND_NAMES]

const VERDICT_NAMES = {
  [VERDICT.REFUSED]: 'refused',
  [VERDICT.DONE]: 'done',
  [VERDICT.NO_NUMBER]: 'no number',
  [VERDICT.MIXED]: 'number and bigint',
  [VERDICT.TOO_LARGE]: 'too large',
} as const satisfies Record<Verdict, string>

/** What became of an operation. */
interface DecidedOperation {
  readonly kind: OperationKind
  readonly key: Decoded<Key>
  /** False for all operations of a write but the first. */
  readonly beginsWrite: boolean
  /** Of the write that it belongs to. */
  readonly verdict: (typeof VERDICT_NAMES)[Verdict]
  /** Of a delete that took effect: whether it removed an entry. */
  readonly removed?: boolean
  /** Of an add that took effect. */
  readonly sum?: { readonly value: unknown } | undefined
}

/** What became of the writes of a frame. */
export interface DecidedFrame {
  readonly lsn: number
  /** Undefined if the frame is not in the log any more, or does not go with its outcome. */
  readonly operations: readonly DecidedOperation[] | undefined
}

/**
 * What the frame of outcomes at `at` says, as far as it is well-formed; nothing if it is another frame. `reader` is
 * used to look frames up.
 */
export function decidedFrames(bytes: Buffer, at: number, lengthBytes: number, reader: LogReader): DecidedFrame[] {
  const frames: DecidedFrame[] = []
  try {
    if (isOutcomeFrame(bytes, at))
      forEachOutcome(bytes, at, lengthBytes, (lsn, outcome) => {
        frames.push({ lsn, operations: decidedOperations(reader, lsn as Lsn, outcome) })
      })
  } catch (error) {
    if (!(error instanceof CorruptError)) throw error
  }
  return frames
}

function decidedOperations(reader: LogReader, lsn: Lsn, outcome: Buffer): DecidedOperation[] | undefined {
  reader.restart(lsn)
  if (!reader.next(MAX_LSN)) return undefined
  const { bytes, at, lengthBytes } = reader
  const list: DecidedOperation[] = []
  try {
    const decided = new DecidedCursor(operationsOf(bytes, at, lengthBytes), outcome)
    while (decided.next()) list.push(decidedOperation(decided))
  } catch (error) {
    if (!(error instanceof CorruptError)) throw error
    return undefined
  }
  return list
}

function decidedOperation({ operations, verdict, removed, sum }: DecidedCursor): DecidedOperation {
  const isDone = verdict === VERDICT.DONE
  return {
    kind: KIND_NAMES[operations.kind as keyof typeof KIND_NAMES],
    key: decodedKey(Buffer.from(operations.key)),
    beginsWrite: operations.beginsWrite,
    verdict: VERDICT_NAMES[verdict] ?? `verdict ${verdict}`,
    ...(isDone && operations.kind === OP_DEL && { removed }),
    ...(sum !== undefined && { sum: attempt(() => decodeSum(sum, operations.isJson)) }),
  }
}
