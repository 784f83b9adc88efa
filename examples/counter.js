// A counter that many processes raise at once.
//
// Each process counts under a key of its own, so no write of one process can undo a write of another, and no
// process waits for another. The total is the sum of all keys that share the counter's name: one short range.
// (There is no read-modify-write yet: two processes that both did `put(key, get(key) + 1)` would lose counts.)
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from 'mmapdb'

const PROCESSES = 4
const HITS = 250

/** What each process does: it raises its own part of the counter, and every hit is on disk before it counts. */
async function countHits(path, me) {
  const db = await open(path, { workers: 1 })
  const key = ['hits', 'home page', me]
  let mine = db.get(key) ?? 0 // where an earlier life of this process stopped
  for (let i = 0; i < HITS; i++) await db.put(key, ++mine)
  await db.close()
}

/** What the counter says now, also while others count. */
function total(db) {
  let sum = 0
  for (const hits of db.values({ prefix: ['hits', 'home page'] })) sum += hits
  return sum
}

if (process.argv[2] !== undefined) {
  await countHits(process.argv[2], Number(process.argv[3]))
} else {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-counter-'))
  const db = await open(path)
  const children = Array.from({ length: PROCESSES }, (_, i) => fork(fileURLToPath(import.meta.url), [path, String(i)]))
  for (const [code] of await Promise.all(children.map((child) => once(child, 'exit')))) assert.equal(code, 0)

  assert.equal(total(db), PROCESSES * HITS)
  const { operations, flushes } = db.stats().commits
  console.log(`${total(db)} hits by ${PROCESSES} processes; ${operations} writes shared ${flushes} flushes`)
  await db.close()
  rmSync(path, { recursive: true })
}
