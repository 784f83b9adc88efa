// An event log: events with numbers that have no gaps, an index of them, pages, and a consumer that misses nothing and
// does nothing twice. Several processes append, and all of them are killed at times.
//
// An event and its entry in the index are put in one transaction, which takes the number after the last. Two that take
// the same number at once cannot both take effect: the later one is run again, and takes the next. The last number has
// an entry of its own, so that those who want the next one take turns.
//
// The consumer follows the changes of the store, and writes the cursor of each change in one batch with what it does
// about it. So the cursor always tells what has been done, and the next consumer goes on from there. A lock makes sure
// that there is one at a time: a second process waits for the lock, and takes over when the first one dies.
//
//     node examples/event-log.js --seconds 600
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { open } from 'mmapdb'
import { Crew, isStop, path, role, seconds, start, stopping } from './support/crew.js'

const AUTHORS = ['Ada', 'Bob', 'Cyd']

/** How far a consumer may fall behind, or be away. One that comes too late for that can begin with the events. */
const openLog = (path) => open(path, { retain: { bytes: 256 * 2 ** 20 } })

/** Appends an event, and resolves to its number. */
const append = (db, event) =>
  db.transaction((tx) => {
    const number = (tx.get('last number') ?? 0) + 1
    tx.put('last number', number)
    tx.store('events').put(number, event)
    tx.store('events by author').put([event.author, number], true)
    return number
  })

/** A page of the events of an author. `next` is the cursor of the next page; undefined after the last. */
async function page(db, author, { after = 0, limit = 100 } = {}) {
  const keys = db.store('events by author').keys({ prefix: [author], gt: [author, after], limit })
  const numbers = [...keys].map(([, number]) => number)
  const events = await db.store('events').getMany(numbers)
  return { events, next: numbers.length === limit ? numbers.at(-1) : undefined }
}

/** Counts the events of each author: what the program is here for would be in its place. */
async function consume(db, signal) {
  const lock = await db.lock('consumer', { timeoutMs: Infinity, signal })
  try {
    const state = db.store('consumer')
    let number = state.get('number') ?? 0
    for await (const change of db.changes({ store: 'events', since: state.get('cursor') ?? 0, signal })) {
      assert.equal(change.key, ++number) // nothing is missed or told again
      await state.batch([
        { type: 'add', key: ['events of', change.value.author], delta: 1 },
        { type: 'put', key: 'number', value: number },
        { type: 'put', key: 'cursor', value: change.cursor },
      ])
    }
  } finally {
    lock.release()
  }
}

/** Appends until it is stopped. `nth` goes on from what is in the log: that alone says what its last call did. */
async function write(db, author, signal) {
  const [last] = db.store('events by author').keys({ prefix: [author], reverse: true, limit: 1 })
  let nth = last === undefined ? 0 : db.store('events').get(last[1]).nth
  while (!signal.aborted) {
    const event = { author, nth: ++nth, text: `${Math.random()}` }
    process.send({ number: await append(db, event), event })
    await pause(5 * Math.random())
  }
}

async function work(role, path) {
  const db = await openLog(path)
  process.send('at work')
  try {
    if (role === 'consume') await consume(db, stopping)
    else await write(db, role, stopping)
  } catch (error) {
    if (!isStop(error)) throw error
  }
  await db.close()
}

async function main() {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-event-log-'))
  const db = await openLog(path)
  const events = db.store('events')
  // What an author was told is in the log at once, for every process.
  const check = ({ number, event }) => number === undefined || assert.deepEqual(events.get(number), event)
  const authors = await Crew.of(AUTHORS.map((author) => () => start(author, path).on('message', check)))
  const consumers = await Crew.of([() => start('consume', path), () => start('consume', path)])
  await Promise.all([authors.killFor(seconds), consumers.killFor(seconds)])
  await authors.end()

  const count = events.count()
  const state = db.store('consumer')
  for await (const { value } of state.watch('number', { signal: AbortSignal.timeout(30_000) })) {
    if (value === count) break
  }
  await consumers.end()

  let number = 0
  for (const key of events.keys()) assert.equal(key, ++number) // no gap
  for (const author of AUTHORS) {
    let nth = 0
    for (let after = 0; after !== undefined;) {
      const { events, next } = await page(db, author, { after })
      for (const event of events) assert.deepEqual([event.author, event.nth], [author, ++nth])
      after = next
    }
    assert.equal(state.get(['events of', author]), nth)
    number -= nth
  }
  assert.equal(number, 0) // all of them are in the index
  console.log(`${count} events in a row; ${authors.kills} authors and ${consumers.kills} consumers were killed`)
  await db.close()
  rmSync(path, { recursive: true })
}

await (role === undefined ? main() : work(role, path))
