// Is there an order of some operations in which each could have happened at one moment between its call and its
// return? The search of Wing and Gong: take any operation that no other one has returned before, see what it does to
// the state, go on with the rest, and step back if there is no way on. Lowe's addition: what has been tried once, the
// same operations done and the same state reached, is not tried again.
//
// What makes it fast enough for long histories:
//   - An operation that can only look (a read, a refusal), fits the state, and adds nothing to what is known of
//     versions, is taken at once and without an alternative. If any order goes on from here, then also one with this
//     operation first. (Not so a delete that did not tell whether it removed something: its moment may be a later one.)
//   - What is left to choose from is tried in the order in which it most likely happened: by version where that is
//     known, else by the time by which somebody saw it.
//   - Of operations without a known outcome that do the same thing, the earliest goes first: others gain nothing.
//   - What has been tried is also not tried again with more of the operations without a known outcome used up for it.
//
// "There is an order" comes with that order, which can be checked. "There is none" relies on hashes of 96 bits of the
// operations done and the state: two that are not the same and look the same could hide an order, but never invent one.
// A limit on time gives neither.
import { hashOf, Model, type Change, type Entry } from './model.js'
import { onlyLooks, type History, type Operation } from './operations.js'

/** Where the longest order ended that could be found. */
export interface DeadEnd {
  /** Places in the list of operations, in the order that was found. */
  readonly done: readonly number[]
  /** Those that could have been next by time alone, and do not fit. */
  readonly next: readonly number[]
  /** What was there at that point, for people. */
  readonly state: readonly string[]
}

export type Verdict =
  | { readonly verdict: 'linearizable'; readonly order: readonly number[] }
  | { readonly verdict: 'not linearizable'; readonly deadEnd: DeadEnd }
  | { readonly verdict: 'undecided' }

interface Option {
  readonly operation: number
  readonly changes: readonly Change[]
}

/** A point at which there was something to choose. */
interface Choice {
  readonly options: readonly Option[]
  next: number
  readonly trailLength: number
}

/** Something that was done, to be taken back: an operation, or the entry that a key had before. */
type Step = number | Change

const CLOCK_EVERY = 256

/** Decides for operations of any order. `endMs`: of `performance.now()`. */
export function search(operations: readonly Operation[], initial: History['initial'], endMs: number): Verdict {
  return new Search(operations, initial).run(endMs)
}

class Search {
  readonly #operations: readonly Operation[]
  readonly #model: Model
  readonly #state: Entry[]
  readonly #hashes: readonly (readonly [number, number, number])[]
  #hash: [number, number, number] = [0, 0, 0]
  /** When each can be expected: a version, and a time. */
  readonly #versions: Float64Array
  readonly #expected: Float64Array
  readonly #onlyLooks: readonly boolean[]

  /** Operations that have returned and are not done, in the order of their calls: a list with a head after the last. */
  readonly #byCall: number[]
  readonly #following: Int32Array
  readonly #preceding: Int32Array
  readonly #head: number
  /** Of operations that never returned: those alike, in the order of their calls; how many of each are done. */
  readonly #alike: number[][]
  readonly #doneOfAlike: Uint16Array
  readonly #classOf: Int32Array

  readonly #trail: Step[] = []
  #left: number
  #deepest: { done: number[]; next: number[]; state: readonly Entry[] } | undefined
  #doneCount = 0

  constructor(operations: readonly Operation[], initial: History['initial']) {
    const count = operations.length
    this.#operations = operations
    this.#model = new Model(operations, initial)
    this.#state = [...this.#model.initial]
    for (const entry of this.#state) this.#mixIn(entry)
    this.#hashes = operations.map((_, i) => hashOf(0x0b5e, i))
    this.#versions = Float64Array.from(operations, (_, i) => this.#model.versionPut(i))
    this.#expected = expectedTimes(operations)
    this.#onlyLooks = operations.map(onlyLooks)

    const isReturned = (i: number): boolean => operations[i]!.end < Infinity
    const byCall = operations.map((_, i) => i).sort((a, b) => operations[a]!.start - operations[b]!.start)
    this.#byCall = byCall.filter(isReturned)
    this.#head = count
    this.#following = new Int32Array(count + 1)
    this.#preceding = new Int32Array(count + 1)
    let last = count
    for (const i of [...this.#byCall, count]) {
      this.#following[last] = i
      this.#preceding[i] = last
      last = i
    }
    this.#left = this.#byCall.length

    const classes = new Map<string, number[]>()
    for (const i of byCall) {
      if (isReturned(i)) continue
      const name = this.#model.classOf(i)
      const members = classes.get(name)
      if (members === undefined) classes.set(name, [i])
      else members.push(i)
    }
    this.#alike = [...classes.values()]
    this.#doneOfAlike = new Uint16Array(this.#alike.length)
    this.#classOf = new Int32Array(count).fill(-1)
    for (const [n, members] of this.#alike.entries()) for (const i of members) this.#classOf[i] = n
  }

  run(endMs: number): Verdict {
    const seen = new Seen()
    const choices: Choice[] = []
    for (let round = 1; ; round++) {
      if (round % CLOCK_EVERY === 1 && performance.now() > endMs) return { verdict: 'undecided' }
      const options = this.#goOn()
      if (options === undefined) return { verdict: 'linearizable', order: this.#done() }
      if (options.length === 0) this.#noteDeadEnd()
      const isNew = options.length < 2 || seen.isNew(this.#hash.join(' '), this.#doneOfAlike)
      if (options.length > 0 && isNew) choices.push({ options, next: 0, trailLength: this.#trail.length })
      while (choices.length > 0 && choices.at(-1)!.next === choices.at(-1)!.options.length) choices.pop()
      const choice = choices.at(-1)
      if (choice === undefined) return { verdict: 'not linearizable', deadEnd: this.#deadEnd() }
      this.#takeBack(choice.trailLength)
      this.#take(choice.options[choice.next++]!)
    }
  }

  /** Takes what fits and changes nothing; then what there is to choose from. Undefined: everything is done. */
  #goOn(): Option[] | undefined {
    while (true) {
      if (this.#left === 0) return undefined
      const candidates = this.#candidates()
      const options: Option[] = []
      let taken = false
      for (const operation of candidates) {
        const isReturned = this.#classOf[operation]! < 0
        for (const changes of this.#model.outcomes(operation, this.#state)) {
          // One that never returned need not be done, so doing nothing is not worth a try.
          if (changes.length > 0 || (isReturned && !this.#onlyLooks[operation])) options.push({ operation, changes })
          else if (isReturned) {
            this.#take({ operation, changes })
            taken = true
            break
          }
        }
      }
      if (!taken) return this.#sorted(options)
    }
  }

  /** Operations that were called before any other one that is not done had returned. */
  #candidates(): number[] {
    const found: number[] = []
    let firstReturn = Infinity
    for (let i = this.#following[this.#head]!; i !== this.#head; i = this.#following[i]!) {
      const { start, end } = this.#operations[i]!
      if (start > firstReturn) break
      if (end < firstReturn) firstReturn = end
      found.push(i)
    }
    for (const [n, members] of this.#alike.entries()) {
      const i = members[this.#doneOfAlike[n]!]
      if (i !== undefined && this.#operations[i]!.start <= firstReturn) found.push(i)
    }
    return found
  }

  #sorted(options: Option[]): Option[] {
    const versionOf = ({ operation }: Option): number => this.#versions[operation]!
    return options.sort((a, b) =>
      versionOf(a) > 0 && versionOf(b) > 0
        ? versionOf(a) - versionOf(b)
        : // Infinity minus Infinity is no number.
          this.#expected[a.operation]! - this.#expected[b.operation]! || 0,
    )
  }

  #mixIn({ hash }: Entry): void {
    for (let i = 0; i < 3; i++) this.#hash[i] = (this.#hash[i]! ^ hash[i]!) >>> 0
  }
  #mixInOperation(operation: number): void {
    const hash = this.#hashes[operation]!
    for (let i = 0; i < 3; i++) this.#hash[i] = (this.#hash[i]! ^ hash[i]!) >>> 0
  }

  #take({ operation, changes }: Option): void {
    for (const { key, entry } of changes) {
      this.#trail.push({ key, entry: this.#state[key]! })
      this.#replace(key, entry)
    }
    this.#trail.push(operation)
    this.#doneCount++
    const n = this.#classOf[operation]!
    if (n >= 0) {
      this.#doneOfAlike[n]!++
      return
    }
    this.#mixInOperation(operation)
    this.#left--
    this.#following[this.#preceding[operation]!] = this.#following[operation]!
    this.#preceding[this.#following[operation]!] = this.#preceding[operation]!
  }

  #replace(key: number, entry: Entry): void {
    this.#mixIn(this.#state[key]!)
    this.#state[key] = entry
    this.#mixIn(entry)
  }

  #takeBack(trailLength: number): void {
    while (this.#trail.length > trailLength) {
      const step = this.#trail.pop()!
      if (typeof step !== 'number') {
        this.#replace(step.key, step.entry)
        continue
      }
      this.#doneCount--
      const n = this.#classOf[step]!
      if (n >= 0) {
        this.#doneOfAlike[n]!--
        continue
      }
      this.#mixInOperation(step)
      this.#left++
      this.#following[this.#preceding[step]!] = step
      this.#preceding[this.#following[step]!] = step
    }
  }

  #done(): number[] {
    return this.#trail.filter((step): step is number => typeof step === 'number')
  }

  #noteDeadEnd(): void {
    if (this.#deepest !== undefined && this.#deepest.done.length >= this.#doneCount) return
    this.#deepest = {
      done: this.#done(),
      next: this.#candidates().filter((i) => this.#classOf[i]! < 0),
      state: [...this.#state],
    }
  }

  #deadEnd(): DeadEnd {
    const { done, next, state } = this.#deepest!
    return { done, next, state: this.#model.describe(state) }
  }
}

/**
 * What has been tried: which of the operations that returned are done, and the state; with each, how many of those that
 * never returned were used up for it.
 */
class Seen {
  readonly #used = new Map<string, Uint16Array[]>()

  isNew(name: string, used: Uint16Array): boolean {
    const before = this.#used.get(name)
    if (before === undefined) {
      this.#used.set(name, [used.slice()])
      return true
    }
    if (before.some((other) => other.every((count, i) => count <= used[i]!))) return false
    before.push(used.slice())
    return true
  }
}

/** The time by which each was done for certain: it had returned, or somebody had seen what it put. */
function expectedTimes(operations: readonly Operation[]): Float64Array {
  const seenBy = new Map<string, number>()
  for (const { end, steps } of operations)
    for (const step of steps) {
      if (step.do !== 'get' || step.was === undefined || step.was === null) continue
      const what = `${step.key}=${step.was}`
      seenBy.set(what, Math.min(end, seenBy.get(what) ?? Infinity))
    }
  return Float64Array.from(operations, ({ end, steps }) =>
    steps.reduce(
      (time, step) => (step.do === 'put' ? Math.min(time, seenBy.get(`${step.key}=${step.value}`) ?? Infinity) : time),
      end,
    ),
  )
}
