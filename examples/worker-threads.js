// Worker threads of your own that share one database.
//
// Each thread opens the same directory, with `workers: 0`: a thread that does nothing but work on the database
// needs no helpers, and the synchronous methods are the fastest for it. What one thread has written, every other
// sees at once. Threads that write at the same time share flushes.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { open } from 'mmapdb'

const THREADS = 4
const DOCUMENTS = 400

const digest = (text) => createHash('sha256').update(text).digest()

/** Takes every fourth document, and writes its digest beside it. */
async function work({ path, me }) {
  const db = await open(path, { workers: 0 })
  for (let i = me; i < DOCUMENTS; i += THREADS) db.putSync(['digest', i], digest(db.get(['document', i])))
  await db.close()
}

if (!isMainThread) {
  await work(workerData)
} else {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-worker-threads-'))
  const db = await open(path)
  const documents = Array.from({ length: DOCUMENTS }, (_, i) => `document ${i} `.repeat(i))
  await db.batch(documents.map((value, i) => ({ type: 'put', key: ['document', i], value })))

  const file = fileURLToPath(import.meta.url)
  const threads = Array.from({ length: THREADS }, (_, me) => new Worker(file, { workerData: { path, me } }))
  // `once` rejects if a thread ends with an error.
  for (const [code] of await Promise.all(threads.map((thread) => once(thread, 'exit')))) assert.equal(code, 0)

  let n = 0
  for (const [[, i], value] of db.range({ prefix: ['digest'] })) {
    assert.equal(i, n++)
    assert.deepEqual(value, digest(documents[i]))
  }
  assert.equal(n, DOCUMENTS)
  console.log(`${THREADS} threads wrote ${n} digests; ${db.stats().commits.flushes} flushes carried them`)
  await db.close()
  rmSync(path, { recursive: true })
}
