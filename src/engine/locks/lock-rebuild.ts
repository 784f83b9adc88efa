// Making the table of record locks whole again after a thread has died while it changed it.
//
// The states of cells are true at every moment (lock-requests.ts), and so is what a request that waits or is
// granted says of itself, and the key of its record. So everything else is derived from these again: the buckets,
// the queues, the requests of each seat and their news, the free cells, the counts. A thread that dies while it
// does this has changed no state but that of cells that are not in use, and the next one starts over.
//
// What was about to happen may not have happened: a request removed, and the next not granted. So every queue is
// looked at once more, and every seat with news is woken.
import { crashPoint } from '../../crash-points.js'
import { MAX_SEATS } from '../shared/control.js'
import { seatOf } from '../shared/seats.js'
import { AT, BUCKETS, FIRST_CELL, FREE_NEXT, KEY_PART, RECORD, REQUEST, SEAT, STATE } from './lock-layout.js'
import type { LockMemory } from './lock-memory.js'
import type { LockRequests } from './lock-requests.js'

/** Derives all chains from the states of the cells. The caller holds the mutex. */
export function rebuild(requests: LockRequests): void {
  const { memory } = requests
  const { i32, f64 } = memory
  forgetChains(memory)
  const live = requestsIn(memory)
  crashPoint('lock-table-rebuilding')
  // A byte for each cell, since a Set holds some sixteen million at most.
  const kept = new Uint8Array(i32[AT.CELLS_USED >> 2]!)
  const records: number[] = []
  for (const request of live) {
    const record = memory.get(request, REQUEST.RECORD)
    kept[request] = 1
    if (kept[record] === 1) continue
    records.push(record)
    kept[record] = 1
    for (let part = memory.get(record, RECORD.KEY_CELL); part !== 0; part = memory.get(part, KEY_PART.NEXT))
      kept[part] = 1
    requests.linkRecord(record)
  }
  freeAllBut(kept, memory)
  let granted = 0
  for (const request of live) {
    requests.linkRequest(request)
    if (!requests.isGranted(request)) continue
    granted++
    if (memory.get(request, REQUEST.IS_NEWS) === 1) requests.addNews(request)
  }
  i32[AT.GRANTED >> 2] = granted
  i32[AT.WAITING >> 2] = live.length - granted
  if (live.length > 0) f64[AT.TICKET >> 3] = Math.max(f64[AT.TICKET >> 3]!, requests.ticketOf(live.at(-1)!) + 1)
  for (const record of records) requests.grantNext(record)
  for (const request of live) requests.toWake.add(seatOf(memory.get(request, REQUEST.OWNER)))
}

function forgetChains(memory: LockMemory): void {
  const { i32 } = memory
  i32.fill(0, AT.BUCKETS >> 2, (AT.BUCKETS >> 2) + BUCKETS)
  for (let seat = 0; seat < MAX_SEATS; seat++) {
    i32[memory.seatWord(seat, SEAT.REQUESTS)] = 0
    i32[memory.seatWord(seat, SEAT.NEWS)] = 0
  }
}

/** All requests that wait or are granted, in the order in which they were made. */
function requestsIn(memory: LockMemory): number[] {
  const found: number[] = []
  for (let cell = FIRST_CELL, end = memory.i32[AT.CELLS_USED >> 2]!; cell < end; cell++) {
    const state = memory.state(cell)
    if (state === STATE.WAITING || state === STATE.GRANTED) found.push(cell)
  }
  const ticketOf = (request: number): number => memory.getF64(request, REQUEST.TICKET_F64)
  return found.sort((a, b) => ticketOf(a) - ticketOf(b))
}

function freeAllBut(kept: Uint8Array, memory: LockMemory): void {
  const { i32 } = memory
  let next = 0
  for (let cell = i32[AT.CELLS_USED >> 2]! - 1; cell >= FIRST_CELL; cell--) {
    if (kept[cell] === 1) continue
    memory.setState(cell, STATE.FREE)
    memory.set(cell, FREE_NEXT, next)
    next = cell
  }
  i32[AT.FREE >> 2] = next
}
