// What became of each write of a frame, for those who made them.
import { decodeKey } from '../../encoding/keys.js'
import type { ValueCodec } from '../../encoding/values/codec.js'
import { InvalidError } from '../../errors.js'
import { quoted } from '../../describe.js'
import { OP_DEL, operationsOf, type OperationCursor } from '../../wal/operation.js'
import { DecidedCursor, VERDICT, type Verdict } from '../../wal/outcomes.js'

/**
 * Of a put, check or batch: whether it took effect. Of a delete: whether it removed an entry. Of an add: the sum, or
 * false if its conditions did not hold.
 */
export type WriteResult = boolean | number | bigint

/** The results of the writes of a frame, or the error of those that cannot have one. */
export function resultsOf(frame: Buffer, outcome: Buffer, codec: ValueCodec): (WriteResult | InvalidError)[] {
  const decided = new DecidedCursor(operationsOf(frame), outcome)
  const { operations } = decided
  const results: (WriteResult | InvalidError)[] = []
  while (decided.next()) {
    const { verdict, removed, sum } = decided
    if (verdict > VERDICT.DONE) {
      const error = noSum(verdict, operations.beginsWrite ? nameOf(operations) : 'One of its keys')
      if (operations.beginsWrite) results.push(error)
      else results[results.length - 1] = error
    } else if (!operations.beginsWrite) results[results.length - 1] = verdict === VERDICT.DONE
    else if (verdict === VERDICT.REFUSED) results.push(false)
    else if (operations.kind === OP_DEL) results.push(removed)
    else if (sum !== undefined) results.push(codec.decode(sum, 0, sum.length) as number | bigint)
    else results.push(true)
  }
  return results
}

const nameOf = ({ bytes, keyAt, keyLength }: OperationCursor): string =>
  `The entry of ${quoted(decodeKey(bytes, keyAt, keyAt + keyLength))}`

const REASONS: Partial<Record<Verdict, string>> = {
  [VERDICT.NO_NUMBER]: 'is no number, so nothing can be added to it',
  [VERDICT.MIXED]: 'is a number and what was to be added is a bigint, or the other way round',
  [VERDICT.TOO_LARGE]: 'would become larger than a number, or than a bigint of some 180 bytes',
}

const noSum = (verdict: Verdict, what: string): InvalidError =>
  new InvalidError(`${what} ${REASONS[verdict] ?? 'cannot be added to'}. Nothing was changed.`)
