// Reading one moment while another process writes.
//
// A bank of 100 accounts; the sum of all of them never changes. Another process moves money from account to
// account, each time in one batch. A reader that adds up the accounts meanwhile, one by one, needs a snapshot: it
// shows one moment, however long it is read and whatever is written. An iterator is a snapshot of its own.
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from 'mmapdb'

const ACCOUNTS = 100
const TRANSFERS = 2000

/** The only writer, so what it reads is what it last wrote. */
async function moveMoney(path) {
  const db = await open(path, { workers: 0 })
  for (let i = 0; i < TRANSFERS; i++) {
    const from = ['account', i % ACCOUNTS]
    const to = ['account', (i * 7 + 1) % ACCOUNTS]
    if (from[1] === to[1]) continue
    db.batchSync([
      { type: 'put', key: from, value: db.get(from) - 1 },
      { type: 'put', key: to, value: db.get(to) + 1 },
    ])
  }
  await db.close()
}

if (process.argv[2] !== undefined) {
  await moveMoney(process.argv[2])
} else {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-snapshots-'))
  const db = await open(path)
  await db.batch(Array.from({ length: ACCOUNTS }, (_, i) => ({ type: 'put', key: ['account', i], value: 1000 })))

  const child = fork(fileURLToPath(import.meta.url), [path])
  let exitCode
  child.once('exit', (code) => (exitCode = code))
  const first = db.snapshot() // held open to the end
  const moments = new Set()
  while (exitCode === undefined) {
    const snapshot = db.snapshot()
    let sum = 0
    for (let i = 0; i < ACCOUNTS; i++) sum += snapshot.get(['account', i])
    assert.equal(sum, ACCOUNTS * 1000)
    assert.equal(
      [...db.values({ prefix: ['account'] })].reduce((a, b) => a + b),
      ACCOUNTS * 1000,
    )
    moments.add(snapshot.lsn)
    snapshot.close() // until then it keeps what it sees from being used again
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  assert.equal(exitCode, 0)
  assert.ok(
    [...first.values()].every((money) => money === 1000),
    'the first snapshot shows the beginning still',
  )
  first.close()

  console.log(`the sum was the same at ${moments.size} different moments`)
  await db.close()
  rmSync(path, { recursive: true })
}
