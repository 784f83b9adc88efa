// Everything that happens in a simulated world, decided by one seed and named, so that any part of it
// can be left out and the rest happen as before: that is how a failure is made small.
//
// Events form a tree: a life holds operations, an operation takes steps, and at a step another
// process's operation may start. Each event draws from numbers of its own, keyed by the seed and the
// event's place in the tree; leaving one out does not change what the others draw.
import { mix, Random } from '../lib/random.js'

interface Event {
  readonly name: string
  readonly key: number
  readonly random: Random
  step: number
}

export class Schedule {
  /** Names of the events that happened, in order. */
  readonly happened: string[] = []
  readonly #only: ReadonlySet<string> | undefined
  #event: Event
  #dice: Random

  /** `only`: the events that may happen; all if left out. */
  constructor(seed: number, only?: ReadonlySet<string>) {
    this.#only = only
    this.#event = { name: '', key: seed >>> 0, random: new Random(seed), step: 0 }
    this.#dice = this.#event.random
  }

  /** Choices of the event that is being carried out. */
  get random(): Random {
    return this.#event.random
  }

  /** Carries out the event `name` within this one, or nothing if it is left out. */
  within(name: string, act: () => void): void {
    const full = this.#event.name === '' ? name : `${this.#event.name}.${name}`
    if (this.#happens(full)) this.#carryOut(full, act)
  }

  #carryOut(full: string, act: () => void): void {
    const outer = this.#event
    const dice = this.#dice
    const key = mix(outer.key, hash(full))
    this.#event = { name: full, key, random: new Random(key), step: 0 }
    try {
      act()
    } finally {
      this.#event = outer
      this.#dice = dice
    }
  }

  /** Starts the next step of the event; `strikes` then decides what happens at it. */
  step(): void {
    this.#dice = new Random(mix(this.#event.key, 0x57e9, ++this.#event.step))
  }

  /** Whether something happens at this step. Must be asked in the same order at every step. */
  strikes(what: string, probability: number): boolean {
    return this.#dice.chance(probability) && this.#happens(this.#place(what))
  }

  /** The same for an event that others may happen within. */
  strikesWithin(what: string, probability: number, act: () => void): void {
    if (this.strikes(what, probability)) this.#carryOut(this.#place(what), act)
  }

  #place(what: string): string {
    return `${this.#event.name}@${this.#event.step}${what}`
  }

  /** A number that only this event, this step and `what` decide. */
  seedFor(what: string): number {
    return mix(this.#event.key, this.#event.step, hash(what))
  }

  #happens(name: string): boolean {
    if (this.#only !== undefined && !this.#only.has(name)) return false
    this.happened.push(name)
    return true
  }
}

/** A number out of a name. */
export const hash = (text: string): number => mix(...Buffer.from(text, 'latin1'))
