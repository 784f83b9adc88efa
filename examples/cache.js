// A cache that several processes share: entries expire, a value that many ask for at once is computed by one of them
// while the others wait, and the cache does not grow beyond its bound.
//
// Who finds nothing takes the record lock of the key, looks once more, and computes. The others wait for the lock, and
// find the value. If the one who computes is killed, its lock is free at once, and the next one computes.
//
// The bound: keys begin with the number of a generation. New entries are put into the newest; when that has half of
// what the cache may hold, the generation before it is cleared, which is one write however much it holds, and a newer one
// begins. An entry that is used again moves to the newest. So what is not used is dropped first, and nobody has to
// remember when an entry was used.
//
//     node examples/cache.js --seconds 600
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { open } from 'mmapdb'
import { Crew, path, role, seconds, start, stopping } from './support/crew.js'

class Cache {
  #db
  #entries
  #ttlMs
  #half

  constructor(db, { ttlMs, most }) {
    this.#db = db
    this.#entries = db.store('cache')
    this.#ttlMs = ttlMs
    this.#half = most / 2
  }

  /** The value of a key; if there is none, what `compute` resolves to. */
  async get(key, compute) {
    const found = await this.#find(key)
    if (found !== undefined) return found.value
    const lock = await this.#entries.lock([key])
    try {
      const found = await this.#find(key) // another one may have computed it meanwhile
      if (found !== undefined) return found.value
      const generation = this.#generation.value
      const value = await compute(key)
      await this.#entries.put([generation, key], value, { ttlMs: this.#ttlMs })
      await this.#keepBound()
      return value
    } finally {
      lock.release()
    }
  }

  /** Drops the value of a key. One that is being computed is waited for, and dropped as well. */
  async delete(key) {
    const lock = await this.#entries.lock([key])
    try {
      await this.#db.transaction((tx) => {
        const newest = tx.get('cache generation') ?? 1
        tx.store('cache').del([newest, key])
        tx.store('cache').del([newest - 1, key])
      })
    } finally {
      lock.release()
    }
  }

  /** Drops all values. Those that are being computed go into a generation that nobody looks into any more. */
  async clear() {
    const newest = await this.#db.update('cache generation', (newest = 1) => newest + 2)
    await this.#entries.clear({ lt: [newest] })
  }

  /** How many entries there are. */
  get size() {
    return this.#entries.count()
  }

  get #generation() {
    return this.#db.getEntry('cache generation') ?? { value: 1, version: 0 }
  }

  async #find(key) {
    const { value: newest } = this.#generation
    const found = this.#entries.getEntry([newest, key])
    if (found !== undefined) return found
    const older = this.#entries.getEntry([newest - 1, key])
    if (older === undefined) return undefined
    // It moves, unless another one has moved or deleted it meanwhile. It keeps its time.
    const { value, version, expiresAt } = older
    await this.#entries.batch([
      { type: 'del', key: [newest - 1, key], ifVersion: version },
      { type: 'put', key: [newest, key], value, expiresAt },
    ])
    await this.#keepBound()
    return older
  }

  /** After each entry that comes into the newest generation. Those who do so at the same time may pass the bound. */
  async #keepBound() {
    const { value: newest, version } = this.#generation
    if (this.#entries.count({ prefix: [newest] }) < this.#half) return
    await this.#entries.clear({ lt: [newest] })
    await this.#db.put('cache generation', newest + 1, { ifVersion: version }) // of several one begins it
  }
}

// ---- processes that use it, and are killed ---------------------------------------------------------

const TTL_MS = 2000
const MOST = 40
const PROCESSES = 3
const ASKERS = 4

const cacheOf = (db) => new Cache(db, { ttlMs: TTL_MS, most: MOST })

/** What it takes time to compute. */
const computing = (db) => async (key) => {
  const beganMs = Date.now()
  await db.add(['computed', key], 1) // for the check below
  await pause(20)
  return { key, beganMs, doneMs: Date.now() }
}

/** Asks for one page at times, and for many others, until it is stopped. */
async function askAgainAndAgain(cache, compute) {
  while (!stopping.aborted) {
    const key = Math.random() < 0.25 ? 'front page' : `page ${Math.floor(1000 * Math.random())}`
    const askedMs = Date.now()
    const value = await cache.get(key, compute)
    assert.equal(value.key, key)
    assert.ok(askedMs - value.doneMs < TTL_MS + 100, 'the value should have expired')
    await pause(5 * Math.random())
  }
}

async function work(path) {
  const db = await open(path)
  process.send('at work')
  await Promise.all(Array.from({ length: ASKERS }, () => askAgainAndAgain(cacheOf(db), computing(db))))
  await db.close()
}

async function main() {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-cache-'))
  const db = await open(path)
  const cache = cacheOf(db)
  const crew = await Crew.of(Array.from({ length: PROCESSES }, () => () => start('work', path)))

  const beganMs = performance.now()
  let drops = 0
  let largest = 0
  const dropAndLook = async () => {
    for (; performance.now() < beganMs + 1000 * seconds; drops++) {
      await pause(400 * Math.random())
      const nowMs = Date.now()
      await (drops % 8 === 7 ? cache.clear() : cache.delete('front page'))
      const { beganMs } = await cache.get('front page', computing(db))
      assert.ok(beganMs >= nowMs, 'the value should have been dropped')
      largest = Math.max(largest, cache.size)
    }
  }
  await Promise.all([dropAndLook(), crew.killFor(seconds)])
  await crew.end()

  const computed = db.get(['computed', 'front page'])
  const most = (performance.now() - beganMs) / TTL_MS + 1 + drops + crew.kills
  assert.ok(
    computed <= most,
    `the front page was computed ${computed} times, and should have been at most ${most} times`,
  )
  assert.ok(largest <= MOST + 3 * PROCESSES * ASKERS, `there were ${largest} entries`)
  console.log(
    `the front page was computed ${computed} times of ${Math.floor(most)}; there were up to ${largest} entries; ` +
      `${crew.kills} processes were killed`,
  )
  await db.close()
  rmSync(path, { recursive: true })
}

await (role === undefined ? main() : work(path))
