// A counter that many processes raise at once, and a seat that only one of them gets.
//
// `add` needs no read, so no count is lost: each caller gets its own sum, and those who add at the same time share one
// flush. What does need a read is written on a condition: it takes effect only if the entry is still the one that was
// read, and says whether it did.
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

async function visit(path, me) {
  const db = await open(path, { workers: 1 })
  for (let i = 0; i < HITS; i++) await db.add('hits', 1)
  await takeSeat(db, me)
  if (await db.put('first', me, { ifAbsent: true })) console.log(`process ${me} was the first to be done`)
  await db.close()
}

/** Adds a name to a list that all processes change. */
async function takeSeat(db, name) {
  for (;;) {
    const entry = db.getEntry('seats')
    const seats = [...(entry?.value ?? []), name]
    if (await db.put('seats', seats, { ifVersion: entry?.version ?? 0 })) return
    // Another process has changed the list meanwhile: read it again.
  }
}

if (process.argv[2] !== undefined) {
  await visit(process.argv[2], Number(process.argv[3]))
} else {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-counter-'))
  const db = await open(path)
  const children = Array.from({ length: PROCESSES }, (_, i) => fork(fileURLToPath(import.meta.url), [path, String(i)]))
  for (const [code] of await Promise.all(children.map((child) => once(child, 'exit')))) assert.equal(code, 0)

  assert.equal(db.get('hits'), PROCESSES * HITS)
  assert.deepEqual([...db.get('seats')].sort(), [0, 1, 2, 3])
  const { operations, flushes } = db.stats().commits
  console.log(`${db.get('hits')} hits by ${PROCESSES} processes; ${operations} operations shared ${flushes} flushes`)
  await db.close()
  rmSync(path, { recursive: true })
}
