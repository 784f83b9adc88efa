// A time series: measurements by sensor and time, read by ranges of keys.
//
// The key is [sensor, time]. Measurements of one sensor lie next to each other in the order of time, so the latest
// one, an hour, or an average by the minute are ranges; removing old ones is a range, too.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'mmapdb'

const SECOND = 1000
const MINUTE = 60 * SECOND
const SENSORS = ['cellar', 'kitchen', 'roof']
const startMs = Date.UTC(2026, 0, 1)

const path = mkdtempSync(join(tmpdir(), 'mmapdb-time-series-'))
const db = await open(path)

// An hour of measurements, one a second from each sensor. All that are made in one tick share a flush.
for (let second = 0; second < 3600; second += 600) {
  const writes = []
  for (let s = second; s < second + 600; s++) {
    for (const sensor of SENSORS) writes.push(db.put([sensor, startMs + s * SECOND], Math.floor(s / 60)))
  }
  await Promise.all(writes)
}

/** The newest measurement of a sensor: the last key that begins with its name. */
const latest = (sensor) => [...db.range({ prefix: [sensor], reverse: true, limit: 1 })][0]

/** Averages by the minute, from `fromMs` on and before `toMs`. */
function* averages(sensor, fromMs, toMs) {
  for (let ms = fromMs; ms < toMs; ms += MINUTE) {
    const values = [...db.values({ gte: [sensor, ms], lt: [sensor, ms + MINUTE] })]
    if (values.length > 0) yield values.reduce((sum, value) => sum + value) / values.length
  }
}

assert.deepEqual(latest('kitchen'), [['kitchen', startMs + 3599 * SECOND], 59])
assert.deepEqual([...averages('roof', startMs + 10 * MINUTE, startMs + 13 * MINUTE)], [10, 11, 12])
assert.equal(db.count({ prefix: ['cellar'] }), 3600)

// Keep the last ten minutes of the cellar only.
const old = [...db.keys({ gte: ['cellar'], lt: ['cellar', startMs + 50 * MINUTE] })]
await db.batch(old.map((key) => ({ type: 'del', key })))
assert.equal(db.count({ prefix: ['cellar'] }), 600)
assert.equal(db.count({ prefix: ['roof'] }), 3600)

console.log(`${db.stats().entries} measurements; the latest of the kitchen is ${latest('kitchen')[1]}`)
await db.close()
rmSync(path, { recursive: true })
