// Writes until the log is as long as the case `recovery` wants it, and waits to be killed.
import { keyOf, random, values } from './data.js'
import { openStore } from './stores/index.js'

const { store, directory, writes, logBytes } = JSON.parse(process.argv[2])
const { db } = await openStore(store, directory, { workers: 0, checkpointBytes: 2 ** 40 })
const next = random(3)
const value = values(3)
const put = () => ({ type: 'put', key: keyOf(next() % 1_000_000), value: value() })
while (db.stats().log.replayBytes < logBytes) {
  if (writes === 'batches') {
    for (let n = 0; n < 10; n++) await db.batch(Array.from({ length: 1000 }, put))
  } else if (writes === 'coalesced puts') {
    await Promise.all(Array.from({ length: 1000 }, put).map(({ key, value }) => db.put(key, value)))
  } else {
    for (let n = 0; n < 1000; n++) {
      const { key, value } = put()
      await db.put(key, value)
    }
  }
}
process.send('written')
await new Promise((resolve) => setTimeout(resolve, 600_000))
