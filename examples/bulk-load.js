// Loading many records fast, and reading every one of them back.
//
// Three things make a load fast: batches, since one batch is one frame of the log; a few batches on their way at a
// time, so that the next ones are prepared while the disk is busy; and keys in ascending order, which leave full
// slots. What has been acknowledged is on disk; a load that is interrupted goes on after the last key that is
// there.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'mmapdb'

const RECORDS = 100_000
const BATCH = 1000
const AT_A_TIME = 4

const path = mkdtempSync(join(tmpdir(), 'mmapdb-bulk-load-'))
const record = (n) => ({ n, name: `record ${n}`, even: n % 2 === 0 })

/** The batches from record `from` on, each made when it is asked for: they need not fit into memory together. */
function* batches(from) {
  for (let first = from; first < RECORDS; first += BATCH) {
    const length = Math.min(BATCH, RECORDS - first)
    yield Array.from({ length }, (_, i) => ({ type: 'put', key: first + i, value: record(first + i) }))
  }
}

/** Loads what is missing, but at most `most` batches. Writes take effect in the order in which they are made. */
async function load(db, most = Infinity) {
  const [last] = db.keys({ reverse: true, limit: 1 })
  const waiting = []
  for (const batch of batches((last ?? -1) + 1)) {
    if (most-- === 0) break
    waiting.push(db.batch(batch))
    if (waiting.length === AT_A_TIME) await waiting.shift()
  }
  await Promise.all(waiting)
}

let db = await open(path)
await load(db, 40) // interrupted
await db.close()
db = await open(path)
assert.equal(db.count(), 40 * BATCH)
await load(db) // goes on

let n = 0
for (const [key, value] of db.range()) {
  assert.equal(key, n)
  assert.deepEqual(value, record(n++))
}
assert.equal(n, RECORDS)
// Many keys at once are read by a worker; the event loop does not wait for the disk.
assert.deepEqual(await db.getMany([0, 99_999, -1]), [record(0), record(99_999), undefined])
assert.equal((await db.verify()).ok, true)

console.log(`${n} records were loaded in two runs, read back and verified`)
await db.close()
rmSync(path, { recursive: true })
