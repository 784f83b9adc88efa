// What the log says was decided, compared with the model: a program that reads the log without the tree must find the
// outcome of each frame that has one, and the right one.
import type { Engine } from '../../src/engine/engine.js'
import { isDeciding } from '../../src/wal/frame.js'
import { operationsOf } from '../../src/wal/operation.js'
import { DecidedCursor, forEachOutcome, isOutcomeFrame, VERDICT } from '../../src/wal/outcomes.js'
import { allResults, type ModelFrame, type ModelResult } from './frames.js'
import { loggedFrames } from './logged-frames.js'

/** What is wrong with the outcomes in the log that `engine` has; undefined if nothing is. */
export function wrongOutcome(engine: Engine, model: readonly ModelFrame[]): string | undefined {
  const visibleLsn = engine.parts.control.visibleLsn()
  const { frames, isWhole } = loggedFrames(engine)
  // What the tree includes may be damaged: nothing is lost by that.
  if (!isWhole) return undefined
  const deciding = new Map<number, Buffer>()
  const outcomes = new Map<number, Buffer>()
  for (const [lsn, frame] of frames) {
    if (isOutcomeFrame(frame, 0))
      forEachOutcome(frame, 0, frame.length, (decided, outcome) => outcomes.set(decided, Buffer.from(outcome)))
    else if (isDeciding(frame, 0) && lsn < visibleLsn) deciding.set(lsn, frame)
  }
  const expected = allResults(model)
  for (const [lsn, frame] of deciding) {
    const outcome = outcomes.get(lsn)
    if (outcome === undefined) return `the log does not say what the frame at LSN ${lsn} decided`
    const results = expected.get(lsn)
    // A frame whose writer died before it counted, and that the model does not have any more.
    if (results === undefined) continue
    const said = verdictsOf(frame, outcome).filter((_, i) => results[i]?.isOfIndex !== true)
    const right = results.filter(({ isOfIndex }) => isOfIndex !== true).map(verdictOf)
    if (said.join() !== right.join())
      return `the log says of the writes at LSN ${lsn}: ${said.join()}; they came to ${right.join()}`
  }
  return undefined
}

const verdictOf = ({ took, isRefused }: ModelResult): string => (isRefused ? 'error' : took ? 'done' : 'refused')

function verdictsOf(frame: Buffer, outcome: Buffer): string[] {
  const decided = new DecidedCursor(operationsOf(frame), outcome)
  const said: string[] = []
  while (decided.next()) {
    const { verdict } = decided
    if (decided.operations.beginsWrite)
      said.push(verdict === VERDICT.DONE ? 'done' : verdict === VERDICT.REFUSED ? 'refused' : 'error')
  }
  return said
}
