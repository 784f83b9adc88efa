// The core workloads of YCSB (Cooper et al., SoCC 2010): A to F as they are defined there, each operation durable. An
// update writes the whole record, and a read-modify-write is a read and then an update, as in YCSB.
import { keyOf, random, values } from '../data.js'
import { openStore } from '../stores/index.js'
import { scrambledZipfian, zipfian } from '../zipfian.js'

/** YCSB's records: ten fields of 100 bytes. */
export const RECORD_BYTES = 1000
const MAX_SCAN = 100

/** Shares of the operations, and the distribution of the keys that are read and updated. */
const WORKLOADS = {
  A: { read: 0.5, update: 0.5 },
  B: { read: 0.95, update: 0.05 },
  C: { read: 1 },
  D: { read: 0.95, insert: 0.05, latest: true },
  E: { scan: 0.95, insert: 0.05 },
  F: { read: 0.5, 'read-modify-write': 0.5 },
}

/** `inserted`: shared; how many records have been inserted behind the `entries` that were loaded. */
export async function prepare({ store, directory, shared, seed, entries, workload, inserted }) {
  const db = await openStore(store, directory, { workers: 0, shared })
  const next = random(seed)
  const uniform = () => next() / 2 ** 32
  const value = values(seed, 256, RECORD_BYTES)
  const { latest, ...shares } = WORKLOADS[workload]
  const distribution = latest ? zipfian(entries, uniform) : scrambledZipfian(entries, uniform)
  /** With `latest`, the last that this thread has inserted is the most popular one. */
  let newest = entries - 1
  const choose = latest ? () => newest - distribution() : distribution
  const after = (result, kind) => (typeof result?.then === 'function' ? result.then(() => kind) : kind)
  const read = () => {
    const key = choose()
    // What others insert may still be under way; what was there at the beginning must be found.
    if (db.read(keyOf(key)) < 0 && key < entries) throw new Error(`record ${key} is missing`)
  }
  const operations = {
    read() {
      read()
      return 'read'
    },
    update: () => after(db.put(keyOf(choose()), value()), 'update'),
    insert() {
      newest = entries + Atomics.add(inserted, 0, 1)
      return after(db.put(keyOf(newest), value()), 'insert')
    },
    scan: () => after(db.scan(keyOf(choose()), 1 + (next() % MAX_SCAN)), 'scan'),
    'read-modify-write'() {
      const key = choose()
      if (db.read(keyOf(key)) < 0) throw new Error(`record ${key} is missing`)
      return after(db.put(keyOf(key), value()), 'read-modify-write')
    },
  }
  const kinds = Object.entries(shares)
  return {
    act() {
      let at = uniform()
      for (const [kind, share] of kinds) if ((at -= share) < 0) return operations[kind]()
      return operations[kinds[0][0]]()
    },
    close: () => db.close(),
  }
}
