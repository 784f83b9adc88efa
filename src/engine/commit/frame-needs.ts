// What appending and applying a frame may take, as far as the frame alone says it. It is read before the append lock is
// acquired.
import { FRAME, isClearing, isDeciding, isDropping } from '../../wal/frame.js'
import { OP_ADD, OP_CHECK, OP_CHECK_RANGE, OP_CLEAR, OP_PUT, operationsOf } from '../../wal/operation.js'
import { MAX_SUM_BYTES, mostOutcomeBytes } from '../../wal/outcomes.js'
import { EXPIRY_BYTES, isInline, overflowSlots } from '../format/layout.js'

export interface FrameNeeds {
  /** Operations that may change something: a check never does, and a transaction may have many. */
  readonly changes: number
  /**
   * It may put something. What the drop of a store puts does not count: a drop makes room, and so it may take what puts
   * leave to deletes.
   */
  readonly puts: boolean
  /** Slots for values that have no room in a leaf. */
  readonly overflowSlots: number
  /** Ranges that it clears. */
  readonly clears: number
  /** It drops a store. */
  readonly isDropping: boolean
  /** Bytes of the log that its outcome takes at most. */
  readonly outcomeBytes: number
}

export function needsOf(frame: Buffer): FrameNeeds {
  const operations = frame.readUInt32LE(FRAME.OP_COUNT)
  const drops = isDropping(frame, 0)
  const outcomeBytes = mostOutcomeBytes(frame)
  // Where nothing is decided or cleared, every operation is a put; and in a short frame none has a long value.
  const areAllPuts = !isDeciding(frame, 0) && !isClearing(frame, 0)
  if (areAllPuts && isInline(frame.length, 0, EXPIRY_BYTES))
    return { changes: operations, puts: operations > 0, overflowSlots: 0, clears: 0, isDropping: drops, outcomeBytes }
  let checks = 0
  let clears = 0
  let puts = 0
  let slots = 0
  for (const operation = operationsOf(frame); operation.next();) {
    const { kind, keyLength, valueLength } = operation
    if (kind === OP_CHECK || kind === OP_CHECK_RANGE) checks++
    else if (kind === OP_CLEAR) clears++
    else if (kind === OP_PUT || kind === OP_ADD) {
      puts++
      const lengthBytes = kind === OP_PUT ? valueLength : MAX_SUM_BYTES
      if (!isInline(keyLength, lengthBytes, EXPIRY_BYTES)) slots += overflowSlots(lengthBytes)
    }
  }
  return {
    changes: operations - checks,
    puts: puts > 0 && !drops,
    overflowSlots: slots,
    clears,
    isDropping: drops,
    outcomeBytes,
  }
}
