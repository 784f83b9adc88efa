// Checks histories of a key-value store: is each what a store could answer that does one thing at a time? A history is
// linearizable if every operation can be given a moment between its call and its return so that the answers are those
// of the operations done one by one at these moments (M. P. Herlihy, J. M. Wing, Linearizability: A Correctness
// Condition for Concurrent Objects, TOPLAS 1990).
//
// The algorithm is a known one: J. M. Wing, C. Gong, Testing and Verifying Concurrent Objects, JPDC 1993; with the
// memory of G. Lowe, Testing for linearizability, Concurrency and Computation 2017; and split by keys as in A. Horn,
// D. Kroening, Faster linearizability checking via P-compositionality, FORTE 2015. A. Athalye's Porcupine
// (https://github.com/anishathalye/porcupine) does the same in Go and showed the way. The search itself is in
// search.ts, what a store may answer in model.ts.
//
// A history is linearizable if it is so for each object by itself; keys that one operation touches together are one
// object here, and so are keys that are linked by several such operations.
import { keysOf, until, type History, type Operation } from './operations.js'
import { search, type DeadEnd, type Verdict } from './search.js'

export type Result =
  | { readonly verdict: 'linearizable'; readonly objects: number }
  /** `operations`: of the first object that failed; all of them, or those of its beginning. */
  | { readonly verdict: 'not linearizable'; readonly operations: readonly Operation[]; readonly deadEnd: DeadEnd }
  /** There was not enough time for some objects. No other one failed. */
  | { readonly verdict: 'undecided'; readonly undecided: readonly (readonly Operation[])[] }

type ObjectResult = Verdict & { readonly operations: readonly Operation[] }

const LIMIT_MS = 60_000

/** The operations of each object: of keys that are linked by operations on several keys. */
export function objectsOf(operations: readonly Operation[]): Operation[][] {
  const parents = new Map<string, string>()
  const rootOf = (key: string): string => {
    let root = key
    for (let up = parents.get(root); up !== undefined && up !== root; up = parents.get(root)) root = up
    // The next look is shorter.
    for (let at = key; at !== root;) {
      const up = parents.get(at) ?? root
      parents.set(at, root)
      at = up
    }
    return root
  }
  const firstKeys = operations.map(({ steps }) => {
    const keys = steps.flatMap(keysOf)
    for (const key of keys) parents.set(rootOf(key), rootOf(keys[0]!))
    return keys[0]
  })
  const objects = new Map<string, Operation[]>()
  for (const [i, operation] of operations.entries()) {
    const key = firstKeys[i]
    if (key === undefined) continue
    const root = rootOf(key)
    const object = objects.get(root)
    if (object === undefined) objects.set(root, [operation])
    else object.push(operation)
  }
  return [...objects.values()]
}

/** Parts of an object's operations that are tried if all of them take too long: what fails early is seen sooner so. */
const PARTS = [1 / 32, 1 / 8, 1 / 3]

function checkObject(object: readonly Operation[], initial: History['initial'], limitMs: number): ObjectResult {
  const whole = search(object, initial, performance.now() + limitMs / 2)
  if (whole.verdict !== 'undecided') return { ...whole, operations: object }
  const returns = object.map(({ end }) => end).filter((end) => end < Infinity)
  returns.sort((a, b) => a - b)
  for (const part of PARTS) {
    const operations = until(object, returns[Math.floor(returns.length * part)]!)
    const found = search(operations, initial, performance.now() + limitMs / 2 / PARTS.length)
    if (found.verdict === 'not linearizable') return { ...found, operations }
  }
  return { ...whole, operations: object }
}

/**
 * Checks all objects. The time is shared out so that one that takes long leaves enough for the others; what these leave
 * of it goes to those that are not decided by then.
 */
export function check({ initial, operations }: History, limitMs = LIMIT_MS): Result {
  const endMs = performance.now() + limitMs
  // Small ones first: most of what can be decided is decided then.
  const objects = objectsOf(operations).sort((a, b) => a.length - b.length)
  let undecided = objects
  do {
    const tried = undecided
    undecided = []
    for (const [i, object] of tried.entries()) {
      const now = performance.now()
      const found = checkObject(object, initial, (endMs - now) / (tried.length - i))
      if (found.verdict === 'not linearizable') return found
      if (found.verdict === 'undecided') undecided.push(object)
    }
  } while (undecided.length > 0 && performance.now() < endMs)
  if (undecided.length > 0) return { verdict: 'undecided', undecided }
  return { verdict: 'linearizable', objects: objects.length }
}
