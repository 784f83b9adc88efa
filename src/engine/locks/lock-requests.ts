// Records, and the requests for them, in `locks` (lock-layout.ts). All of this is done under the mutex
// (lock-mutex.ts).
//
// A record is there as long as somebody has or wants its lock. Its requests are granted in the order in which they
// were made; one that is shared does not pass an exclusive one that waits. So either one exclusive request is
// granted or any number of shared ones, and who waits, waits for all that stand before it.
//
// A thread may die between any two stores here. What counts then are the first words of cells, alone
// (lock-rebuild.ts): they are stored last when a cell comes into use, and first when it is given up. So what such a
// word says of a cell is true at every moment:
//
//   add      the record with its key, if there is none; the fields of the request; then its state; then the chains
//   grant    the state of the request; then the chains
//   remove   the state of the request; then the chains; then the record with its key, if that was the last request
//
// A record without requests, and cells that no record leads to, are free, whatever else they say.
import { crashPoint } from '../../crash-points.js'
import { guarded } from '../../storage/errors.js'
import {
  AT,
  bucketOf,
  EXCLUSIVE,
  FREE_NEXT,
  KEY_PART,
  KEY_PART_BYTES,
  RECORD,
  RECORD_KEY_BYTES,
  REQUEST,
  SEAT,
  SHARED,
  STATE,
} from './lock-layout.js'
import { seatOf } from '../shared/seats.js'
import type { LockMemory } from './lock-memory.js'

/** Words of the header, as indices. */
const FREE = AT.FREE >> 2
const CELLS_USED = AT.CELLS_USED >> 2
const GRANTED = AT.GRANTED >> 2
const WAITING = AT.WAITING >> 2
const TICKET_F64 = AT.TICKET >> 3
const BUCKETS = AT.BUCKETS >> 2

const MAKING_ROOM = 'Making room for a record lock'
/** One that begins to wait asks at once for at most this many of those that share the lock. */
const MOST_SUSPECTS = 16

export class LockRequests {
  readonly memory: LockMemory
  /** Seats that have news since they were last woken: see `wake` of record-locks.ts. */
  readonly toWake = new Set<number>()

  readonly #now: () => number

  /** `now`: milliseconds since 1970. */
  constructor(memory: LockMemory, now: () => number) {
    this.memory = memory
    this.#now = now
  }

  // ---- cells -------------------------------------------------------------------------------------

  /** Makes sure that this many cells can be taken. Throws a typed error if not; nothing has changed then. */
  #reserve(cells: number): void {
    const { memory } = this
    const used = memory.i32[CELLS_USED]!
    if (!memory.has(used + cells - 1)) {
      let free = 0
      for (let cell = memory.i32[FREE]!; cell !== 0 && free < cells; cell = memory.get(cell, FREE_NEXT)) free++
      if (free < cells) guarded(MAKING_ROOM, () => memory.ensure(used + cells - free - 1))
    }
    if (!memory.isMapped(used + cells)) guarded(MAKING_ROOM, () => memory.map(used + cells))
  }

  /** A cell that was reserved. It is free, and says so until its first word is stored. */
  #take(): number {
    const { memory } = this
    const { i32 } = memory
    const free = i32[FREE]!
    if (free !== 0) {
      i32[FREE] = memory.get(free, FREE_NEXT)
      return free
    }
    // What was never used is zero: free.
    return i32[CELLS_USED]!++
  }

  #giveBack(cell: number): void {
    const { memory } = this
    memory.setState(cell, STATE.FREE)
    memory.set(cell, FREE_NEXT, memory.i32[FREE]!)
    memory.i32[FREE] = cell
  }

  // ---- records -----------------------------------------------------------------------------------

  /** The record of a key; 0 if nobody has or wants it. */
  find(key: Uint8Array, hash: number): number {
    const { memory } = this
    let record = memory.i32[BUCKETS + bucketOf(hash)]!
    while (record !== 0 && !this.#isOf(record, key, hash)) record = memory.get(record, RECORD.NEXT_IN_BUCKET)
    return record
  }

  #isOf(record: number, key: Uint8Array, hash: number): boolean {
    const { memory } = this
    if (memory.get(record, RECORD.HASH) !== hash || memory.get(record, RECORD.KEY_LENGTH) !== key.length) return false
    let bytes = memory.bytesOf(record)
    let at = memory.byteOf(record, RECORD.KEY)
    let end = Math.min(key.length, RECORD_KEY_BYTES)
    let part = memory.get(record, RECORD.KEY_CELL)
    for (let i = 0; ;) {
      while (i < end) if (bytes[at++] !== key[i++]) return false
      if (i === key.length) return true
      bytes = memory.bytesOf(part)
      at = memory.byteOf(part, KEY_PART.KEY)
      end = Math.min(key.length, i + KEY_PART_BYTES)
      part = memory.get(part, KEY_PART.NEXT)
    }
  }

  #addRecord(key: Uint8Array, hash: number): number {
    const { memory } = this
    const record = this.#take()
    // From its end to its beginning, since each part leads to the next.
    let next = 0
    for (let i = partsOf(key) - 1; i >= 0; i--) {
      const part = this.#take()
      memory.set(part, KEY_PART.NEXT, next)
      this.#writeKey(part, KEY_PART.KEY, key, RECORD_KEY_BYTES + i * KEY_PART_BYTES, KEY_PART_BYTES)
      memory.setState(part, STATE.KEY)
      next = part
    }
    memory.set(record, RECORD.HASH, hash)
    memory.set(record, RECORD.KEY_LENGTH, key.length)
    memory.set(record, RECORD.KEY_CELL, next)
    this.#writeKey(record, RECORD.KEY, key, 0, RECORD_KEY_BYTES)
    this.linkRecord(record)
    memory.setState(record, STATE.RECORD)
    return record
  }

  #writeKey(cell: number, word: number, key: Uint8Array, from: number, length: number): void {
    const bytes = this.memory.bytesOf(cell)
    let at = this.memory.byteOf(cell, word)
    for (let i = from, end = Math.min(key.length, from + length); i < end; i++) bytes[at++] = key[i]!
  }

  /** Puts a record without requests into its bucket. */
  linkRecord(record: number): void {
    const { memory } = this
    for (const word of [RECORD.GRANTED, RECORD.WAITING_FIRST, RECORD.WAITING_LAST]) memory.set(record, word, 0)
    const bucket = BUCKETS + bucketOf(memory.get(record, RECORD.HASH))
    memory.set(record, RECORD.NEXT_IN_BUCKET, memory.i32[bucket]!)
    memory.i32[bucket] = record
  }

  #removeRecord(record: number): void {
    const { memory } = this
    const bucket = BUCKETS + bucketOf(memory.get(record, RECORD.HASH))
    const next = memory.get(record, RECORD.NEXT_IN_BUCKET)
    if (memory.i32[bucket] === record) memory.i32[bucket] = next
    else {
      let before = memory.i32[bucket]!
      while (memory.get(before, RECORD.NEXT_IN_BUCKET) !== record) before = memory.get(before, RECORD.NEXT_IN_BUCKET)
      memory.set(before, RECORD.NEXT_IN_BUCKET, next)
    }
    let part = memory.get(record, RECORD.KEY_CELL)
    this.#giveBack(record)
    while (part !== 0) {
      const after = memory.get(part, KEY_PART.NEXT)
      this.#giveBack(part)
      part = after
    }
  }

  // ---- requests ----------------------------------------------------------------------------------

  /** True if a request of this mode would be granted at once. */
  isFree(record: number, mode: number): boolean {
    const { memory } = this
    if (record === 0) return true
    if (memory.get(record, RECORD.WAITING_FIRST) !== 0) return false
    return this.#goesWith(record, mode)
  }

  /** True if a request of this mode goes with those that are granted. */
  #goesWith(record: number, mode: number): boolean {
    const granted = this.memory.get(record, RECORD.GRANTED)
    return granted === 0 || (mode === SHARED && this.memory.get(granted, REQUEST.MODE) === SHARED)
  }

  /**
   * Adds a request, which is granted at once or waits: `isGranted` tells. Throws a typed error if the disk is
   * full; nothing has changed then.
   */
  add(key: Uint8Array, hash: number, mode: number, owner: number): number {
    const { memory } = this
    const { i32, f64 } = memory
    let record = this.find(key, hash)
    this.#reserve(record === 0 ? 2 + partsOf(key) : 1)
    if (record === 0) record = this.#addRecord(key, hash)
    const request = this.#take()
    const isGranted = this.isFree(record, mode)
    const ticket = f64[TICKET_F64]!
    f64[TICKET_F64] = ticket + 1
    memory.set(request, REQUEST.OWNER, owner)
    memory.set(request, REQUEST.MODE, mode)
    memory.set(request, REQUEST.RECORD, record)
    memory.setF64(request, REQUEST.TICKET_F64, ticket)
    memory.setF64(request, REQUEST.SINCE_F64, this.#now())
    memory.set(request, REQUEST.IS_NEWS, isGranted ? 0 : 1)
    memory.setState(request, isGranted ? STATE.GRANTED : STATE.WAITING)
    crashPoint('lock-requested')
    this.linkRequest(request)
    i32[isGranted ? GRANTED : WAITING]!++
    return request
  }

  /** Puts a request, which is the newest of its record, into the chains that its state says. */
  linkRequest(request: number): void {
    const { memory } = this
    const record = memory.get(request, REQUEST.RECORD)
    if (memory.state(request) === STATE.GRANTED) this.#linkGranted(record, request)
    else {
      const last = memory.get(record, RECORD.WAITING_LAST)
      memory.set(request, REQUEST.PREVIOUS, last)
      memory.set(request, REQUEST.NEXT, 0)
      if (last === 0) memory.set(record, RECORD.WAITING_FIRST, request)
      else memory.set(last, REQUEST.NEXT, request)
      memory.set(record, RECORD.WAITING_LAST, request)
    }
    const seat = memory.seatWord(seatOf(memory.get(request, REQUEST.OWNER)), SEAT.REQUESTS)
    const first = memory.i32[seat]!
    memory.set(request, REQUEST.SEAT_PREVIOUS, 0)
    memory.set(request, REQUEST.SEAT_NEXT, first)
    if (first !== 0) memory.set(first, REQUEST.SEAT_PREVIOUS, request)
    memory.i32[seat] = request
  }

  #linkGranted(record: number, request: number): void {
    const { memory } = this
    const first = memory.get(record, RECORD.GRANTED)
    memory.set(request, REQUEST.PREVIOUS, 0)
    memory.set(request, REQUEST.NEXT, first)
    if (first !== 0) memory.set(first, REQUEST.PREVIOUS, request)
    memory.set(record, RECORD.GRANTED, request)
  }

  #unlink(record: number, request: number, wasGranted: boolean): void {
    const { memory } = this
    const previous = memory.get(request, REQUEST.PREVIOUS)
    const next = memory.get(request, REQUEST.NEXT)
    if (previous !== 0) memory.set(previous, REQUEST.NEXT, next)
    else memory.set(record, wasGranted ? RECORD.GRANTED : RECORD.WAITING_FIRST, next)
    if (next !== 0) memory.set(next, REQUEST.PREVIOUS, previous)
    else if (!wasGranted) memory.set(record, RECORD.WAITING_LAST, previous)
  }

  isGranted(request: number): boolean {
    return this.memory.state(request) === STATE.GRANTED
  }

  /** True if the cell still is this request: it may have been taken from an owner that was taken for dead. */
  isStill(request: number, ticket: number, owner: number): boolean {
    const { memory } = this
    const state = memory.state(request)
    return (
      (state === STATE.GRANTED || state === STATE.WAITING || state === STATE.RELEASED) &&
      memory.get(request, REQUEST.OWNER) === owner &&
      memory.getF64(request, REQUEST.TICKET_F64) === ticket
    )
  }

  ticketOf(request: number): number {
    return this.memory.getF64(request, REQUEST.TICKET_F64)
  }

  /** Removes a request, granted or waiting, and grants what it stood in the way of. */
  remove(request: number): void {
    const { memory } = this
    const record = memory.get(request, REQUEST.RECORD)
    this.#drop(record, request, this.#standsGranted(record, request))
    crashPoint('lock-removed')
    this.grantNext(record)
  }

  /** Which of the two chains of the record it stands in: its state does not say so once it is released. */
  #standsGranted(record: number, request: number): boolean {
    const { memory } = this
    const state = memory.state(request)
    if (state !== STATE.RELEASED) return state === STATE.GRANTED
    for (let at = memory.get(record, RECORD.WAITING_FIRST); at !== 0; at = memory.get(at, REQUEST.NEXT))
      if (at === request) return false
    return true
  }

  #drop(record: number, request: number, wasGranted: boolean): void {
    const { memory } = this
    const { i32 } = memory
    memory.setState(request, STATE.FREE)
    this.#unlink(record, request, wasGranted)
    const previous = memory.get(request, REQUEST.SEAT_PREVIOUS)
    const next = memory.get(request, REQUEST.SEAT_NEXT)
    if (previous !== 0) memory.set(previous, REQUEST.SEAT_NEXT, next)
    else i32[memory.seatWord(seatOf(memory.get(request, REQUEST.OWNER)), SEAT.REQUESTS)] = next
    if (next !== 0) memory.set(next, REQUEST.SEAT_PREVIOUS, previous)
    if (wasGranted && memory.get(request, REQUEST.IS_NEWS) === 1) this.#unlinkNews(request)
    i32[wasGranted ? GRANTED : WAITING]!--
    this.#giveBack(request)
  }

  /** Grants what can be granted of those that wait for the record; removes the record if nobody has or wants it. */
  grantNext(record: number): void {
    const { memory } = this
    for (let request; (request = memory.get(record, RECORD.WAITING_FIRST)) !== 0;) {
      const isReleased = memory.state(request) === STATE.RELEASED
      if (!isReleased && !this.#goesWith(record, memory.get(request, REQUEST.MODE))) break
      // The owner may give it up at this moment, without the mutex.
      if (isReleased || !memory.changeState(request, STATE.WAITING, STATE.GRANTED)) {
        this.#drop(record, request, false)
        continue
      }
      crashPoint('lock-granted')
      memory.setF64(request, REQUEST.SINCE_F64, this.#now())
      this.#unlink(record, request, false)
      this.#linkGranted(record, request)
      memory.i32[WAITING]!--
      memory.i32[GRANTED]!++
      this.addNews(request)
    }
    if (memory.get(record, RECORD.GRANTED) === 0 && memory.get(record, RECORD.WAITING_FIRST) === 0)
      this.#removeRecord(record)
  }

  // ---- seats -------------------------------------------------------------------------------------

  addNews(request: number): void {
    const { memory } = this
    const seat = seatOf(memory.get(request, REQUEST.OWNER))
    const news = memory.seatWord(seat, SEAT.NEWS)
    memory.set(request, REQUEST.NEWS_NEXT, memory.i32[news]!)
    Atomics.store(memory.i32, news, request)
    this.toWake.add(seat)
  }

  #unlinkNews(request: number): void {
    const { memory } = this
    const news = memory.seatWord(seatOf(memory.get(request, REQUEST.OWNER)), SEAT.NEWS)
    const next = memory.get(request, REQUEST.NEWS_NEXT)
    if (memory.i32[news] === request) {
      memory.i32[news] = next
      return
    }
    for (let at = memory.i32[news]!; at !== 0; at = memory.get(at, REQUEST.NEWS_NEXT)) {
      if (memory.get(at, REQUEST.NEWS_NEXT) !== request) continue
      memory.set(at, REQUEST.NEWS_NEXT, next)
      return
    }
  }

  /** True if there are requests of this seat that were granted and that it has not heard of. Needs no mutex. */
  hasNews(seat: number): boolean {
    return Atomics.load(this.memory.i32, this.memory.seatWord(seat, SEAT.NEWS)) !== 0
  }

  /** These requests, in the order in which they were granted; from now on they have been heard of. */
  takeNews(seat: number): number[] {
    const { memory } = this
    const news: number[] = []
    const at = memory.seatWord(seat, SEAT.NEWS)
    for (let request; (request = memory.i32[at]!) !== 0;) {
      memory.i32[at] = memory.get(request, REQUEST.NEWS_NEXT)
      memory.set(request, REQUEST.IS_NEWS, 0)
      news.push(request)
    }
    return news.reverse()
  }

  /** Removes the requests of a seat whose owner is not `except`; returns how many. */
  removeOf(seat: number, except: number): number {
    const first = this.memory.seatWord(seat, SEAT.REQUESTS)
    let removed = 0
    // From the first again after each: removing one may remove others.
    for (let request = this.memory.i32[first]!; request !== 0;) {
      if (this.memory.get(request, REQUEST.OWNER) === except) request = this.memory.get(request, REQUEST.SEAT_NEXT)
      else {
        this.remove(request)
        removed++
        request = this.memory.i32[first]!
      }
    }
    return removed
  }

  /**
   * Removes the requests of a seat that were made with this ticket or a later one, by a change that was cut short and
   * of which nobody has heard.
   */
  removeSince(seat: number, ticket: number): void {
    const first = this.memory.seatWord(seat, SEAT.REQUESTS)
    for (let request = this.memory.i32[first]!; request !== 0;) {
      if (this.ticketOf(request) < ticket) request = this.memory.get(request, REQUEST.SEAT_NEXT)
      else {
        this.remove(request)
        request = this.memory.i32[first]!
      }
    }
  }

  /** Owners of what stands right before a request that waits: of the one before it, or of some that are granted. */
  suspectsOf(request: number): number[] {
    const { memory } = this
    const previous = memory.get(request, REQUEST.PREVIOUS)
    if (previous !== 0) return [memory.get(previous, REQUEST.OWNER)]
    const owners: number[] = []
    let at = memory.get(memory.get(request, REQUEST.RECORD), RECORD.GRANTED)
    for (; at !== 0 && owners.length < MOST_SUSPECTS; at = memory.get(at, REQUEST.NEXT))
      owners.push(memory.get(at, REQUEST.OWNER))
    return owners
  }

  /** The owners of requests that a new one would have to wait for. */
  ownersOf(record: number): Set<number> {
    const { memory } = this
    const owners = new Set<number>()
    if (record === 0) return owners
    for (const chain of [RECORD.GRANTED, RECORD.WAITING_FIRST]) {
      for (let request = memory.get(record, chain); request !== 0; request = memory.get(request, REQUEST.NEXT))
        owners.add(memory.get(request, REQUEST.OWNER))
    }
    return owners
  }

  /** The owner that has the lock of a record; undefined if nobody has it. */
  holderOf(record: number): number | undefined {
    const granted = record === 0 ? 0 : this.memory.get(record, RECORD.GRANTED)
    return granted === 0 ? undefined : this.memory.get(granted, REQUEST.OWNER)
  }
}

/** How many cells the key takes beside that of its record. */
const partsOf = (key: Uint8Array): number => Math.ceil(Math.max(0, key.length - RECORD_KEY_BYTES) / KEY_PART_BYTES)

/** What a mode is called in the file. */
export const modeNumber = (mode: 'exclusive' | 'shared'): number => (mode === 'shared' ? SHARED : EXCLUSIVE)
