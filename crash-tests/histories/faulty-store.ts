// A database with something wrong, for the self-test: the harness must notice each of these in the histories of real
// processes. (What could be wrong with a store in itself is tried with simulated-store.ts.)
import type { Store } from './kinds.js'

export const STORE_FAULTS = [
  'loses a write',
  'shows an old moment',
  'breaks a batch in two',
  'writes twice',
  'updates what is no longer there',
] as const
export type StoreFault = (typeof STORE_FAULTS)[number]

/** The first call of a kind is done wrong, then each fourth: a client on a busy machine may make no more than a few. */
const EVERY = 4

/** The same database, which does something wrong now and then. */
export function faulty(db: Store, fault: StoreFault): Store {
  let calls = 0
  const isDue = (wanted: StoreFault): boolean => fault === wanted && calls++ % EVERY === 0
  let old = db.snapshot()
  const renew = (): void => {
    if (fault !== 'shows an old moment' || calls % (2 * EVERY) !== 1) return
    old.close()
    old = db.snapshot()
  }
  const again = (act: () => Promise<unknown>): void => {
    if (isDue('writes twice')) setTimeout(() => void act().catch(() => undefined), 20)
  }
  const wrong: Partial<Store> = {
    getEntry: (key) => {
      const isOld = isDue('shows an old moment')
      const found = isOld ? old.getEntry(key) : db.getEntry(key)
      renew()
      return found
    },
    put: async (key, value, conditions) => {
      if (isDue('loses a write')) return true
      const took = await db.put(key, value, conditions)
      again(() => db.put(key, value))
      return took
    },
    putSync: (key, value, conditions) => {
      if (isDue('loses a write')) return true
      const took = db.putSync(key, value, conditions)
      again(() => db.put(key, value))
      return took
    },
    update: async (key, change) => {
      if (!isDue('updates what is no longer there')) return db.update(key, change)
      const entry = db.getEntry(key)
      const value = await change(entry?.value, entry)
      await new Promise((resolve) => setTimeout(resolve, 20))
      await (value === undefined ? db.del(key) : db.put(key, value))
      return value
    },
    batch: async (operations) => {
      const all = [...operations]
      if (!isDue('breaks a batch in two')) return db.batch(all)
      const first = await db.batch(all.slice(0, 1))
      await new Promise((resolve) => setTimeout(resolve, 20))
      return (await db.batch(all.slice(1))) && first
    },
    batchSync: (operations) => {
      const all = [...operations]
      if (!isDue('breaks a batch in two')) return db.batchSync(all)
      const first = db.batchSync(all.slice(0, 1))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
      return db.batchSync(all.slice(1)) && first
    },
  }
  return new Proxy(db, {
    get: (target, name) => {
      const own = wrong[name as keyof Store]
      if (own !== undefined) return own
      const value = Reflect.get(target, name, target) as unknown
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}
