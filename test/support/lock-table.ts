// A look at every cell of a table of record locks: what the chains say must be what the cells say.
import { join } from 'node:path'
import {
  AT,
  BUCKETS,
  FIRST_CELL,
  FREE_NEXT,
  KEY_PART,
  RECORD,
  REQUEST,
  SEAT,
  SHARED,
  STATE,
} from '../../src/engine/locks/lock-layout.js'
import { LockMemory } from '../../src/engine/locks/lock-memory.js'
import { LockRequests } from '../../src/engine/locks/lock-requests.js'
import { MAX_SEATS } from '../../src/engine/shared/control.js'
import { posixStorage } from '../../src/storage/posix.js'
import type { Region } from '../../src/storage/storage.js'
import { LOCKS_RESERVE_BYTES, LOCKS_WINDOW_BYTES } from '../../src/engine/locks/lock-layout.js'

/** A table of its own, in memory. */
export function emptyTable(): { requests: LockRequests; region: Region } {
  const region = posixStorage.openRegion('', {
    mode: 'anonymous',
    reserveBytes: LOCKS_RESERVE_BYTES,
    windowBytes: LOCKS_WINDOW_BYTES,
  })
  region.grow(AT.CELLS)
  const memory = new LockMemory(region)
  memory.f64[AT.TICKET >> 3] = 1
  memory.i32[AT.CELLS_USED >> 2] = FIRST_CELL
  return { requests: new LockRequests(memory, () => Date.now()), region }
}

/** The same of the table of a database that nobody changes at this moment. */
export function problemsIn(path: string): string[] {
  const region = posixStorage.openRegion(join(path, 'locks'), {
    mode: 'shared',
    reserveBytes: LOCKS_RESERVE_BYTES,
    windowBytes: LOCKS_WINDOW_BYTES,
  })
  try {
    return problemsOf(new LockRequests(new LockMemory(region), () => 0))
  } finally {
    region.close()
  }
}

/** What is wrong with a table that nobody changes at this moment. */
export function problemsOf({ memory }: LockRequests): string[] {
  const { i32 } = memory
  const problems: string[] = []
  const wrong = (what: string): void => void problems.push(what)
  const used = i32[AT.CELLS_USED >> 2]!
  const seen = new Map<number, string>()
  const see = (cell: number, as: string): boolean => {
    if (cell < FIRST_CELL || cell >= used) wrong(`${as} leads to cell ${cell}`)
    else if (seen.has(cell)) wrong(`cell ${cell} is ${seen.get(cell)} and ${as}`)
    else {
      seen.set(cell, as)
      return true
    }
    return false
  }
  let granted = 0
  let waiting = 0
  const checkRecord = (record: number): void => {
    for (let part = memory.get(record, RECORD.KEY_CELL); part !== 0; part = memory.get(part, KEY_PART.NEXT)) {
      if (!see(part, 'a part of a key')) return
      if (memory.state(part) !== STATE.KEY) wrong(`the part of a key ${part} has state ${memory.state(part)}`)
    }
    const chain = (first: number, state: number): number[] => {
      const found: number[] = []
      for (let at = first, previous = 0; at !== 0; previous = at, at = memory.get(at, REQUEST.NEXT)) {
        if (!see(at, `a request in state ${state}`)) break
        if (memory.state(at) !== state) wrong(`request ${at} has state ${memory.state(at)}, not ${state}`)
        if (memory.get(at, REQUEST.PREVIOUS) !== previous) wrong(`what stands before request ${at} is not ${previous}`)
        if (memory.get(at, REQUEST.RECORD) !== record) wrong(`request ${at} is not for record ${record}`)
        found.push(at)
      }
      return found
    }
    const has = chain(memory.get(record, RECORD.GRANTED), STATE.GRANTED)
    const wants = chain(memory.get(record, RECORD.WAITING_FIRST), STATE.WAITING)
    granted += has.length
    waiting += wants.length
    const isShared = (request: number): boolean => memory.get(request, REQUEST.MODE) === SHARED
    if (has.length === 0) wrong(`nobody has record ${record}`)
    if (has.length > 1 && !has.every(isShared)) wrong(`several have record ${record}, not all shared`)
    if (wants.length > 0 && has.every(isShared) && isShared(wants[0]!)) wrong(`request ${wants[0]} could be granted`)
    if ((wants.at(-1) ?? 0) !== memory.get(record, RECORD.WAITING_LAST)) wrong(`the last for ${record} is another`)
    const tickets = wants.map((request) => memory.getF64(request, REQUEST.TICKET_F64))
    if (tickets.some((ticket, i) => i > 0 && ticket <= tickets[i - 1]!)) wrong(`the queue of ${record} has no order`)
  }
  for (let i = 0; i < BUCKETS; i++) {
    for (let record = i32[(AT.BUCKETS >> 2) + i]!; record !== 0; record = memory.get(record, RECORD.NEXT_IN_BUCKET)) {
      if (!see(record, 'a record')) break
      if (memory.state(record) !== STATE.RECORD) wrong(`record ${record} has state ${memory.state(record)}`)
      checkRecord(record)
    }
  }
  for (let cell = i32[AT.FREE >> 2]!; cell !== 0; cell = memory.get(cell, FREE_NEXT)) {
    if (!see(cell, 'free')) break
    if (memory.state(cell) !== STATE.FREE) wrong(`free cell ${cell} has state ${memory.state(cell)}`)
  }
  if (seen.size !== used - FIRST_CELL) wrong(`${used - FIRST_CELL - seen.size} of ${used - FIRST_CELL} cells are lost`)
  let ofSeats = 0
  let news = 0
  for (let seat = 0; seat < MAX_SEATS; seat++) {
    for (let at = i32[memory.seatWord(seat, SEAT.REQUESTS)]!; at !== 0; at = memory.get(at, REQUEST.SEAT_NEXT)) {
      if (++ofSeats > seen.size) break
      if (memory.get(at, REQUEST.STATE) === STATE.GRANTED && memory.get(at, REQUEST.IS_NEWS) === 1) news++
    }
    for (let at = i32[memory.seatWord(seat, SEAT.NEWS)]!; at !== 0; at = memory.get(at, REQUEST.NEWS_NEXT)) news--
  }
  if (ofSeats !== granted + waiting) wrong(`the seats have ${ofSeats} of ${granted + waiting} requests`)
  if (news !== 0) wrong(`${news} news more than the seats know of`)
  if (i32[AT.GRANTED >> 2] !== granted || i32[AT.WAITING >> 2] !== waiting)
    wrong(`counted: ${i32[AT.GRANTED >> 2]}, ${i32[AT.WAITING >> 2]}; there are ${granted}, ${waiting}`)
  return problems
}
