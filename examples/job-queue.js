// A queue of jobs that several processes work on: each job is done exactly once, whichever of them is killed.
//
// A worker claims a job by its record lock, which it keeps for as long as it works on it. That takes no write, and no
// lease whose length has to be guessed and renewed: if the worker dies, its lock is free within some 50 ms, and another
// worker has the job. What a job comes to is recorded in the transaction that removes the job: both or neither. So a
// job may be started twice, but it counts once, whatever becomes of locks.
//
// Nobody asks again and again. A worker that finds nothing to do waits for a change of the queue, or for the lock of a
// job that another one works on, whichever comes first.
//
// Exactly once goes for what is in the database. A mail may be sent twice, if the worker dies after sending it: give it
// the key of the job, so that the receiver can tell. A worker that hangs keeps its job: give the work a time limit.
//
//     node examples/job-queue.js --seconds 600
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { open } from 'mmapdb'
import { Crew, isStop, path, role, seconds, start, stopping } from './support/crew.js'

/** Claims the first job that nobody works on, and waits until there is one. Release the lock after the job. */
async function claim(db, signal) {
  for (;;) {
    signal.throwIfAborted()
    const feed = db.changes({ prefix: ['job'], signal }) // before the look at the queue, so that it misses nothing
    try {
      const taken = []
      for (const key of db.keys({ prefix: ['job'] })) {
        const lock = db.tryLock([key])
        const job = lock && db.get(key)
        if (job !== undefined) return { key, job, lock }
        if (lock === undefined) taken.push(key)
        else lock.release() // done since the loop began
      }
      const news = feed.next()
      if (taken.length === 0) await news
      else {
        const key = taken[Math.floor(taken.length * Math.random())]
        const lock = await lockUnless(db, key, news)
        const job = lock && db.get(key)
        if (job !== undefined) return { key, job, lock }
        lock?.release()
      }
    } finally {
      await feed.return()
    }
  }
}

/** Waits for a lock until `news` comes: undefined then. */
async function lockUnless(db, key, news) {
  const giveUp = new AbortController()
  const lock = db.lock([key], { signal: giveUp.signal, timeoutMs: Infinity }).catch((error) => {
    if (error !== giveUp.signal.reason) throw error
  })
  try {
    await Promise.race([lock, news])
  } finally {
    giveUp.abort() // has no effect if the lock is there already
  }
  return lock
}

/** Removes a job and records what it has come to. False if that has been done already. */
const complete = (db, key, { account, amount }) =>
  db.transaction((tx) => {
    if (!tx.has(key)) return false
    tx.del(key)
    tx.add(['balance', account], amount)
    tx.add(['times done', key[1]], 1)
    return true
  })

async function work(path) {
  const db = await open(path)
  process.send('at work')
  try {
    for (;;) {
      const { key, job, lock } = await claim(db, stopping)
      try {
        await db.add('started', 1) // for the check below
        await pause(50 * Math.random()) // the work
        await complete(db, key, job)
      } finally {
        lock.release()
      }
    }
  } catch (error) {
    if (!isStop(error)) throw error
  }
  await db.close()
}

async function main() {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-job-queue-'))
  const db = await open(path)
  const crew = await Crew.of(Array.from({ length: 4 }, () => () => start('work', path)))

  // Bursts of jobs: at times there are more than workers, and at times none.
  const balances = [0, 0, 0]
  let jobs = 0
  const enqueue = async () => {
    const endMs = performance.now() + 1000 * seconds
    while (performance.now() < endMs) {
      await pause(400 * Math.random())
      if (db.count({ prefix: ['job'] }) > 100) continue // a machine that is busy has enough to do
      const burst = Array.from({ length: Math.ceil(50 * Math.random()) }, () => {
        const job = { account: jobs % 3, amount: 1 + (jobs % 7) }
        balances[job.account] += job.amount
        return { type: 'put', key: ['job', jobs++], value: job }
      })
      await db.batch(burst)
    }
  }
  await Promise.all([enqueue(), crew.killFor(seconds)])
  const isEmpty = () => db.count({ prefix: ['job'] }) === 0
  for (let tries = 0; !isEmpty(); tries++) {
    assert.ok(tries < 1000, 'the queue does not become empty')
    await pause(20)
  }
  await crew.end()

  assert.deepEqual([...db.values({ prefix: ['balance'] })], balances)
  assert.equal(db.count({ prefix: ['times done'] }), jobs)
  for (const times of db.values({ prefix: ['times done'] })) assert.equal(times, 1)
  const again = db.get('started') - jobs
  assert.ok(again <= crew.kills)
  console.log(`${jobs} jobs were done once each; ${crew.kills} workers were killed; jobs started again: ${again}`)
  await db.close()
  rmSync(path, { recursive: true })
}

await (role === undefined ? main() : work(path))
