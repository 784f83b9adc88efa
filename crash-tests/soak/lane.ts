// What must be in the database: a lane is a range of keys with one owner at a time, and a file that
// says what the owner has put there. It outlives its owner, who may be killed at any instruction.
//
//     0  8   header: next number of a write 4, acknowledged count of the lane's counter 4
//     8  8n  one record for each key: number of the write that put it (0: absent) 4, length 4
//    ..      slots for writes in flight: changes 4, sequence 4, then (key, number, length) for each
//
// A slot is filled, its count last, before the write is started, and emptied, its count first, when it
// has been acknowledged and the records say so. So the next owner, finding a slot filled, knows that this
// write may have taken effect or not, and that no other may be missing. These are stores into the
// page cache: they outlive processes, which is all that is killed here.
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { identify, ownKey, valueOf, type Operation } from '../lib/workload.js'

export const LANE_KEYS = 160
/** Writes that one owner may have in flight. */
const LANE_DEPTH = 8

const HEADER_BYTES = 8
const RECORD_BYTES = 8
const CHANGE_BYTES = 12
const SLOTS_AT = HEADER_BYTES + LANE_KEYS * RECORD_BYTES
const SLOT_BYTES = 8 + LANE_KEYS * CHANGE_BYTES
const FILE_BYTES = SLOTS_AT + LANE_DEPTH * SLOT_BYTES

/** What a key holds: the value that write `number` put there, or nothing if that is 0. */
export interface Held {
  readonly number: number
  readonly lengthBytes: number
}
const ABSENT: Held = { number: 0, lengthBytes: 0 }

/** One change of a write; `lengthBytes` undefined: the key is deleted. */
export interface Change {
  readonly index: number
  readonly lengthBytes: number | undefined
}

/** A write that was started and is not acknowledged yet. */
export interface Flight {
  readonly slot: number
  /** Grows with each write of which the order is promised; 0 for others. */
  readonly sequence: number
  readonly changes: { readonly index: number; readonly after: Held }[]
}

export class WrongContents extends Error {}

const describe = ({ number, lengthBytes }: Held): string =>
  number === 0 ? 'nothing' : `write ${number} of ${lengthBytes} bytes`

export class Lane {
  readonly number: number
  readonly #fd: number
  readonly #held: Held[]
  readonly #flights = new Map<number, Flight>()
  readonly #busy = new Map<number, Flight>()
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #sequence = 0

  constructor(path: string, number: number) {
    this.number = number
    this.#fd = openSync(path, 'a')
    closeSync(this.#fd)
    this.#fd = openSync(path, 'r+')
    const bytes = Buffer.alloc(FILE_BYTES)
    if (fstatSync(this.#fd).size === 0) writeSync(this.#fd, bytes, 0, FILE_BYTES, 0)
    readSync(this.#fd, bytes, 0, FILE_BYTES, 0)
    bytes.copy(this.#header, 0, 0, HEADER_BYTES)
    this.#held = Array.from({ length: LANE_KEYS }, (_, i) => {
      const at = HEADER_BYTES + i * RECORD_BYTES
      return { number: bytes.readUInt32LE(at), lengthBytes: bytes.readUInt32LE(at + 4) }
    })
    for (let slot = 0; slot < LANE_DEPTH; slot++) {
      const at = SLOTS_AT + slot * SLOT_BYTES
      const count = bytes.readUInt32LE(at)
      if (count === 0) continue
      const changes = Array.from({ length: count }, (_, i) => {
        const change = at + 8 + i * CHANGE_BYTES
        const after = { number: bytes.readUInt32LE(change + 4), lengthBytes: bytes.readUInt32LE(change + 8) }
        return { index: bytes.readUInt32LE(change), after }
      })
      this.#take({ slot, sequence: bytes.readUInt32LE(at + 4), changes })
    }
  }

  get prefix(): string {
    return `lane${this.number}/`
  }
  key(index: number): string {
    return ownKey(this.number, index)
  }

  /** What the owner has counted to, as acknowledged. */
  get counted(): number {
    return this.#header.readUInt32LE(4)
  }
  set counted(count: number) {
    this.#header.writeUInt32LE(count, 4)
    this.#writeHeader()
  }

  /** A number that no value of this lane has had before. */
  nextNumber(): number {
    const number = this.#header.readUInt32LE(0) + 1
    this.#header.writeUInt32LE(number, 0)
    this.#writeHeader()
    return number
  }

  isBusy(index: number): boolean {
    return this.#busy.has(index)
  }
  get inFlight(): number {
    return this.#flights.size
  }

  #take(flight: Flight): void {
    this.#flights.set(flight.slot, flight)
    for (const { index } of flight.changes) this.#busy.set(index, flight)
    this.#sequence = Math.max(this.#sequence, flight.sequence)
  }

  /** Notes a write that is about to be started. No other in flight may touch its keys. */
  begin(changes: readonly Change[], ordered: boolean): Flight {
    const number = this.nextNumber()
    let slot = 0
    while (this.#flights.has(slot)) slot++
    if (slot >= LANE_DEPTH) throw new Error('too many writes in flight')
    const flight = {
      slot,
      sequence: ordered ? ++this.#sequence : 0,
      changes: changes.map(({ index, lengthBytes }) => ({
        index,
        // Never the same object: a reader that compares two moments sees that there was a write between.
        after: lengthBytes === undefined ? { ...ABSENT } : { number, lengthBytes },
      })),
    }
    const bytes = Buffer.alloc(4 + flight.changes.length * CHANGE_BYTES)
    bytes.writeUInt32LE(flight.sequence, 0)
    flight.changes.forEach(({ index, after }, i) => {
      const at = 4 + i * CHANGE_BYTES
      bytes.writeUInt32LE(index, at)
      bytes.writeUInt32LE(after.number, at + 4)
      bytes.writeUInt32LE(after.lengthBytes, at + 8)
    })
    writeSync(this.#fd, bytes, 0, bytes.length, SLOTS_AT + slot * SLOT_BYTES + 4)
    this.#setCount(slot, flight.changes.length)
    this.#take(flight)
    return flight
  }

  /** The write has been acknowledged. */
  settle(flight: Flight): void {
    for (const { index, after } of flight.changes) {
      this.#held[index] = after
      const record = Buffer.alloc(RECORD_BYTES)
      record.writeUInt32LE(after.number, 0)
      record.writeUInt32LE(after.lengthBytes, 4)
      writeSync(this.#fd, record, 0, RECORD_BYTES, HEADER_BYTES + index * RECORD_BYTES)
    }
    this.#drop(flight)
  }

  #drop(flight: Flight): void {
    this.#setCount(flight.slot, 0)
    this.#flights.delete(flight.slot)
    for (const { index } of flight.changes) this.#busy.delete(index)
  }

  /** A flight as operations of the database. */
  operationsOf(flight: Flight): Operation[] {
    return flight.changes.map(({ index, after }) =>
      after.number === 0
        ? { type: 'del', key: this.key(index) }
        : { type: 'put', key: this.key(index), value: valueOf(this.number, after.number, index, after.lengthBytes) },
    )
  }

  /** What key `index` may hold now: one thing, or two while a write of it is in flight. */
  may(index: number): readonly Held[] {
    const held = this.#held[index]!
    const flight = this.#busy.get(index)
    return flight === undefined ? [held] : [held, flight.changes.find((c) => c.index === index)!.after]
  }
  /** The same for all keys. */
  mayAll(): (readonly Held[])[] {
    return Array.from({ length: LANE_KEYS }, (_, i) => this.may(i))
  }

  isHeld(index: number, held: Held, value: Uint8Array | undefined): boolean {
    if (held.number === 0 || value === undefined) return held.number === 0 && value === undefined
    if (value.length !== held.lengthBytes) return false
    const identity = identify(value)
    return identity?.writer === this.number && identity.operation === held.number && identity.step === index
  }

  /** Throws unless `value` is one of what key `index` may hold. */
  expect(index: number, value: Uint8Array | undefined, may: readonly Held[], by: string): void {
    if (may.some((held) => this.isHeld(index, held, value))) return
    const identity = value === undefined ? undefined : identify(value)
    const found =
      value === undefined
        ? 'nothing'
        : identity === undefined
          ? `${value.length} bytes that no write put`
          : `write ${identity.operation} of lane ${identity.writer} of ${value.length} bytes`
    throw new WrongContents(
      `${by} finds ${found} under ${this.key(index)} where ${may.map(describe).join(' or ')} must be`,
    )
  }

  /**
   * Decides, after the owner's death, which of the writes in flight took effect. Each did as a whole or
   * not at all; and of those whose order is promised, none did after one that did not.
   */
  resolve(read: (key: string) => Uint8Array | undefined): number {
    const flights = [...this.#flights.values()].sort((a, b) => a.sequence - b.sequence)
    let missing: number | undefined
    for (const flight of flights) {
      let took: boolean | undefined
      for (const { index, after } of flight.changes) {
        const before = this.#held[index]!
        const value = read(this.key(index))
        this.expect(index, value, [before, after], `after a death, a reader`)
        const isAfter = this.isHeld(index, after, value)
        if (isAfter && this.isHeld(index, before, value)) continue
        if (took !== undefined && took !== isAfter) {
          throw new WrongContents(
            `half of a batch of lane ${this.number} took effect: ${flight.changes.map((c) => this.key(c.index)).join(', ')}`,
          )
        }
        took = isAfter
      }
      if (flight.sequence > 0) {
        if (took === false) missing ??= flight.sequence
        if (took === true && missing !== undefined) {
          throw new WrongContents(
            `write ${flight.sequence} of lane ${this.number} took effect and ${missing}, started before it, did not`,
          )
        }
      }
      if (took === false) this.#drop(flight)
      else this.settle(flight)
    }
    return flights.length
  }

  /** Bytes of slots that what is there takes at least: values in slots of their own, and leaves. */
  leastBytes(): number {
    let bytes = 0
    this.#held.forEach(({ number, lengthBytes }, i) => {
      if (number === 0) return
      const inline = 16 + this.key(i).length + lengthBytes
      bytes += inline <= 1016 ? inline : Math.ceil(lengthBytes / 4064) * 4096 + 32 + this.key(i).length
    })
    return bytes
  }
  get present(): number {
    return this.#held.reduce((sum, { number }) => sum + (number === 0 ? 0 : 1), 0)
  }

  #setCount(slot: number, count: number): void {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(count, 0)
    writeSync(this.#fd, bytes, 0, 4, SLOTS_AT + slot * SLOT_BYTES)
  }
  #writeHeader(): void {
    writeSync(this.#fd, this.#header, 0, HEADER_BYTES, 0)
  }

  close(): void {
    closeSync(this.#fd)
  }
}
