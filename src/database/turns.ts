// Turns of the event loop. What is settled without leaving this thread lets the program go on in the same turn; in a
// loop of such calls, no timer and nothing from the network would get its turn for as long as the loop lasts.

/** For how long such calls follow each other before the event loop runs. */
const LONGEST_MS = 10

/** When the first such call of this turn was made, by `performance.now()`; undefined if there was none. */
let sinceMs: number | undefined

/** Lets the event loop run. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** To be awaited before a call is settled that has not left this thread. */
export function fairTurn(): Promise<void> | undefined {
  const nowMs = performance.now()
  if (sinceMs !== undefined) return nowMs - sinceMs < LONGEST_MS ? undefined : nextTurn()
  setImmediate(() => (sinceMs = undefined))
  sinceMs = nowMs
  return undefined
}
