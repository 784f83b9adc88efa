// Makes a history that is not linearizable small, for people to read. Each step makes of a history that is linearizable
// another one that is, too; so if what is left still fails, the whole has failed, and for this reason:
//
//   - cut at a time: what returned later may or may not have taken effect
//   - look at some of the keys only
//   - leave out what only looks
//   - forget what a delete said
//   - leave out what a put or delete did to a key, if nobody who is left can tell whether it happened
import { keysOf, onlyLooks, until, type Conditions, type History, type Operation, type Step } from './operations.js'
import { search } from './search.js'

/** Returns operations that still fail. `limitMs`: it gets as small as it can in this time. */
export function shrink(operations: readonly Operation[], initial: History['initial'], limitMs: number): Operation[] {
  const endMs = performance.now() + limitMs
  const fails = (some: readonly Operation[]): boolean =>
    search(some, initial, Math.min(endMs, performance.now() + limitMs / 4)).verdict === 'not linearizable'
  let left = shortestBeginning([...operations], fails)
  left = fewestKeys(left, fails)
  left = withoutParts(left, left.filter(onlyLooks), fails)
  left = forgetting(left, fails)
  for (const group of [8, 1]) left = withoutUnseen(left, group, fails)
  return withoutParts(left, left.filter(onlyLooks), fails)
}

type Fails = (some: readonly Operation[]) => boolean

function shortestBeginning(operations: Operation[], fails: Fails): Operation[] {
  const times = operations.map(({ end }) => end).filter((end) => end < Infinity)
  times.sort((a, b) => a - b)
  let [least, most] = [0, times.length - 1]
  let best = operations
  while (least <= most) {
    const middle = (least + most) >> 1
    const some = until(operations, times[middle]!)
    if (fails(some)) {
      best = some
      most = middle - 1
    } else least = middle + 1
  }
  return best
}

const hasConditions = (step: Step): boolean => {
  const { ifVersion, ifAbsent, ifPresent } = step as Conditions
  return ifVersion !== undefined || ifAbsent === true || ifPresent === true
}

/** What is left of the operations if one looks at these keys only. */
function onKeys(operations: readonly Operation[], kept: ReadonlySet<string>): Operation[] {
  return operations.flatMap((operation): Operation[] => {
    const { steps, took, end } = operation
    const left = steps.filter((step) => keysOf(step).every((key) => kept.has(key)))
    if (left.length === steps.length) return [operation]
    if (left.length === 0) return []
    // Which condition did not hold is not known any more; what was read stays.
    if (took === false) {
      const reads = left.filter(({ do: what }) => what === 'get' || what === 'has' || what === 'count')
      return reads.length === 0 ? [] : [{ ...operation, took: undefined, steps: reads }]
    }
    const isOpen = took === undefined && steps.some((step) => !left.includes(step) && hasConditions(step))
    return [{ ...operation, steps: left, end: isOpen ? Infinity : end }]
  })
}

function fewestKeys(operations: Operation[], fails: Fails): Operation[] {
  const keys = [...new Set(operations.flatMap(({ steps }) => steps.flatMap(keysOf)))]
  for (const key of keys) {
    const some = onKeys(operations, new Set([key]))
    if (fails(some)) return some
  }
  let kept = new Set(keys)
  let left = operations
  for (const key of keys) {
    const fewer = new Set([...kept].filter((other) => other !== key))
    const some = onKeys(left, fewer)
    if (!fails(some)) continue
    kept = fewer
    left = some
  }
  return left
}

/** Leaves out as many of `parts` as it can: halves first, then smaller pieces. */
function withoutParts(operations: Operation[], parts: readonly Operation[], fails: Fails): Operation[] {
  let left = operations
  for (let size = parts.length; size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < parts.length; at += size) {
      const piece = new Set(parts.slice(at, at + size))
      const some = left.filter((operation) => !piece.has(operation))
      if (some.length < left.length && fails(some)) left = some
    }
  }
  return left
}

const forgetRemoved = (operation: Operation): Operation => ({
  ...operation,
  steps: operation.steps.map((step) => (step.do === 'del' ? { ...step, removed: undefined } : step)),
})

function forgetting(operations: Operation[], fails: Fails): Operation[] {
  const isTold = ({ steps }: Operation): boolean =>
    steps.some((step) => step.do === 'del' && step.removed !== undefined)
  const told = operations.filter(isTold)
  const all = operations.map((operation) => (isTold(operation) ? forgetRemoved(operation) : operation))
  if (told.length === 0) return operations
  if (fails(all)) return all
  let left = operations
  for (const one of told) {
    const some = left.map((operation) => (operation === one ? forgetRemoved(operation) : operation))
    if (fails(some)) left = some
  }
  return left
}

/** A value of a key, null for none. */
const nameOf = (key: string, value: unknown): string => JSON.stringify([key, value ?? null])

/** Puts and deletes that no one can miss once those who have read what they left are gone, too. */
function withoutUnseen(operations: Operation[], group: number, fails: Fails): Operation[] {
  let left = operations
  for (let at = 0; at < left.length; at += group) {
    const chosen = left.slice(at, at + group).filter((operation) => !onlyLooks(operation))
    const some = without(left, new Set(chosen))
    if (some === undefined || !fails(some)) continue
    left = some
    at -= group
  }
  return left
}

/** The rest without these and their readers; undefined if somebody could tell. */
function without(operations: readonly Operation[], chosen: ReadonlySet<Operation>): Operation[] | undefined {
  if (chosen.size === 0) return undefined
  const gone = new Set<string>()
  const keys = new Set<string>()
  for (const { steps } of chosen)
    for (const step of steps) {
      if (step.do === 'put') gone.add(nameOf(step.key, step.value))
      else if (step.do === 'del') gone.add(nameOf(step.key, null))
      else if (step.do !== 'get') return undefined
      keys.add(step.key)
    }
  const reads = ({ steps }: Operation): boolean =>
    steps.some((step) => step.do === 'get' && step.was !== undefined && gone.has(nameOf(step.key, step.was)))
  const left = operations.filter((one) => !chosen.has(one) && !(onlyLooks(one) && reads(one)))
  const couldTell = left.some(
    (one) => reads(one) || one.steps.some((step) => keysOf(step).some((key) => keys.has(key)) && looksAtPresence(step)),
  )
  return couldTell ? undefined : left
}

const looksAtPresence = (step: Step): boolean =>
  !(step.do === 'get' || step.do === 'put' || (step.do === 'del' && step.removed === undefined)) || hasConditions(step)
