// What became of each write of a frame, for those who made them.
import { decodeTreeKey } from '../../encoding/key-space.js'
import { decodeSum } from '../../encoding/values/numbers.js'
import { InvalidError } from '../../errors.js'
import { quoted } from '../../describe.js'
import { CONDITIONS, OP_DEL, OP_PUT, operationsOf, type OperationCursor } from '../../wal/operation.js'
import { DecidedCursor, VERDICT, type Verdict } from '../../wal/outcomes.js'

/** What became of one write. */
export interface WriteResult {
  /** Whether it took effect: false if a condition did not hold. */
  readonly took: boolean
  /** Of a write that is a single delete: whether it removed an entry. */
  readonly removed: boolean
  /** Of a write that is a single add and took effect: the sum. */
  readonly sum: number | bigint | undefined
}

/** Of a write about which there is nothing to decide. */
export const TOOK_EFFECT: WriteResult = { took: true, removed: false, sum: undefined }

/**
 * False if all writes of a frame take effect whatever they find, and none is asked what it found: a batch of puts and
 * deletes without conditions.
 */
export function isAskedFor(frame: Buffer): boolean {
  let singleDel = false
  for (const operation = operationsOf(frame); operation.next();) {
    if (operation.beginsWrite && singleDel) return true
    const { kind, flags, beginsWrite } = operation
    if ((flags & CONDITIONS) !== 0 || (kind !== OP_PUT && kind !== OP_DEL)) return true
    singleDel = kind === OP_DEL && beginsWrite
  }
  return singleDel
}

/** The results of the writes of a frame, or the error of those that cannot have one. */
export function resultsOf(frame: Buffer, outcome: Buffer): (WriteResult | InvalidError)[] {
  const decided = new DecidedCursor(operationsOf(frame), outcome)
  const { operations } = decided
  const results: (WriteResult | InvalidError)[] = []
  while (decided.next()) {
    const { verdict, removed, sum } = decided
    const isFirst = operations.beginsWrite
    const result =
      verdict > VERDICT.DONE
        ? noSum(verdict, isFirst ? nameOf(operations) : 'One of its keys')
        : {
            took: verdict === VERDICT.DONE,
            removed: isFirst && removed,
            sum: isFirst && sum !== undefined ? decodeSum(sum, operations.isJson) : undefined,
          }
    if (isFirst) results.push(result)
    else results[results.length - 1] = result
  }
  return results
}

const nameOf = ({ bytes, keyAt, keyLength }: OperationCursor): string =>
  `The entry of ${quoted(decodeTreeKey(bytes, keyAt, keyAt + keyLength))}`

const REASONS: Partial<Record<Verdict, string>> = {
  [VERDICT.NO_NUMBER]: 'is no number, so nothing can be added to it',
  [VERDICT.MIXED]: 'is a number and what was to be added is a bigint, or the other way round',
  [VERDICT.TOO_LARGE]: 'would become larger than a number, or than a bigint of some 180 bytes',
}

const noSum = (verdict: Verdict, what: string): InvalidError =>
  new InvalidError(`${what} ${REASONS[verdict] ?? 'cannot be added to'}. Nothing was changed.`)
