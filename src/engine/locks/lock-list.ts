// Who has and who wants record locks, for those who ask: read without the mutex, so that also a user who may only
// read can look, and nobody is held up. What changes meanwhile is there or not. A request is taken over only if its
// state and its ticket are the same before and after the rest of it was read: then it was the same request all the
// time, and so its record was there with its key.
import { decodeTreeKey, storeOf } from '../../encoding/key-space.js'
import type { Key } from '../../encoding/keys.js'
import { loadFence } from '../../storage/fence.js'
import { seatOf, type Seats } from '../shared/seats.js'
import {
  AT,
  FIRST_CELL,
  KEY_PART,
  KEY_PART_BYTES,
  RECORD,
  RECORD_KEY_BYTES,
  REQUEST,
  SEAT,
  SHARED,
  STATE,
} from './lock-layout.js'
import type { LockMemory } from './lock-memory.js'
import { MAX_TREE_KEY_BYTES } from '../../limits.js'
import { isTransactionLock } from './transaction-names.js'

/** A record lock that somebody has or waits for. Those of transactions are not among them. */
export interface LockInfo {
  readonly key: Key
  /** The name of the store that the record is of; undefined for the default store, and for one that is gone. */
  readonly store: string | undefined
  readonly mode: 'exclusive' | 'shared'
  readonly state: 'held' | 'waiting'
  /** The process that has it or waits for it: for information only, since a number is used again. */
  readonly processId: number
  /** Since when it has it or waits: milliseconds since 1970. */
  readonly sinceMs: number
}

interface Found extends Omit<LockInfo, 'store'> {
  readonly bytes: Buffer
  readonly ticket: number
}

/**
 * @internal
 * All of them, in the order of the keys, those of named stores first; of one key those that have it first, and then
 * those that wait, in turn.
 */
export function listLocks(
  memory: LockMemory,
  seats: Seats,
  nameOf: (storeNumber: number) => string | undefined,
): LockInfo[] {
  memory.lookAgain()
  const found: Found[] = []
  const isAlive = livingOwners(seats)
  for (let cell = FIRST_CELL, end = Atomics.load(memory.i32, AT.CELLS_USED >> 2); cell < end; cell++) {
    const state = memory.state(cell)
    if (state !== STATE.GRANTED && state !== STATE.WAITING) continue
    const request = readRequest(memory, cell, state)
    if (request !== undefined && isAlive(request.owner)) found.push(request)
  }
  found.sort(
    (a, b) =>
      Buffer.compare(a.bytes, b.bytes) ||
      Number(a.state === 'waiting') - Number(b.state === 'waiting') ||
      a.ticket - b.ticket,
  )
  return found.map(({ bytes, key, mode, state, processId, sinceMs }) => {
    const number = storeOf(bytes) ?? 0
    return { key, store: number === 0 ? undefined : nameOf(number), mode, state, processId, sinceMs }
  })
}

/**
 * @internal
 * How many there are of threads that live, those of transactions included. The table counts them, too, but those of the
 * dead with them until somebody wants the same record.
 */
export function countLocks(memory: LockMemory, seats: Seats): { readonly held: number; readonly waiting: number } {
  memory.lookAgain()
  const { i32 } = memory
  let held = 0
  let waiting = 0
  if (Atomics.load(i32, AT.GRANTED >> 2) === 0 && Atomics.load(i32, AT.WAITING >> 2) === 0) return { held, waiting }
  const isAlive = livingOwners(seats)
  for (let cell = FIRST_CELL, end = Atomics.load(i32, AT.CELLS_USED >> 2); cell < end; cell++) {
    const state = memory.state(cell)
    if (state !== STATE.GRANTED && state !== STATE.WAITING) continue
    if (!isAlive(memory.get(cell, REQUEST.OWNER)) || memory.state(cell) !== state) continue
    if (state === STATE.GRANTED) held++
    else waiting++
  }
  return { held, waiting }
}

/** Looks at each owner once. */
function livingOwners(seats: Seats): (owner: number) => boolean {
  const alive = new Map<number, boolean>()
  return (owner) => {
    let is = alive.get(owner)
    if (is === undefined) alive.set(owner, (is = !seats.isDead(owner)))
    return is
  }
}

function readRequest(memory: LockMemory, cell: number, state: number): (Found & { owner: number }) | undefined {
  const ticket = memory.getF64(cell, REQUEST.TICKET_F64)
  const owner = memory.get(cell, REQUEST.OWNER)
  const mode = memory.get(cell, REQUEST.MODE)
  const sinceMs = memory.getF64(cell, REQUEST.SINCE_F64)
  const bytes = readKey(memory, memory.get(cell, REQUEST.RECORD))
  const processId = memory.i32[memory.seatWord(seatOf(owner), SEAT.PROCESS_ID)]!
  loadFence()
  if (bytes === undefined || memory.state(cell) !== state || memory.getF64(cell, REQUEST.TICKET_F64) !== ticket)
    return undefined
  if (isTransactionLock(bytes)) return undefined
  return {
    key: decodeTreeKey(bytes, 0, bytes.length),
    mode: mode === SHARED ? 'shared' : 'exclusive',
    state: state === STATE.GRANTED ? 'held' : 'waiting',
    processId,
    sinceMs,
    bytes,
    ticket,
    owner,
  }
}

/** The key of a record; undefined if what is read is not one. */
function readKey(memory: LockMemory, record: number): Buffer | undefined {
  if (!memory.has(record)) return undefined
  const length = memory.get(record, RECORD.KEY_LENGTH)
  if (length < 1 || length > MAX_TREE_KEY_BYTES) return undefined
  const key = Buffer.allocUnsafe(length)
  let cell = record
  let word: number = RECORD.KEY
  let room = RECORD_KEY_BYTES
  let next = memory.get(record, RECORD.KEY_CELL)
  for (let at = 0; ;) {
    const from = memory.byteOf(cell, word)
    const part = memory.bytesOf(cell).subarray(from, from + Math.min(room, length - at))
    key.set(part, at)
    at += part.length
    if (at === length) return key
    if (next <= 0 || !memory.has(next)) return undefined
    cell = next
    word = KEY_PART.KEY
    room = KEY_PART_BYTES
    next = memory.get(cell, KEY_PART.NEXT)
  }
}
